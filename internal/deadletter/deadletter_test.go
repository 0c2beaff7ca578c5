package deadletter

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

var origin = Origin{Pos: event.Position{Commit: 0x16B3748, Ord: 3}, XID: 742, Time: 1714566896123456}

func TestIDsAreOfOneEvent(t *testing.T) {
	t.Parallel()
	id := string(AppendID(nil, origin))
	if !strings.HasPrefix(id, "0/16B3748/3-") || len(id) != len("0/16B3748/3-")+8 {
		t.Errorf("id %q", id)
	}
	if again := string(AppendID([]byte("x"), origin)); again != "x"+id {
		t.Errorf("again %q", again)
	}
	later, other, replay := origin, origin, origin
	later.Time++ // the same place of another timeline
	other.XID++
	replay.Replay = "0-1"
	seen := map[string]bool{id: true}
	for _, o := range []Origin{later, other, replay} {
		if s := string(AppendID(nil, o)); seen[s] {
			t.Errorf("%+v has the id of another", o)
		} else {
			seen[s] = true
		}
	}
}

func TestLettersReadBack(t *testing.T) {
	t.Parallel()
	l := Letter{
		ID: "0/16B3748/3-00000000", State: Parked, Policy: "dead_letter_and_hold_key", Class: "schema", Reason: "score: 1.2 > maximum 1",
		Path: "score", Rule: "> maximum 1", Next: "allow it", EventType: "result.published", EventID: "e", RowID: "r", Key: "k",
		Table: "cdc_relay.outbox", Pos: origin.Pos, XID: 742, Commit: origin.Time, Database: "essays", Relay: "v1", Behind: "0/1/1-00000000",
		Holds: []Hold{{"a.v1", "k"}, {"a.v1", "\xff\x00"}, {"", "agg"}, {"b.v1", ""}}, First: 0, Redrive: "redrive-1",
	}
	back, err := Parse([]byte(l.ID), l.Headers(), false)
	if err != nil || !reflect.DeepEqual(back, l) {
		t.Errorf("%v\n got %+v\nwant %+v", err, back, l)
	}
	gone := l.Resolve(Redriven, "me", "redrive-2", time.Unix(1_700_000_000, 0))
	back, err = Parse([]byte(l.ID), gone.Headers(), true)
	if err != nil || back.State != Redriven || back.Redrive != "redrive-2" || back.ResolvedBy != "me" || back.ResolvedAt != "2023-11-14T22:13:20Z" || back.Holds != nil {
		t.Errorf("%v: %+v", err, back)
	}
	if _, err := Parse([]byte("x"), nil, true); err != nil {
		t.Errorf("a tombstone by hand: %v", err)
	}
	if _, err := Parse([]byte("x"), nil, false); err == nil {
		t.Error("a record that is no letter was read")
	}
	bad := append(l.Headers(), event.Header{Key: headerHolds, Value: []byte("{")})
	if _, err := Parse([]byte("x"), bad, false); err == nil || !strings.Contains(err.Error(), headerHolds) {
		t.Errorf("broken holds: %v", err)
	}
}

func outbox(payload []byte) *event.Msg {
	rel := &event.Relation{Schema: "cdc_relay", Table: "out\"box", Columns: []event.Column{
		{Name: "id", Type: 2950, Key: true}, {Name: "topic", Type: 25}, {Name: "payload", Type: oidJSON}, {Name: "raw\n", Type: 17},
	}}
	return &event.Msg{Kind: event.Row, Pos: origin.Pos, XID: 742, Time: origin.Time, Rel: rel, Cols: [][]byte{[]byte("id-1"), nil, payload, []byte(`\x00"`)}}
}

func TestRowsReadBackByteForByte(t *testing.T) {
	t.Parallel()
	var rows Rows
	l := Letter{ID: "x", Pos: origin.Pos, XID: 742, Commit: origin.Time}
	for _, payload := range []string{
		`{"a": 1.20, "b" :[ null ]}`, `"text"`, `null`, ` {"space":"around"} `, `{"no json`, "\xff\xfe", "", `12345678901234567890.10`, "a\tb\x01\u2028é\\",
	} {
		m := outbox([]byte(payload))
		value := AppendRow(nil, m)
		if !json.Valid(value) {
			t.Fatalf("%q: no JSON: %s", payload, value)
		}
		back, err := rows.Message(&l, value)
		if err != nil {
			t.Fatalf("%q: %v", payload, err)
		}
		if !reflect.DeepEqual(back.Cols, m.Cols) || !reflect.DeepEqual(back.Rel.Columns, m.Rel.Columns) || back.Rel.Table != m.Rel.Table || back.Time != m.Time {
			t.Errorf("%q became %q (%s)", m.Cols, back.Cols, value)
		}
		msg := &event.Msg{Kind: event.Row, Prefix: "cdc_relay", Content: []byte(payload)}
		back, err = rows.Message(&l, AppendRow(nil, msg))
		if err != nil || back.Rel != nil || back.Prefix != "cdc_relay" || !bytes.Equal(back.Content, msg.Content) {
			t.Errorf("message %q became %q, %v", payload, back.Content, err)
		}
	}
	a, _ := rows.Message(&l, AppendRow(nil, outbox([]byte("{}"))))
	b, _ := rows.Message(&l, AppendRow(nil, outbox([]byte("[]"))))
	if a.Rel != b.Rel {
		t.Error("one shape has two relations: each would be compiled anew")
	}
	value := string(AppendRow(nil, outbox([]byte(`{"score":1.20}`))))
	for _, part := range []string{`"payload":{"score":1.20}`, `"topic":null`, `"id":"id-1"`} {
		if !strings.Contains(value, part) {
			t.Errorf("%s lacks %s", value, part)
		}
	}
}

func TestTheIndexIsWhatIsOpen(t *testing.T) {
	t.Parallel()
	x := NewIndex()
	put := func(offset int64, l Letter, value []byte) {
		t.Helper()
		if _, err := x.Add([]byte(l.ID), value, l.Headers(), offset, 0); err != nil {
			t.Fatal(err)
		}
	}
	at := func(id string, s State, holds ...Hold) Letter {
		return Letter{ID: id, State: s, Holds: holds, First: -1}
	}
	k := Hold{"t", "k"}
	put(10, at("a", Dead, k), []byte("{}"))
	put(11, at("b", Parked, k), []byte("{}"))
	put(12, at("c", Dead), []byte("{}"))
	again := at("a", Dead, k)
	again.First = 10
	put(13, again, []byte("{}"))
	ids := func() (s string) {
		for _, e := range x.Open() {
			s += e.ID
		}
		return s
	}
	if ids() != "abc" {
		t.Errorf("open: %s; a letter that was written again has lost its place", ids())
	}
	if id, held := x.Held().Behind("t", []byte("k")); id != "a" || !held {
		t.Errorf("behind %q", id)
	}
	put(14, at("c", Discarded), []byte("{}"))
	put(15, at("a", Redriven), nil)
	if ids() != "b" || len(x.Resolved()) != 2 || x.Resolved()[1].ID != "a" {
		t.Errorf("open: %s, resolved %d", ids(), len(x.Resolved()))
	}
	if id, _ := x.Held().Behind("t", []byte("k")); id != "b" {
		t.Errorf("the parked one is not the head: %q", id)
	}
}

// A redrive never lets an event overtake one with its key, and leaves nothing
// behind that it could have taken: compared with a plain model.
func TestQueueKeepsOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		var all []*Entry
		held := NewHeld()
		for i := range 40 {
			places := []Hold{{"t", string(rune('a' + r.IntN(4)))}}
			if r.IntN(4) == 0 {
				places = append(places, Hold{"u", string(rune('a' + r.IntN(4)))})
			}
			e := &Entry{Letter: Letter{ID: string(rune('A' + i)), Holds: places, First: -1}, Offset: int64(i)}
			_, behind, parked := held.First(places)
			switch {
			case parked:
				e.State, e.Behind = Parked, behind
			case r.IntN(5) == 0:
				e.State = Dead
			default:
				continue // published
			}
			held.Add(e.ID, places)
			all = append(all, e)
		}
		q := NewQueue()
		stays := map[Hold]bool{}
		for _, e := range all {
			wanted, fails := r.IntN(3) > 0, r.IntN(6) == 0
			blocked := false
			for _, at := range e.Holds {
				blocked = blocked || stays[at]
			}
			goes := q.Next(e, wanted)
			if goes && blocked {
				t.Fatalf("seed %d: %s overtakes", seed, e.ID)
			}
			if wanted && !blocked && !goes {
				t.Fatalf("seed %d: %s stays for nothing", seed, e.ID)
			}
			if goes && !fails {
				q.Gone(e)
				continue
			}
			if goes {
				q.Stay(e)
			}
			for _, at := range e.Holds {
				stays[at] = true
			}
		}
		for _, e := range q.Undecided(all) {
			if q.stayed[e.ID] {
				t.Fatalf("seed %d: %s stays and is undecided", seed, e.ID)
			}
		}
		if n := len(all) - len(q.Undecided(all)); n != len(q.stayed) {
			t.Fatalf("seed %d: %d of %d letters that stay are left out", seed, n, len(q.stayed))
		}
		for _, e := range all {
			if q.stayed[e.ID] && q.Next(e, true) {
				t.Fatalf("seed %d: %s is tried twice in one run", seed, e.ID)
			}
		}
	}
}

func TestWindow(t *testing.T) { // not parallel: it counts allocations
	w := NewWindow(Limit{Share: 0.05, Window: 100, AtLeast: 3})
	over := func(dead ...bool) (at int) {
		for i, d := range dead {
			if w.Saw(d) && at == 0 {
				at = i + 1
			}
		}
		return at
	}
	if n := over(true, true, true, true); n != 3 {
		t.Errorf("over at %d, want 3: all are dead, but at least 3 have to be", n)
	}
	w.Resume(Share{})
	for i := range 1000 {
		if w.Saw(i%20 == 0) && i > 100 {
			t.Fatalf("one of 20 is not more than 5 %%, at %d: %s", i, w)
		}
	}
	// A model counts the same.
	r := rand.New(rand.NewPCG(3, 4))
	w = NewWindow(Limit{Share: 0.3, Window: 70, AtLeast: 5})
	var last []bool
	for i := range 5000 {
		dead := r.IntN(100) < 25+i/100
		last = append(last, dead)
		last = last[max(0, len(last)-70):]
		n := 0
		for _, d := range last {
			if d {
				n++
			}
		}
		want := dead && n >= 5 && float64(n) > 0.3*float64(len(last))
		if got := w.Saw(dead); got != want {
			t.Fatalf("event %d: over %v, want %v (%s)", i, got, want, w)
		}
	}
	if n := testing.AllocsPerRun(100, func() { w.Saw(true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a start recalls is what the index of all there is says.
// A pipeline that stops for too many letters and is started again stops at the
// next one: it does not begin to count anew.
func TestWindowGoesOn(t *testing.T) {
	t.Parallel()
	limit := Limit{Share: 0.05, Window: 100, AtLeast: 3}
	w := NewWindow(limit)
	w.Saw(false)
	w.Saw(true)
	w.Saw(true)
	rec := &Recall{Database: "d"}
	add := func(id string, s Share, first, offset int64, tombstone bool) {
		t.Helper()
		l := Letter{ID: id, State: Dead, First: first, Database: "d", Share: s}
		if err := rec.Add([]byte(id), tombstone, l.Headers(), offset); err != nil {
			t.Fatal(err)
		}
	}
	add("a", Share{1, 2}, -1, 0, false)
	add("b", w.Share(), -1, 1, false)
	add("a", Share{1, 2}, 0, 2, false) // written again by a redrive that failed
	if rec.Share() != (Share{2, 3}) {
		t.Fatalf("the last share is %v", rec.Share())
	}
	again := NewWindow(limit)
	again.Resume(rec.Share())
	if again.Share() != (Share{2, 3}) || !again.Saw(true) {
		t.Errorf("it counts anew: %s", again)
	}
	for range 100 {
		again.Saw(false)
	}
	if again.Share() != (Share{0, 100}) {
		t.Errorf("good events do not push letters out: %s", again)
	}
	small := NewWindow(Limit{Share: 1, Window: 2, AtLeast: 1})
	if small.Resume(Share{5, 9}); small.Share() != (Share{2, 2}) {
		t.Errorf("a smaller window: %s", small)
	}
	if add("b", Share{}, -1, 3, true); rec.Share() != (Share{}) {
		t.Errorf("what was redriven still counts: %v", rec.Share())
	}
}

func TestRecallIsTheIndex(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 9))
		x, rec := NewIndex(), &Recall{Database: "d"}
		for offset := range int64(60) {
			l := Letter{ID: string(rune('a' + r.IntN(12))), State: []State{Dead, Parked, Discarded}[r.IntN(3)], First: -1, Database: "d"}
			if r.IntN(3) > 0 {
				l.Holds = []Hold{{"t", string(rune('k' + r.IntN(3)))}, {"", string(rune('k' + r.IntN(3)))}}
			}
			if r.IntN(4) == 0 {
				l.First = int64(r.IntN(int(offset) + 1))
			}
			value := []byte("{}")
			if r.IntN(4) == 0 {
				value = nil
			}
			if _, err := x.Add([]byte(l.ID), value, l.Headers(), offset, 0); err != nil {
				t.Fatal(err)
			}
			if err := rec.Add([]byte(l.ID), value == nil, l.Headers(), offset); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := rec.Held(), x.Held(); !reflect.DeepEqual(got, want) {
			// Two letters may have the same First here, as they never have in a topic.
			if len(got.heads) != len(want.heads) {
				t.Fatalf("seed %d: %v, want %v", seed, got, want)
			}
		}
	}
	err := (&Recall{Database: "other"}).Add([]byte("x"), false, (&Letter{State: Dead, First: -1, Database: "d"}).Headers(), 0)
	if event.VerdictOf(err) != event.Refuse {
		t.Errorf("another database's letters: %v", err)
	}
}

func TestHeldDoesNotAllocate(t *testing.T) { // not parallel
	h := NewHeld()
	h.Add("a", []Hold{{"t", "k"}, {"", "agg"}})
	key := []byte("some longer key that is not held at all")
	if n := testing.AllocsPerRun(100, func() { h.Behind("t", key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if !h.Aggregates() || h.Len() != 2 {
		t.Errorf("%+v", h)
	}
}

// Whatever a row holds, its letter is JSON and reads back to the same row.
func FuzzRow(f *testing.F) {
	f.Add([]byte(`{"a":1}`), []byte("text"), true)
	f.Add([]byte(` null `), []byte("\xff"), false)
	f.Add([]byte(`"\ud800"`), []byte("\x00"), true)
	f.Fuzz(func(t *testing.T, payload, text []byte, null bool) {
		m := outbox(payload)
		m.Cols[0], m.Cols[3] = text, text
		if null {
			m.Cols[3] = nil
		}
		value := AppendRow(nil, m)
		if !json.Valid(value) {
			t.Fatalf("no JSON: %q", value)
		}
		var rows Rows
		back, err := rows.Message(&Letter{ID: "x"}, value)
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		for i := range m.Cols {
			if !bytes.Equal(back.Cols[i], m.Cols[i]) || (back.Cols[i] == nil) != (m.Cols[i] == nil) {
				t.Fatalf("column %d: %q became %q (%q)", i, m.Cols[i], back.Cols[i], value)
			}
		}
	})
}
