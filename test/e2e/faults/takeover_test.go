package faults

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

var takeovers = flag.Int("takeovers", 0, "measure so many takeovers of each kind and write build/takeover.json; 0: test them once")

// What is promised on a quiet machine (docs/adr/0010-takeover.md). `make
// takeover` demands it; a test that runs beside others leaves room for them.
const takeoverRoom = 10 * time.Second

var takeoverWithin = map[string]time.Duration{
	"sigterm": time.Second, "sigkill": 3 * time.Second, "vanished": 15 * time.Second,
}

// A standby takes over from a relay that is stopped, killed, or on a host that
// has vanished, under traffic, and every event arrives exactly once.
func TestTakeover(t *testing.T) {
	m := &takeoverTimes{all: map[string][]time.Duration{}}
	if *takeovers > 0 {
		t.Cleanup(func() { m.write(t) })
	}
	t.Run("sigterm", func(t *testing.T) {
		m.relayRace(t, "sigterm", func(l *lab.Lab, holder *rig.Relay) { l.Check(holder.Signal(syscall.SIGTERM)) })
	})
	t.Run("sigkill", func(t *testing.T) {
		m.relayRace(t, "sigkill", func(l *lab.Lab, holder *rig.Relay) { l.Check(holder.Signal(syscall.SIGKILL)) })
	})
	t.Run("vanished", m.vanished)
}

// relayRace has each relay take over from the one before it.
func (m *takeoverTimes) relayRace(t *testing.T, kind string, end func(*lab.Lab, *rig.Relay)) {
	l := lab.New(t)
	holder := l.Start()
	w := l.Traffic("a", 5*time.Millisecond)
	f := follow(l)
	for range max(*takeovers, 1) {
		next := standby(l)
		l.Wrote(50)
		m.note(l, kind, f.timed(next, func() { end(l, holder) }))
		code, err := holder.Exit(l.Ctx(30 * time.Second))
		if l.Check(err); kind == "sigterm" && code != 0 {
			t.Errorf("SIGTERM: exit code %d\n%s", code, holder.Log())
		}
		if n := l.Restarts(next); n != 0 {
			t.Errorf("taking over took %d restarts:\n%s", n, next.Log())
		}
		holder = next
	}
	l.Exact(f.end(w), time.Minute)
	l.Stops(holder)
}

// vanished takes the network from the one at work, to Postgres and to Kafka,
// without a word to anybody: the process lives on, and comes back. In turn what
// it had sent reaches the servers late, or never.
func (m *takeoverTimes) vanished(t *testing.T) {
	l := lab.New(t, lab.OwnBroker(stack.Proxied()))
	far, network := distant(l)
	holder := far.Start()
	w := l.Traffic("a", 5*time.Millisecond)
	f := follow(l)
	for i := range max(*takeovers, 2) {
		next := standby(l)
		l.Wrote(50)
		m.note(l, "vanished", f.timed(next, func() {
			for _, p := range network {
				if i%2 == 0 {
					p.Freeze()
				} else {
					p.Vanish()
				}
			}
		}))
		l.Wrote(50)
		sender := l.Sender()
		for _, p := range network {
			p.Thaw()
		}
		// It finds out that it was left out, by what it hears or by its own
		// deadlines, and stands by. It fences nobody.
		l.Check(holder.State(l.Ctx(90*time.Second), l.Pipeline(), "STANDBY"))
		l.Wrote(50)
		if now := l.Sender(); now != sender || l.Restarts(next) != 0 {
			t.Errorf("the one that came back disturbed the one at work: walsender %s, then %s; %d restarts\n%s", sender, now, l.Restarts(next), next.Log())
		}
		l.Stops(next)
		l.Check(holder.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))
	}
	l.Exact(f.end(w), time.Minute)
	far.Stops(holder)
}

// distant returns the same lab as it is configured on a host behind a network of
// its own.
func distant(l *lab.Lab) (far *lab.Lab, network []*fault.Proxy) {
	l.Helper()
	pg, err := fault.New(l.DB.Config().ConnConfig.Host + ":" + l.Ask("select inet_server_port()::text"))
	l.Check(err)
	l.Cleanup(func() { l.Check(pg.Close()) })
	far = &lab.Lab{}
	*far = *l
	far.Dir = l.TempDir()
	conf := l.Conf
	conf.Postgres, err = fault.URL(l.URL, pg)
	l.Check(err)
	conf.Bootstrap = l.Kafka.ProxiedBootstrap()
	far.Configure(conf)
	return far, append([]*fault.Proxy{pg}, l.Kafka.Proxies()...)
}

// follower reads what is published while it is published.
type follower struct {
	l      *lab.Lab
	r      *rig.Reader
	over   atomic.Bool
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	since time.Time      // commits after it are waited for; zero: none are
	first chan time.Time // when the first of them was read
}

func follow(l *lab.Lab) *follower {
	l.Helper()
	f := &follower{l: l, r: l.Reader(), done: make(chan error, 1), first: make(chan time.Time, 1)}
	f.r.On = func(rec *rig.Record) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.since.IsZero() && rec.Time.After(f.since) {
			f.since = time.Time{}
			f.first <- rec.Seen
		}
	}
	ctx, cancel := context.WithCancel(l.Context())
	go func() { f.done <- f.r.Read(ctx, func(int) bool { return f.over.Load() }) }()
	f.cancel = cancel
	l.Cleanup(cancel)
	return f
}

// timed does what makes next take over, and returns how long it took until next
// was at work and an event that was committed after the cause had been read,
// whichever came later.
func (f *follower) timed(next *rig.Relay, cause func()) time.Duration {
	f.l.Helper()
	begin := time.Now()
	f.mu.Lock()
	f.since = begin
	f.mu.Unlock()
	cause()
	f.l.Check(next.State(f.l.Ctx(time.Minute), f.l.Pipeline(), "RUNNING"))
	took := time.Since(begin)
	select {
	case at := <-f.first:
		return max(took, at.Sub(begin))
	case err := <-f.done:
		f.l.Fatalf("the consumer ended: %v", err)
	case <-f.l.Ctx(time.Minute).Done():
		f.l.Fatal("nothing that was committed after the takeover began is published")
	}
	return 0
}

// end ends the following, while there is something to read, and the traffic.
func (f *follower) end(w *lab.Traffic) *rig.Reader {
	f.l.Helper()
	f.over.Store(true)
	f.l.Check(<-f.done)
	w.End()
	return f.r
}

// takeoverTimes collects what was measured; its subtests may be parallel.
type takeoverTimes struct {
	mu  sync.Mutex
	all map[string][]time.Duration
}

func (m *takeoverTimes) note(l *lab.Lab, kind string, took time.Duration) {
	l.Helper()
	l.Logf("takeover, %s: %.2f s", kind, took.Seconds())
	bound := takeoverWithin[kind]
	if *takeovers == 0 {
		bound += takeoverRoom
	}
	if took > bound {
		l.Errorf("takeover, %s: %s, more than %s", kind, took, bound)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[kind] = append(m.all[kind], took)
}

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// write writes build/takeover.json: for each kind the least, the middle and the
// greatest, in seconds.
func (m *takeoverTimes) write(t *testing.T) {
	type span struct {
		Min    float64 `json:"min"`
		Median float64 `json:"median"`
		Max    float64 `json:"max"`
	}
	out := map[string]span{}
	for kind, all := range m.all {
		slices.Sort(all)
		s := span{seconds(all[0]), seconds(all[len(all)/2]), seconds(all[len(all)-1])}
		out[kind] = s
		t.Logf("%-8s  min %.2f s  median %.2f s  max %.2f s  (%d)", kind, s.Min, s.Median, s.Max, len(all))
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(rig.Root(), "build", "takeover.json"), append(text, '\n'), 0o600)
	}
	if err != nil {
		t.Error(err)
	}
}
