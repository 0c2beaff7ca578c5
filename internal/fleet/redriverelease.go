package fleet

import (
	"context"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// releasing fences the relay and redrives the rest in one transaction of the
// pipeline's own, with its checkpoint as it is. left is what did not fit.
//
// A relay under load notices at once, waits a second and fences in its turn.
// Should it be sooner than this transaction, nothing was committed: again.
func (r *redriver) releasing(ctx context.Context) (left int, err error) {
	for n := 1; ; n++ {
		left, err = r.releaseOnce(ctx)
		if err == nil || event.VerdictOf(err) != event.Fenced || n == mostReleases {
			return left, err
		}
		r.log.Info("the relay was sooner; trying again", "after", releaseAgain, "attempt", n)
		r.pending, r.made = r.pending[:0], 0
		r.batch.Reset()
		r.live.Close()
		if err := pause(ctx, releaseAgain); err != nil {
			return 0, err
		}
		if _, err := r.live.Look(ctx); err != nil {
			return 0, err
		}
	}
}

func (r *redriver) releaseOnce(ctx context.Context) (left int, err error) {
	if err := r.live.Fence(ctx); err != nil {
		return 0, err
	}
	saved, err := r.live.Read(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.ours(saved); err != nil {
		return 0, err
	}
	if err := r.read(ctx); err != nil {
		return 0, err
	}
	open := r.index.Open()
	if len(open) > mostReleased {
		open, left = open[:mostReleased], r.unseen(open[mostReleased:])
	}
	return left, r.pass(ctx, open, func(ctx context.Context) error {
		saved.Redrive = r.out.ID
		r.live.Resume(saved)
		r.batch.End = saved.Checkpoint()
		if err := r.store(ctx, r.batch); err != nil {
			return err
		}
		if err := r.live.Commit(ctx, r.batch); err != nil {
			return err
		}
		r.settle()
		r.out.Released = true
		return nil
	}, true)
}

// unseen is how many of some letters have not been tried yet.
func (r *redriver) unseen(open []*deadletter.Entry) (n int) {
	for _, e := range open {
		if !r.failed[e.ID] && !r.waits[e.ID] {
			n++
		}
	}
	return n
}
