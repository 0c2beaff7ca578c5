package relay

import (
	"context"
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Range is a part of the log that is published once more, under a checkpoint
// key and transactional ids of its own, so that it is exactly once by itself.
// Its Source streams from a temporary copy of a slot at or before From.
type Range struct {
	ID   string    // the value of the header cdc_replay_id
	From event.LSN // the first commit LSN published
	To   event.LSN // the last commit LSN published
}

// toLSN leads the end of the range in the cursor of its checkpoint.
const toLSN = "to="

// before is the position just before the range: it drops every row whose
// transaction committed before From.
func (r *Range) before() event.Position {
	return justBefore(r.From)
}

// justBefore is the position that drops every row whose transaction committed
// before at, and none that committed at it or later.
func justBefore(at event.LSN) event.Position {
	return event.Position{Commit: at - 1, Ord: event.AfterAll}
}

// endsBefore reports whether m lies beyond the range. A keepalive at To itself
// does not: a transaction may still commit at exactly that LSN.
func (r *Range) endsBefore(m *event.Msg, inside bool) bool {
	switch m.Kind {
	case event.Begin:
		return m.Pos.Commit > r.To
	case event.Alive:
		return !inside && m.End > r.To
	}
	return false
}

// startRange is start for a replay: the slot is a temporary copy that nobody
// else can hold, and there is no intent, because nothing outlives a crash but
// the checkpoint. The end of the range is fixed by the first checkpoint, so that
// a restart ends where the first start would have.
func (p *Pipeline) startRange(ctx context.Context) (event.Saved, error) {
	facts, err := p.look(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	saved, err := p.Sink.Look(ctx)
	if err != nil {
		return event.Saved{}, fmt.Errorf("look at the checkpoint of the replay: %w", err)
	}
	if err := p.rangeGuards(saved, facts, p.Guards.Foreign); err != nil {
		return event.Saved{}, err
	}
	if saved, err = p.seize(ctx); err != nil {
		return event.Saved{}, err
	}
	if facts, err = p.look(ctx); err != nil {
		return event.Saved{}, err
	}
	if !saved.Exists() {
		first := event.Saved{State: event.StateStreaming, Publication: facts.Publication.Fingerprint(), Cursor: toLSN + p.Range.To.String()}
		saved = p.identify(first, facts).At(event.Checkpoint{Last: p.Range.before(), Safe: facts.Slot.ConfirmedFlush, Cursor: first.Cursor})
		if err := p.Sink.Save(ctx, saved); err != nil {
			return event.Saved{}, fmt.Errorf("commit the first checkpoint of the replay: %w", err)
		}
	}
	if err := p.rangeGuards(saved, facts, p.Guards.Start); err != nil {
		return event.Saved{}, err
	}
	if p.Range.To, err = event.ParseLSN(strings.TrimPrefix(saved.Cursor, toLSN)); err != nil {
		return event.Saved{}, fmt.Errorf("the checkpoint of the replay names no end (cursor %q): %w", saved.Cursor, err)
	}
	p.Log.Info("replaying", "replay", p.Range.ID, "from_lsn", p.Range.From, "to_lsn", p.Range.To)
	return p.resume(saved, facts)
}

// rangeGuards says errEnded for a range that is done, and asks guard otherwise.
func (p *Pipeline) rangeGuards(saved event.Saved, facts event.Facts, guard func(event.Saved, event.Facts) error) error {
	if saved.State == event.StateDone {
		return errEnded
	}
	return guard(saved, facts)
}

// settle is the end of a range: commit everything that was read.
func (s *stream) settle() error {
	if err := s.drain(drainWithin); err != nil {
		return err
	}
	return errEnded
}

// finish commits the record that keeps the range from ever being published
// again.
func (s *stream) finish(ctx context.Context) error {
	done := *s.now.Load()
	done.State = event.StateDone
	if err := s.Sink.Save(ctx, done); err != nil {
		return fmt.Errorf("commit the end of the replay: %w", err)
	}
	s.Metrics.over()
	s.Log.Info("replay done", "replay", s.Range.ID, "events", done.Events)
	return nil
}
