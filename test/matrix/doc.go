// Package matrix proves that the relay is exactly once: it holds the relay at
// every arrow of its protocol (internal/crash), does one thing to it or to its
// surroundings there, lets it go on, and compares what read_committed consumers
// see with what Postgres says was committed. The load goes on meanwhile.
//
// A [Cell] is one pair of a point and a fault, or a story of its own. Cells run
// one after the other in a [World]: a PostgreSQL, a Kafka cluster and a registry
// of its own, with a proxy before each (test/fault) that can cut, freeze and
// swallow answers. Several worlds run at the same time.
//
// The truth is read from a replication slot of its own by a decoder that is not
// the relay's; the checker ([Check]) is pure and has tests of its own.
package matrix
