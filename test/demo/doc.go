// Command demo shows cdc-relay at work on real parts: a service writes 10 000
// events in transactions of its own, some of which it rolls back, the relay is
// killed with SIGKILL in the middle, and a read_committed consumer counts what
// arrives.
//
//	go run ./test/demo          runs it, prints a table, cleans up; 0 if exact, else 1
//	go run ./test/demo -keep    leaves everything running, with addresses to look at
//	go run ./test/demo -stop    ends what -keep left
//
// It writes build/demo.json. What -keep leaves lives in one process of its own
// (keep.go), because the parts of test/stack end with the process that started
// them.
package main
