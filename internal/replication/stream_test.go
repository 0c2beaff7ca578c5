package replication

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Not parallel: it measures what the process allocates.
func TestHugeTransactionTakesNoMemory(t *testing.T) {
	d, o := pipe(t, stack.Postgres(t))
	const n = 60_000
	d.exec(fmt.Sprintf("insert into outbox select i, repeat('x', 1000) from generate_series(1, %d) i", n))
	s := take(t, o)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, bytes := 0, 0
	for got < n {
		var m event.Msg
		if err := s.Next(&m); err != nil {
			t.Fatal(err)
		}
		if m.Kind == event.Row {
			got++
			bytes += len(m.Cols[1])
			if m.Pos.Ord != uint64(got) {
				t.Fatalf("row %d has the ordinal %d", got, m.Pos.Ord)
			}
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 2<<20 {
		t.Errorf("%d bytes of rows made %d bytes of garbage, want less than 2 MiB", bytes, took)
	}
}

func TestRowsAndOrdinals(t *testing.T) {
	t.Parallel()
	everyVersion(t, slices.Insert(stack.Ends(), 1, 15), func(t *testing.T, pg *stack.PG) {
		d, o := pipe(t, pg)
		o.MessagePrefix = "evt"
		d.exec(`alter publication "relay pub" add table other`, `alter publication "relay pub" set (publish = 'insert, update, delete, truncate')`,
			"begin", "insert into outbox values (1, 'a'), (2, null), (3, '')", "insert into other values (1, 'x')",
			"update other set v = 'y'", "savepoint a", "insert into outbox values (4, 'gone')", "rollback to a",
			"savepoint b", "insert into outbox values (5, 'ünï')", "release b", "select pg_logical_emit_message(true, 'evt', 'hello')",
			"select pg_logical_emit_message(true, 'else', 'no')", "select pg_logical_emit_message(false, 'evt', 'loose')",
			"delete from other", "insert into outbox values (6, E'tab\\t')", "commit",
			"begin", "insert into outbox values (7, 'never')", "rollback",
			"truncate other", "insert into outbox values (8, 'last')")
		want := []string{
			"1 public.outbox [1 a]", "2 public.outbox [2 NULL]", "3 public.outbox [3 ]", "6 public.outbox [5 ünï]",
			"7 evt=hello", "10 public.outbox [6 tab\t]", "1 public.outbox [8 last]",
		}
		s := take(t, o)
		first := read(t, s, commits(2))
		same(t, lines(first), want)
		checkTransactions(t, d, first)
		shut(t, s) // nothing was confirmed: all of it comes again, at the same positions
		again := read(t, take(t, o), commits(2))
		same(t, lines(again), want)
		for i, r := range rows(again) {
			if r.Pos != rows(first)[i].Pos || r.Time != rows(first)[i].Time {
				t.Errorf("row %d was %s at %d, is %s at %d", i, rows(first)[i].Pos, rows(first)[i].Time, r.Pos, r.Time)
			}
		}
	})
}

func checkTransactions(t *testing.T, d *db, all []seen) {
	t.Helper()
	now, err := strconv.ParseFloat(d.text("select extract(epoch from clock_timestamp())::text"), 64)
	if err != nil {
		t.Fatal(err)
	}
	var open *seen
	for i := range all {
		k := &all[i]
		switch k.Kind {
		case event.Begin:
			if open != nil || k.Pos.Ord != 0 || k.XID == 0 {
				t.Errorf("bad BEGIN: %+v", k)
			}
			if age := now - float64(k.Time)/1e6; age < -1 || age > 60 {
				t.Errorf("commit time is %f s old", age)
			}
			open = k
		case event.Row, event.Commit:
			if open == nil || k.Pos.Commit != open.Pos.Commit || k.XID != open.XID || k.Time != open.Time {
				t.Fatalf("%+v does not belong to %+v", k, open)
			}
			if k.Kind == event.Commit {
				if k.End <= k.Pos.Commit {
					t.Errorf("COMMIT of %s ends at %s", k.Pos.Commit, k.End)
				}
				open = nil
			}
		}
	}
}

func TestRelationChangesInMidStream(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.Postgres(t))
	s := take(t, o)
	d.exec("insert into outbox values (1, 'a')", "analyze outbox", "insert into outbox values (2, 'b')",
		"alter table outbox add column more int default 7", "insert into outbox values (3, 'c')",
		"alter table outbox drop column payload", "insert into outbox values (4, 4)",
		"alter table outbox rename column more to most", "insert into outbox values (5, 5)",
		"alter table outbox rename to outbox_old", "insert into outbox_old values (6, 6)",
		"create table outbox (payload text, id bigint)", `alter publication "relay pub" add table outbox`,
		"insert into outbox values ('g', 7)", "insert into outbox_old values (8, 8)")
	all := rows(read(t, s, commits(8)))
	same(t, lines(all), []string{
		"1 public.outbox [1 a]", "1 public.outbox [2 b]", "1 public.outbox [3 c 7]", "1 public.outbox [4 4]", "1 public.outbox [5 5]",
		"1 public.outbox_old [6 6]", "1 public.outbox [g 7]", "1 public.outbox_old [8 8]",
	})
	if all[0].Rel != all[1].Rel {
		t.Error("the same shape announced twice has two pointers")
	}
	for i := 2; i < 7; i++ {
		if all[i].Rel == all[i-1].Rel {
			t.Errorf("row %d has another shape than the row before, and the same pointer", i)
		}
	}
	if c := all[4].Rel.Columns[1]; c.Name != "most" || c.Type != 23 {
		t.Errorf("column %+v, want most, type 23", c)
	}
}

func TestConfirmedPositionIsWhatTheServerForgets(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.Postgres(t))
	confirmed := func() event.LSN {
		return d.lsn("select confirmed_flush_lsn::text from pg_replication_slots where slot_name = '" + o.Slot + "'")
	}
	start := confirmed()
	s := take(t, o)
	d.exec("insert into outbox values (1, 'a')", "insert into outbox values (2, 'b')")
	all := read(t, s, commits(2))
	if got := confirmed(); got != start {
		t.Fatalf("confirmed %s before anything was: want %s", got, start)
	}
	if err := s.Resume(event.Checkpoint{Safe: start}); err != nil {
		t.Fatal(err)
	}
	var ends []event.LSN
	for _, k := range all {
		if k.Kind == event.Commit && k.Pos.Ord > 0 {
			ends = append(ends, k.End)
		}
	}
	if err := s.Status(ends[0]); err != nil {
		t.Fatal(err)
	}
	for _, low := range []event.LSN{0, ends[0] - 1} {
		if err := s.Status(low); err == nil {
			t.Errorf("Status(%s) after %s: want an error", low, ends[0])
		}
	}
	shut(t, s)
	if got := confirmed(); got != ends[0] {
		t.Fatalf("confirmed %s after Close, want %s", got, ends[0])
	}
	s = take(t, o)
	same(t, lines(read(t, s, commits(1))), []string{"1 public.outbox [2 b]"})
	if err := s.Resume(event.Checkpoint{Safe: ends[0] - 1}); err == nil {
		t.Error("Resume behind the slot: want an error")
	}
}

// A keepalive and the BEGIN after it can name the same LSN (design, "Position").
func TestTransactionAtTheKeepalive(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t) // another test's WAL would come between
	d, o := pipe(t, pg)
	other := connect(t, o.URL)
	s := take(t, o)
	hits := 0
	for i := range 10 {
		d.exec("begin", fmt.Sprintf("insert into outbox values (%d, 'a')", i))
		other.exec(fmt.Sprintf("insert into other values (%d, 'b')", i))
		flushed := other.lsn("select pg_current_wal_insert_lsn()::text")
		s.stream.asked = time.Time{} // a status now asks for a keepalive
		if err := s.Status(s.stream.flush); err != nil {
			t.Fatal(err)
		}
		alive := event.LSN(0)
		read(t, s, func(k seen) bool {
			if k.Kind == event.Alive {
				alive = k.End
				s.stream.asked = time.Time{}
				if err := s.Status(s.stream.flush); err != nil {
					t.Fatal(err)
				}
			}
			return alive >= flushed
		})
		d.exec("commit")
		got := rows(read(t, s, commits(1)))
		if got[0].Pos.Commit < alive {
			t.Fatalf("commit at %s before the keepalive at %s", got[0].Pos.Commit, alive)
		}
		if got[0].Pos.Commit == alive {
			hits++
		}
	}
	if hits == 0 {
		t.Error("no transaction committed at the LSN of the keepalive before it")
	}
	t.Logf("%d of 10 coincide", hits)
}

// senderTimeout is short enough to be outlived by a test, and long enough for a
// test that is not given a processor for a while.
const senderTimeout = 4 * time.Second

func TestStatusKeepsTheSlotWhileNobodyReads(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.Postgres(t))
	o.SenderTimeout = senderTimeout
	s := take(t, o)
	const n = 40_000 // more than the socket's buffers hold
	d.exec(fmt.Sprintf("insert into outbox select i, repeat('y', 500) from generate_series(1, %d) i", n))
	beat := time.NewTicker(200 * time.Millisecond)
	defer beat.Stop()
	for over := time.After(5 * senderTimeout / 2); ; {
		select {
		case <-beat.C:
			if err := s.Status(s.stream.flush); err != nil {
				t.Fatal(err)
			}
			continue
		case <-over:
		}
		break
	}
	if got := len(rows(read(t, s, commits(1)))); got != n {
		t.Fatalf("%d rows, want %d", got, n)
	}
}

// Next itself keeps the session alive when nothing happens.
func TestIdleStreamLivesPastTheSenderTimeout(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.Postgres(t))
	o.SenderTimeout = senderTimeout
	s := take(t, o)
	end := time.Now().Add(2 * senderTimeout)
	for last := time.Now(); time.Now().Before(end); last = time.Now() {
		var m event.Msg
		if err := s.Next(&m); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(last); took > 3*senderTimeout/2 {
			t.Errorf("Next took %s of silence", took)
		}
	}
	d.exec("insert into outbox values (1, 'a')")
	same(t, lines(read(t, s, commits(1))), []string{"1 public.outbox [1 a]"})
}
