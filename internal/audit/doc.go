// Package audit compares what an outbox table holds with what is in Kafka:
// what is missing, what is there twice, what came out of order.
//
// Both sides are written into one temporary file each, spread over buckets by
// event id (a Grace hash join), and compared bucket by bucket, so that memory
// does not grow with the number of events: about 120 bytes of disk for an event
// and its record, and the largest bucket twice in memory. Nothing is estimated:
// ids that are UUIDs are compared as they are, other ids and all keys by 128
// bits of SHA-256.
//
// Order, and what compaction may have removed, depend on keys: a second pass
// spreads the records by key, and only where the first one found a reason to.
//
// The package knows neither Postgres nor Kafka. Package fleet feeds it.
package audit
