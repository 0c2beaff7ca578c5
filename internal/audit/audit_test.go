package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// table is an audit with helpers; row and record n are about event n.
type table struct {
	t *testing.T
	a *Audit
	n int64 // offset of the next record
}

func newTable(t *testing.T, o Options) *table {
	t.Helper()
	o.Dir = t.TempDir()
	if o.Tolerance == 0 {
		o.Tolerance = DefaultTolerance
	}
	if o.Limit == 0 {
		o.Limit = 100
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
		t.Errorf("temporary files with names: %v, %v", left, err)
	}
	return &table{t: t, a: a}
}

func idOf(n int) []byte {
	if n%3 == 0 {
		return fmt.Appendf(nil, "event number %d", n) // no UUID
	}
	return []byte(uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, n)).String())
}

const second = 1_000_000 // in microseconds

func (b *table) topic(name string) uint16 {
	n, err := b.a.Topic(name)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// row adds the row of event n, created at second n.
func (b *table) row(n int, change ...func(*Row)) {
	b.t.Helper()
	r := Row{Key: KeyOf(fmt.Appendf(nil, "key %d", n%4)), Created: int64(n) * second, XID: uint32(n), Topic: b.topic("t"), Place: Place{Block: uint32(n), Tuple: 1}}
	r.ID, r.Hashed = IDOf(idOf(n))
	for _, c := range change {
		c(&r)
	}
	if err := b.a.AddRow(&r); err != nil {
		b.t.Fatal(err)
	}
}

// record adds the record of event n, committed a tenth of a second later.
func (b *table) record(n int, change ...func(*Record)) {
	b.t.Helper()
	r := Record{Key: KeyOf(fmt.Appendf(nil, "key %d", n%4)), Offset: b.n, Time: int64(n)*1000 + 100, Topic: b.topic("t")}
	r.ID, r.Hashed = IDOf(idOf(n))
	for _, c := range change {
		c(&r)
	}
	b.n++
	if err := b.a.AddRecord(&r); err != nil {
		b.t.Fatal(err)
	}
}

func marked(m Mark) func(*Record)  { return func(r *Record) { r.Mark = m } }
func at(ms int64) func(*Record)    { return func(r *Record) { r.Time = ms } }
func keyed(k string) func(*Record) { return func(r *Record) { r.Key = KeyOf([]byte(k)) } }

// facts are those of one topic that was never touched.
func facts() Facts { return Facts{Topics: map[string]TopicFacts{"t": {Partitions: 1}}} }

// finds compares and demands exactly these counts.
func (b *table) finds(f Facts, want map[Kind]int64) *Result {
	b.t.Helper()
	res, err := b.a.Compare(b.t.Context(), f, func(int, int) {})
	if err != nil {
		b.t.Fatal(err)
	}
	got := maps.Clone(res.Counts)
	maps.DeleteFunc(got, func(_ Kind, n int64) bool { return n == 0 })
	if !maps.Equal(got, want) {
		b.t.Errorf("found %v, want %v", got, want)
	}
	return res
}

func (b *table) ids(res *Result, k Kind) []Sum {
	var ids []Sum
	for _, f := range res.Findings {
		if f.Kind == k {
			if f.Row != nil {
				ids = append(ids, f.Row.ID)
			} else {
				ids = append(ids, f.Records[0].ID)
			}
		}
	}
	return ids
}

func sum(n int) Sum {
	id, _ := IDOf(idOf(n))
	return id
}

func TestPlanted(t *testing.T) {
	t.Parallel()
	for _, buckets := range []int{1, 7, 64} {
		t.Run(fmt.Sprint(buckets), func(t *testing.T) {
			t.Parallel()
			b := newTable(t, Options{buckets: buckets, Missing: 10, Until: 5000 * second})
			const n = 2000
			for i := range n {
				b.row(i)
				switch i {
				case 17, 1800: // lost
				case 500: // comes behind its successors
				default:
					b.record(i)
				}
				if i == 800 || i == 1203 {
					b.record(i) // doubled
				}
				if i == 520 {
					b.record(500)
				}
			}
			b.record(300, marked(Replayed), at(1_000_000_000))
			b.record(301, marked(Replayed), at(1_000_000_000))
			b.record(4000)          // a stranger
			b.record(6000)          // of a row after the range
			b.record(6000, at(6e6)) // twice, but outside
			res := b.finds(facts(), map[Kind]int64{Missing: 2, Duplicate: 2, OutOfOrder: 1, Unknown: 1})
			if res.Replayed != 2 || res.Expected != n {
				t.Errorf("replayed %d, expected %d", res.Replayed, res.Expected)
			}
			for k, want := range map[Kind][]Sum{Missing: {sum(17), sum(1800)}, Duplicate: {sum(800), sum(1203)}, OutOfOrder: {sum(500)}, Unknown: {sum(4000)}} {
				if got := b.ids(res, k); !slices.Equal(got, want) {
					t.Errorf("%s: %x, want %x", k, got, want)
				}
			}
			if len(res.Missing) != 2 || res.Overflow {
				t.Errorf("references %+v", res.Missing)
			}
			for _, f := range res.Findings {
				if f.Kind == OutOfOrder && f.Records[1].Time <= f.Records[0].Time {
					t.Errorf("the record before the late one: %+v", f.Records)
				}
			}
		})
	}
}

// A record of a repair is there once, or it is one too many; one of a replay
// never is too many, and is enough.
func TestMarks(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{})
	for i := range 4 {
		b.row(i)
	}
	b.record(0, marked(Repaired))
	b.record(1)
	b.record(1, marked(Repaired))
	b.record(2, marked(Replayed))
	b.record(2, marked(Replayed))
	b.record(3)
	b.record(3, marked(Replayed))
	res := b.finds(facts(), map[Kind]int64{Duplicate: 1})
	if res.Repaired != 2 || res.Replayed != 3 || b.ids(res, Duplicate)[0] != sum(1) {
		t.Errorf("%+v", res)
	}
}

// Two rows that give themselves the same event id are two events.
// What lies in the dead letter topic, or was given up there, is not missing, and a
// repair does not produce it; one that was redriven since is simply there.
func TestDeadLettersAreNotMissing(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{Missing: 10})
	for n := range 6 {
		b.row(n)
	}
	b.record(0)
	b.record(3, marked(Redriven))
	f := facts()
	f.DeadLettered, f.Discarded = map[Sum]bool{sum(1): true, sum(3): true}, map[Sum]bool{sum(2): true}
	res := b.finds(f, map[Kind]int64{DeadLettered: 1, Discarded: 1, Missing: 2})
	if res.Redriven != 1 || len(res.Missing) != 2 {
		t.Errorf("%+v", res)
	}
	var r Report
	r.Take(res)
	if r.DeadLettered != 1 || r.Discarded != 1 || r.Sound {
		t.Errorf("%+v", r)
	}
}

func TestSameIDTwiceInTheTable(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{})
	b.row(1)
	b.row(1)
	b.record(1)
	b.record(1)
	b.row(2)
	b.row(2)
	b.record(2)
	b.finds(facts(), map[Kind]int64{Missing: 1})
}

// The same id in two topics is two records.
func TestForms(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{})
	other := func(r *Row) { r.Topic = b.topic("u") }
	b.row(1)
	b.row(1, other)
	b.record(1)
	res := b.finds(Facts{Topics: map[string]TopicFacts{"t": {Partitions: 1}, "u": {Partitions: 1}}}, map[Kind]int64{Missing: 1})
	if b.a.TopicName(res.Findings[0].Row.Topic) != "u" {
		t.Errorf("%+v", res.Findings)
	}
}

func TestRelayBehind(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{Missing: 10})
	for i := 1; i <= 10; i++ {
		b.row(i)
	}
	for i := 1; i <= 10; i += 2 {
		b.record(i)
	}
	f := facts()
	f.Behind, f.OldestXID, f.OldestKnown = true, 6, true
	res := b.finds(f, map[Kind]int64{Missing: 2, NotRelayed: 3})
	if got := b.ids(res, Missing); !slices.Equal(got, []Sum{sum(2), sum(4)}) || len(res.Missing) != 2 {
		t.Errorf("missing %x", got)
	}
}

func TestTransactionIDsWrap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		xid, oldest uint32
		under       bool
	}{{4294967290, 5, false}, {7, 5, true}, {3, 5, false}, {5, 4294967290, true}, {5, 5, true}} {
		f := Facts{Behind: true, OldestXID: c.oldest, OldestKnown: true}
		if got := f.underWay(&Row{XID: c.xid}); got != c.under {
			t.Errorf("xid %d, oldest %d: under way %v", c.xid, c.oldest, got)
		}
	}
	f := Facts{Behind: true}
	if !f.underWay(&Row{XID: 1}) {
		t.Error("nobody knows, so it may be under way")
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{})
	for i := range 10 {
		b.row(i, func(r *Row) { r.KeyHash = uint32(i % 2) })
		if i >= 6 && i != 7 {
			b.record(i)
		}
	}
	b.row(3, func(r *Row) { r.ID, r.Key = sum(99), Sum{} }) // without a key: any partition
	// Partition 0 begins at second 6, partition 1 at second 2.
	f := Facts{Topics: map[string]TopicFacts{"t": {Partitions: 2, From: []int64{6 * second, 2 * second}}}}
	b.finds(f, map[Kind]int64{Removed: 3 + 1 + 1, Missing: 3}) // 0 2 4, 1, 99; 3 5 7
}

// Of a compacted topic a row is missing only if no later record has its key.
func TestCompaction(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{buckets: 3})
	for i := range 12 { // keys 0 to 3
		b.row(i)
	}
	b.record(8)
	b.record(9)
	b.record(6) // the last of key 2 is lost
	f := Facts{Topics: map[string]TopicFacts{"t": {Partitions: 1, Compacted: true}}}
	// Key 0: 0, 4 replaced. Key 1: 1, 5. Key 2: 2 replaced, 10 missing. Key 3: 3, 7, 11 missing.
	b.finds(f, map[Kind]int64{Removed: 5, Missing: 4})
}

func TestTolerance(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{Tolerance: 50})
	b.record(1, at(1000), keyed("a"))
	b.record(2, at(950), keyed("a"))
	b.record(3, at(949), keyed("a")) // too early
	b.record(4, at(100), keyed("b")) // another key
	b.record(5, at(2000), keyed("b"))
	b.record(6, at(1000), keyed("b"), func(r *Record) { r.Partition = 1 })
	b.record(7, at(999), func(r *Record) { r.Key = Sum{} })
	res := b.finds(Facts{}, map[Kind]int64{OutOfOrder: 1, Unknown: 7})
	if got := b.ids(res, OutOfOrder); got[0] != sum(3) {
		t.Errorf("%x", got)
	}
}

// Beyond the limit the earliest are kept, and all are counted.
func TestLimit(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{Limit: 5, Missing: 300})
	for _, i := range rand.Perm(1000) {
		b.row(i)
	}
	res := b.finds(facts(), map[Kind]int64{Missing: 1000})
	want := []Sum{sum(0), sum(1), sum(2), sum(3), sum(4)}
	if got := b.ids(res, Missing); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if len(res.Missing) != 300 || !res.Overflow {
		t.Errorf("%d references, overflow %v", len(res.Missing), res.Overflow)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.a.Compare(ctx, facts(), func(int, int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Compare: %v", err)
	}
	if _, err := New(Options{Dir: t.TempDir() + "/nowhere"}); err == nil || !strings.Contains(err.Error(), "--temp") {
		t.Errorf("New: %v", err)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	u := uuid.NewString()
	id, hashed := IDOf([]byte(u))
	if hashed || id.Text(hashed) != u {
		t.Errorf("%s became %x", u, id)
	}
	seen := map[Sum]string{id: u}
	for _, s := range []string{strings.ToUpper(u), u[:35], u + "0", strings.ReplaceAll(u, "-", ""), u[:35] + "g", u[:35] + "-", "", "7"} {
		id, hashed := IDOf([]byte(s))
		if !hashed || id.Text(hashed) != "" {
			t.Errorf("%q was taken for a UUID", s)
		}
		if other, twice := seen[id]; twice {
			t.Errorf("%q and %q are one", s, other)
		}
		seen[id] = s
	}
	if KeyOf(nil) != (Sum{}) || KeyOf([]byte{}) == (Sum{}) {
		t.Error("no key is not the empty key")
	}
}

// More keys under suspicion than are remembered: all are looked at.
func TestManySuspects(t *testing.T) {
	t.Parallel()
	b := newTable(t, Options{buckets: 16})
	b.record(0, at(1<<40), keyed("from the future"))
	for i := range maxSuspects + 10 {
		b.record(0, at(int64(i)), func(r *Record) { r.ID, r.Key = KeyOf(fmt.Appendf(nil, "id%d", i)), KeyOf(fmt.Append(nil, i)) })
	}
	b.record(1, at(-5000), func(r *Record) { r.Key = KeyOf(fmt.Append(nil, 7)) })
	if !b.a.all || len(b.a.suspects) != 0 {
		t.Error("the set of suspects grows without bound")
	}
	res, err := b.a.Compare(t.Context(), facts(), func(int, int) {})
	if err != nil || res.Counts[OutOfOrder] != 1 {
		t.Errorf("%v, %v", res.Counts, err)
	}
}
