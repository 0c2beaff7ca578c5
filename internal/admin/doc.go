// Package admin is what a process shows of itself over HTTP: /healthz says that
// it lives, /readyz that every pipeline runs or stands by, /metrics what
// Prometheus collects. Status is the board the pipelines report to.
package admin
