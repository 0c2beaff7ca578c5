package replication

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// everyVersion runs f on each of the given major versions.
func everyVersion(t *testing.T, versions []int, f func(*testing.T, *stack.PG)) {
	for _, v := range versions {
		t.Run(strconv.Itoa(v), func(t *testing.T) {
			t.Parallel()
			f(t, stack.Postgres(t, stack.Version(v)))
		})
	}
}

func TestTakeRefusals(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.Postgres(t))
	holder := take(t, o)
	err := source(t, o).Take(within(t))
	if event.VerdictOf(err) != event.Standby {
		t.Errorf("slot in use: %v, want Standby", err)
	}
	shut(t, holder)
	missing := o
	missing.Slot = "none_such"
	err = source(t, missing).Take(within(t))
	if err == nil || event.VerdictOf(err) != event.Restart || !strings.Contains(err.Error(), `no slot "none_such"`) {
		t.Errorf("no slot: %v", err)
	}
	foreign := o
	foreign.URL = stack.Postgres(t).Database(t)
	if err = source(t, foreign).Take(within(t)); event.VerdictOf(err) != event.Refuse {
		t.Errorf("slot of another database: %v, want Refuse", err)
	}
	role := "r_" + o.Slot
	d.exec("create role "+role+" login", "grant select on outbox to "+role)
	t.Cleanup(func() { d.exec("drop owned by "+role, "drop role "+role) })
	weak := o
	weak.URL = strings.Replace(o.URL, "://", "://"+role+"@", 1)
	if i := strings.LastIndex(o.URL, "@"); i >= 0 {
		weak.URL = "postgres://" + role + "@" + o.URL[i+1:]
	}
	if err = source(t, weak).Take(within(t)); event.VerdictOf(err) != event.Refuse {
		t.Errorf("role without replication: %v, want Refuse", err)
	}
}

// A dropped publication stops the stream: with an error of the server before
// 18, since 18 by the warning beside the rows it skips.
func TestPublicationGone(t *testing.T) {
	t.Parallel()
	everyVersion(t, stack.Ends(), func(t *testing.T, pg *stack.PG) {
		d, o := pipe(t, pg)
		s := take(t, o)
		d.exec("insert into outbox values (1, 'a')", `drop publication "relay pub"`, "insert into outbox values (2, 'lost')")
		if _, err := source(t, o).Create(within(t)); err != nil {
			t.Fatal(err)
		}
		d.exec("insert into outbox values (3, 'c')")
		got := 0
		for end := time.Now().Add(patience); time.Now().Before(end); {
			var m event.Msg
			err := s.Next(&m)
			if err == nil {
				if m.Kind == event.Row {
					got++
				}
				continue
			}
			if event.VerdictOf(err) != event.Refuse || got != 1 {
				t.Fatalf("after %d rows: %v, want Refuse after 1", got, err)
			}
			if again := s.Next(&m); again == nil {
				t.Error("Next after a failure: want the failure again")
			}
			return
		}
		t.Fatalf("%d rows and no error", got)
	})
}

// The next start meets the same row at once. Whether the walsender ends before
// or after Take has looked at it, the server's reason must not be lost.
func TestPublicationGoneBeforeTake(t *testing.T) {
	t.Parallel()
	everyVersion(t, stack.Ends(), func(t *testing.T, pg *stack.PG) {
		d, o := pipe(t, pg)
		d.exec(`drop publication "relay pub"`, "insert into outbox values (2, 'lost')")
		if _, err := source(t, o).Create(within(t)); err != nil {
			t.Fatal(err)
		}
		for tries := 0; tries < 10; {
			s := source(t, o)
			err := s.Take(within(t))
			if event.VerdictOf(err) == event.Standby {
				continue // the walsender before is not quite gone
			}
			tries++
			for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
				var m event.Msg
				err = s.Next(&m)
			}
			if event.VerdictOf(err) != event.Refuse {
				t.Fatalf("got %v, want Refuse", err)
			}
			_ = s.Close(within(t)) // it is broken
		}
	})
}

func TestPartitionsComeAsTheirRoot(t *testing.T) {
	t.Parallel()
	everyVersion(t, stack.Ends(), func(t *testing.T, pg *stack.PG) {
		url := pg.Database(t)
		d := connect(t, url)
		d.exec("create table box (id int, at date) partition by range (at)",
			"create table box_1 partition of box for values from ('2026-01-01') to ('2026-02-01')")
		o := Options{URL: url, Slot: slotOf(d), Publication: "p", Tables: []string{"public.box"}}
		s := source(t, o)
		if _, err := s.Create(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := s.Take(within(t)); err != nil {
			t.Fatal(err)
		}
		d.exec("insert into box values (1, '2026-01-02')",
			"create table box_2 (at date, id int)", "alter table box attach partition box_2 for values from ('2026-02-01') to ('2026-03-01')",
			"insert into box values (2, '2026-02-03')", "insert into box_2 values ('2026-02-04', 3)")
		same(t, lines(read(t, s, commits(3))), []string{"1 public.box [1 2026-01-02]", "1 public.box [2 2026-02-03]", "1 public.box [3 2026-02-04]"})
		f, err := s.Look(within(t))
		if err != nil || !f.Tables[0].Partitioned || !f.Publication.ViaRoot || len(f.Publication.Entries) != 1 {
			t.Errorf("facts %+v, %v", f, err)
		}
	})
}

// What a standby asks: over one connection, for as long as it takes, also while
// the slot comes and goes.
func TestTaken(t *testing.T) {
	t.Parallel()
	everyVersion(t, stack.Ends(), func(t *testing.T, pg *stack.PG) {
		_, o := pipe(t, pg)
		standby := source(t, o)
		want := func(taken bool) {
			t.Helper()
			if got, err := standby.Taken(within(t)); err != nil || got != taken {
				t.Errorf("taken %v, %v; want %v", got, err, taken)
			}
		}
		want(false)
		s := take(t, o)
		want(true)
		if err := s.Close(within(t)); err != nil {
			t.Fatal(err)
		}
		want(false)
		if err := s.DropSlot(within(t), o.Slot); err != nil {
			t.Fatal(err)
		}
		want(false)
	})
}
