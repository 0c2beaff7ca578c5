package relay

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// count is how often a call was made so far.
func (r *rig) count(name string) (n int) {
	r.note(func() {
		for _, c := range r.calls {
			if c == name {
				n++
			}
		}
	})
	return n
}

// A standby asks a cheap question often, looks at everything seldom, and starts
// as soon as the slot is free.
func TestStandbyAsksOftenAndLooksSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.facts.Slot.ActivePID = 9
		err := r.play(t, func() {
			pass(time.Minute)
			synctest.Wait()
			if n := r.count("close source"); n < 5 || n > 8 {
				t.Errorf("%d starts in a minute, want one every %s", n, lookMost)
			}
			if r.asked < 250 || r.asked > 320 {
				t.Errorf("asked %d times in a minute, want it every %s", r.asked, askEvery)
			}
			if slices.Contains(r.calls, "take") || slices.Contains(r.calls, "fence") {
				t.Errorf("calls %v: the holder was disturbed", r.calls)
			}
			r.note(func() { r.facts.Slot.ActivePID = 0 })
			pass(askEvery + time.Millisecond)
			synctest.Wait()
			if got := r.states[len(r.states)-1]; got != Running {
				t.Errorf("state %s %s after the slot was let go, want %s", got, askEvery, Running)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// What the question does not answer is looked at every second, not as fast as
// it goes: a server that cannot be asked, and one that is not promoted.
func TestStandbyThatCannotAskLooksEverySecond(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*rig){
		"not promoted": func(r *rig) { r.facts.InRecovery = true },
		"no answer": func(r *rig) {
			r.facts.Slot.ActivePID, r.unasked = 9, errors.New("connection refused")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				set(r)
				if err := r.play(t, func() { pass(10 * time.Second); synctest.Wait() }); err != nil {
					t.Error(err)
				}
				if n := r.count("close source"); n < 10 || n > 12 {
					t.Errorf("%d starts in 10 s, want one a second", n)
				}
			})
		})
	}
}

// The connection a standby asks over ends with it.
func TestStandbyEndsWithNothingOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.facts.Slot.ActivePID = 9
		before := 0
		if err := r.play(t, func() { pass(3 * time.Second); before = r.count("close source") }); err != nil {
			t.Error(err)
		}
		if got := r.calls[len(r.calls)-2:]; r.count("close source") != before+1 || !slices.Equal(got, []string{"close source", "close sink"}) {
			t.Errorf("calls %v: what the standby opened is open", r.calls)
		}
		if got := r.states[len(r.states)-1]; got != Stopped {
			t.Errorf("state %s", got)
		}
	})
}
