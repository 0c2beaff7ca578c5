package faults

import (
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// replayHeader marks a record that was published once more.
const replayHeader = "cdc_replay_id"

// A range is published once more while new events come in, and the relay is
// killed in the middle of it: the range is there exactly once more under its
// cdc_replay_id, the live stream exactly once, and starting again with the same
// flags does not publish the range a third time.
func TestReplayOfARangeUnderLoad(t *testing.T) {
	l := lab.New(t, lab.With(func(c *rig.Config) { c.Extra += "batch: {events: 20}\nidle_checkpoint: {interval: 500ms}\n" }))
	r := l.Start()
	reader := l.Reader()
	l.Writes("before", 100)
	l.Delivered(reader, 100, time.Minute)

	// Everything before is acknowledged: the anchor copies the slot as it is.
	l.Acknowledged()
	out := l.Command("slots", "anchor", "release").Exits(0).Says("anchor release keeps the log from").Out
	from := lab.WordAfter(t, out, "--from-lsn ")
	l.Command("slots", "list").Exits(0).Says("anchor release")

	inRange := *l
	inRange.Truth = rig.NewTruth()
	inRange.Writes("range", 2000)
	to := l.Flushed().String()
	l.Writes("after", 100)
	l.Delivered(reader, 2200, time.Minute)
	l.Stops(r)

	flags := []string{"--from-lsn", from, "--to-lsn", to}
	w := l.Traffic("load", 20*time.Millisecond)
	r = l.Launch(append([]string{"run"}, flags...)...)
	l.Logged(r, "msg=replaying", time.Minute)
	l.Check(reader.Read(l.Ctx(time.Minute), func(int) bool { return replayed(reader) >= 300 }))
	r.Kill()
	if n := replayed(reader); n >= 2000 {
		t.Fatalf("the kill came too late: %d events were published again", n)
	}
	r = l.Launch(append([]string{"run"}, flags...)...)
	l.Logged(r, "replay done", time.Minute)
	l.Check(r.Ready(l.Ctx(time.Minute)))
	l.Wrote(50)
	w.End()
	twice(l, reader, &inRange)
	l.Stops(r)

	// The same command line again, as a container's is: the range is done, even
	// without its anchor.
	l.Command("slots", "anchor", "release", "--drop").Exits(0).Says("dropped anchor release")
	r = l.Start(flags...)
	l.Logged(r, "this range was replayed before; going on with the live stream", time.Second)
	l.Writes("bye", 50)
	twice(l, reader, &inRange)
	l.Stops(r)
	if n := l.Ask("select count(*)::text from pg_replication_slots where database = current_database()"); n != "1" {
		t.Errorf("%s slots are left, want the pipeline's own", n)
	}
	l.Command("slots", "anchor", "release", "--drop").Exits(3).Says(`has no anchor "release"`)
}

// A range that no anchor keeps is refused, naming the earliest LSN there is.
func TestReplayOutOfRange(t *testing.T) {
	l := lab.New(t, lab.With(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" }))
	r := l.Start()
	reader := l.Reader()
	l.Gone(l.Launch("run", "--from-lsn", "0/1"), 3, 30*time.Second, "has not published anything yet")
	l.Writes("a", 20)
	l.Delivered(reader, 20, time.Minute)
	l.Gone(l.Launch("run", "--from-lsn", "0/1"), 3, 30*time.Second, "has no anchor", "cdc-relay slots anchor NAME")
	l.Acknowledged()
	from := lab.WordAfter(t, l.Command("slots", "anchor", "one").Exits(0).Out, "--from-lsn ")
	l.Gone(l.Launch("run", "--from-lsn", from), 3, 30*time.Second, "is empty", "the last published transaction committed at")
	l.Writes("bb", 20)
	l.Delivered(reader, 40, time.Minute)
	l.Gone(l.Launch("run", "--from-lsn", "0/1"), 3, 30*time.Second, "0/1 is out of range: the earliest LSN an anchor of slot "+l.Slot()+" keeps is "+from, "cdc-relay run --from-lsn "+from)
	l.Gone(l.Launch("run", "--from-lsn", "F/0"), 3, 30*time.Second, "is empty")
	l.Command("slots", "anchor", "One!").Exits(2).Says("want lower-case letters, digits and underscores")
	if n := l.Restarts(r); n != 0 {
		t.Errorf("the relay at work was disturbed: %d restarts\n%s", n, r.Log())
	}
	l.Stops(r)
}

// replayed is how many of the records were published once more.
func replayed(r *rig.Reader) int {
	n := 0
	for i := range r.All {
		if r.All[i].Headers[replayHeader] != "" {
			n++
		}
	}
	return n
}

// twice demands that everything was published once, and what inRange wrote once
// more under one cdc_replay_id.
func twice(l *lab.Lab, r *rig.Reader, inRange *lab.Lab) {
	l.Helper()
	l.Delivered(r, l.Truth.Committed()+2*inRange.Truth.Committed(), time.Minute)
	l.Check(r.Settle(l.Ctx(time.Minute), time.Second))
	var live, ranged, again []rig.Record
	ids := map[string]bool{}
	for _, rec := range r.All {
		id := rec.Headers[replayHeader]
		switch {
		case id != "":
			ids[id] = true
			again = append(again, rec)
		case inRange.Truth.Has(rec.Headers["event_id"]):
			ranged = append(ranged, rec)
		default:
			live = append(live, rec)
		}
	}
	if len(ids) != 1 {
		l.Errorf("replay ids %v, want one", ids)
	}
	dec, err := rig.NewDecoder(l.SR.URL())
	l.Check(err)
	for _, part := range []struct {
		name    string
		truth   *rig.Truth
		records []rig.Record
	}{{"live", l.Truth, live}, {"range, live", inRange.Truth, ranged}, {"range, again", inRange.Truth, again}} {
		report, err := rig.Check(l.Ctx(time.Minute), part.truth, part.records, dec)
		l.Check(err)
		if !report.Exact() {
			l.Errorf("%s: %s", part.name, report)
		}
	}
}
