// Package replay plans what `run --from-lsn` publishes once more: which anchor
// to copy, where the range begins and ends, and under which name it is
// remembered. It is pure; the loop that publishes is relay's.
package replay
