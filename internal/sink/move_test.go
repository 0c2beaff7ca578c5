package sink

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// A checkpoint goes over to another key as a whole: the new key has it on its own
// partition, with the new sink's count of ids, and the old key has none.
func TestMoveTo(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	from, to := b.sink("from", nil), b.sink("to", func(o *Options) { o.IDs = 3 })
	start(t, from)
	if err := from.Commit(t.Context(), batch(topic, "a", 3, 10)); err != nil {
		t.Fatal(err)
	}
	from.Close()
	saved := start(t, from)
	if err := from.MoveTo(t.Context(), to, saved); err == nil {
		t.Fatal("moved to a sink that has not looked")
	}
	start(t, to)
	if err := from.MoveTo(t.Context(), to, saved); err != nil {
		t.Fatal(err)
	}
	moved, err := b.sink("to", nil).Look(t.Context())
	home := kafka.Partition([]byte(to.key), 5)
	if err != nil || moved.Checkpoint() != saved.Checkpoint() || moved.Partition != home || moved.IDs != 3 || moved.SystemID != saved.SystemID {
		t.Errorf("moved %+v to %+v (its partition is %d), %v", saved, moved, home, err)
	}
	if left, err := b.sink("from", nil).Look(t.Context()); err != nil || left.Exists() {
		t.Errorf("the old key still has %+v, %v", left, err)
	}
}

// Whoever takes the old name over meanwhile fences the move: nothing is moved.
func TestMoveToIsFencedByTheOldName(t *testing.T) {
	t.Parallel()
	b := newBench(t, stack.Broker(t))
	from, to := b.sink("from", nil), b.sink("to", nil)
	start(t, from)
	if err := from.Save(t.Context(), event.Saved{State: event.StateStreaming, Safe: 5}); err != nil {
		t.Fatal(err)
	}
	from.Close()
	saved := start(t, from)
	start(t, to)
	start(t, b.sink("from", nil)) // a relay of the old name
	wantVerdict(t, from.MoveTo(t.Context(), to, saved), event.Fenced, "taken over")
	if moved, err := b.sink("to", nil).Look(t.Context()); err != nil || moved.Exists() {
		t.Errorf("moved all the same: %+v, %v", moved, err)
	}
	if left, err := b.sink("from", nil).Look(t.Context()); err != nil || left.Safe != 5 {
		t.Errorf("the old key has %+v, %v", left, err)
	}
}
