// Package deadletter is the format and the rules of dead letters: events that
// could not be published, written in their place, in the same Kafka transaction,
// to a topic of the pipeline's own; and events parked behind one of them, because
// they have its key.
//
// The topic is the only state there is. It has one partition, whose order is the
// order of the stream, and is compacted: a letter has its ID as its key, so an
// unresolved one is kept for ever. One that was redriven is a tombstone; one that
// was discarded keeps a record without its row, so that an audit never takes the
// row for lost.
//
// A letter of the policy dead_letter_and_hold_key, and every letter parked behind
// it, holds places: a topic and a key each. What is held is what the unresolved
// letters hold, nothing else is stored.
//
// The package is pure: it knows neither Postgres nor Kafka. Package transform
// writes letters, package fleet reads and resolves them.
package deadletter
