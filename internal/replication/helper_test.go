package replication

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// patience bounds what hangs; it claims nothing about speed.
const patience = 3 * time.Minute

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	t.Cleanup(cancel)
	return ctx
}

// db is one session of a service.
type db struct {
	t    testing.TB
	conn *pgx.Conn
}

func connect(t testing.TB, url string) *db {
	t.Helper()
	conn, err := pgx.Connect(within(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return &db{t: t, conn: conn}
}

// exec runs each statement by itself, in the order given.
func (d *db) exec(sql ...string) {
	d.t.Helper()
	for _, s := range sql {
		if _, err := d.conn.Exec(within(d.t), s, pgx.QueryExecModeSimpleProtocol); err != nil {
			d.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (d *db) text(sql string) string {
	d.t.Helper()
	var v *string
	if err := d.conn.QueryRow(within(d.t), sql, pgx.QueryExecModeSimpleProtocol).Scan(&v); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	if v == nil {
		return "NULL"
	}
	return *v
}

func (d *db) lsn(sql string) event.LSN {
	d.t.Helper()
	v, err := event.ParseLSN(d.text(sql))
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// pipe is a database with an outbox, a publication and a slot that stands
// before its first row.
func pipe(t testing.TB, pg *stack.PG) (*db, Options) {
	t.Helper()
	return pipeAt(t, pg.Database(t))
}

func pipeAt(t testing.TB, url string) (*db, Options) {
	t.Helper()
	d := connect(t, url)
	d.exec("create table outbox (id bigint, payload text)", "create table other (id bigint primary key, v text)")
	o := Options{URL: url, Slot: slotOf(d), Publication: "relay pub", Tables: []string{"public.outbox"}}
	if _, err := source(t, o).Create(within(t)); err != nil {
		t.Fatal(err)
	}
	return d, o
}

// slotOf is a slot name of the test's own: slots are per cluster.
func slotOf(d *db) string {
	return "s_" + d.text("select oid::text || '_' || (extract(epoch from clock_timestamp())*1000)::bigint::text from pg_database where datname = current_database()")
}

func source(t testing.TB, o Options) *Source {
	t.Helper()
	s := New(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), closeTimeout)
		defer cancel()
		_ = s.Close(ctx) // a test that means the error closes by itself
	})
	return s
}

func take(t testing.TB, o Options) *Source {
	t.Helper()
	s := source(t, o)
	if err := s.Take(within(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func shut(t testing.TB, s *Source) {
	t.Helper()
	if err := s.Close(within(t)); err != nil {
		t.Fatal(err)
	}
}

// seen is a Msg that outlives Next.
type seen struct {
	event.Msg
	Values []string // "NULL" for nil
	Body   string
}

func keep(m *event.Msg) seen {
	k := seen{Msg: *m, Body: string(m.Content)}
	for _, c := range m.Cols {
		if c == nil {
			k.Values = append(k.Values, "NULL")
		} else {
			k.Values = append(k.Values, string(c))
		}
	}
	k.Cols, k.Content = nil, nil
	return k
}

// read reads until stop says so.
func read(t testing.TB, s *Source, stop func(seen) bool) []seen {
	t.Helper()
	var all []seen
	end := time.Now().Add(patience)
	for time.Now().Before(end) {
		var m event.Msg
		if err := s.Next(&m); err != nil {
			t.Fatalf("after %d messages: %v", len(all), err)
		}
		k := keep(&m)
		all = append(all, k)
		if stop(k) {
			return all
		}
	}
	t.Fatalf("not within %s; the last of %d messages: %+v", patience, len(all), all[max(0, len(all)-5):])
	return nil
}

// commits stops after n commits that had rows.
func commits(n int) func(seen) bool {
	rows := 0
	return func(k seen) bool {
		switch k.Kind {
		case event.Begin:
			rows = 0
		case event.Row:
			rows++
		case event.Commit:
			if rows > 0 {
				n--
			}
		}
		return n == 0
	}
}

func rows(all []seen) []seen {
	return slices.DeleteFunc(slices.Clone(all), func(k seen) bool { return k.Kind != event.Row })
}

// lines prints rows as ordinal, table and values.
func lines(all []seen) []string {
	var out []string
	for _, k := range rows(all) {
		if k.Rel == nil {
			out = append(out, fmt.Sprintf("%d %s=%s", k.Pos.Ord, k.Prefix, k.Body))
		} else {
			out = append(out, fmt.Sprintf("%d %s %v", k.Pos.Ord, k.Rel.Name(), k.Values))
		}
	}
	return out
}

func same(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got\n%q\nwant\n%q", got, want)
	}
}
