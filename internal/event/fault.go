package event

import (
	"errors"
	"fmt"
)

// Verdict says what becomes of a pipeline after a Fault.
type Verdict uint8

// The verdicts. An error that holds no Fault means Restart.
const (
	// Restart takes the one recovery path, with back-off.
	Restart Verdict = iota
	// Standby waits and tries again: the slot is held by another process, or
	// the server is not promoted yet.
	Standby
	// Refuse stops the pipeline: a guard said no (exit code 3).
	Refuse
	// Fenced takes the recovery path; three times without a commit between
	// while holding the slot stops the pipeline (exit code 4).
	Fenced
	// Stop stops the pipeline: an event cannot be encoded and the contract says
	// stop (exit code 1).
	Stop
)

// Fault is an error an operator can act on: what happened and where (LSN,
// table, row id, topic), and what to do next, as a command.
type Fault struct {
	Verdict Verdict
	What    string
	Do      string
	Err     error // the cause, may be nil
}

func (f *Fault) Error() string {
	s := f.What
	if f.Err != nil {
		s = fmt.Sprintf("%s: %v", s, f.Err)
	}
	if f.Do != "" {
		s += "\n  next: " + f.Do
	}
	return s
}

func (f *Fault) Unwrap() error { return f.Err }

// Refusef makes a Fault of a guard. do is the next step, as a command.
func Refusef(do, format string, args ...any) *Fault {
	return &Fault{Verdict: Refuse, What: fmt.Sprintf(format, args...), Do: do}
}

// VerdictOf is the one function that decides what an error does to a pipeline.
func VerdictOf(err error) Verdict {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f.Verdict
	}
	return Restart
}

// ErrShutdown says that Postgres is shutting down: commit what is in hand,
// acknowledge it and let go within seconds, because a fast shutdown waits for us.
var ErrShutdown = errors.New("postgres is shutting down")
