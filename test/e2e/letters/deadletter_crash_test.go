package letters

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// A redrive beside a relay under load, killed at every arrow of its transactions
// and at both of its fences, and the relay killed while a redrive holds a
// transaction open: nothing is lost, nothing doubled, and no event overtakes
// another with its key. The relay is never stopped by hand.
func TestRedriveKilledAtEveryArrow(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key", lab.With(func(c *rig.Config) { c.Extra += "batch: {events: 50}\n" }))
	points, err := rig.Held(p.Ctx(5 * time.Minute))
	p.Check(err)
	r := p.Start()
	var sound atomic.Bool // from when on what is to be redriven is there
	stop := p.writing(8, func(n int) bool { return !sound.Load() && n%60 == 0 })
	p.Soon(2*time.Minute, "400 events are parked", func() bool {
		n, err := r.Metric(p.Context(), "cdc_relay_parked_events_total")
		return err == nil && n > 400
	})
	sound.Store(true)
	p.mend()
	r.Kill()
	r = p.Start()

	redrive := func(at crash.Name, n int) *rig.Relay {
		t.Helper()
		env, held := hold(p.Lab, at, n)
		d, err := rig.Start(points, []string{env}, nil, "-c", p.Config, "dlq", "redrive", "--all")
		p.Check(err)
		select {
		case <-held:
			return d
		case <-d.Done():
			t.Fatalf("the redrive ended before it reached %s (%d): %v\n%s", at, n, d.Wait(), d.Log())
		case <-p.Ctx(time.Minute).Done():
			d.Kill()
			t.Fatalf("the redrive did not reach %s (%d):\n%s", at, n, d.Log())
		}
		return nil
	}
	for _, c := range []struct {
		at    crash.Name
		n     int
		relay bool // the relay dies with it
	}{
		{crash.FenceFirst, 1, false}, {crash.TxnBegun, 2, false}, {crash.TxnProduced, 8, true}, {crash.TxnRecords, 2, false},
		{crash.TxnCheckpoint, 2, false}, {crash.TxnCommitted, 1, true}, {crash.FenceFirst, 2, false}, {crash.FenceFirst, 2, true},
	} {
		d := redrive(c.at, c.n)
		if c.relay {
			r.Kill()
		}
		d.Kill()
		if c.relay {
			r = p.Start()
		}
		p.order() // nothing doubled, nothing overtaken so far
	}
	// One that fences the relay and dies before its transaction: the relay finds
	// out at its next commit, and goes on by itself.
	before := len(p.Tape(p.Topic).Records)
	done := p.redrives(0, "--all")
	if !done.Released || done.Failed != 0 {
		t.Errorf("%+v", done)
	}
	p.Soon(time.Minute, "live events are published again", func() bool { return len(p.Tape(p.Topic).Records) > before+done.Redriven+50 })
	made := stop()
	p.relayed(r)
	p.whole()
	index, err := rig.DeadLetters(p.Ctx(time.Minute), p.Kafka.Bootstrap(), p.ID+"."+p.Pipeline()+".dead-letters")
	p.Check(err)
	if index.Len() != 0 || len(index.Resolved()) < 400 {
		t.Errorf("%d letters are left, %d were resolved", index.Len(), len(index.Resolved()))
	}
	t.Logf("%d events, %d redriven by the last of the redrives", made, done.Redriven)
	p.Stopped(r, 0)
}

// Two redrives at once: the one that begins later ends the other, and every letter
// is published once.
func TestTwoRedrives(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key", lab.With(func(c *rig.Config) { c.Extra += "batch: {events: 20}\n" }))
	points, err := rig.Held(p.Ctx(5 * time.Minute))
	p.Check(err)
	r := p.Start()
	for range 60 {
		p.commit("!a", "a", "!b", "b")
	}
	p.relayed(r)
	p.mend()
	r.Kill()
	r = p.Start()
	for _, c := range []struct {
		at crash.Name
		n  int
	}{{crash.TxnRecords, 2}, {crash.FenceFirst, 2}} {
		env, held, release := holdUntil(p.Lab, c.at, c.n)
		first, err := rig.Start(points, []string{env}, nil, "-c", p.Config, "dlq", "redrive", "--all")
		p.Check(err)
		p.Cleanup(first.Kill)
		select {
		case <-held:
		case <-first.Done():
			t.Fatalf("the first redrive ended before it reached %s: %s", c.at, first.Log())
		}
		p.redrives(0, "--key", "a")
		p.order()
		release()
		p.Gone(first, 3, time.Minute, "another redrive or discard of the pipeline has begun")
		p.order()
		p.commit("!a", "a", "!b", "b") // with the mended schema these are sound
	}
	p.redrives(0, "--all")
	p.commit("a", "b")
	p.relayed(r)
	p.whole()
	p.Stopped(r, 0)
}

// Redrives one after the other, while the relay is idle and while it is not: it
// is fenced by each, and never stops for it.
func TestManyRedrives(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key")
	r := p.Start()
	p.commit("!a", "!b", "!c", "!d", "!e", "!f", "a", "b", "c", "d", "e", "f")
	p.relayed(r)
	p.mend()
	r.Kill()
	r = p.Start()
	for i, key := range []string{"a", "b", "c", "d", "e"} {
		if done := p.redrives(0, "--key", key); done.Redriven != 2 || !done.Released {
			t.Errorf("%s: %+v", key, done)
		}
		if i > 2 {
			p.commit(key)
		}
	}
	for range 6 { // nothing to do, and the relay is asked again and again
		p.redrives(0, "--key", "f", "--dry-run")
	}
	stop := p.writing(3, func(int) bool { return false })
	if done := p.redrives(0, "--all"); done.Redriven != 2 {
		t.Errorf("%+v", done)
	}
	stop()
	p.relayed(r)
	p.whole()
	p.Stopped(r, 0)
}
