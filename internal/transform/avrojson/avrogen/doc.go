// Package avrogen makes random Avro schemas and JSON documents that most often
// fit them: the edges of every type, right and wrong. Tests hold two
// implementations against each other with it.
package avrogen
