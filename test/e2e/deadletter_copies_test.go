package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// A pipeline that gets another name keeps the keys its letters hold: without the
// topic they lie in, it is not renamed.
func TestRenameKeepsDeadLetters(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key")
	r := p.start()
	p.commit("!a", "a", "b")
	p.relayed(r)
	p.stopped(r, 0)
	former := p.name + "/" + p.pipeline()
	topic := p.name + "." + p.pipeline() + ".dead-letters"
	p.renamed(p.name + "x")
	p.run("checkpoint", "rename", former).exits(3).says("dead letter topic "+topic+" of "+former+" holds 2 letters", "dead_letters: {topic: "+topic+"}")
	p.change(func(c *rig.Config) {
		c.Extra = strings.Replace(c.Extra, "max_share: 1", "max_share: 1, topic: "+topic, 1)
	})
	p.run("checkpoint", "rename", former).exits(0)
	r = p.start()
	p.commit("a", "b")
	p.relayed(r)
	p.has(map[string]int{"a": 0, "b": 2})
	p.mend()
	if done := p.redrives(0, "--all"); done.Redriven != 3 {
		t.Errorf("%+v", done)
	}
	p.whole()
	p.stopped(r, 0)
}

// A replay of a range with a letter in it makes a letter of its own. What comes
// of that is a copy like the others of the replay: no audit takes it for a
// duplicate.
func TestLettersOfAReplayAreCopies(t *testing.T) {
	p := newPoisoned(t, "dead_letter")
	r := p.start()
	p.commit("a")
	p.relayed(r)
	p.acknowledged()
	from := wordAfter(t, p.run("slots", "anchor", "before").exits(0).out, "--from-lsn ")
	p.commit("!a", "a")
	p.relayed(r)
	p.stopped(r, 0)
	r = p.launch("run", "--from-lsn", from)
	p.logged(r, "replay done", time.Minute)
	p.check(r.Ready(p.ctx(time.Minute)))
	p.mend()
	if done := p.redrives(0, "--all"); done.Redriven != 2 || done.Records != 2 {
		t.Errorf("%+v", done)
	}
	copies := 0
	for _, rec := range p.tape(p.topic).records {
		if header(rec, event.ReplayHeader) != "" {
			copies++
		}
	}
	if copies != 2 { // the sound event, and the one that was not
		t.Errorf("%d copies of the replay, want 2", copies)
	}
	p.run("audit").exits(0)
	p.run("slots", "anchor", "before", "--drop").exits(0)
	p.stopped(r, 0)
}
