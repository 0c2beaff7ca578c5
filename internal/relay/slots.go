package relay

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Adopt makes an existing slot the pipeline's: a checkpoint at its position. It
// is a one-shot command, never part of a run: a relay that adopted by itself
// would hide a lost checkpoint topic. The slot is taken as the lock while the
// checkpoint is committed.
func (p *Pipeline) Adopt(ctx context.Context) (adopted event.Saved, err error) {
	defer p.release(ctx)
	facts, err := p.look(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	if err := inUse(facts); err != nil {
		return event.Saved{}, err
	}
	if err := p.Guards.Adopt(facts); err != nil {
		return event.Saved{}, err
	}
	if err := p.Source.Take(ctx); err != nil {
		return event.Saved{}, fmt.Errorf("take the slot: %w", err)
	}
	saved, err := p.authority(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	if saved.Exists() {
		return event.Saved{}, event.Refusef("cdc-relay run", "pipeline %s has a checkpoint already (state %s, safe %s): there is nothing to adopt", p.Name, saved.State, saved.Safe)
	}
	if facts, err = p.look(ctx); err != nil {
		return event.Saved{}, err
	}
	saved = p.identify(event.Saved{State: event.StateStreaming, Safe: facts.Slot.ConfirmedFlush, Publication: facts.Publication.Fingerprint()}, facts)
	if err := p.Guards.Start(saved, facts); err != nil {
		return event.Saved{}, err
	}
	if err := p.Sink.Save(ctx, saved); err != nil {
		return event.Saved{}, fmt.Errorf("commit the checkpoint of the adopted slot: %w", err)
	}
	return saved, nil
}

// inUse refuses a slot that somebody streams from: a one-shot command does not
// wait for them to let go, as a standby does.
func inUse(facts event.Facts) error {
	if facts.Slot.ActivePID == 0 {
		return nil
	}
	return event.Refusef("stop the relay that streams from it", "slot %s is in use (walsender pid %d)", facts.Slot.Name, facts.Slot.ActivePID)
}

// Gap is what `slots recreate` gives up: changes from From on were never
// published, and the new slot begins at To.
type Gap struct {
	From, To event.LSN
	Since    string // commit time of the last published row, RFC 3339; "" none
}

// Recreate makes a new slot for a pipeline whose slot is lost, gone or not to
// be trusted. It goes the way of the first start: the intent, with the name of
// the slot that may be dropped, is committed first, so that a crash in any
// window is picked up by the next start.
func (p *Pipeline) Recreate(ctx context.Context) (Gap, error) {
	defer p.release(ctx)
	facts, err := p.look(ctx)
	if err != nil {
		return Gap{}, err
	}
	if err := inUse(facts); err != nil {
		return Gap{}, err
	}
	unlock, err := p.Source.LockFirst(ctx)
	if err != nil {
		return Gap{}, fmt.Errorf("lock for recreating the slot: %w", err)
	}
	defer unlock()
	old, err := p.authority(ctx)
	if err != nil {
		return Gap{}, err
	}
	if facts, err = p.look(ctx); err != nil {
		return Gap{}, err
	}
	intent := p.identify(event.Saved{State: event.StateCreating, Safe: facts.Flush, Events: old.Events}, facts)
	if facts.Slot.Exists {
		intent.Drop = facts.Slot.Name
	}
	if err := p.Sink.Save(ctx, intent); err != nil {
		return Gap{}, fmt.Errorf("commit the intent: %w", err)
	}
	if err := p.finish(ctx, intent, facts); err != nil {
		return Gap{}, err
	}
	made, err := p.Sink.Read(ctx)
	return Gap{From: old.Safe, To: made.Safe, Since: old.CommitTime}, err
}

// release closes both ends of a one-shot command.
func (p *Pipeline) release(ctx context.Context) {
	c, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	p.Sink.Close()
	if err := p.Source.Close(c); err != nil {
		p.Log.Debug("closing the source", "err", err)
	}
}
