package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// start takes the slot and the producers in the one order that is safe, and
// returns the checkpoint to go on from. Each step is there because leaving it
// out, or moving it, loses or doubles events (docs/adr/0001-start-order.md):
//
//  1. look: Postgres, then the checkpoint; touch nothing, refuse what is foreign
//  2. take the slot: the lock
//  3. fence: every transactional id, ascending
//  4. read the checkpoint with the authority of the fence
//     and what dead letters hold, which is read for the same reason: the batch
//     that said so may have been aborted
//  5. all guards, on facts read after 4
//  6. resume
func (p *Pipeline) start(ctx context.Context) (event.Saved, error) {
	if p.Range != nil {
		return p.startRange(ctx)
	}
	facts, err := p.look(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	if p.seenOurs && facts.Slot.ActivePID != 0 {
		return event.Saved{}, held(facts)
	}
	saved, err := p.Sink.Look(ctx)
	if err != nil {
		return event.Saved{}, fmt.Errorf("look at the checkpoint: %w", err)
	}
	if err := p.Guards.Foreign(saved, facts); err != nil {
		return event.Saved{}, err
	}
	p.seenOurs = true
	crash.Point(crash.StartLooked)
	switch {
	case unmade(saved, facts):
		err = p.create(ctx)
	case !usable(facts.Slot):
		err = p.gone(ctx, saved)
	}
	if err != nil {
		return event.Saved{}, err
	}
	return p.own(ctx)
}

// own takes the slot, fences, reads, judges and resumes.
func (p *Pipeline) own(ctx context.Context) (event.Saved, error) {
	saved, err := p.seize(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	crash.Point(crash.StartRead)
	facts, err := p.look(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	// A slot or an intent that changed between look and take is somebody else's
	// first start: not a refusal, look again.
	if saved.State == event.StateCreating || !saved.Exists() {
		return event.Saved{}, errors.New("the slot was made while it was taken")
	}
	if err := p.Guards.Foreign(saved, facts); err != nil {
		return event.Saved{}, err
	}
	if err := p.Guards.Start(saved, facts); err != nil {
		return event.Saved{}, p.reason(err)
	}
	if facts.SenderPID == 0 {
		return event.Saved{}, p.reason(errors.New("the session of the slot ended while it was taken"))
	}
	crash.Point(crash.StartJudged)
	return p.resume(saved, facts)
}

// reason asks the stream why, when all the guards can say is that it is not
// ours any more: the server says why it ends a walsender, and that may be a
// refusal. What is read is dropped; the recovery path reads it again.
func (p *Pipeline) reason(err error) error {
	if event.VerdictOf(err) != event.Restart {
		return err
	}
	var m event.Msg
	for by := time.Now().Add(reasonWithin); time.Now().Before(by); {
		if serr := p.Source.Next(&m); serr != nil {
			return fmt.Errorf("%w (%w)", serr, err)
		}
		if m.Kind == event.Wake {
			break // silence: it is not over
		}
	}
	return err
}

// resume tells both ends where the pipeline stands.
func (p *Pipeline) resume(saved event.Saved, facts event.Facts) (event.Saved, error) {
	saved = p.identify(saved, facts)
	if err := p.Source.Resume(saved.Checkpoint()); err != nil {
		return event.Saved{}, fmt.Errorf("resume at %s: %w", saved.Safe, err)
	}
	p.Sink.Resume(saved)
	p.Log.Info("streaming", "safe_lsn", saved.Safe, "last", saved.Checkpoint().Last, "events", saved.Events,
		"slot", facts.Slot.Name, "confirmed_flush", facts.Slot.ConfirmedFlush)
	return saved, nil
}

// unmade reports whether the first start (or a `slots recreate`) has not come
// to its end: nothing exists, or an intent does.
func unmade(saved event.Saved, facts event.Facts) bool {
	return saved.State == event.StateCreating || !saved.Exists() && !facts.Slot.Exists
}

// usable reports whether the slot can be taken at all.
func usable(s event.Slot) bool { return s.Exists && s.WALStatus != "lost" && s.Invalid == "" }

// gone judges a slot that cannot be taken although there is a checkpoint. It is
// a refusal only if the checkpoint stayed the same around a second look: else
// somebody is just making the slot anew. The intent is committed before the slot
// is dropped, but it may be hidden (another pipeline's open transaction): the
// second look waits for what it could miss.
func (p *Pipeline) gone(ctx context.Context, saved event.Saved) error {
	facts, err := p.look(ctx)
	if err != nil {
		return err
	}
	again, err := p.Sink.Settled(ctx)
	if err != nil {
		return fmt.Errorf("look at the checkpoint: %w", err)
	}
	if again.Offset == saved.Offset && !usable(facts.Slot) {
		return p.Guards.Start(saved, facts)
	}
	return errors.New("the slot is being made anew")
}

// create is the first start: lock → fence → intent → publication and slot →
// first checkpoint. A crash in any window of it is picked up by the intent.
func (p *Pipeline) create(ctx context.Context) error {
	unlock, err := p.Source.LockFirst(ctx)
	if err != nil {
		return fmt.Errorf("lock for the first start: %w", err)
	}
	defer unlock()
	crash.Point(crash.FirstLocked)
	// Whoever held the lock before may have come to the end: look again, still
	// without a fence.
	facts, err := p.look(ctx)
	if err != nil {
		return err
	}
	saved, err := p.Sink.Look(ctx)
	if err != nil || !unmade(saved, facts) {
		return err
	}
	// A relay that was killed while its slot waited for open transactions has
	// left the server making it: that is the slot of this first start.
	if facts.Slot.ActivePID != 0 {
		return held(facts)
	}
	if saved, err = p.authority(ctx); err != nil {
		return err
	}
	crash.Point(crash.FirstFenced)
	if !saved.Exists() {
		saved = p.identify(event.Saved{State: event.StateCreating, Safe: facts.Flush}, facts)
		p.Log.Info("first start: creating publication and slot", "slot", p.Identity.Slot, "database", p.Identity.Database, "intent_lsn", saved.Safe)
		if err := p.Sink.Save(ctx, saved); err != nil {
			return fmt.Errorf("commit the intent of the first start: %w", err)
		}
	}
	crash.Point(crash.FirstIntent)
	if saved.State != event.StateCreating {
		return nil
	}
	return p.finish(ctx, saved, facts)
}

// finish makes what the intent names and commits the first real checkpoint.
func (p *Pipeline) finish(ctx context.Context, intent event.Saved, facts event.Facts) error {
	if facts.Slot.Exists && (facts.Slot.ConfirmedFlush < intent.Safe || facts.Slot.Invalid != "" || facts.Slot.WALStatus == "lost") {
		if intent.Drop != facts.Slot.Name {
			return event.Refusef("cdc-relay slots list, and then either cdc-relay slots adopt (go on from the slot) or drop the slot by hand",
				"pipeline %s: slot %s stands at %s, before the intent of this pipeline's first start (%s): it is older than the pipeline and not ours to drop",
				p.Name, facts.Slot.Name, facts.Slot.ConfirmedFlush, intent.Safe)
		}
		// facts may be old by now, and the lock be lost: a slot that was made since
		// for this very intent must stay.
		if err := p.Source.DropOlder(ctx, facts.Slot.Name, intent.Safe); err != nil {
			return err
		}
		crash.Point(crash.RecreateDropped)
	}
	at, err := p.make(ctx)
	if err != nil {
		return err
	}
	crash.Point(crash.FirstSlot)
	if facts, err = p.look(ctx); err != nil {
		return err
	}
	first := p.identify(event.Saved{State: event.StateStreaming, Safe: at, Events: intent.Events, Publication: facts.Publication.Fingerprint()}, facts)
	if err := p.Sink.Save(ctx, first); err != nil {
		return fmt.Errorf("commit the first checkpoint: %w", err)
	}
	crash.Point(crash.FirstCheckpoint)
	p.Log.Info("first checkpoint committed", "slot", first.Slot, "safe_lsn", at)
	return nil
}

// holding runs do, which waits for Kafka, and keeps the session of the slot
// meanwhile: the server ends a walsender it hears nothing of, and then another
// process takes the slot and is fenced by us.
func (p *Pipeline) holding(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	beat := time.NewTicker(p.beat())
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-beat.C:
			if err := p.Source.Beat(); err != nil {
				cancel()
				// Its end is waited for: it must not touch Kafka behind our back.
				return fmt.Errorf("the slot was lost while waiting for kafka: %w", errors.Join(err, <-done))
			}
		}
	}
}

// seize takes the slot and then the transactional ids, and returns the
// checkpoint that is true from now on: nobody else can write another.
func (p *Pipeline) seize(ctx context.Context) (saved event.Saved, err error) {
	if err := p.Source.Take(ctx); err != nil {
		return saved, fmt.Errorf("take the slot: %w", err)
	}
	crash.Point(crash.StartTaken)
	err = p.holding(ctx, func(ctx context.Context) (err error) {
		if saved, err = p.authority(ctx); err == nil && p.Recall != nil {
			err = p.Recall(ctx)
		}
		return err
	})
	p.redriven(saved)
	return saved, err
}

// redriven forgives being fenced by a redrive: it uses the pipeline's ids for one
// transaction, and says so in its checkpoint.
func (p *Pipeline) redriven(saved event.Saved) {
	if saved.Redrive != "" && saved.Redrive != p.redrive {
		p.Log.Info("dead letters were redriven or discarded", "redrive", saved.Redrive)
		p.redrive, p.fenced = saved.Redrive, 0
	}
}

// make creates publication and slot. A slot waits for every transaction that is
// running: one that does not end must not look like a relay that does nothing.
func (p *Pipeline) make(ctx context.Context) (event.LSN, error) {
	bound, cancel := context.WithTimeout(ctx, createWithin)
	defer cancel()
	at, err := p.Source.Create(bound)
	if err != nil && bound.Err() != nil && ctx.Err() == nil {
		err = &event.Fault{What: fmt.Sprintf("the slot was not there within %s: its creation waits for every transaction that is open", createWithin), Err: err,
			Do: "nothing, it is tried again; to see what it waits for: select pid, xact_start, query from pg_stat_activity where backend_xid is not null order by xact_start"}
	}
	if err != nil {
		return 0, fmt.Errorf("create publication and slot: %w", err)
	}
	return at, nil
}

// authority fences every transactional id and reads the checkpoint.
func (p *Pipeline) authority(ctx context.Context) (event.Saved, error) {
	if err := p.Sink.Fence(ctx); err != nil {
		return event.Saved{}, fmt.Errorf("fence: %w", err)
	}
	crash.Point(crash.StartFenced)
	saved, err := p.Sink.Read(ctx)
	if err != nil {
		return event.Saved{}, fmt.Errorf("read the checkpoint: %w", err)
	}
	return saved, nil
}

func (p *Pipeline) look(ctx context.Context) (event.Facts, error) {
	facts, err := p.Source.Look(ctx)
	if err != nil {
		return facts, fmt.Errorf("look at postgres: %w", err)
	}
	p.Metrics.Facts(facts)
	if facts.InRecovery {
		return facts, &event.Fault{Verdict: event.Standby, What: "the server is in recovery, not promoted yet: waiting"}
	}
	return facts, nil
}

// identify fills in what every checkpoint says about its pipeline and server.
func (p *Pipeline) identify(s event.Saved, facts event.Facts) event.Saved {
	s.V = event.SavedVersion
	s.Database, s.Slot, s.Options = p.Identity.Database, p.Identity.Slot, p.Identity.Options
	s.SystemID, s.Timeline = facts.SystemID, facts.Timeline
	s.Redrive = ""
	return s
}

func held(facts event.Facts) error {
	if facts.Slot.ConfirmedFlush == 0 {
		return &event.Fault{Verdict: event.Standby,
			What: fmt.Sprintf("slot %s is being made by process %d, which waits for transactions that are open: going on when it is there", facts.Slot.Name, facts.Slot.ActivePID),
			Do:   "nothing; to see what it waits for: select pid, xact_start, query from pg_stat_activity where backend_xid is not null order by xact_start"}
	}
	return &event.Fault{Verdict: event.Standby,
		What: fmt.Sprintf("slot %s is held by another process (walsender pid %d): waiting to take over", facts.Slot.Name, facts.Slot.ActivePID)}
}
