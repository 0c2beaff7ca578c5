// Command cdc-relay streams events from an outbox table to Kafka, exactly once.
// One file per verb: parse, call, print.
package main
