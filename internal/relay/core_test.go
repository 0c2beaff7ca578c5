package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// logs are the streams the enumeration runs over.
func logs() map[string][]event.Msg {
	var small, big, idle, mixed []event.Msg
	for i := range 6 {
		small = transaction(small, event.LSN(100+20*i), 1+i%3)
	}
	big = transaction(big, 100, 1)
	big = transaction(big, 120, 9)
	big = transaction(big, 200, 2)
	// A transaction that commits at exactly the WAL end of the keepalive
	// before it: one position with "drop at or before" would lose it.
	idle = transaction(idle, 100, 1)
	idle = keepalive(idle, 140)
	idle = transaction(idle, 140, 2)
	idle = keepalive(idle, 160)
	idle = keepalive(idle, 180)
	idle = transaction(idle, 180, 1)
	// Transactions of other tables: no rows.
	mixed = transaction(mixed, 100, 0)
	mixed = transaction(mixed, 120, 5)
	mixed = keepalive(mixed, 128)
	mixed = transaction(mixed, 128, 0)
	mixed = transaction(mixed, 150, 1)
	mixed = keepalive(mixed, 170)
	mixed = transaction(mixed, 170, 3)
	return map[string][]event.Msg{"small": small, "big": big, "idle": idle, "mixed": mixed}
}

// every calls f, until it says no more, for every pair of crash points × {committed, aborted} each ×
// batch limits × sink lags × logs.
func every(mutant string, f func(label string, w *world) (more bool)) (runs int) {
	for title, log := range logs() {
		for events := 1; events <= 4; events++ {
			for lag := range 4 {
				for i := range 2 * len(log) {
					for j := range 2 * len(log) {
						for bits := range 4 {
							limits := Limits{Events: events, Bytes: 1 << 20, IdleAfter: time.Second, IdleBytes: 1}
							w := newWorld(limits, lag, log)
							w.mutant = mutant
							w.crashAfter(i, bits&1 != 0)
							w.crashAfter(j, bits&2 != 0)
							w.run()
							runs++
							if !f(fmt.Sprintf("log %s, %d events a batch, lag %d, crashes after %d and then %d steps, committed %02b", title, events, lag, i, j, bits), w) {
								return runs
							}
						}
					}
				}
			}
		}
	}
	return runs
}

func (w *world) crashAfter(steps int, committed bool) {
	for range steps {
		if w.over() {
			break
		}
		w.step()
	}
	w.crash(committed)
}

// TestEveryPairOfCrashes enumerates the core: no loss, no duplicate, no
// disorder, no cut transaction, and acked <= committed <= received.
func TestEveryPairOfCrashes(t *testing.T) {
	t.Parallel()
	failed := 0
	runs := every("", func(label string, w *world) bool {
		if p := w.verdict(); p != nil {
			failed++
			t.Errorf("%s:\n%s", label, strings.Join(p, "\n"))
		}
		return failed < 3
	})
	t.Logf("%d runs, %d failed", runs, failed)
}

// TestEnumerationHasTeeth breaks the protocol on purpose: each breach must be
// seen, or the test above proves nothing.
func TestEnumerationHasTeeth(t *testing.T) {
	t.Parallel()
	for _, mutant := range []string{"ack before commit", "drop by safe", "no checkpoint"} {
		t.Run(mutant, func(t *testing.T) {
			t.Parallel()
			caught := false
			runs := every(mutant, func(_ string, w *world) bool {
				caught = w.verdict() != nil
				return !caught
			})
			t.Logf("after %d runs: caught %v", runs, caught)
			if !caught {
				t.Error("not seen in any run")
			}
		})
	}
}

func TestCloseNeverCutsWhatFits(t *testing.T) {
	t.Parallel()
	c := NewCore(Limits{Events: 3, Bytes: 1 << 20})
	c.Restart(event.Checkpoint{})
	feed := func(m event.Msg) {
		if c.Saw(&m) {
			c.Grew(1, 10)
		}
	}
	for _, m := range transaction(nil, 100, 2) {
		feed(m)
	}
	log := transaction(nil, 120, 3)
	for _, m := range log[:3] { // BEGIN and two of three rows
		feed(m)
		if end, ok := c.Close(true, true); ok {
			t.Fatalf("closed at %v inside a transaction below the limit", end)
		}
	}
	for _, m := range log[3:] {
		feed(m)
	}
	end, ok := c.Close(true, false)
	if !ok || end.Last != (event.Position{Commit: 120, Ord: 3}) || end.Safe != 128 {
		t.Fatalf("Close = %+v, %v; want both transactions, a batch over its limit to finish one", end, ok)
	}
}

func TestShortPoolClosesOnlyBetweenTransactions(t *testing.T) {
	t.Parallel()
	c := NewCore(Limits{Events: 100, Bytes: 1 << 20})
	c.Restart(event.Checkpoint{})
	log := transaction(nil, 100, 2)
	for i, m := range log {
		if c.Saw(&m) {
			c.Grew(1, 10)
		}
		_, ok := c.Close(true, true)
		if want := i == len(log)-1; ok != want {
			t.Errorf("after %d messages: closed %v, want %v", i+1, ok, want)
		}
	}
}
