// Package doctor judges: is it safe to go on, and if not, what happened and
// what is to be run. It is pure; others read the facts it judges.
//
// A Guard holds the judgements of a pipeline at start and while it runs; each
// answers nil or an event.Fault. Postgres, Kafka and Registry turn the same
// judgements, and what is worth a warning besides, into the findings of
// `cdc-relay doctor`.
//
// Invariant: no message names a command that does not exist.
package doctor
