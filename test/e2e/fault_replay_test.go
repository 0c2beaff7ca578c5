package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// replayHeader marks a record that was published once more.
const replayHeader = "cdc_replay_id"

// A range is published once more while new events come in, and the relay is
// killed in the middle of it: the range is there exactly once more under its
// cdc_replay_id, the live stream exactly once, and starting again with the same
// flags does not publish the range a third time.
func TestReplayOfARangeUnderLoad(t *testing.T) {
	l := newLab(t, with(func(c *rig.Config) { c.Extra += "batch: {events: 20}\nidle_checkpoint: {interval: 500ms}\n" }))
	r := l.start()
	reader := l.reader()
	l.writes("before", 100)
	l.delivered(reader, 100, time.Minute)

	// Everything before is acknowledged: the anchor copies the slot as it is.
	l.acknowledged()
	out := l.run("slots", "anchor", "release").exits(0).says("anchor release keeps the log from").out
	from := wordAfter(t, out, "--from-lsn ")
	l.run("slots", "list").exits(0).says("anchor release")

	inRange := *l
	inRange.truth = rig.NewTruth()
	inRange.writes("range", 2000)
	to := l.flushed().String()
	l.writes("after", 100)
	l.delivered(reader, 2200, time.Minute)
	l.stops(r)

	flags := []string{"--from-lsn", from, "--to-lsn", to}
	w := l.traffic("load", 20*time.Millisecond)
	r = l.launch(append([]string{"run"}, flags...)...)
	l.logged(r, "msg=replaying", time.Minute)
	l.check(reader.Read(l.ctx(time.Minute), func(int) bool { return replayed(reader) >= 300 }))
	r.Kill()
	if n := replayed(reader); n >= 2000 {
		t.Fatalf("the kill came too late: %d events were published again", n)
	}
	r = l.launch(append([]string{"run"}, flags...)...)
	l.logged(r, "replay done", time.Minute)
	l.check(r.Ready(l.ctx(time.Minute)))
	l.wrote(50)
	w.end()
	l.twice(reader, &inRange)
	l.stops(r)

	// The same command line again, as a container's is: the range is done, even
	// without its anchor.
	l.run("slots", "anchor", "release", "--drop").exits(0).says("dropped anchor release")
	r = l.start(flags...)
	l.logged(r, "this range was replayed before; going on with the live stream", time.Second)
	l.writes("bye", 50)
	l.twice(reader, &inRange)
	l.stops(r)
	if n := l.ask("select count(*)::text from pg_replication_slots where database = current_database()"); n != "1" {
		t.Errorf("%s slots are left, want the pipeline's own", n)
	}
	l.run("slots", "anchor", "release", "--drop").exits(3).says(`has no anchor "release"`)
}

// A range that no anchor keeps is refused, naming the earliest LSN there is.
func TestReplayOutOfRange(t *testing.T) {
	l := newLab(t, with(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" }))
	r := l.start()
	reader := l.reader()
	l.gone(l.launch("run", "--from-lsn", "0/1"), 3, 30*time.Second, "has not published anything yet")
	l.writes("a", 20)
	l.delivered(reader, 20, time.Minute)
	l.gone(l.launch("run", "--from-lsn", "0/1"), 3, 30*time.Second, "has no anchor", "cdc-relay slots anchor NAME")
	l.acknowledged()
	from := wordAfter(t, l.run("slots", "anchor", "one").exits(0).out, "--from-lsn ")
	l.gone(l.launch("run", "--from-lsn", from), 3, 30*time.Second, "is empty", "the last published transaction committed at")
	l.writes("bb", 20)
	l.delivered(reader, 40, time.Minute)
	l.gone(l.launch("run", "--from-lsn", "0/1"), 3, 30*time.Second, "0/1 is out of range: the earliest LSN an anchor of slot "+l.slot()+" keeps is "+from, "cdc-relay run --from-lsn "+from)
	l.gone(l.launch("run", "--from-lsn", "F/0"), 3, 30*time.Second, "is empty")
	l.run("slots", "anchor", "One!").exits(2).says("want lower-case letters, digits and underscores")
	if n := l.restarts(r); n != 0 {
		t.Errorf("the relay at work was disturbed: %d restarts\n%s", n, r.Log())
	}
	l.stops(r)
}

// acknowledged waits until the slot has confirmed all there is now.
func (l *lab) acknowledged() {
	l.Helper()
	end := l.flushed()
	l.soon(time.Minute, "all is acknowledged", func() bool { return l.confirmed() >= end })
}

// flushed is the end of the server's write-ahead log.
func (l *lab) flushed() event.LSN {
	l.Helper()
	return l.lsn("select pg_current_wal_flush_lsn()::text")
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
func (l *lab) twice(r *rig.Reader, inRange *lab) {
	l.Helper()
	l.delivered(r, l.truth.Committed()+2*inRange.truth.Committed(), time.Minute)
	l.check(r.Settle(l.ctx(time.Minute), time.Second))
	var live, ranged, again []rig.Record
	ids := map[string]bool{}
	for _, rec := range r.All {
		id := rec.Headers[replayHeader]
		switch {
		case id != "":
			ids[id] = true
			again = append(again, rec)
		case inRange.truth.Has(rec.Headers["event_id"]):
			ranged = append(ranged, rec)
		default:
			live = append(live, rec)
		}
	}
	if len(ids) != 1 {
		l.Errorf("replay ids %v, want one", ids)
	}
	dec, err := rig.NewDecoder(l.sr.URL())
	l.check(err)
	for _, part := range []struct {
		name    string
		truth   *rig.Truth
		records []rig.Record
	}{{"live", l.truth, live}, {"range, live", inRange.truth, ranged}, {"range, again", inRange.truth, again}} {
		report, err := rig.Check(l.ctx(time.Minute), part.truth, part.records, dec)
		l.check(err)
		if !report.Exact() {
			l.Errorf("%s: %s", part.name, report)
		}
	}
}

// wordAfter is the word in text that follows mark.
func wordAfter(t *testing.T, text, mark string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, mark)
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		t.Fatalf("no %q in:\n%s", mark, text)
	}
	return words[0]
}
