package letters

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// A dead letter from its first minute to its last: it is put aside, what has its
// key is parked behind it, across restarts too, and after the schema was mended
// all of it is published, once, in order, while the relay runs.
func TestDeadLetterAndHoldKey(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key")
	r := p.Start()
	p.commit("a", "b")
	bad := p.commit("!a")
	p.commit("a", "b", "c")
	p.commit("b", "a")
	p.relayed(r)
	p.has(map[string]int{"a": 1, "b": 3, "c": 1})

	list := p.letters()
	if list.Dead != 1 || list.Parked != 2 || list.HeldKeys != 1 || len(list.Letters) != 3 || list.Topic != p.ID+"."+p.Pipeline()+".dead-letters" {
		t.Fatalf("%+v", list)
	}
	head := list.Letters[0]
	if head.EventID != bad[0] || head.RowID != bad[0] || head.Class != "schema" || head.Path != "data.essay_results[1].normalized_score" || head.Rule != "> maximum 1" ||
		head.Key != "a" || list.Letters[1].Behind != head.ID || list.Letters[2].Behind != head.ID {
		t.Errorf("%+v", list.Letters)
	}
	p.Command("dlq", "show", strings.TrimSuffix(head.ID, head.ID[len(head.ID)-3:])).Exits(0).
		Says(bad[0], "normalized_score: 1.2 > maximum 1", "AssessmentResultEventV1", `"normalized_score": 1.2`, "parked behind 2", "next: ", "dlq redrive "+head.ID)
	p.Command("dlq", "list").Exits(0).Says("1 dead letters, 2 events parked behind them, 1 keys held", "schema", head.ID)
	for name, want := range map[string]float64{"cdc_relay_dead_letters_total": 1, "cdc_relay_parked_events_total": 2, "cdc_relay_held_keys": 1} {
		if got := p.Metric(r, name); got != want {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}

	// Nothing of it is missing, and a repair produces nothing.
	report := audits(p.Lab, 0)
	if report.DeadLettered != 3 || report.Missing != 0 || report.Unencodable != 0 {
		t.Errorf("audit: %+v", report)
	}
	foundExactly(p.Lane, report, audit.DeadLettered, "", list.Letters[1].EventID, list.Letters[2].EventID)
	if done := repairs(p.Lab, 0, "--yes"); done.Produced != 0 || !done.Healed {
		t.Errorf("a repair produced %d records", done.Produced)
	}

	// What is held outlives the relay.
	p.Stopped(r, 0)
	r = p.Start()
	p.Logged(r, "dead letters hold keys", time.Minute)
	p.commit("a", "b")
	p.relayed(r)
	p.has(map[string]int{"a": 1, "b": 4})

	// As long as nothing is mended nothing goes, whatever is asked for.
	if dry := p.redrives(0, "--all", "--dry-run"); dry.Failed != 1 || dry.Waiting != 3 || dry.Redriven != 0 || dry.Dead != 1 || dry.Parked != 3 {
		t.Errorf("dry run: %+v", dry)
	}
	if done := p.redrives(1, "--all"); done.Failed != 1 || done.Waiting != 3 || done.Redriven != 0 {
		t.Errorf("%+v", done)
	}
	if done := p.redrives(0, "--state", "parked"); done.Redriven != 0 || done.Waiting != 3 {
		t.Errorf("parked ones overtook: %+v", done)
	}
	p.has(map[string]int{"a": 1})

	p.mend()
	p.Stopped(r, 0)
	r = p.Start()
	if dry := p.redrives(0, "--all", "--dry-run"); dry.Failed != 0 || dry.Redriven != 4 || dry.Records != 4 || dry.Dead+dry.Parked != 0 {
		t.Errorf("dry run: %+v", dry)
	}
	done := p.redrives(0, head.ID) // those behind it go with it
	if done.Redriven != 4 || done.Dead != 0 || done.Parked != 0 || !done.Released {
		t.Errorf("%+v", done)
	}
	p.commit("a", "b")
	p.relayed(r)
	p.whole()
	marked := 0
	for _, rec := range p.Tape(p.Topic).Records {
		if lab.Header(rec, event.RedriveHeader) == done.ID {
			marked++
		}
	}
	if marked != 4 {
		t.Errorf("%d records are marked as redriven", marked)
	}
	if list = p.letters(); list.Dead+list.Parked+list.HeldKeys != 0 {
		t.Errorf("%+v", list)
	}
	if gone := p.letters("--resolved"); len(gone.Letters) != 4 || gone.Letters[0].Redrive != done.ID || !strings.Contains(gone.Letters[0].ResolvedBy, "@") || gone.Letters[0].EventID == "" {
		t.Errorf("resolved: %+v", gone.Letters)
	}
	if report = audits(p.Lab, 0); report.Redriven != 4 || report.DeadLettered != 0 {
		t.Errorf("audit: %+v", report)
	}
	if got := p.Metric(r, "cdc_relay_held_keys"); got != 0 {
		t.Errorf("cdc_relay_held_keys %v", got)
	}
	p.Stopped(r, 0)
}

// Under the policy dead_letter later events go on, and a letter given up is not
// missing.
func TestDeadLetterAndDiscard(t *testing.T) {
	p := newPoisoned(t, "dead_letter")
	r := p.Start()
	p.commit("a")
	p.commit("a", "!a", "a") // one transaction: its other events are published
	p.Exec(`insert into cdc_relay.outbox (aggregate_type, aggregate_id, event_type, payload) values ('essay', 'a', 'no.such.type', '{}')`)
	p.commit("a")
	p.relayed(r)
	p.has(map[string]int{"a": 4})
	list := p.letters()
	if list.Dead != 2 || list.Parked != 0 || list.HeldKeys != 0 || list.Letters[1].Class != "unknown_type" {
		t.Fatalf("%+v", list)
	}
	if of := p.letters("--type", "no.such.type", "--reason", "unknown_type"); len(of.Letters) != 1 || of.Letters[0].ID != list.Letters[1].ID {
		t.Errorf("%+v", of)
	}
	p.Command("dlq", "discard", list.Letters[1].ID).Exits(2).Says("--yes")
	p.Command("dlq", "discard", "--yes").Exits(2).Says("say which letters")
	p.Command("dlq", "discard", "9/9", "--yes").Exits(3).Says(`no unresolved dead letter "9/9"`)
	p.Command("dlq", "redrive", "--all", "--type", "x").Exits(2)
	p.Command("dlq", "discard", list.Letters[1].ID, "--yes").Exits(0).Says("1 letters discarded", "1 dead letters and 0 parked events left")
	if report := audits(p.Lab, 0); report.DeadLettered != 1 || report.Discarded != 1 || report.Unencodable != 0 {
		t.Errorf("%+v", report)
	}
	p.mend()
	p.Stopped(r, 0)
	r = p.Start()
	restarts := p.Restarts(r)
	if done := p.redrives(0, "--all"); done.Redriven != 1 || done.Released {
		t.Errorf("%+v", done)
	}
	p.commit("a")
	p.relayed(r)
	if n := p.Restarts(r); n != restarts {
		t.Errorf("the relay started again %d times for letters that hold nothing", n-restarts)
	}
	all := p.Tape(p.Topic).Records
	if len(all) != 6 || lab.Header(all[4], event.RedriveHeader) == "" {
		t.Errorf("%d records", len(all))
	}
	if report := audits(p.Lab, 0); report.Discarded != 1 || report.DeadLettered != 0 || report.Missing != 0 || report.Redriven != 1 {
		t.Errorf("%+v", report)
	}
	p.Stopped(r, 0)
}

// A discarded letter leaves what was parked behind it parked: the first of it is
// the new head, until it is redriven.
func TestDiscardedHead(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key")
	r := p.Start()
	p.commit("!a", "a", "b")
	p.commit("a", "!b")
	p.relayed(r)
	list := p.letters()
	if list.Dead != 2 || list.Parked != 2 {
		t.Fatalf("%+v", list)
	}
	p.Command("dlq", "discard", list.Letters[0].ID, "--yes").Exits(0).Says("1 dead letters and 2 parked events left", "dlq redrive --state parked")
	p.commit("a")
	p.relayed(r)
	p.has(map[string]int{"a": 0, "b": 1})
	if list = p.letters("--key", "a"); list.Fitting != 3 || list.Parked != 3 {
		t.Errorf("%+v", list)
	}
	if done := p.redrives(0, "--key", "a"); done.Redriven != 3 || done.Dead != 1 || done.Parked != 0 {
		t.Errorf("%+v", done)
	}
	p.commit("a", "b")
	p.relayed(r)
	p.has(map[string]int{"a": 4, "b": 1})
	p.Stopped(r, 0)
}

// A letter that fails again, for another reason, says so, and keeps its place: what
// is parked behind it comes after it, although it is written later now.
func TestLetterThatFailsOtherwise(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key")
	r := p.Start()
	p.commit("!a", "a", "!b", "b")
	p.commit("a", "b")
	p.relayed(r)
	sound := p.Conf.Contract
	p.Rewrite(func(c *rig.Config) {
		c.Contract = strings.Replace(sound, "type: assessment.result.published", "type: assessment.result.changed", 1)
	})
	if done := p.redrives(1, "--key", "a"); done.Failed != 1 || done.Waiting != 2 || len(done.Failures) != 1 || done.Failures[0].Class != "unknown_type" {
		t.Errorf("%+v", done)
	}
	list := p.letters("--key", "a")
	if len(list.Letters) != 3 || list.Letters[0].Class != "unknown_type" || list.Letters[0].State != "dead" || list.Letters[0].Offset < list.Letters[2].Offset ||
		list.Letters[1].Behind != list.Letters[0].ID || list.Letters[0].Path != "" {
		t.Fatalf("%+v", list.Letters)
	}
	p.Command("dlq", "show", list.Letters[0].ID).Exits(0).Says("assessment.result.changed", `"normalized_score": 1.2`, "parked behind 2")
	p.Rewrite(func(c *rig.Config) { c.Contract = sound })
	p.mend()
	p.Stopped(r, 0)
	r = p.Start()
	p.commit("a", "b")
	if done := p.redrives(0, "--all"); done.Redriven < 6 || done.Dead+done.Parked != 0 {
		t.Errorf("%+v", done)
	}
	p.relayed(r)
	p.whole()
	p.Stopped(r, 0)
}

// None of an event's forms is published when one cannot be, and all are when it is
// redriven; logical messages are dead letters like rows.
func TestFormsAndMessagesAsDeadLetters(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key", lab.With(func(c *rig.Config) {
		c.Messages = "events"
		c.Contract = strings.Replace(c.Contract, "    topic_class: lane\n",
			"    topic_class: lane\n    also: [{topic: TOPIC.old, encoding: json, key: [aggregate_id]}]\n", 1)
	}))
	r := p.Start()
	p.commit("a", "!a", "a", "b")
	p.Exec(`select pg_logical_emit_message(true, 'events', '{"event_type": "essay')`)
	p.Exec(`select pg_logical_emit_message(true, 'events', '{"event_type": "no.such", "aggregate_id": "m", "payload": {"x": 1.20}}')`)
	p.relayed(r)
	p.has(map[string]int{"a": 1, "b": 1})
	if n := len(p.Tape(p.Topic + ".old").Records); n != 2 {
		t.Errorf("%d records of the second form", n)
	}
	list := p.letters()
	if list.Dead != 3 || list.Parked != 1 || list.HeldKeys != 3 || len(list.Letters[0].Holds) != 2 {
		t.Fatalf("%+v", list)
	}
	if l := list.Letters[2]; l.Class != "row" || l.Table != "(logical message)" || l.EventType != "" {
		t.Errorf("%+v", l)
	}
	p.Command("dlq", "show", list.Letters[2].ID).Exits(0).Says(`{\"event_type\": \"essay`, "no JSON")
	p.Command("dlq", "show", list.Letters[3].ID).Exits(0).Says(`"x": 1.20`, `aggregate "m"`)
	p.Command("dlq", "discard", "--reason", "row,unknown_type", "--yes").Exits(0).Says("2 letters discarded")
	p.mend()
	p.Stopped(r, 0)
	r = p.Start()
	if done := p.redrives(0, "--all"); done.Redriven != 2 || done.Records != 4 {
		t.Errorf("%+v", done)
	}
	p.commit("a")
	p.relayed(r)
	p.whole()
	p.Topic += ".old"
	p.whole()
	p.Stopped(r, 0)
}

// What is held stays held, whatever the contract says since: the letters are what
// counts.
func TestHoldOutlivesItsPolicy(t *testing.T) {
	p := newPoisoned(t, "dead_letter_and_hold_key")
	r := p.Start()
	p.commit("!a", "b")
	p.relayed(r)
	p.Stopped(r, 0)
	p.Rewrite(func(c *rig.Config) {
		c.Contract = strings.NewReplacer("dead_letter_and_hold_key", "stop", "unknown_event: dead_letter", "unknown_event: stop").Replace(c.Contract)
	})
	r = p.Start()
	p.commit("a", "b")
	p.relayed(r)
	p.has(map[string]int{"a": 0, "b": 2})
	p.mend()
	p.Stopped(r, 0)
	r = p.Start()
	if done := p.redrives(0, "--all"); done.Redriven != 2 || !done.Released {
		t.Errorf("%+v", done)
	}
	p.commit("a")
	p.relayed(r)
	p.whole()
	p.Stopped(r, 0)
}

// More dead letters than the limit are no single events any more.
func TestTooManyDeadLetters(t *testing.T) {
	p := newPoisoned(t, "dead_letter")
	p.Rewrite(func(c *rig.Config) {
		c.Extra = strings.ReplaceAll(c.Extra, "max_share: 1", "max_share: 0.05, at_least: 5")
	})
	r := p.Start()
	for range 10 {
		p.commit("a", "a", "!a")
	}
	p.Gone(r, 1, time.Minute, "5 of the last 15 events cannot be published", "dead_letters: {max_share: 1}", "normalized_score: 1.2 > maximum 1")
	if list := p.letters(); list.Dead != 4 {
		t.Errorf("%d letters were written before the limit", list.Dead)
	}
	// Whoever starts it again gets the same answer, and no more letters.
	p.Gone(p.Launch("run"), 1, time.Minute, "events cannot be published")
	if list := p.letters(); list.Dead != 4 {
		t.Errorf("%d letters after another start", list.Dead)
	}
	p.has(map[string]int{"a": 8}) // of whole transactions
	p.mend()
	r = p.Start()
	p.relayed(r)
	if done := p.redrives(0, "--all"); done.Redriven != 4 {
		t.Errorf("%+v", done)
	}
	p.Stopped(r, 0)
	if n := len(p.Tape(p.Topic).Records); n != 30 {
		t.Errorf("%d records, want 30", n)
	}
}

// The topic has to be there, and one that cannot lose a letter.
func TestDeadLetterTopicIsChecked(t *testing.T) {
	p := newPoisoned(t, "dead_letter")
	p.Stopped(p.Start(), 0)
	topic := p.ID + "." + p.Pipeline() + ".dead-letters"
	p.Alter(topic, "cleanup.policy", "compact,delete")
	p.Gone(p.Launch("run"), 3, time.Minute, topic, "exactly compact", "--add-config cleanup.policy=compact")
	p.Command("doctor").Exits(3).Says(topic, "compact")
	p.Alter(topic, "cleanup.policy", "compact")
	p.Check(p.Kafka.DeleteTopic(p.Ctx(time.Minute), topic))
	p.Rewrite(func(c *rig.Config) { c.Environment = "production" })
	p.Gone(p.Launch("run"), 3, time.Minute, topic, "cdc-relay topics apply")
	p.Command("topics", "apply").Exits(0).Says(topic, "created")
	r := p.Start()
	p.commit("!a")
	p.relayed(r)
	p.Command("doctor").Says("1 dead letters", "cdc-relay dlq list")
	p.Stopped(r, 0)
}

// The page is followed word by word: its contract and configuration are those of
// the relay, its commands are run as they stand.
func TestDeadLettersPage(t *testing.T) {
	page := func(name string) string {
		text, err := rig.Example("docs/dead-letters.md", name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	p := newPoisoned(t, "dead_letter")
	p.Topic = p.ID + ".assessment.result.published.v1"
	p.Rewrite(func(c *rig.Config) {
		c.Contract = strings.ReplaceAll(page("contract"), "huleedu", p.ID)
		c.Extra = page("configuration") + "idle_checkpoint: {interval: 300ms}\n"
	})
	bin := t.TempDir()
	p.Check(os.Symlink(lab.Binary, filepath.Join(bin, "cdc-relay")))
	r := p.Start()
	p.commit("a", "!a", "a", "b")
	p.relayed(r)
	p.has(map[string]int{"a": 1, "b": 1})
	p.mend()
	p.Stopped(r, 0)
	r = p.Start()
	cmd := exec.CommandContext(p.Ctx(2*time.Minute), "sh", "-ec", page("redrive"))
	cmd.Dir, cmd.Env = p.Dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	for _, part := range []string{"1 dead letters, 1 events parked", "2 letters would be redriven", "2 letters redriven", "sound"} {
		if err != nil || !strings.Contains(string(out), part) {
			t.Fatalf("does not say %q: %v\n%s", part, err, out)
		}
	}
	got := map[string]int{}
	for _, rec := range p.Tape(p.Topic).Records {
		got[string(rec.Key)]++
	}
	if got["a"] != 3 || got["b"] != 1 {
		t.Errorf("published: %v", got)
	}
	p.Stopped(r, 0)
}
