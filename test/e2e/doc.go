// Package e2e tests the relay as its users run it: the binary as a process, a
// real Postgres, a real broker, a real registry. Every test runs unchanged on
// each kind of broker of test/stack but embedded.
package e2e
