// Package topics decides what the topics of a configuration lack: the contract's
// topics as they are wanted beside the cluster's topics as they are, and between
// them the changes. It is pure: fleet asks the brokers and applies the changes.
//
// Of an existing topic only what its topic class names is looked at. Some
// differences are never mended, because Kafka cannot (fewer partitions), because
// it is another tool's work (replicas), or because nobody can know who still
// reads (deleting): those are reported, and no more.
//
// Invariant: a change that can lose records or tear a key's order apart carries
// the flag it needs, whatever else the topic needs.
package topics
