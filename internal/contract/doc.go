// Package contract says what each event is: its topic, key rule, encoding,
// schema and headers, and what becomes of an event nobody described. It is the
// meaning of events.yaml.
//
// The types of file.go carry yaml tags and are decoded elsewhere; [New] merges
// the files of several teams, checks everything and reports all problems at
// once. What it returns never changes and may be shared.
//
// It imports nothing but the standard library.
package contract
