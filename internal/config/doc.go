// Package config turns files and the environment into checked values.
//
// The order is: parse each file into nodes that know their file, line and
// column → expand ${…} → merge the files → decode strictly into Config over
// its defaults → validate → resolve pipelines and their contracts. All problems
// are collected and reported at once, each with its place, the path of the key,
// the value and what to write instead. A Config that Load returned is valid and
// never changes.
//
// Invariant: a secret that came from ${file:…}, from a variable named like one,
// or that stands under a key named like one, appears in no message and not in
// Show.
package config
