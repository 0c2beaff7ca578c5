package faults

import (
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Two relays with one name.

// A staging file with the production name and another Postgres cluster: the
// second relay is refused before it fences anyone, and the first one does not
// even notice.
func TestSameNameOnAnotherCluster(t *testing.T) {
	l := lab.New(t)
	r := l.Start()
	w := l.Traffic("a", 20*time.Millisecond)
	l.Wrote(30)
	sender := l.Sender()

	elsewhere := stack.NewPostgres(t)
	other := *l // its checkpoints have the key of the first one's
	other.Dir = t.TempDir()
	other.PG = elsewhere
	conf := l.Conf
	conf.Postgres = ""
	conf.Server = elsewhere.URL("postgres")
	conf.Databases = map[string]string{l.Pipeline(): "dbname: postgres"}
	other.Configure(conf)
	for range 2 { // it changes nothing, so it is refused as often as it is tried
		other.Refused("the checkpoint belongs to the Postgres cluster with system id", "it is another cluster", "give this relay another `name`")
	}

	l.Wrote(30)
	w.End()
	l.Settled(time.Minute)
	if now := l.Sender(); now != sender || l.Restarts(r) != 0 {
		t.Errorf("the first relay was disturbed: walsender %s, then %s; %d restarts\n%s", sender, now, l.Restarts(r), r.Log())
	}
	l.Stops(r)
}

// A second relay with the same configuration stands by and is ready, so that a
// rolling update goes on; it takes over when the first is stopped, and when it
// is killed. Nobody is fenced meanwhile, and no event comes twice.
func TestStandbyTakesOver(t *testing.T) {
	l := lab.New(t)
	first := l.Start()
	w := l.Traffic("a", 10*time.Millisecond)
	l.Wrote(50)
	sender := l.Sender()
	second := standby(l)
	l.Wrote(50)
	if now := l.Sender(); now != sender || l.Restarts(first) != 0 {
		t.Errorf("the standby disturbed the one at work: walsender %s, then %s; %d restarts\n%s", sender, now, l.Restarts(first), first.Log())
	}

	l.Stops(first)
	l.Check(second.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))
	l.Wrote(50)
	third := standby(l)
	second.Kill()
	l.Check(third.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))
	l.Wrote(50)
	w.End()
	l.Settled(time.Minute)
	if n := l.Restarts(third); n != 0 {
		t.Errorf("taking over took %d restarts:\n%s", n, third.Log())
	}
	l.Stops(third)
}

// standby starts a relay that has to stand by, and be ready.
func standby(l *lab.Lab) *rig.Relay {
	l.Helper()
	r := l.Launch("run")
	l.Check(r.State(l.Ctx(time.Minute), l.Pipeline(), "STANDBY"))
	if code := l.ReadyCode(r); code != 200 {
		l.Errorf("/readyz of a standby: %d, want 200", code)
	}
	return r
}
