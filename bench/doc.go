// Command bench measures the relay on this machine, with every part real and on
// the same processors: a drain of prepared events against pg_recvlogical on the
// same write-ahead log, latency at a steady rate, memory, and what it takes when
// nothing happens.
//
//	go run ./bench            about five minutes
//	go run ./bench -quick     about one
//	go run ./bench -profile   one drain, with a CPU profile in build/bench
//
// It writes build/bench.json, one flat object. Every drain and the latency run
// count what arrived against what was written; a figure of a run that is not
// exactly once is not printed, and the exit code is 1.
//
// What is measured:
//
//   - Drain: 300 000 rows are in the log before anyone reads. Each contender
//     starts from a copy of one slot. The floor is pg_recvlogical, from its start
//     to its end; the relay counts from "streaming" in its log to the time the
//     broker wrote on the last record (LogAppendTime), so that no consumer takes
//     processor time meanwhile. steady is between the first 20 and 90 percent of
//     the records. Contenders alternate; figures are medians.
//   - Latency: from clock_timestamp() in the INSERT, which is just before the
//     commit, to the moment a read_committed consumer holds the record.
//   - Memory: the most the relay's process ever had (VmHWM).
package main
