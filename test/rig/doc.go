// Package rig is what end-to-end tests, the demo and the benchmark share: the
// relay as a process of its own, a configuration for it, services that write
// events, a read_committed consumer, and the checker that compares the two.
package rig
