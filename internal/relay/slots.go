package relay

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Adopt makes an existing slot the pipeline's: a checkpoint at its position. It
// is a one-shot command, never part of a run: a relay that adopted by itself
// would hide a lost checkpoint topic. The slot is taken as the lock while the
// checkpoint is committed.
//
// A pipeline that has a checkpoint keeps it, unless acceptGap says that what lies
// between it and the slot, which must stand behind it, is not to be published.
func (p *Pipeline) Adopt(ctx context.Context, acceptGap bool) (adopted event.Saved, err error) {
	defer p.release(ctx)
	facts, err := p.look(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	if err := inUse(facts); err != nil {
		return event.Saved{}, err
	}
	saved, err := p.Sink.Look(ctx)
	if err != nil {
		return event.Saved{}, fmt.Errorf("look at the checkpoint: %w", err)
	}
	if err := p.adoptable(saved, facts, acceptGap); err != nil {
		return event.Saved{}, err
	}
	if saved, err = p.seize(ctx); err != nil {
		return event.Saved{}, err
	}
	if facts, err = p.look(ctx); err != nil {
		return event.Saved{}, err
	}
	if err := p.adoptable(saved, facts, acceptGap); err != nil {
		return event.Saved{}, err
	}
	saved = p.identify(event.Saved{State: event.StateStreaming, Safe: facts.Slot.ConfirmedFlush, Events: saved.Events, Publication: facts.Publication.Fingerprint()}, facts)
	if err := p.Guards.Start(saved, facts); err != nil {
		return event.Saved{}, err
	}
	if err := p.Sink.Save(ctx, saved); err != nil {
		return event.Saved{}, fmt.Errorf("commit the checkpoint of the adopted slot: %w", err)
	}
	return saved, nil
}

// adoptable refuses a pipeline that has a checkpoint, somebody else's included:
// asked before the fence, so that nobody is fenced by mistake. The intent of a
// first start is no checkpoint: adopting is a way out of one that found an older
// slot.
func (p *Pipeline) adoptable(saved event.Saved, facts event.Facts, acceptGap bool) error {
	if saved.Exists() {
		if err := p.Guards.Foreign(saved, facts); err != nil {
			return err
		}
	}
	at := facts.Slot.ConfirmedFlush
	switch {
	case saved.State != event.StateStreaming:
	case !acceptGap:
		return event.Refusef("cdc-relay run; to give up what lies between the checkpoint and a slot that was made or moved since: cdc-relay slots adopt --accept-gap",
			"pipeline %s has a checkpoint already (safe %s): there is nothing to adopt", p.Name, saved.Safe)
	case facts.Slot.Exists && (at < saved.Safe || at <= saved.Checkpoint().Last.Commit):
		return event.Refusef("cdc-relay run goes on from the checkpoint", "slot %s stands at %s, before what pipeline %s has published (safe %s): from there it would be published again",
			facts.Slot.Name, at, p.Name, saved.Safe)
	}
	return p.Guards.Adopt(facts)
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
// window is picked up by the next start. A checkpoint that is somebody else's
// (another Postgres or Kafka cluster, database or slot) is refused before anyone
// is fenced, unless foreign says to take its place.
func (p *Pipeline) Recreate(ctx context.Context, foreign bool) (Gap, error) {
	defer p.release(ctx)
	var now event.Facts
	old, made, err := p.recreate(ctx, func(old event.Saved, facts event.Facts) error {
		now = facts
		return p.recreatable(old, facts, foreign)
	})
	gap := Gap{From: old.Safe, To: made.Safe, Since: old.CommitTime}
	// What a failover undid is no gap; what came in its place is.
	if at, known := now.Left(old.Timeline); known && now.SystemID == old.SystemID {
		gap.From = min(gap.From, at)
	}
	return gap, err
}

// recreate makes the slot anew, if judge lets it: asked before anyone is fenced,
// and again when nobody else can act any more.
func (p *Pipeline) recreate(ctx context.Context, judge func(event.Saved, event.Facts) error) (old, made event.Saved, err error) {
	facts, err := p.look(ctx)
	if err != nil {
		return old, made, err
	}
	if err := inUse(facts); err != nil {
		return old, made, err
	}
	if old, err = p.Sink.Look(ctx); err != nil {
		return old, made, fmt.Errorf("look at the checkpoint: %w", err)
	}
	if err := judge(old, facts); err != nil {
		return old, made, err
	}
	unlock, err := p.Source.LockFirst(ctx)
	if err != nil {
		return old, made, fmt.Errorf("lock for recreating the slot: %w", err)
	}
	defer unlock()
	crash.Point(crash.RecreateLocked)
	if old, err = p.authority(ctx); err != nil {
		return old, made, err
	}
	crash.Point(crash.RecreateFenced)
	if facts, err = p.look(ctx); err != nil {
		return old, made, err
	}
	if err := judge(old, facts); err != nil {
		return old, made, err
	}
	intent := p.identify(event.Saved{State: event.StateCreating, Safe: facts.Flush, Events: old.Events}, facts)
	if facts.Slot.Exists {
		intent.Drop = facts.Slot.Name
	}
	if err := p.Sink.Save(ctx, intent); err != nil {
		return old, made, fmt.Errorf("commit the intent: %w", err)
	}
	crash.Point(crash.RecreateIntent)
	if err := p.finish(ctx, intent, facts); err != nil {
		return old, made, err
	}
	made, err = p.Sink.Read(ctx)
	return old, made, err
}

func (p *Pipeline) recreatable(old event.Saved, facts event.Facts, foreign bool) error {
	if !old.Exists() {
		return event.Refusef("cdc-relay run makes the first slot; if there is a slot already: cdc-relay slots adopt",
			"pipeline %s has no checkpoint: there is nothing to make anew", p.Name)
	}
	if foreign {
		return nil
	}
	return p.Guards.Foreign(old, facts)
}

// release closes both ends of what does not stream: a one-shot command, a standby.
func (p *Pipeline) release(ctx context.Context) {
	c, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if err := p.Source.Close(c); err != nil {
		p.Log.Debug("closing the source", "err", err)
	}
	p.Sink.Close()
}
