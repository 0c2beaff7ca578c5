package letters

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// A commit of a command is on its way while the library asks for it again; it
// arrives in the middle of a later transaction of its transactional id. What
// test/matrix demands of a relay (late-commit), for the other sinks there are.
func TestCommitOfACommandArrivesLate(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end tests need a broker of their own")
	}
	k := stack.NewBroker(t, stack.Proxied())
	through := func(l *lab.Lab, c *rig.Config) {
		l.Kafka = k
		// The transaction of a command that has ended is its successor's to abort.
		c.Kafka["transaction.timeout.ms"] = "20000"
		c.Extra += "batch: {events: 5}\n"
	}
	t.Run("repair", func(t *testing.T) { repairStraggles(t, through) })
	t.Run("redrive", func(t *testing.T) { redriveStraggles(t, through) })
	t.Run("rename", func(t *testing.T) { renameStraggles(t, through) })
	t.Run("replay", func(t *testing.T) { replayStraggles(t, through) })
}

// straggler is a commit that is kept on its way.
type straggler struct {
	l      *lab.Lab
	points string // the binary
	late   *fault.Late
	stored <-chan struct{} // closed when the broker has a record of a later transaction of its id
}

// straggles keeps the nth commit from now of a transactional id.
func straggles(l *lab.Lab, id string, n int) *straggler {
	l.Helper()
	points, err := rig.Held(l.Ctx(5 * time.Minute))
	l.Check(err)
	s := &straggler{l: l, points: points}
	s.late = fault.Delay(l.Kafka.Proxies(), n, func(r fault.Request) bool {
		return r.Key == fault.EndTxn && r.Commit && strings.HasPrefix(r.ID, id)
	})
	l.Cleanup(s.late.Drop)
	return s
}

// start starts a process that is held at the nth passing of a point.
func (s *straggler) start(at crash.Name, n int, args ...string) (p *rig.Relay, held <-chan struct{}) {
	s.l.Helper()
	env, held := hold(s.l, at, n)
	p, err := rig.Start(s.points, []string{env}, nil, append([]string{"-c", s.l.Config}, args...)...)
	s.l.Check(err)
	s.l.Cleanup(p.Kill)
	return p, held
}

// askedTwice waits until the commit is kept and resets its connection: the
// library asks again and gets a success.
func (s *straggler) askedTwice(p *rig.Relay) {
	s.l.Helper()
	s.wait(s.late.Held(), p, "asks for its commit")
	id := s.late.Request().ID
	s.stored = fault.Answered(s.l.Kafka.Proxies(), func(r fault.Request) bool { return r.Key == fault.Produce && r.ID == id })
	s.late.Reset()
	s.wait(s.late.Again(), nil, "asks again") // it may have ended by then
}

// wait waits for a channel, as long as p, if there is one, lives.
func (s *straggler) wait(c <-chan struct{}, p *rig.Relay, what string) {
	s.l.Helper()
	var done <-chan struct{}
	if p != nil {
		done = p.Done()
	}
	select {
	case <-c:
	case <-done:
		s.l.Fatalf("the process ended before it %s: %v\n%s", what, p.Wait(), p.Log())
	case <-s.l.Ctx(time.Minute).Done():
		s.l.Fatalf("waited in vain until the process %s", what)
	}
}

// arrives delivers the commit to a process that is held in the middle of a
// transaction of its id, and kills it.
func (s *straggler) arrives(p *rig.Relay) {
	s.l.Helper()
	s.wait(s.stored, p, "has a record at the broker")
	_, err := s.late.Deliver(s.l.Ctx(time.Minute))
	s.l.Check(err)
	p.Kill()
}

// command runs a command whose first commit straggles. It is held at the nth
// passing of a point, or, if it gives up before, the same command is at the mth:
// both in a transaction of that id. Then it is run to its end.
func (s *straggler) command(at crash.Name, n, m int, args ...string) {
	s.l.Helper()
	p, held := s.start(at, n, args...)
	s.askedTwice(p)
	select {
	case <-held:
	case <-p.Done():
		if !lab.Said(p, "asked for twice") {
			s.l.Fatalf("it ended for another reason: %v\n%s", p.Wait(), p.Log())
		}
		p, held = s.start(at, m, args...)
		s.wait(held, p, "has records in its hands")
	case <-s.l.Ctx(time.Minute).Done():
		s.l.Fatalf("it neither goes on nor ends:\n%s", p.Log())
	}
	s.arrives(p)
	s.l.Command(args...).Exits(0)
}

// past leads through the proxies from now on.
func past(n *lab.Lane) {
	n.Rewrite(func(c *rig.Config) { c.Bootstrap = n.Kafka.ProxiedBootstrap() })
}

func repairStraggles(t *testing.T, through lab.Setup) {
	n := lab.NewLane(t, lab.With(often), through)
	r := n.Start()
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	gap := gap(n, 6, 5)
	r = n.Start()
	n.Publish(2)
	past(n)
	// It has one id, and five records in a transaction.
	straggles(n.Lab, n.ID+"/"+n.Pipeline()+"/repair", 1).command(crash.TxnProduced, 5+2, 2, "repair", "--yes")
	n.Publish(2)
	n.Delivered(n.Reader(n.Topic), len(n.Want)+len(gap), time.Minute)
	healed(n, n.Tape(n.Topic), gap)
	n.Stopped(r, 0)
}

func redriveStraggles(t *testing.T, through lab.Setup) {
	p := newPoisoned(t, "dead_letter", through)
	r := p.Start()
	for i := range 30 {
		p.commit(fmt.Sprintf("!k%d", i), "a")
	}
	p.relayed(r)
	p.mend()
	p.Stopped(r, 0)
	r = p.Start()
	past(p.Lane)
	// Its ids take turns, a transaction has five events, each followed by the end of
	// its letter: one event of the third is published, and its letter is there.
	straggles(p.Lab, p.ID+"/"+p.Pipeline()+"/redrive/0", 1).command(crash.TxnProduced, 2*5+2*5+1, 1, "dlq", "redrive", "--all")
	p.commit("a", "b")
	p.relayed(r)
	p.whole()
	p.Stopped(r, 0)
}

// A rename has one transaction. Its commit arrives when the former name is in
// use again.
func renameStraggles(t *testing.T, through lab.Setup) {
	n := lab.NewLane(t, lab.With(often), through)
	past(n)
	former, old := n.ID+"/"+n.Pipeline(), n.Conf
	r := n.Start()
	n.Publish(10)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	slot := n.Slot()
	n.Rewrite(func(c *rig.Config) { c.Name, c.Lines = n.ID+"x", []string{"  slot: " + slot} })
	s := straggles(n.Lab, former, 1)
	p := n.Launch("checkpoint", "rename", former)
	s.askedTwice(p)
	n.Gone(p, 0, time.Minute)
	n.Rewrite(func(c *rig.Config) { *c = old })
	n.Command("checkpoint", "rename", n.ID+"x/"+n.Pipeline()).Exits(0)
	n.Publish(20)
	r, held := s.start(crash.TxnRecords, 1, "run") // of id 0, as the rename's
	s.wait(held, r, "has records in its hands")
	s.arrives(r)
	r = n.Start()
	n.Publish(5)
	n.Arrived(n.Reader(n.Topic))
	n.Finished(r)
}

func replayStraggles(t *testing.T, through lab.Setup) {
	n := lab.NewLane(t, lab.With(often), through)
	past(n)
	r := n.Start()
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	n.Acknowledged()
	from := lab.WordAfter(t, n.Command("slots", "anchor", "one").Exits(0).Out, "--from-lsn ")
	n.Publish(30)
	to := n.Flushed().String()
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	// The first transaction of a replay is its checkpoint, of id 0; id 1 has the
	// second one and, after a start or without one, the fourth.
	s := straggles(n.Lab, n.ID+"/"+n.Pipeline()+"/replay", 2)
	r, held := s.start(crash.TxnRecords, 4, "run", "--from-lsn", from, "--to-lsn", to)
	s.askedTwice(r)
	s.wait(held, r, "has records in its hands")
	s.arrives(r)
	r = n.Launch("run", "--from-lsn", from, "--to-lsn", to)
	n.Logged(r, "replay done", time.Minute)
	n.Publish(5)
	n.Delivered(n.Reader(n.Topic), len(n.Want)+30, time.Minute)
	var live, again []string
	for _, rec := range n.Tape(n.Topic).Records {
		if lab.Header(rec, event.ReplayHeader) != "" {
			again = append(again, lab.Header(rec, "event_id"))
		} else {
			live = append(live, lab.Header(rec, "event_id"))
		}
	}
	n.Same(live)
	var want []string
	for _, e := range n.Want[3:33] {
		want = append(want, e.ID)
	}
	if !slices.Equal(again, want) {
		t.Errorf("published again %v\nwant            %v", again, want)
	}
	n.Stopped(r, 0)
}
