// Package schema judges Avro schemas as texts: Lint finds what is wrong or
// unwise in the files of a folder, Compare says why one schema cannot follow
// another, Diff what changed between two, Example makes up a document that is
// valid, and Docs writes the reference of all events.
//
// It connects nowhere. Where a registry has a say, its verdict counts and this
// package explains it.
package schema
