package transform

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

const lettersTopic = "svc.dead-letters"

// lettered compiles events() with a policy for all of them.
func lettered(t testing.TB, policy string, change func(*setup)) *Transformer {
	t.Helper()
	return transformer(t, func(s *setup) {
		s.file.Defaults.OnError = policy
		s.opts.DeadLetters = &DeadLetters{Topic: lettersTopic, RelayVersion: "v9", Limit: deadletter.Limit{Share: 1, Window: 1000, AtLeast: 1000}}
		if change != nil {
			change(s)
		}
	})
}

// letterOf reads the one record of a row that has to be a letter.
func letterOf(t testing.TB, tr *Transformer, m *event.Msg) (deadletter.Letter, event.Msg) {
	t.Helper()
	r := one(t, tr, m)
	if *r.Topic != lettersTopic {
		t.Fatalf("published to %s: %s", *r.Topic, r.Value)
	}
	l, err := deadletter.Parse(r.Key, r.Headers, false)
	if err != nil {
		t.Fatal(err)
	}
	var rows deadletter.Rows
	back, err := rows.Message(&l, r.Value)
	if err != nil {
		t.Fatal(err)
	}
	return l, back
}

func TestALetterSaysEverything(t *testing.T) {
	t.Parallel()
	reg := (*setup)(nil)
	tr := lettered(t, "dead_letter", func(s *setup) { reg = s })
	row := fine()
	row.payload = `{"data":{"job":"job-7"},"bad":1.20}`
	l, back := letterOf(t, tr, row.msg(nativeTable()))
	want := deadletter.Letter{
		ID: l.ID, State: deadletter.Dead, Policy: "dead_letter", Class: "schema",
		Reason: "the payload breaks its schema ResultV1 (topic results.v1): data.score: 1.2 > maximum 1", Next: l.Next,
		EventType: "result.published", EventID: rowID, RowID: rowID, Key: "job-7", Table: "cdc_relay.outbox",
		Pos: event.Position{Commit: 0x16B3748, Ord: 3}, XID: 742, Commit: commitTime, Database: "essays", Relay: "v9", First: -1,
		Share: deadletter.Share{Dead: 1, Seen: 1},
	}
	if fmt.Sprint(l) != fmt.Sprint(want) || !strings.HasPrefix(l.ID, "0/16B3748/3-") || !strings.Contains(l.Next, "ResultV1.avsc") {
		t.Errorf("\n got %+v\nwant %+v", l, want)
	}
	again := row.msg(nativeTable())
	if fmt.Sprintf("%q", back.Cols) != fmt.Sprintf("%q", again.Cols) || back.Time != again.Time || back.XID != again.XID || back.Pos != again.Pos {
		t.Errorf("the row became %q, was %q", back.Cols, again.Cols)
	}
	if n := testutil.ToFloat64(tr.metrics.letters.WithLabelValues("svc", "result.published", "schema")); n != 1 {
		t.Errorf("cdc_relay_dead_letters_total = %v", n)
	}
	if _, err := testutil.GatherAndCount(reg.reg, "cdc_relay_dead_letters_total"); err != nil {
		t.Error(err)
	}
}

// An audit finds a letter by the id its record has, whatever headers the event
// has, and whether it is bad or parked behind one that is.
func TestLettersHaveTheIDOfTheirRecord(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*contract.Event){
		"native":   func(*contract.Event) {},
		"debezium": func(e *contract.Event) { e.Headers.Preset = "debezium" },
		"added": func(e *contract.Event) {
			e.Headers.Preset, e.Headers.Add = "debezium", map[string][]string{"event_id": {"payload.data.own"}}
		},
	} {
		for _, headers := range []string{"", `{"id":"given"}`, `{"event_id":"theirs","id":"given"}`} {
			tr := lettered(t, "dead_letter_and_hold_key", func(s *setup) { change(&s.file.Events[0]) })
			row := fine()
			row.payload, row.headers = `{"data":{"job":"free","own":"mine"}}`, headers
			ids := map[string]string{}
			for _, h := range one(t, tr, row.msg(nativeTable())).Headers {
				ids[h.Key] = string(h.Value)
			}
			want := cmp.Or(ids["event_id"], ids["id"])
			row.payload = `{"data":{"job":"held","own":"mine"},"bad":1}`
			bad, _ := letterOf(t, tr, row.msg(nativeTable()))
			row.payload = `{"data":{"job":"held","own":"mine"}}`
			parked, _ := letterOf(t, tr, row.msg(nativeTable()))
			if want == "" || bad.EventID != want || parked.EventID != want {
				t.Errorf("%s %s: record %q, dead %q, parked %q", name, headers, want, bad.EventID, parked.EventID)
			}
		}
	}
}

// Everything that stops a pipeline under the policy stop is a letter under
// dead_letter, with a class that says what kind of thing it is.
func TestWhatStopsCanBeALetter(t *testing.T) {
	t.Parallel()
	cases := []struct {
		class  string
		change func(*nativeRow)
	}{
		{"row", func(r *nativeRow) { r.typ = "" }},
		{"unknown_type", func(r *nativeRow) { r.typ = "zzz" }},
		{"headers", func(r *nativeRow) { r.headers = `["x"]` }},
		{"headers", func(r *nativeRow) { r.at = "infinity" }},
		{"topic", func(r *nativeRow) { r.typ = "nowhere" }},
		{"topic", func(r *nativeRow) { r.topic = "a b" }},
		{"schema_version", func(r *nativeRow) { r.payload = `{"schema_version":7}` }},
		{"schema", func(r *nativeRow) { r.payload = `{"bad":1}` }},
		{"schema", func(r *nativeRow) { r.typ, r.payload = "two", `{"bad":1}` }},
		{"size", func(r *nativeRow) { r.typ, r.payload = "raw", `"`+strings.Repeat("x", DefaultMaxBytes)+`"` }},
	}
	for _, policy := range []string{"dead_letter", "dead_letter_and_hold_key"} {
		for _, tc := range cases {
			tr := lettered(t, policy, func(s *setup) { s.file.Unknown = "dead_letter" })
			row := fine()
			tc.change(&row)
			l, _ := letterOf(t, tr, row.msg(nativeTable()))
			if l.Class != tc.class || l.State != deadletter.Dead || l.Policy != policy || l.Reason == "" {
				t.Errorf("%s: %+v", tc.class, l)
			}
			if hold := policy == "dead_letter_and_hold_key"; hold != (len(l.Holds) > 0) {
				t.Errorf("%s under %s holds %v", tc.class, policy, l.Holds)
			}
		}
	}
	// What is about the table, not the row, stops as ever.
	tr := lettered(t, "dead_letter", nil)
	_, err := records(t, tr, insert(table("cdc_relay.outbox", "id*", "event_type", "payload:json"), rowID, "plain", "{}"))
	if event.VerdictOf(err) != event.Stop {
		t.Errorf("a table without columns: %v", err)
	}
	// And so does an unknown type, unless unknown_event says otherwise.
	row := fine()
	row.typ = "zzz"
	if _, err = records(t, tr, row.msg(nativeTable())); event.VerdictOf(err) != event.Stop {
		t.Errorf("unknown type: %v", err)
	}
	// An event with a policy of its own.
	tr = lettered(t, "dead_letter", func(s *setup) { s.file.Events[0].OnError = "stop" })
	row = fine()
	row.payload = `{"bad":1}`
	if _, err = records(t, tr, row.msg(nativeTable())); event.VerdictOf(err) != event.Stop {
		t.Errorf("on_error: stop: %v", err)
	}
}

func TestHoldParksWhatComesLater(t *testing.T) {
	t.Parallel()
	tr := lettered(t, "dead_letter_and_hold_key", func(s *setup) { s.file.Events[1].OnError = "stop" })
	bad := fine()
	bad.payload = `{"data":{"job":"job-7"},"bad":1}`
	head, _ := letterOf(t, tr, bad.msg(nativeTable()))
	if fmt.Sprint(head.Holds) != `[key "job-7" of topic results.v1]` {
		t.Fatalf("holds %v", head.Holds)
	}
	later, _ := letterOf(t, tr, fine().msg(nativeTable()))
	if later.State != deadletter.Parked || later.Behind != head.ID || later.Class != "" || fmt.Sprint(later.Holds) != fmt.Sprint(head.Holds) || later.Key != "job-7" {
		t.Errorf("%+v", later)
	}
	other := fine()
	other.payload = `{"data":{"job":"job-8"}}`
	if r := one(t, tr, other.msg(nativeTable())); *r.Topic != "results.v1" {
		t.Errorf("another key went to %s", *r.Topic)
	}
	elsewhere := fine() // the same key in another topic is another place
	elsewhere.typ, elsewhere.key = "raw", "job-7"
	if r := one(t, tr, elsewhere.msg(nativeTable())); *r.Topic != "raw.v1" {
		t.Errorf("another topic: %s", *r.Topic)
	}
	// Whatever its own policy, an event waits its turn.
	mine := fine()
	mine.typ, mine.topic, mine.key = "plain", "results.v1", "job-7"
	if l, _ := letterOf(t, tr, mine.msg(nativeTable())); l.State != deadletter.Parked || l.Policy != "stop" {
		t.Errorf("%+v", l)
	}
	if n := testutil.ToFloat64(tr.metrics.parked.WithLabelValues("svc", "plain")); n != 1 || testutil.ToFloat64(tr.metrics.held) != 1 {
		t.Errorf("parked %v, held keys %v", n, testutil.ToFloat64(tr.metrics.held))
	}
	// The recovery path forgets what was held only in memory.
	tr.Hold(deadletter.NewHeld(), deadletter.Share{})
	if r := one(t, tr, fine().msg(nativeTable())); *r.Topic != "results.v1" {
		t.Errorf("held although nothing is: %s", *r.Topic)
	}
	held := deadletter.NewHeld()
	held.Add("0/1/1-00000000", []deadletter.Hold{{Topic: "results.v1", Key: "job-7"}})
	tr.Hold(held, deadletter.Share{})
	if l, _ := letterOf(t, tr, fine().msg(nativeTable())); l.Behind != "0/1/1-00000000" {
		t.Errorf("not held after a start: %+v", l)
	}
}

// An event with two forms is parked as a whole, and then holds both places.
func TestFormsAreParkedTogether(t *testing.T) {
	t.Parallel()
	tr := lettered(t, "dead_letter_and_hold_key", nil)
	held := deadletter.NewHeld()
	held.Add("x", []deadletter.Hold{{Topic: "old.v1", Key: "agg-1"}})
	tr.Hold(held, deadletter.Share{})
	row := fine()
	row.typ, row.headers = "two", `{"k":"own"}`
	l, _ := letterOf(t, tr, row.msg(nativeTable()))
	if l.Behind != "x" || fmt.Sprint(l.Holds) != `[key "own" of topic new.v1 key "agg-1" of topic old.v1]` {
		t.Errorf("%+v", l)
	}
	next := fine()
	next.typ, next.aggID, next.headers = "two", "agg-2", `{"k":"own"}`
	if l, _ = letterOf(t, tr, next.msg(nativeTable())); l.Behind == "x" || l.State != deadletter.Parked {
		t.Errorf("overtakes the parked one at new.v1: %+v", l)
	}
}

// Where the key is inside what cannot be read, the aggregate is held.
func TestHoldWithoutAKey(t *testing.T) {
	t.Parallel()
	textTable := table("cdc_relay.outbox", "id*", "aggregate_type", "aggregate_id", "event_type", "topic", "message_key", "headers", "payload", "occurred_at", "created_at")
	tr := lettered(t, "dead_letter_and_hold_key", nil)
	row := fine()
	row.payload = `{"data":{"job":"job-7"}, bad`
	head, _ := letterOf(t, tr, row.msg(textTable))
	if !slices.Contains(head.Holds, deadletter.Hold{Key: "agg-1"}) {
		t.Fatalf("holds %v", head.Holds)
	}
	l, _ := letterOf(t, tr, fine().msg(nativeTable())) // another key, the same aggregate
	if l.Behind != head.ID || !slices.Contains(l.Holds, deadletter.Hold{Topic: "results.v1", Key: "job-7"}) {
		t.Errorf("%+v", l)
	}
	other := fine()
	other.aggID = "agg-2"
	if l, _ = letterOf(t, tr, other.msg(nativeTable())); l.Behind == "" { // of the key the parked one holds
		t.Errorf("%+v", l)
	}
	other.payload = `{"data":{"job":"job-9"}}`
	if r := one(t, tr, other.msg(nativeTable())); *r.Topic != "results.v1" {
		t.Errorf("another aggregate: %s", *r.Topic)
	}
	row.aggID = ""
	if _, err := records(t, tr, row.msg(textTable)); event.VerdictOf(err) != event.Stop || !strings.Contains(err.Error(), "which key to hold") {
		t.Errorf("no key and no aggregate: %v", err)
	}
	// A key the row gives by itself is sure, whatever the payload is.
	row.key = "mine"
	if l, _ = letterOf(t, tr, row.msg(textTable)); fmt.Sprint(l.Holds) != `[key "mine" of topic results.v1]` {
		t.Errorf("holds %v", l.Holds)
	}
	// Unknown types have no topic.
	tr = lettered(t, "dead_letter_and_hold_key", func(s *setup) { s.file.Unknown = "dead_letter" })
	row = fine()
	row.typ = "zzz"
	if l, _ = letterOf(t, tr, row.msg(nativeTable())); fmt.Sprint(l.Holds) != `[aggregate "agg-1"]` {
		t.Errorf("holds %v", l.Holds)
	}
}

func TestTooManyLettersStop(t *testing.T) {
	t.Parallel()
	tr := lettered(t, "dead_letter", func(s *setup) {
		s.opts.DeadLetters.Limit = deadletter.Limit{Share: 0.05, Window: 1000, AtLeast: 20}
	})
	bad := fine()
	bad.payload = `{"bad":1}`
	for range 19 {
		letterOf(t, tr, bad.msg(nativeTable()))
	}
	rs, err := records(t, tr, bad.msg(nativeTable()))
	if event.VerdictOf(err) != event.Stop || len(rs) != 0 || !strings.Contains(err.Error(), "20 of the last 20 events cannot be published") ||
		!strings.Contains(err.Error(), "max_share: 1") || !errors.Is(err, errFake) {
		t.Errorf("%v", err)
	}
	// Started again, it stops again.
	tr.Hold(deadletter.NewHeld(), deadletter.Share{Dead: 19, Seen: 19})
	if rs, err = records(t, tr, bad.msg(nativeTable())); event.VerdictOf(err) != event.Stop || len(rs) != 0 {
		t.Errorf("after a restart: %d records, %v", len(rs), err)
	}
}

func TestTooManyHeldKeysStop(t *testing.T) {
	t.Parallel()
	tr := lettered(t, "dead_letter_and_hold_key", func(s *setup) { s.opts.DeadLetters.MaxHeld = 3 })
	for i := range 4 {
		bad := fine()
		bad.payload = fmt.Sprintf(`{"data":{"job":"%d"},"bad":1}`, i)
		_, err := records(t, tr, bad.msg(nativeTable()))
		if (err != nil) != (i == 3) || err != nil && !strings.Contains(err.Error(), "max_held") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// The counters are there before the first letter: what begins at 1 has no
// increase to alert on.
func TestLettersAreCountedFromZero(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	lettered(t, "dead_letter_and_hold_key", func(s *setup) { s.opts.Registerer = reg })
	for name, least := range map[string]int{"cdc_relay_dead_letters_total": len(classes) - 2, "cdc_relay_parked_events_total": 1} {
		if n, err := testutil.GatherAndCount(reg, name); err != nil || n < least {
			t.Errorf("%s: %d series, want at least %d (%v)", name, n, least, err)
		}
	}
}

// At the limit, events of the keys that are held go on being parked.
func TestParkedEventsHoldNothingNew(t *testing.T) {
	t.Parallel()
	tr := lettered(t, "dead_letter_and_hold_key", func(s *setup) { s.opts.DeadLetters.MaxHeld = 1 })
	bad := fine()
	bad.payload = `{"data":{"job":"job-7"},"bad":1}`
	letterOf(t, tr, bad.msg(nativeTable()))
	bad.payload = `{"data":{"job":"job-7"}}`
	if l, _ := letterOf(t, tr, bad.msg(nativeTable())); l.State != deadletter.Parked {
		t.Errorf("%+v", l)
	}
}

// The letters of a replay are copies of their own, which hold up nobody.
func TestLettersOfAReplay(t *testing.T) {
	t.Parallel()
	tr := lettered(t, "dead_letter_and_hold_key", func(s *setup) { s.opts.ReplayID = "0-1" })
	bad := fine()
	bad.payload = `{"data":{"job":"job-7"},"bad":1}`
	l, _ := letterOf(t, tr, bad.msg(nativeTable()))
	if !strings.HasSuffix(l.ID, "@0-1") || l.Holds != nil || l.Policy != "dead_letter" {
		t.Errorf("%+v", l)
	}
	if r := one(t, tr, fine().msg(nativeTable())); *r.Topic != "results.v1" {
		t.Errorf("%s", *r.Topic)
	}
}

// A letter that is appended again, by a contract that was mended, is the record
// it would have been, but for the mark and the time.
func TestALetterIsRedriven(t *testing.T) {
	t.Parallel()
	tr := lettered(t, "dead_letter", nil)
	row := fine()
	row.payload = `{"data":{"job":"job-7"},"bad":1}`
	_, m := letterOf(t, tr, row.msg(nativeTable()))
	mended := transformer(t, func(s *setup) {
		s.opts.RedriveID = "redrive-1"
		s.opts.compile = func(string) (encoder, error) {
			return compileAvro(`{"type":"map","values":["int",{"type":"map","values":"string"}]}`)
		}
	})
	r := one(t, mended, &m)
	if *r.Topic != "results.v1" || string(r.Key) != "job-7" || r.Time != 0 || !strings.HasSuffix(headerText(r), "cdc_redrive_id=redrive-1") {
		t.Errorf("%s %s %s %d", *r.Topic, r.Key, headerText(r), r.Time)
	}
	row = fine()
	row.payload = `{"data":{"job":"job-7"},"bad":{"x":1}}`
	bad := row.msg(nativeTable())
	if err := mended.Append(event.NewBatch(event.NewPool(1<<20)), bad); event.VerdictOf(err) != event.Stop {
		t.Errorf("without a dead letter topic: %v", err)
	}
	if id, ok := mended.EventID(); !ok || id != rowID {
		t.Errorf("event id %q", id)
	}
}

func TestDeadLettersCostNothingWhileThereAreNone(t *testing.T) { // not parallel: it counts allocations
	tr := lettered(t, "dead_letter_and_hold_key", nil)
	held := deadletter.NewHeld()
	held.Add("x", []deadletter.Hold{{Topic: "results.v1", Key: "another"}, {Key: "another"}})
	m := fine().msg(nativeTable())
	b := event.NewBatch(event.NewPool(64 << 20))
	fill := func() {
		b.Reset()
		for range 100 {
			if err := tr.Append(b, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, what := range []string{"nothing held", "another key held"} {
		fill()
		if n := testing.AllocsPerRun(50, fill); n != 0 {
			t.Errorf("%s: %v allocations per 100 rows", what, n)
		}
		tr.Hold(held, deadletter.Share{})
	}
}
