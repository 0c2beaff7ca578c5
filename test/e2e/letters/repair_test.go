package letters

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// repairs runs a repair and demands its exit code.
func repairs(l *lab.Lab, code int, args ...string) fleet.Repair {
	l.Helper()
	c := l.Command(append([]string{"repair", "-o", "json"}, args...)...).Exits(code)
	var r fleet.Repair
	if err := json.Unmarshal([]byte(c.Out), &r); err != nil {
		l.Fatalf("%v: %s", err, c)
	}
	return r
}

// gap publishes transactions of some size that no slot will bring: the relay is
// down, and its slot is made anew behind them.
func gap(n *lab.Lane, transactions, size int) []rig.Event {
	n.Helper()
	var all []rig.Event
	for range transactions {
		var rows []outbox.Event
		for range size {
			e := n.Next()
			all, rows = append(all, e), append(rows, e.Outbox())
		}
		n.Check(pgx.BeginFunc(n.Ctx(time.Minute), n.DB, func(tx pgx.Tx) error { return outbox.Publish(n.Context(), tx, rows...) }))
	}
	n.Command("slots", "recreate", "--accept-gap").Exits(0)
	return all
}

// healed demands that the topic holds the events of before, then, marked, those
// of the gap in the order of their commits, each once.
func healed(n *lab.Lane, t *lab.Tape, gap []rig.Event) {
	n.Helper()
	var repaired, others []string
	values := map[string]int{}
	for _, r := range t.Records {
		id := lab.Header(r, "event_id")
		values[id]++
		if lab.Header(r, event.RepairHeader) == "" {
			others = append(others, id)
			continue
		}
		repaired = append(repaired, id)
		if age := time.Since(r.Timestamp); age < 0 || age > 5*time.Minute {
			n.Errorf("record of a repair with time %s: want the time of producing", r.Timestamp)
		}
	}
	for id, times := range values {
		if times != 1 {
			n.Errorf("event %s is there %d times", id, times)
		}
	}
	var want []string
	for _, e := range gap {
		want = append(want, e.ID)
	}
	if !slices.Equal(repaired, want) {
		n.Errorf("repaired %d records, want %d:\n %v\n %v", len(repaired), len(want), repaired, want)
	}
	n.Same(others)
	// What a repair makes of a row is what the relay would have made.
	byID := map[string]rig.Event{}
	for _, e := range slices.Concat(n.Want, gap) {
		byID[e.ID] = e
	}
	dec, err := rig.NewDecoder(n.SR.URL())
	n.Check(err)
	for _, r := range t.Records {
		e := byID[lab.Header(r, "event_id")]
		v, err := dec.Decode(n.Ctx(time.Minute), r.Value)
		n.Check(err)
		if meta, _ := v["metadata"].(map[string]any); string(r.Key) != e.Key || meta["seq"] != fmt.Sprint(e.Seq) || lab.Header(r, "event_type") != e.Type {
			n.Errorf("event %+v: key %s, value %v", e, r.Key, v)
		}
	}
}

// A gap is healed with no duplicate, once: first shown, then refused while the
// relay is behind, then produced, and the second time there is nothing to do.
func TestRepairHealsAGap(t *testing.T) {
	n := lab.NewLane(t, lab.With(often))
	r := n.Start()
	n.Publish(6)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	gap := gap(n, 4, 3)
	n.Publish(2) // under way

	n.Command("repair").Exits(2).Says("--dry-run", "next: cdc-relay repair --dry-run")
	n.Command("repair", "--dry-run", "--yes").Exits(2)
	n.Command("repair", "--yes", "--wait", "0s").Exits(3).Says("would be published twice", "cdc-relay run")
	if got := n.Tape(n.Topic); len(got.Records) != 6 {
		t.Fatalf("%d records after a refused repair, want 6", len(got.Records))
	}

	r = n.Start()
	n.Arrived(n.Reader(n.Topic))
	plan := repairs(n.Lab, 0, "--dry-run")
	if plan.Produced != 0 || plan.ID != "" || !maps.Equal(plan.Topics, map[string]int64{n.Topic: 12}) || plan.Before.Missing != 12 || plan.After != nil {
		t.Errorf("dry run: %+v", plan)
	}
	n.Command("repair", "--dry-run").Exits(0).Says("12 records missing", "topic "+n.Topic, "event_id "+gap[0].ID, "nothing was produced", "cdc-relay repair --yes")
	if got := n.Tape(n.Topic); len(got.Records) != 8 {
		t.Fatalf("%d records after a dry run, want 8", len(got.Records))
	}

	done := repairs(n.Lab, 0, "--yes")
	if done.Produced != 12 || !done.Healed || done.After == nil || done.After.Repaired != 12 {
		t.Errorf("repair: %+v", done)
	}
	n.Publish(3) // the relay goes on
	n.Delivered(n.Reader(n.Topic), 23, time.Minute)
	healed(n, n.Tape(n.Topic), gap)
	if rep := audits(n.Lab, 0); rep.Repaired != 12 || rep.Missing+rep.Duplicate+rep.OutOfOrder != 0 {
		t.Errorf("audit after the repair: %+v", rep)
	}
	again := repairs(n.Lab, 0, "--yes")
	if again.Produced != 0 || !again.Healed {
		t.Errorf("a second repair: %+v", again)
	}
	n.Command("repair", "--yes").Exits(0).Says("nothing to repair")
	healed(n, n.Tape(n.Topic), gap)
	n.Command("checkpoint", "show").Exits(0).Says("streaming")
	n.Stopped(r, 0)
}

// Killed in the middle, and run again while services write and the relay
// publishes; and one more beside it, which fences it: each event is there once.
func TestRepairKilledInTheMiddle(t *testing.T) {
	n := lab.NewLane(t, lab.With(often), lab.With(func(c *rig.Config) { c.Extra += "batch: {events: 5}\n" }))
	r := n.Start()
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	gap := gap(n, 400, 5)
	r = n.Start()
	n.Publish(2)

	reader := n.Reader(n.Topic)
	repaired := func() int {
		c := 0
		for i := range reader.All {
			if reader.All[i].Headers[event.RepairHeader] != "" {
				c++
			}
		}
		return c
	}
	first := n.Launch("repair", "--yes")
	n.Check(reader.Read(n.Ctx(time.Minute), func(int) bool { return repaired() >= 50 }))
	first.Kill()
	if got := repaired(); got >= len(gap) {
		t.Fatalf("the kill came too late: %d records were produced", got)
	}
	second := n.Launch("repair", "--yes")
	n.Check(reader.Read(n.Ctx(time.Minute), func(int) bool { return repaired() >= 250 }))
	n.Publish(5)
	n.Rewrite(func(c *rig.Config) { c.Extra = strings.Replace(c.Extra, "events: 5", "events: 500", 1) })
	done := repairs(n.Lab, 0, "--yes")
	n.Gone(second, 4, time.Minute, "fenced")
	if !done.Healed || done.Produced == 0 || done.Produced >= int64(len(gap)) {
		done.Before, done.After = nil, nil
		t.Errorf("the last repair: %+v", done)
	}
	n.Publish(5)
	n.Delivered(reader, len(n.Want)+len(gap), time.Minute)
	healed(n, n.Tape(n.Topic), gap)
	n.Stopped(r, 0)
}

// Of an event with two forms of which one is missing, only that one is produced;
// a row nothing can be made of is named and left alone. The order of commits is
// known where Postgres keeps it.
func TestRepairOfOneForm(t *testing.T) {
	const contract = `unknown_event: stop
events:
  - type: essay.state.changed
    topic: TOPIC
    key: [aggregate_id]
    schema: EssayStateChangedEvent
    encoding: avro
    topic_class: lane
    also: [{topic: TOPIC.json, encoding: json, topic_class: lane}]
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`
	one := strings.Replace(contract, "    also: [{topic: TOPIC.json, encoding: json, topic_class: lane}]\n", "", 1)
	n := lab.NewLane(t, lab.With(often), lab.OwnPostgres(stack.Setting("track_commit_timestamp", "on")), lab.With(func(c *rig.Config) { c.Contract = one }))
	r := n.Start()
	n.Publish(4)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	n.Rewrite(func(c *rig.Config) { c.Contract = strings.ReplaceAll(contract, "TOPIC", n.Topic) })
	r = n.Start()
	n.Publish(2)
	n.Arrived(n.Reader(n.Topic))
	// A transaction that began first and commits last.
	rep := audits(n.Lab, 3)
	if rep.Missing != 4 || rep.ExpectedRecords != 12 || !rep.CommitTimestamps {
		t.Errorf("one form is missing: %+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.Missing && (d.Topic != n.Topic+".json" || d.Commit == "") {
			t.Errorf("%+v", d)
		}
	}
	done := repairs(n.Lab, 0, "--yes")
	if done.Produced != 4 || !done.Healed || done.Order != "commit_time" || !maps.Equal(done.Topics, map[string]int64{n.Topic + ".json": 4}) {
		t.Errorf("%+v", done)
	}
	n.Same(n.Tape(n.Topic).IDs()) // as it was
	var want []string
	for _, e := range slices.Concat(n.Want[4:], n.Want[:4]) {
		want = append(want, e.ID)
	}
	if got := n.Tape(n.Topic + ".json").IDs(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	n.Stopped(r, 0)
}
