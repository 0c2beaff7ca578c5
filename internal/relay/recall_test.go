package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// What dead letters hold is read behind the fence, before the first row, and again
// on the recovery path.
func TestRecallAtEachStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.p.Recall = func(context.Context) error {
			r.call("recall")
			return nil
		}
		tries := 0
		r.opened = func() { r.send(transaction(nil, 100, 1)) }
		r.commit = func(context.Context, *event.Batch) error {
			if tries++; tries == 1 {
				return errors.New("aborted")
			}
			return nil
		}
		if err := r.play(t, func() { pass(5 * time.Second) }); err != nil {
			t.Fatal(err)
		}
		want := "look take fence read recall close source close sink look take fence read recall close source close sink"
		if got := strings.Join(r.calls, " "); got != want {
			t.Errorf("calls\n have %s\n want %s", got, want)
		}
	})
}

// A start that cannot read what is held does not stream: it takes the recovery
// path.
func TestNothingStreamsWithoutARecall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		calls := 0
		r.p.Recall = func(context.Context) error {
			if calls++; calls < 3 {
				return errors.New("kafka is away")
			}
			return nil
		}
		r.opened = func() {
			if calls == 2 { // the fake does not forget what nobody read
				r.send(transaction(nil, 100, 1))
			}
		}
		if err := r.play(t, func() { pass(5 * time.Second) }); err != nil {
			t.Fatal(err)
		}
		if calls != 3 || len(r.rows) != 1 || !slices.Equal(r.states, []State{Starting, Recovering, Recovering, Running, Stopped}) {
			t.Errorf("%d recalls, rows %v, states %v", calls, r.rows, r.states)
		}
	})
}

// Redrives fence the pipeline, one after the other, while it commits nothing: it
// goes on. What fences it without having redriven anything ends it.
func TestRedrivesAreForgiven(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		says func(n int) string // the redrive in the checkpoint at the nth start
		ends bool
	}{
		{"another redrive each time", func(n int) string { return fmt.Sprint("redrive-", n) }, false},
		{"nobody", func(int) string { return "" }, true},
		{"one, long ago", func(int) string { return "redrive-1" }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				starts := 0
				r.fence = func() {
					starts++
					r.saved.Redrive = tc.says(starts)
				}
				r.opened = func() { r.send(transaction(nil, 100, 1)) }
				began := time.Now()
				r.commit = func(context.Context, *event.Batch) error {
					return &event.Fault{Verdict: event.Fenced, What: "fenced"}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := r.run(t, ctx)
				if ended := event.VerdictOf(err) == event.Fenced; ended != tc.ends {
					t.Errorf("after %d starts: %v", starts, err)
				}
				if took := time.Since(began); took < fencedPause {
					t.Errorf("fenced in its turn after %s", took)
				}
			})
		})
	}
}
