package relay

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// A slot takes the place of a checkpoint only where that is asked for, and only
// from behind everything that was published.
func TestAdoptInPlaceOfACheckpoint(t *testing.T) {
	t.Parallel()
	half := event.Saved{V: 1, State: event.StateStreaming, Events: 9}.At(event.Checkpoint{Last: event.Position{Commit: 60, Ord: 2}, Safe: 50})
	half.Events = 9
	for _, tc := range []struct {
		name   string
		saved  event.Saved
		at     event.LSN
		accept bool
		want   string // of the refusal; "": adopted
	}{
		{"not asked for", half, 70, false, "has a checkpoint already"},
		{"behind", half, 70, true, ""},
		{"at the safe position of an idle pipeline", event.Saved{V: 1, State: event.StateStreaming, Safe: 50}, 50, true, ""},
		{"before", half, 49, true, "before what pipeline"},
		{"inside the transaction that is half sent", half, 60, true, "before what pipeline"},
		{"a first start's intent", event.Saved{V: 1, State: event.StateCreating, Safe: 55}, 50, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.saved, r.facts.Slot.ConfirmedFlush = tc.saved, tc.at
			saved, err := r.p.Adopt(t.Context(), tc.accept)
			if tc.want != "" {
				if event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), tc.want) || strings.Contains(strings.Join(r.calls, " "), "fence") {
					t.Errorf("%v, calls %v", err, r.calls)
				}
				return
			}
			if err != nil || saved.Safe != tc.at || saved.Last != nil || saved.Events != tc.saved.Events || r.saved.Safe != tc.at {
				t.Errorf("%v: adopted %+v, saved %+v", err, saved, r.saved)
			}
		})
	}
}
