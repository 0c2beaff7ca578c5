// Package s3 is a server of the S3 protocol for tests, on a port of this machine
// and in memory, that can be down, refuse, or be slow.
package s3
