package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// failedOver is a rig whose server left timeline 1 at 120 and is on timeline 2,
// with a checkpoint on timeline 1 at safe and last.
func failedOver(t *testing.T, safe event.LSN, last event.Position) *rig {
	t.Helper()
	r := newRig(t)
	r.saved = event.Saved{V: 1, State: event.StateStreaming, SystemID: "7", Timeline: 1, Events: 9, Publication: "p:1/1"}.
		At(event.Checkpoint{Safe: safe, Last: last, XID: 3, Time: 1, Events: 9})
	r.facts.SystemID, r.facts.Timeline, r.facts.History = "7", 2, []event.Switch{{Timeline: 1, At: 120}}
	r.facts.Slot.ConfirmedFlush = 100
	r.facts.Publication = event.Publication{Name: "p", OID: 1, Xmin: 1}
	return r
}

const seized = "look take fence read save streaming close source close sink"

// Where the checkpoint goes after a failover, and which rows are dropped then:
// those of transactions that committed before the switch, and no others.
func TestRebaseOntoTheTimeline(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		safe event.LSN
		last event.Position
	}{
		"events undone":           {200, event.Position{Commit: 190, Ord: 2}},
		"only an idle checkpoint": {200, event.Position{Commit: 90, Ord: 2}},
		"committed at the switch": {120, event.Position{Commit: 120, Ord: 1}},
		"half sent":               {110, event.Position{Commit: 190, Ord: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := failedOver(t, c.safe, c.last)
			done, err := r.p.Rebase(t.Context(), AcceptTimeline)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(r.calls, " "); got != seized {
				t.Errorf("calls\n have %s\n want %s", got, seized)
			}
			s := r.saved
			if s.Safe != 120 || s.Timeline != 2 || s.Events != 9 || done.Switch != 120 || s.CommitTime != "" {
				t.Errorf("rebased to %+v", s)
			}
			core := NewCore(DefaultLimits)
			core.Restart(s.Checkpoint())
			for at, keep := range map[event.LSN]bool{119: false, 120: true, 121: true, 190: true} {
				core.Saw(&event.Msg{Kind: event.Begin, Pos: event.Position{Commit: at}})
				if core.Saw(&event.Msg{Kind: event.Row, Pos: event.Position{Commit: at, Ord: 1}}) != keep {
					t.Errorf("a row that commits at %s: kept %t, want %t", at, !keep, keep)
				}
				core.Restart(s.Checkpoint())
			}
		})
	}
}

// Refused before anybody is touched, with a next step.
func TestRebaseRefuses(t *testing.T) {
	t.Parallel()
	undone := event.Position{Commit: 190, Ord: 2}
	for name, c := range map[string]struct {
		accept Accept
		change func(*rig)
		want   string
	}{
		"no checkpoint":           {AcceptTimeline, func(r *rig) { r.saved = event.Saved{} }, "nothing to rebase"},
		"first start":             {AcceptPublication, func(r *rig) { r.saved.State = event.StateCreating }, "has not come to its end"},
		"slot in use":             {AcceptTimeline, func(r *rig) { r.facts.Slot.ActivePID = 9 }, "is in use"},
		"same timeline":           {AcceptTimeline, func(r *rig) { r.facts.Timeline = 1 }, "there is nothing to accept"},
		"nothing undone":          {AcceptTimeline, func(r *rig) { r.facts.History[0].At = 300 }, "the failover undid no event"},
		"same cluster":            {AcceptNewCluster, func(*rig) {}, "there is nothing to accept"},
		"same publication":        {AcceptPublication, func(*rig) {}, "there is nothing to accept"},
		"slot lost in new":        {AcceptNewCluster, func(r *rig) { r.facts.SystemID, r.facts.Slot.WALStatus = "8", "lost" }, "no longer usable (wal_status lost)"},
		"not a descendant":        {AcceptTimeline, func(r *rig) { r.facts.History = nil; r.p.Guards.Start = refuse("not in the history") }, "not in the history"},
		"no slot":                 {AcceptTimeline, func(r *rig) { r.facts.Slot.Exists = false; r.p.Guards.Start = refuse("slot gone") }, "slot gone"},
		"something else is wrong": {AcceptTimeline, func(r *rig) { r.p.Guards.Start = refuse("slot ahead") }, "slot ahead"},
		"somebody else's":         {AcceptPublication, func(r *rig) { r.p.Guards.Foreign = refuse("another database") }, "another database"},
		"new and somebody else's": {AcceptNewCluster, func(r *rig) { r.facts.SystemID = "8"; r.p.Guards.Foreign = refuse("another database") }, "another database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := failedOver(t, 200, undone)
			c.change(r)
			_, err := r.p.Rebase(t.Context(), c.accept)
			if event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "next: ") {
				t.Errorf("ended with %v, want a refusal with %q", err, c.want)
			}
			if slices.ContainsFunc(r.calls, func(s string) bool { return s == "fence" || s == "take" || strings.HasPrefix(s, "save") }) {
				t.Errorf("calls %v: something was touched", r.calls)
			}
		})
	}
}

func refuse(why string) func(event.Saved, event.Facts) error {
	return func(event.Saved, event.Facts) error { return event.Refusef("mend it", "%s", why) }
}

// What changed between the look and the fence is judged again.
func TestRebaseJudgesAgain(t *testing.T) {
	t.Parallel()
	r := failedOver(t, 200, event.Position{Commit: 190, Ord: 2})
	r.fence = func() { r.saved.Timeline, r.saved.Safe = 2, 120 } // another rebase was faster
	if _, err := r.p.Rebase(t.Context(), AcceptTimeline); event.VerdictOf(err) != event.Refuse {
		t.Errorf("ended with %v", err)
	}
	if slices.Contains(r.calls, "save streaming") {
		t.Errorf("calls %v", r.calls)
	}
}

// A session of the slot that ended is no lock.
func TestCommandsNeedTheSessionOfTheSlot(t *testing.T) {
	t.Parallel()
	r := failedOver(t, 200, event.Position{Commit: 190, Ord: 2})
	r.opened = func() { r.facts.SenderPID = 0 }
	r.broken = errors.New("terminated")
	if _, err := r.p.Rebase(t.Context(), AcceptTimeline); err == nil || !strings.Contains(err.Error(), "run the command again") || slices.Contains(r.calls, "save streaming") {
		t.Errorf("rebase: %v, calls %v", err, r.calls)
	}
	f := &formerSink{fakeSink: (*fakeSink)(r), r: r, saved: r.saved}
	r.saved, r.facts.SenderPID = event.Saved{}, 7
	if _, err := r.p.Rename(t.Context(), f, "old/db"); err == nil || slices.Contains(r.calls, "hand") {
		t.Errorf("rename: %v, calls %v", err, r.calls)
	}
}

func TestRebaseOntoAClusterWithASlot(t *testing.T) {
	t.Parallel()
	r := failedOver(t, 900, event.Position{Commit: 890, Ord: 2})
	r.facts.SystemID, r.facts.Timeline, r.facts.History = "8", 1, nil
	r.facts.Publication.OID = 2
	// The position that counts is the one read with the slot in hand.
	r.opened = func() { r.facts.Slot.ConfirmedFlush = 104 }
	if _, err := r.p.Rebase(t.Context(), AcceptNewCluster); err != nil {
		t.Fatal(err)
	}
	s := r.saved
	if s.SystemID != "8" || s.Timeline != 1 || s.Safe != 104 || s.Checkpoint().Last != justBefore(104) || s.Events != 9 || !strings.HasPrefix(s.Publication, "p:2/") {
		t.Errorf("rebased to %+v", s)
	}
	if got := strings.Join(r.calls, " "); got != seized {
		t.Errorf("calls %s", got)
	}
}

// Without a slot the way of a first start is gone; a crash behind the intent is
// brought to its end by the next run.
func TestRebaseOntoAClusterWithoutASlot(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		r := failedOver(t, 900, event.Position{Commit: 890, Ord: 2})
		r.facts.SystemID, r.facts.Slot.Exists, r.facts.Slot.ConfirmedFlush, r.facts.Flush = "8", false, 0, 60
		if crash {
			r.p.Source = &crashing{fakeSource: (*fakeSource)(r)}
		}
		done, err := r.p.Rebase(t.Context(), AcceptNewCluster)
		if (err != nil) != crash {
			t.Fatal(err)
		}
		if !crash {
			want := "look look lock fence read save creating create save streaming read unlock close source close sink"
			if got := strings.Join(r.calls, " "); got != want || !done.Made || done.To.Safe != 70 || done.From.Safe != 900 || r.saved.Events != 9 {
				t.Errorf("%+v, calls\n have %s\n want %s", done, got, want)
			}
			continue
		}
		if r.saved.State != event.StateCreating || r.saved.SystemID != "8" {
			t.Fatalf("left %+v, want an intent of the new cluster", r.saved)
		}
		if saved, err := r.p.start(t.Context()); err != nil || saved.State != event.StateStreaming || saved.Safe != 70 || saved.Events != 9 {
			t.Errorf("the next start: %+v, %v", saved, err)
		}
	}
}

// crashing fails at its first Create.
type crashing struct {
	*fakeSource
	made bool
}

func (c *crashing) Create(ctx context.Context) (event.LSN, error) {
	if !c.made {
		c.made = true
		return 0, errors.New("crash")
	}
	return c.fakeSource.Create(ctx)
}

// The stream is heard before a publication is accepted.
func TestRebaseHearsThatTheStreamCannotBeRead(t *testing.T) {
	t.Parallel()
	r := failedOver(t, 200, event.Position{Commit: 190, Ord: 2})
	r.facts.Publication.OID = 2
	r.broken = event.Refusef("recreate", "the publication did not exist")
	if _, err := r.p.Rebase(t.Context(), AcceptPublication); event.VerdictOf(err) != event.Refuse || slices.Contains(r.calls, "save streaming") {
		t.Errorf("ended with %v, calls %v", err, r.calls)
	}
	r.broken, r.calls = nil, nil
	r.msgs <- event.Msg{Kind: event.Wake}
	if _, err := r.p.Rebase(t.Context(), AcceptPublication); err != nil {
		t.Fatal(err)
	}
	if s := r.saved; s.Safe != 200 || s.Timeline != 1 || s.Publication != "p:2/1" || s.Checkpoint().Last.Commit != 190 {
		t.Errorf("rebased to %+v", s)
	}
}

// formerSink is the sink of the former name.
type formerSink struct {
	*fakeSink
	r     *rig
	saved event.Saved
}

func (f *formerSink) Look(context.Context) (event.Saved, error) {
	f.r.call("look former")
	return f.saved, nil
}
func (f *formerSink) Fence(context.Context) error { f.r.call("fence former"); return nil }
func (f *formerSink) Read(context.Context) (event.Saved, error) {
	f.r.call("read former")
	return f.saved, nil
}
func (f *formerSink) Close() { f.r.call("close former") }
func (f *formerSink) Hand(_ context.Context, s event.Saved) error {
	f.r.call("hand")
	f.saved, f.r.saved = event.Saved{}, s
	return nil
}

func TestRename(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*rig, *formerSink)
		want   string
	}{
		"in order":                  {func(*rig, *formerSink) {}, ""},
		"slot in use":               {func(r *rig, _ *formerSink) { r.facts.Slot.ActivePID = 9 }, "is in use"},
		"nothing there":             {func(_ *rig, f *formerSink) { f.saved = event.Saved{} }, "there is no checkpoint of old/db"},
		"first start under way":     {func(_ *rig, f *formerSink) { f.saved.State = event.StateCreating }, "no position to move"},
		"the new name has its own":  {func(r *rig, _ *formerSink) { r.saved = event.Saved{V: 1, State: event.StateStreaming} }, "will not be written over"},
		"another slot":              {func(r *rig, _ *formerSink) { r.p.Guards.Foreign = refuse("another slot") }, "another slot"},
		"a slot that moved":         {func(r *rig, _ *formerSink) { r.p.Guards.Start = refuse("slot ahead") }, "slot ahead"},
		"renamed by somebody else ": {func(r *rig, f *formerSink) { r.opened = func() { f.saved = event.Saved{} } }, "there is no checkpoint of old/db"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			f := &formerSink{fakeSink: (*fakeSink)(r), r: r, saved: r.saved}
			r.saved = event.Saved{}
			c.change(r, f)
			moved, err := r.p.Rename(t.Context(), f, "old/db")
			if c.want != "" {
				if event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), c.want) || slices.Contains(r.calls, "hand") {
					t.Errorf("ended with %v, calls %v", err, r.calls)
				}
				return
			}
			want := "look former look take fence former fence read read former hand close former close source close sink"
			if got := strings.Join(r.calls, " "); err != nil || got != want || r.saved.Safe != 50 || moved.Safe != 50 {
				t.Errorf("%+v, %v, calls\n have %s\n want %s", moved, err, got, want)
			}
		})
	}
}
