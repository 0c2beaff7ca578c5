package relay

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// The server says why it ends a walsender; the guards only see that it is gone.
func TestWhatTheServerSaidDecidesWhenTheSlotIsLetGo(t *testing.T) {
	t.Parallel()
	gone := &event.Fault{Verdict: event.Restart, What: "the slot is not held by our walsender any more"}
	for _, broken := range []error{nil, event.Refusef("recreate", "the publication did not exist")} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			starts := 0
			r.broken = broken
			r.p.Guards.Start = func(event.Saved, event.Facts) error {
				if starts++; starts < 3 {
					return gone
				}
				return nil
			}
			if broken == nil {
				if err := r.play(t, func() { pass(30 * backoffFirst); synctest.Wait() }); err != nil || starts != 3 {
					t.Errorf("silence: ended after %d starts with %v, want a third start", starts, err)
				}
				return
			}
			err := r.p.Run(t.Context())
			if event.VerdictOf(err) != event.Refuse || starts != 1 || !strings.Contains(err.Error(), gone.What) {
				t.Errorf("after %d starts: %v, want the refusal at the first", starts, err)
			}
		})
	}
}

// A slot without a position is still being made, by a process that a killed
// relay left behind: neither a stranger's nor to be fenced.
func TestFirstStartWaitsForASlotInTheMaking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.saved = event.Saved{V: 1, State: event.StateCreating, Safe: 60}
		r.facts.Slot = event.Slot{Name: "s", Exists: true, ActivePID: 7}
		err := r.play(t, func() {
			pass(5 * lookEvery)
			synctest.Wait()
			r.note(func() {
				if got := r.states[len(r.states)-1]; got != Waiting {
					t.Errorf("state %s, want %s", got, Waiting)
				}
				if calls := strings.Join(r.calls, " "); strings.Contains(calls, "fence") {
					t.Errorf("calls %s: nobody may be fenced", calls)
				}
				r.facts.Slot.ActivePID, r.facts.Slot.ConfirmedFlush = 0, 70
			})
			pass(5 * lookEvery)
			synctest.Wait()
			r.note(func() {
				if got := r.states[len(r.states)-1]; got != Running {
					t.Errorf("state %s, want %s", got, Running)
				}
			})
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// The slot is dropped by `slots recreate` after its intent was committed; a look
// may not show the intent yet.
func TestAMissingSlotIsNotRefusedWhileItsIntentIsHidden(t *testing.T) {
	t.Parallel()
	refused := event.Refusef("recreate", "the slot is gone")
	for _, hidden := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.facts.Slot.Exists = false
			r.p.Guards.Start = func(event.Saved, event.Facts) error { return refused }
			if !hidden {
				if err := r.p.Run(t.Context()); event.VerdictOf(err) != event.Refuse {
					t.Errorf("%v, want the refusal", err)
				}
				return
			}
			r.settled = &event.Saved{V: 1, State: event.StateCreating, Safe: 60, Offset: 1}
			err := r.play(t, func() {
				pass(5 * lookEvery)
				synctest.Wait()
				r.note(func() {
					if got := r.states[len(r.states)-1]; got != Recovering {
						t.Errorf("state %s, want %s", got, Recovering)
					}
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
