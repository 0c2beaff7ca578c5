// Package replication reads inserts of one Postgres database from its
// write-ahead log: a logical replication slot, the pgoutput plugin, one socket.
//
// Source is what the relay's loop reads from. Its stream is pinned (protocol
// version 1, streaming off, two-phase off), so the ordinal of a row within its
// transaction is the same in every session. Decoding copies nothing: column
// values alias the socket buffer until the next call of Next.
//
// Three positions are told apart in every status sent to the server: write is
// what was read from the socket, flush and apply are what the caller confirmed.
// The server forgets the write-ahead log up to flush, so flush is never zero
// (a server takes zero for "as written") and never falls.
//
// Files: decode.go and tracker.go are pure (bytes to values, values to
// messages); stream.go owns the replication socket; sqlconn.go owns the plain
// connection; look.go reads the server's facts; slots.go makes,
// lists, copies and drops publications and slots; errors.go is the one place where SQLSTATEs are judged.
//
// Protocol: "Logical Streaming Replication Protocol" and "Logical Replication
// Message Formats" in the PostgreSQL manual; PostgreSQL 14 to 19.
package replication
