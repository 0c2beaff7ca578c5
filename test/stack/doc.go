// Package stack gives tests, the demo and the benchmarks the parts they run
// against: a PostgreSQL server (14 to 19), a Kafka broker and a schema
// registry, each of them real wherever the machine allows it.
//
// # Two layers
//
// [Start] is the layer without testing: it returns a [Stack] that owns what it
// started, until [Stack.Close]. [Main], [Postgres], [NewPostgres], [Broker],
// [NewBroker], [Registry] and [NewRegistry] are the same for tests, with one
// Stack per test process behind them.
//
// # Own and shared parts
//
// Postgres, Broker and Registry return parts that other tests use at the same
// time (and, under the runner of test/stack/run, other processes too): a test
// takes a database or a topic of its own there. A test that stops, kills or
// freezes a part takes an own one from NewPostgres, NewBroker or NewRegistry;
// on parts shared between processes these verbs return [ErrNotOwned].
//
// # What ends what
//
// Everything started here dies with the process that started it, even when
// that process is killed with SIGKILL: a small shell, in a session of its own,
// reads a pipe whose other end only the owner holds. At end of file it ends the
// process groups it was told of and removes their folders. A process is
// started behind a gate which opens only after the shell knows its id, so there
// is no moment in which it could be orphaned. Nothing else is ever signalled.
//
// No goroutine waits for a process: exits are polled where they matter. A test
// with goleak therefore sees none of ours, except in the container and embedded
// kinds (take goleak.IgnoreCurrent after the parts are up).
//
// README.md in this folder lists the kinds and the variables that choose them.
package stack
