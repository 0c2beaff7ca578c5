package migrations_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

// shape is everything a catalogue says of schema cdc_relay.
func shape(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	rows, err := c.Query(t.Context(), `
		select 'column ' || concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) from information_schema.columns where table_schema = 'cdc_relay'
		union all select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where connamespace = 'cdc_relay'::regnamespace
		union all select 'index ' || indexdef from pg_indexes where schemaname = 'cdc_relay'
		union all select 'function ' || pg_get_functiondef(oid) || coalesce(proacl::text, '') from pg_proc where pronamespace = 'cdc_relay'::regnamespace
		union all select 'table ' || relname || ' ' || relreplident::text || coalesce(relacl::text, '') from pg_class where relnamespace = 'cdc_relay'::regnamespace and relkind = 'r'
		order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func names(steps []migrations.Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, s.Name)
	}
	return strings.Join(out, " ")
}

const all = "0001_outbox.sql 0002_publish_to_outbox.sql 0003_roles.sql 0004_publish_dual_events.sql 0005_emit_event.sql 0006_emit_event_19.sql"

func eachVersion(t *testing.T, test func(t *testing.T, pg *stack.PG)) {
	t.Helper()
	for _, version := range stack.Ends() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			test(t, stack.Postgres(t, stack.Version(version)))
		})
	}
}

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, pg *stack.PG) {
		url := pg.Database(t)
		c := connect(t, url)
		plan, err := migrations.Plan(t.Context(), url)
		if err != nil || names(plan) != all || !strings.Contains(plan[0].SQL, "create table if not exists cdc_relay.outbox") || strings.Contains(plan[0].SQL, "drop table") {
			t.Fatalf("plan %v, error %v", plan, err)
		}
		if res, err := migrations.Down(t.Context(), url, 0); err != nil || len(res.Steps) != 0 {
			t.Fatalf("down of nothing: %+v %v", res, err)
		}
		if got := shapeOrNone(t, c); got != "" {
			t.Fatalf("Plan and Down made something:\n%s", got)
		}
		res, err := migrations.Up(t.Context(), url)
		if err != nil || names(res.Steps) != all || len(res.Notices) != 0 {
			t.Fatalf("up: %+v %v", res, err)
		}
		first := shape(t, c)
		if res, err = migrations.Up(t.Context(), url); err != nil || len(res.Steps) != 0 {
			t.Fatalf("up again: %+v %v", res, err)
		}
		status, err := migrations.Status(t.Context(), url)
		if err != nil || names(status) != all || status[2].Applied.IsZero() {
			t.Fatalf("status %+v %v", status, err)
		}
		if res, err = migrations.Down(t.Context(), url, 1); err != nil || names(res.Steps) != "0006_emit_event_19.sql 0005_emit_event.sql 0004_publish_dual_events.sql 0003_roles.sql 0002_publish_to_outbox.sql" {
			t.Fatalf("down to 1: %+v %v", res, err)
		}
		if plan, err = migrations.Plan(t.Context(), url); err != nil || "0001_outbox.sql "+names(plan) != all {
			t.Fatalf("plan %v, error %v", names(plan), err)
		}
		if res, err = migrations.Down(t.Context(), url, 0); err != nil || names(res.Steps) != "0001_outbox.sql" {
			t.Fatalf("down: %+v %v", res, err)
		}
		if got := shapeOrNone(t, c); got != "" {
			t.Fatalf("down left:\n%s", got)
		}
		if _, err = migrations.Up(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		if again := shape(t, c); again != first {
			t.Errorf("up after down differs:\n%s\nwant\n%s", again, first)
		}
	})
}

// shapeOrNone is "" when there is no schema cdc_relay.
func shapeOrNone(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	var exists bool
	if err := c.QueryRow(t.Context(), "select to_regnamespace('cdc_relay') is not null").Scan(&exists); err != nil {
		t.Fatal(err)
	}
	if !exists {
		return ""
	}
	return "schema cdc_relay\n" + shape(t, c)
}

// The files by hand, without goose, and over an already migrated database.
func TestByHand(t *testing.T) {
	t.Parallel()
	url := stack.Postgres(t).Database(t)
	c := connect(t, url)
	steps, err := migrations.Plan(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, s := range steps {
			if _, err := c.Exec(t.Context(), s.SQL); err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
		}
	}
	if res, err := migrations.Up(t.Context(), url); err != nil || names(res.Steps) != all {
		t.Fatalf("up after that: %+v %v", res, err)
	}
}

func TestUpAtOnce(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t) // an own server: the roles do not exist yet
	urls := []string{pg.Database(t), pg.Database(t)}
	var work sync.WaitGroup
	for i := range 6 {
		work.Go(func() {
			if _, err := migrations.Up(t.Context(), urls[i%2]); err != nil {
				t.Errorf("up %d: %v", i, err)
			}
		})
	}
	work.Wait()
	for _, url := range urls {
		if plan, err := migrations.Plan(t.Context(), url); err != nil || len(plan) != 0 {
			t.Errorf("plan %v %v", plan, err)
		}
	}
}

// as returns url with another user, who has the password "x".
func as(t *testing.T, raw, user string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, "x")
	return u.String()
}

// calls are what a writer may call and nobody else.
var calls = []string{
	`select cdc_relay.publish_to_outbox('a', '1', 't', '{}')`,
	`select cdc_relay.publish_dual_events('{"aggregate_type": "a", "aggregate_id": "1", "event_type": "t", "event_data": {}}', '{"aggregate_type": "a", "aggregate_id": "1", "event_type": "u", "event_data": {}}')`,
	`select cdc_relay.emit_event('a', '1', 't', '{}')`,
}

// TestRights walks the way of a cluster without superuser: an owner without
// CREATEROLE migrates, an administrator adds the roles, a service writes.
func TestRights(t *testing.T) {
	t.Parallel()
	for _, version := range stack.Ends() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			pg := stack.NewPostgres(t, stack.Version(version)) // roles are of the cluster
			admin := pg.Database(t)
			c := connect(t, admin)
			exec(t, c, `create role owner login password 'x'`, `create role service login password 'x'`, `create role viewer login password 'x'`, reader)

			_, err := migrations.Up(t.Context(), as(t, admin, "owner"))
			if err == nil || !strings.Contains(err.Error(), "grant create on database") {
				t.Fatalf("up without rights: %v", err)
			}
			exec(t, c, `do $$ begin execute format('grant create on database %I to owner', current_database()); end $$`)
			res, err := migrations.Up(t.Context(), as(t, admin, "owner"))
			if err != nil || len(res.Steps) != 6 || len(res.Notices) != 2 || !strings.Contains(res.Notices[0], "create role cdc_relay_writer nologin") {
				t.Fatalf("up: %+v %v", res, err)
			}
			service := connect(t, as(t, admin, "service"))
			for _, call := range calls {
				refused(t, service, call, "42501")
			}

			exec(t, c, `create role cdc_relay_writer nologin`, `create role cdc_relay_reader nologin`)
			if _, err := migrations.Down(t.Context(), as(t, admin, "owner"), 2); err != nil {
				t.Fatal(err)
			}
			if res, err = migrations.Up(t.Context(), as(t, admin, "owner")); err != nil || len(res.Notices) != 0 {
				t.Fatalf("up with roles: %+v %v", res, err)
			}
			exec(t, c, `grant cdc_relay_writer to service`, `grant cdc_relay_reader to viewer`)
			exec(t, service, calls...)
			exec(t, service, `insert into cdc_relay.outbox (aggregate_type, aggregate_id, event_type, payload) values ('a', '1', 't', '{}')`)
			refused(t, service, `select * from cdc_relay.outbox`, "42501")
			refused(t, service, `delete from cdc_relay.outbox`, "42501")
			viewer := connect(t, as(t, admin, "viewer"))
			exec(t, viewer, `select * from cdc_relay.outbox`)
			for _, call := range calls {
				refused(t, viewer, call, "42501")
			}
			refused(t, viewer, `insert into cdc_relay.outbox (aggregate_type, aggregate_id, event_type, payload) values ('a', '1', 't', '{}')`, "42501")

			// Down leaves the roles, which may have members and other databases.
			if _, err := migrations.Down(t.Context(), as(t, admin, "owner"), 0); err != nil {
				t.Fatal(err)
			}
			exec(t, c, `drop role cdc_relay_writer`, `drop role cdc_relay_reader`) // and nothing depends on them
		})
	}
}

func exec(t *testing.T, c *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := c.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
