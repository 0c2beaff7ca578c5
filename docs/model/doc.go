// Command model checks the protocol of DESIGN.md, "The promise", in every
// reachable state of small worlds: Postgres with a slot, Kafka with two
// transactional ids, two relays, and the faults that befall them. Then it
// leaves out one clause after the other and shows what that breaks.
//
//	make model
//	go run ./docs/model -trace model:lazy-fencing
//
// It is an explicit-state checker: breadth-first, so a counterexample is a
// shortest one. README.md says what is modelled and what is not.
//
//	rules.go     the clauses that can be left out; what a world consists of
//	configs.go   the worlds, the mutants
//	state.go     the state: one comparable value
//	postgres.go  kafka.go   what the servers do
//	late.go      requests that arrive late, and what a relay does about them
//	relay.go  first.go  start.go  stream.go  recreate.go   what a relay does
//	check.go     the search
//	trace.go  main.go   what people see
package main
