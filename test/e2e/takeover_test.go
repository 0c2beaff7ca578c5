package e2e

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
		m.relayRace(t, "sigterm", func(l *lab, holder *rig.Relay) { l.check(holder.Signal(syscall.SIGTERM)) })
	})
	t.Run("sigkill", func(t *testing.T) {
		m.relayRace(t, "sigkill", func(l *lab, holder *rig.Relay) { l.check(holder.Signal(syscall.SIGKILL)) })
	})
	t.Run("vanished", m.vanished)
}

// relayRace has each relay take over from the one before it.
func (m *takeoverTimes) relayRace(t *testing.T, kind string, end func(*lab, *rig.Relay)) {
	l := newLab(t)
	holder := l.start()
	w := l.traffic("a", 5*time.Millisecond)
	f := l.follow()
	for range max(*takeovers, 1) {
		next := l.standby()
		l.wrote(50)
		m.note(l, kind, f.timed(next, func() { end(l, holder) }))
		code, err := holder.Exit(l.ctx(30 * time.Second))
		if l.check(err); kind == "sigterm" && code != 0 {
			t.Errorf("SIGTERM: exit code %d\n%s", code, holder.Log())
		}
		if n := l.restarts(next); n != 0 {
			t.Errorf("taking over took %d restarts:\n%s", n, next.Log())
		}
		holder = next
	}
	l.exact(f.end(w), time.Minute)
	l.stops(holder)
}

// vanished takes the network from the one at work, to Postgres and to Kafka,
// without a word to anybody: the process lives on, and comes back. In turn what
// it had sent reaches the servers late, or never.
func (m *takeoverTimes) vanished(t *testing.T) {
	l := newLab(t, ownBroker(stack.Proxied()))
	far, network := l.behind()
	holder := far.start()
	w := l.traffic("a", 5*time.Millisecond)
	f := l.follow()
	for i := range max(*takeovers, 2) {
		next := l.standby()
		l.wrote(50)
		m.note(l, "vanished", f.timed(next, func() {
			for _, p := range network {
				if i%2 == 0 {
					p.Freeze()
				} else {
					p.Vanish()
				}
			}
		}))
		l.wrote(50)
		sender := l.sender()
		for _, p := range network {
			p.Thaw()
		}
		// It finds out that it was left out, by what it hears or by its own
		// deadlines, and stands by. It fences nobody.
		l.check(holder.State(l.ctx(90*time.Second), l.pipeline(), "STANDBY"))
		l.wrote(50)
		if now := l.sender(); now != sender || l.restarts(next) != 0 {
			t.Errorf("the one that came back disturbed the one at work: walsender %s, then %s; %d restarts\n%s", sender, now, l.restarts(next), next.Log())
		}
		l.stops(next)
		l.check(holder.State(l.ctx(30*time.Second), l.pipeline(), "RUNNING"))
	}
	l.exact(f.end(w), time.Minute)
	far.stops(holder)
}

// behind returns the same lab as it is configured on a host behind a network of
// its own.
func (l *lab) behind() (far *lab, network []*fault.Proxy) {
	l.Helper()
	pg, err := fault.New(l.db.Config().ConnConfig.Host + ":" + l.ask("select inet_server_port()::text"))
	l.check(err)
	l.Cleanup(func() { l.check(pg.Close()) })
	far = &lab{}
	*far = *l
	far.dir = l.TempDir()
	conf := l.conf
	conf.Postgres, err = fault.URL(l.url, pg)
	l.check(err)
	conf.Bootstrap = l.kafka.ProxiedBootstrap()
	far.write(conf)
	return far, append([]*fault.Proxy{pg}, l.kafka.Proxies()...)
}

// follower reads what is published while it is published.
type follower struct {
	l      *lab
	r      *rig.Reader
	over   atomic.Bool
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	since time.Time      // commits after it are waited for; zero: none are
	first chan time.Time // when the first of them was read
}

func (l *lab) follow() *follower {
	l.Helper()
	f := &follower{l: l, r: l.reader(), done: make(chan error, 1), first: make(chan time.Time, 1)}
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
	f.l.check(next.State(f.l.ctx(time.Minute), f.l.pipeline(), "RUNNING"))
	took := time.Since(begin)
	select {
	case at := <-f.first:
		return max(took, at.Sub(begin))
	case err := <-f.done:
		f.l.Fatalf("the consumer ended: %v", err)
	case <-f.l.ctx(time.Minute).Done():
		f.l.Fatal("nothing that was committed after the takeover began is published")
	}
	return 0
}

// end ends the following, while there is something to read, and the traffic.
func (f *follower) end(w *traffic) *rig.Reader {
	f.l.Helper()
	f.over.Store(true)
	f.l.check(<-f.done)
	w.end()
	return f.r
}

// takeoverTimes collects what was measured; its subtests may be parallel.
type takeoverTimes struct {
	mu  sync.Mutex
	all map[string][]time.Duration
}

func (m *takeoverTimes) note(l *lab, kind string, took time.Duration) {
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
