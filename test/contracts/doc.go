// Package contracts measures what the contract promises, on real parts:
//
//   - [Fuzz]: whatever a service writes into the payload ends as a valid Avro
//     record, decoded by an implementation that is not ours, or as a dead letter
//     that says where and by which rule; nothing is lost, nothing stops the
//     stream.
//   - [Poison]: events that break their schema, in a drain with SIGKILLs, are
//     dead letters together with what is parked behind them, and all are
//     delivered, in order, once the schema is mended and they are redriven.
//   - [Dual]: a consumer that has read the topics of a thin and a rich event up to
//     a checkpoint has both halves of every pair or none.
//   - keys.Compare: an event lands on the partition of the Java client.
//
// `make test-contracts` runs them at full size and writes build/contracts.json;
// the tests of this package run them small.
package contracts
