// Package lab is what the end-to-end tests share: the relay's binary as a process,
// with a database, topics and a name of its own on a real Postgres, a real broker
// and a real registry. The tests are in the folders beside it, by subject. Each of
// them runs unchanged on each kind of broker of test/stack but embedded.
package lab
