package fleet

import (
	"context"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// releasing makes an end of what the relay parks: it fences the relay, redrives
// what was parked until then, and commits the pipeline's checkpoint, as it is, on
// the pipeline's ids. That this commit succeeds says that no relay has run since
// the fence: all letters that were to go are gone, and whoever streams next reads
// first what is held.
//
// A relay under load notices the fence at once, waits a second, and fences in its
// turn. Should it be sooner than us, it has read letters that were not resolved
// yet and goes on parking behind them: nothing is wrong, and we try again.
func (r *redriver) releasing(ctx context.Context) error {
	for n := 1; ; n++ {
		err := r.releaseOnce(ctx)
		if err == nil || event.VerdictOf(err) != event.Fenced || n == mostReleases {
			return err
		}
		r.log.Info("the relay was sooner; trying again when it has committed something", "attempt", n)
		if err := r.recovered(ctx); err != nil {
			return err
		}
	}
}

// recovered waits, for a while, until the relay has committed something since it
// was fenced: three fences without a commit between would end it.
func (r *redriver) recovered(ctx context.Context) error {
	before := r.saved.Offset
	r.live.Close()
	for range releaseWaits {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		saved, err := r.live.Look(ctx)
		if err != nil || saved.Offset != before {
			return err
		}
	}
	return nil
}

func (r *redriver) releaseOnce(ctx context.Context) error {
	if err := r.live.Fence(ctx); err != nil {
		return err
	}
	saved, err := r.live.Read(ctx)
	if err != nil {
		return err
	}
	if err := r.ours(saved); err != nil {
		return err
	}
	r.saved = saved
	if err := r.read(ctx); err != nil {
		return err
	}
	if err := r.pass(ctx, r.queue.Undecided(r.index.Open())); err != nil {
		return err
	}
	saved.Redrive = r.out.ID
	if err := r.live.Save(ctx, saved); err != nil {
		return err
	}
	r.out.Released = true
	return nil
}
