// Package event holds the values all stages share: a position in the
// write-ahead log, a message read from it, a record bound for Kafka, the batch
// that carries records, the checkpoint that is committed with them, the facts
// a server states about itself, and the fault an operator can act on.
//
// It imports nothing but the standard library and starts nothing.
package event
