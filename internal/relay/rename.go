package relay

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Former is the sink of the name a pipeline had: its checkpoint key and its
// transactional ids.
type Former interface {
	Look(ctx context.Context) (event.Saved, error)
	Fence(ctx context.Context) error
	Read(ctx context.Context) (event.Saved, error)
	// Hand commits, in one transaction of the former ids, saved under the
	// pipeline's key and a tombstone under the former one.
	Hand(ctx context.Context, saved event.Saved) error
	Close()
}

// Rename moves the checkpoint that the pipeline has under another name to its
// own. It is a one-shot command. The slot, which both names share, is taken as
// the lock; the former ids are fenced, so that what a relay of the former name
// has in flight is in its checkpoint or nowhere, and then the pipeline's own.
//
// A crash before the commit has changed nothing that a start under the former
// name does not heal: fenced ids are initialised again at each start. After it
// the former name has no checkpoint, and a relay that still has it finds a slot
// it knows nothing of, and refuses.
func (p *Pipeline) Rename(ctx context.Context, from Former, name string) (event.Saved, error) {
	defer p.release(ctx)
	defer from.Close()
	facts, err := p.look(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	if err := inUse(facts); err != nil {
		return event.Saved{}, err
	}
	old, err := from.Look(ctx)
	if err != nil {
		return event.Saved{}, fmt.Errorf("look at the checkpoint of %s: %w", name, err)
	}
	own, err := p.Sink.Look(ctx)
	if err != nil {
		return event.Saved{}, fmt.Errorf("look at the checkpoint: %w", err)
	}
	if err := p.movable(old, own, facts, name); err != nil {
		return event.Saved{}, err
	}
	if old, own, err = p.seizeBoth(ctx, from); err != nil {
		return event.Saved{}, err
	}
	if facts, err = p.look(ctx); err != nil {
		return event.Saved{}, err
	}
	err = p.movable(old, own, facts, name)
	if err == nil {
		err = sessionOf(facts)
	}
	if err != nil {
		return event.Saved{}, p.reason(err)
	}
	if err := from.Hand(ctx, old); err != nil {
		return event.Saved{}, fmt.Errorf("commit the checkpoint under its new name: %w", err)
	}
	return old, nil
}

// movable says whether the checkpoint of name can be the pipeline's: there is
// one, it is this database's and this slot's, and nothing is in its place.
func (p *Pipeline) movable(old, own event.Saved, facts event.Facts, name string) error {
	switch {
	case !old.Exists():
		return event.Refusef("cdc-relay checkpoint show, with the former configuration, prints what there is", "there is no checkpoint of %s: nothing to rename", name)
	case own.Exists():
		return event.Refusef("cdc-relay run goes on from it; if it is worthless, give the pipeline another name",
			"pipeline %s has a checkpoint already (%s, safe %s): it will not be written over by that of %s", p.Name, own.State, own.Safe, name)
	case old.State != event.StateStreaming:
		return event.Refusef("cdc-relay run with the former configuration, which brings its first start to its end", "the checkpoint of %s is %q: there is no position to move", name, old.State)
	}
	if err := p.Guards.Foreign(old, facts); err != nil {
		return err
	}
	return p.Guards.Start(old, facts)
}

// seizeBoth takes the slot, then the former ids, then the pipeline's own, and
// reads both checkpoints with the authority of that.
func (p *Pipeline) seizeBoth(ctx context.Context, from Former) (old, own event.Saved, err error) {
	if err := p.Source.Take(ctx); err != nil {
		return old, own, fmt.Errorf("take the slot: %w", err)
	}
	err = p.holding(ctx, func(ctx context.Context) (err error) {
		if err := from.Fence(ctx); err != nil {
			return fmt.Errorf("fence the former name: %w", err)
		}
		if own, err = p.authority(ctx); err != nil {
			return err
		}
		if old, err = from.Read(ctx); err != nil {
			return fmt.Errorf("read the checkpoint of the former name: %w", err)
		}
		return nil
	})
	return old, own, err
}
