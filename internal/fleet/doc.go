// Package fleet wires the stages: it makes one pipeline for each database of a
// configuration and runs them side by side, each failing alone. It is the only
// package that knows all stages; it decides nothing about events.
package fleet
