package letters

import (
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// A pipeline that gets another name keeps the keys its letters hold: without the
// topic they lie in, it is not renamed.
func TestRenameKeepsDeadLetters(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key")
	r := p.Start()
	p.commit("!a", "a", "b")
	p.relayed(r)
	p.Stopped(r, 0)
	former := p.ID + "/" + p.Pipeline()
	topic := p.ID + "." + p.Pipeline() + ".dead-letters"
	renamed(p.Lab, p.ID+"x")
	p.Command("checkpoint", "rename", former).Exits(3).Says("dead letter topic "+topic+" of "+former+" holds 2 letters", "dead_letters: {topic: "+topic+"}")
	p.Change(func(c *rig.Config) {
		c.Extra = strings.Replace(c.Extra, "max_share: 1", "max_share: 1, topic: "+topic, 1)
	})
	p.Command("checkpoint", "rename", former).Exits(0)
	r = p.Start()
	p.commit("a", "b")
	p.relayed(r)
	p.has(map[string]int{"a": 0, "b": 2})
	p.mend()
	if done := p.redrives(0, "--all"); done.Redriven != 3 {
		t.Errorf("%+v", done)
	}
	p.whole()
	p.Stopped(r, 0)
}

// A replay of a range with a letter in it makes a letter of its own. What comes
// of that is a copy like the others of the replay: no audit takes it for a
// duplicate.
func TestLettersOfAReplayAreCopies(t *testing.T) {
	p := newPoisoned(t, "dead_letter")
	r := p.Start()
	p.commit("a")
	p.relayed(r)
	p.Acknowledged()
	from := lab.WordAfter(t, p.Command("slots", "anchor", "before").Exits(0).Out, "--from-lsn ")
	p.commit("!a", "a")
	p.relayed(r)
	p.Stopped(r, 0)
	r = p.Launch("run", "--from-lsn", from)
	p.Logged(r, "replay done", time.Minute)
	p.Check(r.Ready(p.Ctx(time.Minute)))
	p.mend()
	if done := p.redrives(0, "--all"); done.Redriven != 2 || done.Records != 2 {
		t.Errorf("%+v", done)
	}
	copies := 0
	for _, rec := range p.Tape(p.Topic).Records {
		if lab.Header(rec, event.ReplayHeader) != "" {
			copies++
		}
	}
	if copies != 2 { // the sound event, and the one that was not
		t.Errorf("%d copies of the replay, want 2", copies)
	}
	p.Command("audit").Exits(0)
	p.Command("slots", "anchor", "before", "--drop").Exits(0)
	p.Stopped(r, 0)
}
