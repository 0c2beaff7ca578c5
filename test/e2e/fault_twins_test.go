package e2e

import (
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Two relays with one name.

// A staging file with the production name and another Postgres cluster: the
// second relay is refused before it fences anyone, and the first one does not
// even notice.
func TestSameNameOnAnotherCluster(t *testing.T) {
	l := newLab(t)
	r := l.start()
	w := l.traffic("a", 20*time.Millisecond)
	l.wrote(30)
	sender := l.sender()

	elsewhere := stack.NewPostgres(t)
	other := *l // its checkpoints have the key of the first one's
	other.dir = t.TempDir()
	other.pg = elsewhere
	conf := l.conf
	conf.Postgres = ""
	conf.Server = elsewhere.URL("postgres")
	conf.Databases = map[string]string{l.pipeline(): "dbname: postgres"}
	other.write(conf)
	for range 2 { // it changes nothing, so it is refused as often as it is tried
		other.refused("the checkpoint belongs to the Postgres cluster with system id", "it is another cluster", "give this relay another `name`")
	}

	l.wrote(30)
	w.end()
	l.settled(time.Minute)
	if now := l.sender(); now != sender || l.restarts(r) != 0 {
		t.Errorf("the first relay was disturbed: walsender %s, then %s; %d restarts\n%s", sender, now, l.restarts(r), r.Log())
	}
	l.stops(r)
}

// A second relay with the same configuration stands by and is ready, so that a
// rolling update goes on; it takes over when the first is stopped, and when it
// is killed. Nobody is fenced meanwhile, and no event comes twice.
func TestStandbyTakesOver(t *testing.T) {
	l := newLab(t)
	first := l.start()
	w := l.traffic("a", 10*time.Millisecond)
	l.wrote(50)
	sender := l.sender()
	second := l.standby()
	l.wrote(50)
	if now := l.sender(); now != sender || l.restarts(first) != 0 {
		t.Errorf("the standby disturbed the one at work: walsender %s, then %s; %d restarts\n%s", sender, now, l.restarts(first), first.Log())
	}

	l.stops(first)
	l.check(second.State(l.ctx(30*time.Second), l.pipeline(), "RUNNING"))
	l.wrote(50)
	third := l.standby()
	second.Kill()
	l.check(third.State(l.ctx(30*time.Second), l.pipeline(), "RUNNING"))
	l.wrote(50)
	w.end()
	l.settled(time.Minute)
	if n := l.restarts(third); n != 0 {
		t.Errorf("taking over took %d restarts:\n%s", n, third.Log())
	}
	l.stops(third)
}

// standby starts a relay that has to stand by, and be ready.
func (l *lab) standby() *rig.Relay {
	l.Helper()
	r := l.launch("run")
	l.check(r.State(l.ctx(time.Minute), l.pipeline(), "STANDBY"))
	if code := l.readyCode(r); code != 200 {
		l.Errorf("/readyz of a standby: %d, want 200", code)
	}
	return r
}
