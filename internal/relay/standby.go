package relay

import (
	"context"
	"time"
)

// How a standby waits (docs/adr/0010-takeover.md): it asks often and cheaply
// whether the slot is free, and looks at everything seldom. What cannot be asked
// so (a server that is not promoted, the lock of somebody's first start) is
// looked at in between.
const (
	askEvery  = 200 * time.Millisecond
	lookEvery = time.Second
	lookMost  = 10 * time.Second
)

// standBy waits until another start may come further than the last one, which
// err says why to wait; false: ctx was done before. It only spares time: whoever
// starts looks at everything again, and the slot is the lock.
func (p *Pipeline) standBy(ctx context.Context, err error) bool {
	p.say(Waiting, err)
	if why := err.Error(); why != p.waits { // once, however long it takes
		p.waits = why
		p.Log.Info("waiting", "why", err)
	}
	until := time.Now().Add(lookMost)
	for first := true; ; first = false {
		taken, err := p.Source.Taken(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil, first && !taken:
			if p.wait(ctx, lookEvery) {
				return true
			}
		case !taken, time.Now().After(until):
			return true
		case p.wait(ctx, askEvery):
			continue
		}
		p.release(ctx)
		return false
	}
}
