package e2e

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
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// repairs runs a repair and demands its exit code.
func (l *lab) repairs(code int, args ...string) fleet.Repair {
	l.Helper()
	c := l.run(append([]string{"repair", "-o", "json"}, args...)...).exits(code)
	var r fleet.Repair
	if err := json.Unmarshal([]byte(c.out), &r); err != nil {
		l.Fatalf("%v: %s", err, c)
	}
	return r
}

// gap publishes transactions of some size that no slot will bring: the relay is
// down, and its slot is made anew behind them.
func (n *lane) gap(transactions, size int) []rig.Event {
	n.Helper()
	var all []rig.Event
	for range transactions {
		var rows []outbox.Event
		for range size {
			e := n.next()
			all, rows = append(all, e), append(rows, e.Outbox())
		}
		n.check(pgx.BeginFunc(n.ctx(time.Minute), n.db, func(tx pgx.Tx) error { return outbox.Publish(n.Context(), tx, rows...) }))
	}
	n.run("slots", "recreate", "--accept-gap").exits(0)
	return all
}

// healed demands that the topic holds the events of before, then, marked, those
// of the gap in the order of their commits, each once.
func (n *lane) healed(t *tape, gap []rig.Event) {
	n.Helper()
	var repaired, others []string
	values := map[string]int{}
	for _, r := range t.records {
		id := header(r, "event_id")
		values[id]++
		if header(r, event.RepairHeader) == "" {
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
	n.same(others)
	// What a repair makes of a row is what the relay would have made.
	byID := map[string]rig.Event{}
	for _, e := range slices.Concat(n.want, gap) {
		byID[e.ID] = e
	}
	dec, err := rig.NewDecoder(n.sr.URL())
	n.check(err)
	for _, r := range t.records {
		e := byID[header(r, "event_id")]
		v, err := dec.Decode(n.ctx(time.Minute), r.Value)
		n.check(err)
		if meta, _ := v["metadata"].(map[string]any); string(r.Key) != e.Key || meta["seq"] != fmt.Sprint(e.Seq) || header(r, "event_type") != e.Type {
			n.Errorf("event %+v: key %s, value %v", e, r.Key, v)
		}
	}
}

// A gap is healed with no duplicate, once: first shown, then refused while the
// relay is behind, then produced, and the second time there is nothing to do.
func TestRepairHealsAGap(t *testing.T) {
	n := newLane(t, with(often))
	r := n.start()
	n.publish(6)
	n.arrived(n.reader(n.topic))
	n.stopped(r, 0)
	gap := n.gap(4, 3)
	n.publish(2) // under way

	n.run("repair").exits(2).says("--dry-run", "next: cdc-relay repair --dry-run")
	n.run("repair", "--dry-run", "--yes").exits(2)
	n.run("repair", "--yes", "--wait", "0s").exits(3).says("would be published twice", "cdc-relay run")
	if got := n.tape(n.topic); len(got.records) != 6 {
		t.Fatalf("%d records after a refused repair, want 6", len(got.records))
	}

	r = n.start()
	n.arrived(n.reader(n.topic))
	plan := n.repairs(0, "--dry-run")
	if plan.Produced != 0 || plan.ID != "" || !maps.Equal(plan.Topics, map[string]int64{n.topic: 12}) || plan.Before.Missing != 12 || plan.After != nil {
		t.Errorf("dry run: %+v", plan)
	}
	n.run("repair", "--dry-run").exits(0).says("12 records missing", "topic "+n.topic, "event_id "+gap[0].ID, "nothing was produced", "cdc-relay repair --yes")
	if got := n.tape(n.topic); len(got.records) != 8 {
		t.Fatalf("%d records after a dry run, want 8", len(got.records))
	}

	done := n.repairs(0, "--yes")
	if done.Produced != 12 || !done.Healed || done.After == nil || done.After.Repaired != 12 {
		t.Errorf("repair: %+v", done)
	}
	n.publish(3) // the relay goes on
	n.delivered(n.reader(n.topic), 23, time.Minute)
	n.healed(n.tape(n.topic), gap)
	if rep := n.audits(0); rep.Repaired != 12 || rep.Missing+rep.Duplicate+rep.OutOfOrder != 0 {
		t.Errorf("audit after the repair: %+v", rep)
	}
	again := n.repairs(0, "--yes")
	if again.Produced != 0 || !again.Healed {
		t.Errorf("a second repair: %+v", again)
	}
	n.run("repair", "--yes").exits(0).says("nothing to repair")
	n.healed(n.tape(n.topic), gap)
	n.run("checkpoint", "show").exits(0).says("streaming")
	n.stopped(r, 0)
}

// Killed in the middle, and run again while services write and the relay
// publishes; and one more beside it, which fences it: each event is there once.
func TestRepairKilledInTheMiddle(t *testing.T) {
	n := newLane(t, with(often), with(func(c *rig.Config) { c.Extra += "batch: {events: 5}\n" }))
	r := n.start()
	n.publish(3)
	n.arrived(n.reader(n.topic))
	n.stopped(r, 0)
	gap := n.gap(400, 5)
	r = n.start()
	n.publish(2)

	reader := n.reader(n.topic)
	repaired := func() int {
		c := 0
		for i := range reader.All {
			if reader.All[i].Headers[event.RepairHeader] != "" {
				c++
			}
		}
		return c
	}
	first := n.launch("repair", "--yes")
	n.check(reader.Read(n.ctx(time.Minute), func(int) bool { return repaired() >= 50 }))
	first.Kill()
	if got := repaired(); got >= len(gap) {
		t.Fatalf("the kill came too late: %d records were produced", got)
	}
	second := n.launch("repair", "--yes")
	n.check(reader.Read(n.ctx(time.Minute), func(int) bool { return repaired() >= 250 }))
	n.publish(5)
	n.rewrite(func(c *rig.Config) { c.Extra = strings.Replace(c.Extra, "events: 5", "events: 500", 1) })
	done := n.repairs(0, "--yes")
	n.gone(second, 4, time.Minute, "fenced")
	if !done.Healed || done.Produced == 0 || done.Produced >= int64(len(gap)) {
		done.Before, done.After = nil, nil
		t.Errorf("the last repair: %+v", done)
	}
	n.publish(5)
	n.delivered(reader, len(n.want)+len(gap), time.Minute)
	n.healed(n.tape(n.topic), gap)
	n.stopped(r, 0)
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
	n := newLane(t, with(often), ownPostgres(stack.Setting("track_commit_timestamp", "on")), with(func(c *rig.Config) { c.Contract = one }))
	r := n.start()
	n.publish(4)
	n.arrived(n.reader(n.topic))
	n.stopped(r, 0)
	n.rewrite(func(c *rig.Config) { c.Contract = strings.ReplaceAll(contract, "TOPIC", n.topic) })
	r = n.start()
	n.publish(2)
	n.arrived(n.reader(n.topic))
	// A transaction that began first and commits last.
	rep := n.audits(3)
	if rep.Missing != 4 || rep.ExpectedRecords != 12 || !rep.CommitTimestamps {
		t.Errorf("one form is missing: %+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.Missing && (d.Topic != n.topic+".json" || d.Commit == "") {
			t.Errorf("%+v", d)
		}
	}
	done := n.repairs(0, "--yes")
	if done.Produced != 4 || !done.Healed || done.Order != "commit_time" || !maps.Equal(done.Topics, map[string]int64{n.topic + ".json": 4}) {
		t.Errorf("%+v", done)
	}
	n.same(n.tape(n.topic).ids()) // as it was
	var want []string
	for _, e := range slices.Concat(n.want[4:], n.want[:4]) {
		want = append(want, e.ID)
	}
	if got := n.tape(n.topic + ".json").ids(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	n.stopped(r, 0)
}
