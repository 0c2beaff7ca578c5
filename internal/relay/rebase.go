package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Accept names the one change of the server that a rebase takes as it is.
// Everything else the guards look at must be in order.
type Accept string

// What can be accepted.
const (
	// AcceptTimeline: a failover undid events that are published.
	AcceptTimeline Accept = "timeline"
	// AcceptNewCluster: the database was moved to another cluster.
	AcceptNewCluster Accept = "new-cluster"
	// AcceptPublication: the publication or its table was changed.
	AcceptPublication Accept = "publication"
)

// Rebased is what a rebase did.
type Rebased struct {
	From, To event.Saved
	// Switch is where the server's log left the timeline of From; only for
	// AcceptTimeline.
	Switch event.LSN
	// Made: the slot did not exist and was made; only for AcceptNewCluster.
	Made bool
}

// Rebase moves the checkpoint to where the pipeline can go on after a change
// that the guards refuse, and commits it: one record, which counts because it is
// the last, whatever its LSN. It is a one-shot command, never part of a run:
// what it accepts a person has to know about. The slot is taken as the lock
// while the checkpoint is committed, so nobody streams meanwhile; a crash before
// the commit has changed nothing.
func (p *Pipeline) Rebase(ctx context.Context, accept Accept) (Rebased, error) {
	defer p.release(ctx)
	facts, err := p.look(ctx)
	if err != nil {
		return Rebased{}, err
	}
	if err := inUse(facts); err != nil {
		return Rebased{}, err
	}
	old, err := p.Sink.Look(ctx)
	if err != nil {
		return Rebased{}, fmt.Errorf("look at the checkpoint: %w", err)
	}
	// Before anyone is fenced: is there something to accept, and nothing else
	// wrong?
	if _, err := p.rebased(accept, old, facts); err != nil {
		return Rebased{}, err
	}
	if accept == AcceptNewCluster && !facts.Slot.Exists {
		return p.startOver(ctx)
	}
	if old, err = p.seize(ctx); err != nil {
		return Rebased{}, err
	}
	if facts, err = p.look(ctx); err != nil {
		return Rebased{}, err
	}
	done, err := p.rebased(accept, old, facts)
	if err == nil {
		err = sessionOf(facts)
	}
	if err != nil {
		return Rebased{}, p.reason(err)
	}
	if accept == AcceptPublication {
		if err := p.listen(); err != nil {
			return Rebased{}, err
		}
	}
	if err := p.Sink.Save(ctx, done.To); err != nil {
		return Rebased{}, fmt.Errorf("commit the rebased checkpoint: %w", err)
	}
	return done, nil
}

// rebased is the checkpoint a rebase leads to, or why there is none. It touches
// nothing.
func (p *Pipeline) rebased(accept Accept, old event.Saved, facts event.Facts) (Rebased, error) {
	if !old.Exists() {
		return Rebased{}, event.Refusef("cdc-relay run makes the first slot and checkpoint; if there is a slot already: cdc-relay slots adopt",
			"pipeline %s has no checkpoint: there is nothing to rebase", p.Name)
	}
	if old.State != event.StateStreaming && accept != AcceptNewCluster {
		return Rebased{}, event.Refusef("cdc-relay run, which brings it to its end", "pipeline %s: its first start has not come to its end: there is no position to rebase", p.Name)
	}
	done := Rebased{From: old}
	var err error
	switch accept {
	case AcceptTimeline:
		done.To, done.Switch, err = p.onTimeline(old, facts)
	case AcceptNewCluster:
		done.To, err = p.onCluster(old, facts)
		if err == nil && !facts.Slot.Exists {
			return done, nil // not made yet: see startOver
		}
	case AcceptPublication:
		done.To, err = p.withPublication(old, facts)
	default:
		err = fmt.Errorf("rebase: nothing is known about accepting %q", accept)
	}
	if err == nil {
		err = p.Guards.Start(done.To, facts)
	}
	return done, err
}

// onTimeline goes back to where the server's log left the checkpoint's
// timeline. Kafka has every row of a transaction that committed before the
// switch: the checkpoint was at or after it. What committed after it did so on a
// timeline of which Kafka has nothing. A transaction that was half sent is
// undone with the rest: its commit lies after the switch.
func (p *Pipeline) onTimeline(old event.Saved, facts event.Facts) (event.Saved, event.LSN, error) {
	if err := p.Guards.Foreign(old, facts); err != nil {
		return event.Saved{}, 0, err
	}
	if old.Timeline == facts.Timeline {
		return event.Saved{}, 0, p.nothing("the server is on timeline %d, and so is the checkpoint", facts.Timeline)
	}
	at, known := facts.Left(old.Timeline)
	if known && at >= old.Safe && at > old.Checkpoint().Last.Commit {
		return event.Saved{}, 0, p.nothing("the server left timeline %d at %s, after everything that is published (safe %s): the failover undid no event", old.Timeline, at, old.Safe)
	}
	if !known || !facts.Slot.Exists {
		err := p.Guards.Start(old, facts) // says that the server is another's descendant, or has no slot
		if err == nil {
			err = fmt.Errorf("pipeline %s: timeline %d is not in the history of the server's timeline %d, or slot %s does not exist", p.Name, old.Timeline, facts.Timeline, facts.Slot.Name)
		}
		return event.Saved{}, 0, err
	}
	to := old.At(event.Checkpoint{Last: justBefore(at), Safe: at, Events: old.Events, Cursor: old.Cursor})
	to.Timeline = facts.Timeline
	return to, at, nil
}

// onCluster goes to the position of the slot in a cluster whose LSNs have
// nothing to do with those of the checkpoint.
func (p *Pipeline) onCluster(old event.Saved, facts event.Facts) (event.Saved, error) {
	if old.SystemID == facts.SystemID {
		return event.Saved{}, p.nothing("the checkpoint belongs to the cluster that is reached now, system id %s", facts.SystemID)
	}
	// Database, slot name and Kafka cluster must be the checkpoint's own.
	ours := old
	ours.State, ours.SystemID, ours.Timeline = event.StateStreaming, facts.SystemID, facts.Timeline
	if err := p.Guards.Foreign(ours, facts); err != nil {
		return event.Saved{}, err
	}
	switch {
	case !facts.Slot.Exists:
		// It is made as at a first start, of which the same is asked.
		return ours, p.Guards.Foreign(event.Saved{}, facts)
	case !usable(facts.Slot):
		return event.Saved{}, event.Refusef(fmt.Sprintf("drop it (select pg_drop_replication_slot('%s')) and run this command again: it makes a new one", facts.Slot.Name),
			"pipeline %s: slot %s of the new cluster is no longer usable (%s)", p.Name, facts.Slot.Name, or(facts.Slot.Invalid, "wal_status "+facts.Slot.WALStatus))
	}
	at := facts.Slot.ConfirmedFlush
	to := ours.At(event.Checkpoint{Last: justBefore(at), Safe: at, Events: old.Events})
	to.Publication = facts.Publication.Fingerprint()
	return to, nil
}

// startOver makes the slot of a new cluster, the way a first start does: the
// intent is committed before it, so that a crash in between is picked up by the
// next run.
func (p *Pipeline) startOver(ctx context.Context) (Rebased, error) {
	old, made, err := p.recreate(ctx, func(old event.Saved, facts event.Facts) error {
		if _, err := p.rebased(AcceptNewCluster, old, facts); err != nil {
			return err
		}
		if facts.Slot.Exists {
			return fmt.Errorf("slot %s was made meanwhile: run the command again", facts.Slot.Name)
		}
		return nil
	})
	return Rebased{From: old, To: made, Made: true}, err
}

// withPublication keeps the position and takes the publication as it is now.
func (p *Pipeline) withPublication(old event.Saved, facts event.Facts) (event.Saved, error) {
	if err := p.Guards.Foreign(old, facts); err != nil {
		return event.Saved{}, err
	}
	to := old
	to.Publication = facts.Publication.Fingerprint()
	if to.Publication == old.Publication {
		return event.Saved{}, p.nothing("publication %s is what it was at the checkpoint", facts.Publication.Name)
	}
	return to, nil
}

// nothing refuses a rebase that would accept nothing.
func (p *Pipeline) nothing(format string, args ...any) error {
	return event.Refusef("cdc-relay run", "pipeline %s: there is nothing to accept: %s", p.Name, fmt.Sprintf(format, args...))
}

// listen hears whether the stream can be read at all: a row that was written
// while the publication was not there ends it, for good. What is read is
// dropped, and read again by the next start; nothing is acknowledged.
func (p *Pipeline) listen() error {
	var m event.Msg
	for by := time.Now().Add(reasonWithin); time.Now().Before(by); {
		if err := p.Source.Next(&m); err != nil {
			return fmt.Errorf("the stream cannot be read with the publication as it is now: %w", err)
		}
		if m.Kind == event.Wake {
			break // silence
		}
	}
	return nil
}

// sessionOf says that the session of the slot a command took is there no more.
// Whoever takes the slot then fences us; but it is better not to go on.
func sessionOf(facts event.Facts) error {
	if facts.SenderPID == 0 {
		return errors.New("the session of the slot ended while it was taken: run the command again")
	}
	return nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
