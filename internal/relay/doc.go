// Package relay moves one database's events from Postgres to Kafka, exactly
// once. It is the middle of the program: core.go decides and is pure, loop.go
// acts, start.go takes the slot and the producers in the one order that is
// safe, and the interfaces in relay.go say what it needs of the stages.
//
// Invariant: acked <= committed <= received, at all times.
package relay
