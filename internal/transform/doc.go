// Package transform turns one row of an outbox (or one logical message) into
// the records of its event: where the row says what (mapping), which topic
// (route), which key, which headers, and the value in its encoding.
//
// Everything that can be decided before the first row is decided by [Compile]:
// columns are looked up once per relation, schemas are compiled once per
// version, metrics have their labels. In steady state appending a row allocates
// nothing; the bytes of records go straight into the Batch.
//
// A row has one outcome: all its records; or, where the policy of its event says
// so, one dead letter in their place, because they could not be made or have to
// wait behind such a letter; or a Fault that stops the pipeline and says what to
// do. Nothing is skipped, except logical messages with a prefix
// that is not ours, which are counted.
package transform
