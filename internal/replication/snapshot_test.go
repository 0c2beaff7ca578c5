package replication

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func snapshot(t *testing.T, o Options, timeColumns ...string) *Snapshot {
	t.Helper()
	s, err := OpenSnapshot(within(t), o, timeColumns...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.WithoutCancel(t.Context())) })
	return s
}

// all reads the rows of a snapshot; what they alias is copied.
func (s *Snapshot) all(t *testing.T, since, until time.Time) (rows []TableRow, values [][]string) {
	t.Helper()
	err := s.Read(within(t), since, until, func(r *TableRow) error {
		k := keep(&event.Msg{Cols: r.Columns})
		c := *r
		c.Columns = nil
		rows, values = append(rows, c), append(values, k.Values)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows, values
}

// What a snapshot shows of a table is what the stream sends of it: the shape
// with its key, and the text of every value.
func TestSnapshotIsAsTheStream(t *testing.T) {
	t.Parallel()
	everyVersion(t, slices.Insert(stack.Ends(), 1, 15), func(t *testing.T, pg *stack.PG) {
		url := pg.Database(t)
		d := connect(t, url)
		d.exec(`create domain name_of as text`, `create type mood as enum ('so', 'so so')`,
			`create table outbox (a int, gone int, id uuid, j json, jb jsonb, b bytea, f float8, n numeric, ts timestamptz, tz timestamp, iv interval,
				dm name_of, m mood, arr text[], bo bool, d date, twice int generated always as (a * 2) stored, "Odd ""Name" text, primary key (id, a))`,
			`alter table outbox drop column gone`)
		o := Options{URL: url, Slot: slotOf(d), Publication: "p", Tables: []string{"public.outbox"}}
		if _, err := source(t, o).Create(within(t)); err != nil {
			t.Fatal(err)
		}
		d.exec(`set datestyle = 'German'`, `set timezone = 'Asia/Kolkata'`, `set bytea_output = 'escape'`,
			`insert into outbox values (1, gen_random_uuid(), '{"a" : 1, "t": "x\ny\t\\"}', '{"b": [1, 2]}', '\x00ff61', 0.1::float8 + 0.2, 1.50, '2026-05-01 12:00:00.123456+05:30',
				'2026-05-01 12:00:00', '1 day 02:03:04', 'x', 'so so', '{"a b",c}', true, '2026-05-01', default, E'tab\there, newline\nhere, back\\slash')`,
			`insert into outbox (a, id, ts) values (2, gen_random_uuid(), '2026-05-02 12:00:00Z')`)
		want := rows(read(t, resumed(t, take(t, o)), commits(2)))
		s := snapshot(t, o, "nobody", "ts")
		got, values := s.all(t, time.Time{}, time.Time{})
		if len(got) != 2 || len(want) != 2 {
			t.Fatalf("%d rows in the table, %d in the stream", len(got), len(want))
		}
		if !reflect.DeepEqual(s.Rel, want[0].Rel) {
			t.Errorf("shape %+v\nstream %+v", s.Rel, want[0].Rel)
		}
		for i := range got {
			if !reflect.DeepEqual(values[i], want[i].Values) || got[i].XID != want[i].XID {
				t.Errorf("row %d by xid %d: %q\nstream by %d: %q", i, got[i].XID, values[i], want[i].XID, want[i].Values)
			}
		}
		if at := time.Date(2026, 5, 1, 6, 30, 0, 123456000, time.UTC); got[0].At != at.UnixMicro() || s.TimeColumn != "ts" {
			t.Errorf("time %d of column %q, want %d", got[0].At, s.TimeColumn, at.UnixMicro())
		}
		day := func(n int) time.Time { return time.Date(2026, 5, n, 0, 0, 0, 0, time.UTC) }
		for _, c := range []struct {
			since, until time.Time
			want         string
		}{{day(2), time.Time{}, "[2]"}, {time.Time{}, day(2), "[1]"}, {day(1), day(3), "[1 2]"}, {day(3), day(4), "[]"}} {
			_, v := s.all(t, c.since, c.until)
			ids := []string{}
			for i := range v {
				ids = append(ids, v[i][0])
			}
			if fmt.Sprint(ids) != c.want {
				t.Errorf("from %s to %s: %v, want %s", c.since, c.until, ids, c.want)
			}
		}
	})
}

// resumed lets a taken source stream from its slot's position.
func resumed(t *testing.T, s *Source) *Source {
	t.Helper()
	f, err := s.Look(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Resume(event.Checkpoint{Safe: f.Slot.ConfirmedFlush}); err != nil {
		t.Fatal(err)
	}
	return s
}

// Rows are found again by their place, in the order asked for, in the partitions
// of a table, and although the table changed since.
func TestSnapshotFetchesByPlace(t *testing.T) {
	t.Parallel()
	pg := stack.Postgres(t)
	url := pg.Database(t)
	d := connect(t, url)
	d.exec("create table outbox (id int, at timestamptz default now()) partition by range (id)",
		"create table outbox_a partition of outbox for values from (0) to (1000)",
		"create table outbox_b partition of outbox for values from (1000) to (3000)",
		"insert into outbox select generate_series(0, 1999)", "analyze outbox")
	o := Options{URL: url, Slot: slotOf(d), Publication: "p", Tables: []string{"public.outbox"}}
	s := snapshot(t, o)
	d.exec("delete from outbox where id % 2 = 0", "insert into outbox select generate_series(2000, 2999)")
	got, values := s.all(t, time.Time{}, time.Time{})
	if len(got) != 2000 || s.TimeColumn != "" || s.Rows != 2000 {
		t.Fatalf("%d rows, estimate %d", len(got), s.Rows)
	}
	var places []TableRow
	var want, ids []string
	for _, i := range []int{1999, 3, 1000, 999, 3, 4} {
		places, want = append(places, got[i]), append(want, values[i][0])
	}
	err := s.Fetch(within(t), places, func(r *TableRow) error {
		ids = append(ids, string(r.Columns[0]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, ids, want)
	if err := s.Fetch(within(t), []TableRow{{Part: got[0].Part, Block: 1 << 20, Tuple: 1}}, func(*TableRow) error { return nil }); err == nil {
		t.Error("a row that is not there was found")
	}
}

// The end is behind every transaction the snapshot shows, those that did not
// wait for the disk included, and is on disk.
func TestSnapshotEnd(t *testing.T) {
	t.Parallel()
	pg := stack.Postgres(t)
	d, o := pipe(t, pg)
	d.exec("set synchronous_commit = off")
	for i := range 20 {
		d.exec("insert into outbox values (" + strconv.Itoa(i) + ", 'x')")
		s := snapshot(t, o)
		committed := d.lsn("select pg_current_wal_insert_lsn()") // at or behind the commit
		if got, _ := s.all(t, time.Time{}, time.Time{}); len(got) != i+1 {
			t.Fatalf("%d rows, want %d", len(got), i+1)
		}
		end, err := s.End(within(t))
		if err != nil {
			t.Fatal(err)
		}
		flushed := d.lsn("select pg_current_wal_flush_lsn()")
		if end > flushed || end == 0 || end > committed {
			t.Errorf("end %s, committed before %s, on disk to %s", end, committed, flushed)
		}
		s.Close(within(t))
	}
}

// Transactions before the slot's own horizon were confirmed; without a slot,
// everything the snapshot shows is past.
func TestSnapshotPassed(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t)
	d, o := pipe(t, pg)
	d.exec("insert into outbox values (1, 'x')")
	s := snapshot(t, o)
	got, _ := s.all(t, time.Time{}, time.Time{})
	oldest, known, err := s.Passed(within(t))
	if err != nil || !known || int32(got[0].XID-oldest) < 0 {
		t.Errorf("a row behind the slot (xid %d) counts as passed: oldest %d, known %v, %v", got[0].XID, oldest, known, err)
	}
	d.exec("select pg_drop_replication_slot('" + o.Slot + "')")
	oldest, known, err = s.Passed(within(t))
	if err != nil || !known || int32(got[0].XID-oldest) >= 0 {
		t.Errorf("without a slot: row by xid %d, oldest %d, known %v, %v", got[0].XID, oldest, known, err)
	}
}

func TestCommitTimes(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t, stack.Setting("track_commit_timestamp", "on"))
	d, o := pipe(t, pg)
	before := time.Now().Add(-time.Minute)
	d.exec("insert into outbox values (1, 'x')", "insert into outbox values (2, 'x')")
	s := snapshot(t, o)
	got, _ := s.all(t, time.Time{}, time.Time{})
	if !s.Tracked {
		t.Fatal("not tracked")
	}
	times := make([]int64, 3)
	xids := []uint32{got[1].XID, 1, got[0].XID} // 1 is nobody's that has a time
	err := s.CommitTimes(within(t), 3, func(i int) uint32 { return xids[i] }, func(i int, at int64) { times[i] = at })
	if err != nil {
		t.Fatal(err)
	}
	if times[1] != 0 || times[2] < before.UnixMicro() || times[0] <= times[2] {
		t.Errorf("times %v", times)
	}
	var fetched TableRow
	if err := s.Fetch(within(t), got[:1], func(r *TableRow) error { fetched = *r; return nil }); err != nil || fetched.Commit != times[2] {
		t.Errorf("commit time %d of a fetched row, want %d: %v", fetched.Commit, times[2], err)
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	n := number{rest: []byte("17,-4,9")}
	if a, b, c := n.next(','), n.next(','), n.next(0); a != 17 || b != -4 || c != 9 || n.bad {
		t.Errorf("%d %d %d %v", a, b, c, n.bad)
	}
	for _, s := range []string{"", "-", "1x", "x", "1,", "12345678901234567890"} {
		n := number{rest: []byte(s)}
		if n.next(0); !n.bad {
			t.Errorf("%q is a number", s)
		}
	}
}
