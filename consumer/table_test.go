package consumer_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/consumer"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func eachVersion(t *testing.T, test func(t *testing.T, pg *stack.PG)) {
	t.Helper()
	for _, version := range stack.Ends() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			test(t, stack.Postgres(t, stack.Version(version)))
		})
	}
}

// The script is one statement for every driver: prepared or not, in a
// transaction or without, again and again, whatever the outbox has done to the
// schema before or does after.
func TestSQL(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, pg *stack.PG) {
		for name, script := range map[string]func(ctx context.Context, c *pgx.Conn) error{
			"simple": func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Exec(ctx, consumer.SQL)
				return err
			},
			"extended": func(ctx context.Context, c *pgx.Conn) error {
				return c.PgConn().ExecParams(ctx, consumer.SQL, nil, nil, nil, nil).Read().Err
			},
			"prepared": func(ctx context.Context, c *pgx.Conn) error {
				if _, err := c.Prepare(ctx, "script", consumer.SQL); err != nil {
					return err
				}
				return c.PgConn().ExecPrepared(ctx, "script", nil, nil, nil).Read().Err
			},
		} {
			pool := open(t, pg.Database(t), pgx.QueryExecModeCacheStatement)
			for range 2 {
				if err := pool.AcquireFunc(t.Context(), func(c *pgxpool.Conn) error { return script(t.Context(), c.Conn()) }); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if v, err := consumer.Installed(t.Context(), pool); v != consumer.Version || err != nil {
				t.Errorf("%s: version %d, error %v", name, v, err)
			}
			if got := ask(t, pool, `select string_agg(cdc_relay.inbox_claim('g', 'e')::text, ' ') from generate_series(1, 2)`); got != "true false" {
				t.Errorf("%s: claims %s", name, got)
			}
		}
		for _, order := range []string{"before", "after"} {
			url := pg.Database(t)
			pool := open(t, url, pgx.QueryExecModeCacheStatement)
			if v, err := consumer.Installed(t.Context(), pool); v != 0 || err != nil {
				t.Errorf("nothing there: version %d, error %v", v, err)
			}
			steps := []func() error{
				func() error { _, err := migrations.Up(t.Context(), url); return err },
				func() error { return consumer.Migrate(t.Context(), pool) },
				func() error { _, err := migrations.Down(t.Context(), url, 0); return err }, // the inbox stays
			}
			if order == "after" {
				steps[0], steps[1] = steps[1], steps[0]
			}
			for at, step := range steps {
				if err := step(); err != nil {
					t.Errorf("outbox %s, step %d: %v", order, at, err)
				}
			}
			if got := ask(t, pool, `select cdc_relay.inbox_claim('g', 'e')::text`); got != "true" {
				t.Errorf("outbox %s: %s", order, got)
			}
		}
	})
}

// A database that a newer release has migrated is left as it is, and so is one
// that is up to date: a service that starts does not wait for those at work.
func TestMigrateLeavesAlone(t *testing.T) {
	t.Parallel()
	_, pool := database(t)
	busy := begin(t, pool, pgx.TxOptions{})
	if _, err := busy.Exec(t.Context(), `lock table cdc_relay.inbox in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Exec(t.Context(), `select pg_advisory_xact_lock(7161958650404954489)`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // below lock_timeout
	defer cancel()
	if err := consumer.Migrate(ctx, pool); err != nil {
		t.Errorf("up to date, and locked: %v", err)
	}
	_ = busy.Rollback(t.Context())
	run(t, pool, `create or replace function cdc_relay.inbox_version() returns integer language sql immutable as 'select 99'`)
	run(t, pool, `drop function cdc_relay.inbox_prune`) // as if version 99 had none
	if err := consumer.Migrate(t.Context(), pool); err != nil {
		t.Error(err)
	}
	if v, err := consumer.Installed(t.Context(), pool); v != 99 || err != nil {
		t.Errorf("version %d, error %v", v, err)
	}
	if got := ask(t, pool, `select (to_regproc('cdc_relay.inbox_prune') is null)::text`); got != "true" {
		t.Error("the older release put its function back")
	}
}

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t) // an own server: the role does not exist yet
	pools := []*pgxpool.Pool{open(t, pg.Database(t), pgx.QueryExecModeExec), open(t, pg.Database(t), pgx.QueryExecModeExec)}
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			if err := consumer.Migrate(t.Context(), pools[i%2]); err != nil {
				t.Errorf("migration %d: %v", i, err)
			}
		})
	}
	work.Wait()
}

// TestRights walks the way of a cluster without superuser: an owner without
// CREATEROLE migrates and uses the inbox, others need the role.
func TestRights(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t) // roles are of the cluster
	admin := pg.Database(t)
	pool := open(t, admin, pgx.QueryExecModeExec)
	as := func(user string) *pgxpool.Pool {
		u, err := url.Parse(admin)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, "x")
		return open(t, u.String(), pgx.QueryExecModeExec)
	}
	run(t, pool, `create role owner login password 'x'`)
	run(t, pool, `create role service login password 'x'`)
	owner, service := as("owner"), as("service")
	if err := consumer.Migrate(t.Context(), owner); err == nil || !strings.Contains(err.Error(), "next: let the owner of the database run it") {
		t.Errorf("without rights: %v", err)
	}
	run(t, pool, `do $$ begin execute format('grant create on database %I to owner', current_database()); end $$`)
	if err := consumer.Migrate(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	i := inbox(t, consumer.Options{})
	once := func(pool *pgxpool.Pool) (duplicate bool, err error) {
		tx := begin(t, pool, pgx.TxOptions{})
		duplicate, err = i.Once(t.Context(), tx, message("e", 1), func(context.Context) error { return nil })
		if err == nil {
			err = tx.Commit(t.Context())
		}
		return duplicate, err
	}
	if duplicate, err := once(owner); duplicate || err != nil {
		t.Errorf("the owner: duplicate %t, error %v", duplicate, err)
	}
	if _, err := once(service); err == nil || !strings.Contains(err.Error(), "grant cdc_relay_consumer") {
		t.Errorf("a service without the role: %v", err)
	}
	// What docs/consuming.md tells an administrator to run.
	grants, err := rig.Example("docs/consuming.md", "inbox grants")
	if err != nil {
		t.Fatal(err)
	}
	run(t, pool, grants)
	run(t, pool, `grant cdc_relay_consumer to service`)
	if duplicate, err := once(service); !duplicate || err != nil {
		t.Errorf("a service with the role: duplicate %t, error %v", duplicate, err)
	}
	if err := consumer.Migrate(t.Context(), service); err != nil { // up to date: no rights needed
		t.Errorf("a service that migrates what is there: %v", err)
	}
	if _, err := consumer.Prune(t.Context(), service, time.Hour); err != nil {
		t.Errorf("a service that prunes: %v", err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	url, pool := database(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	fill := func() {
		run(t, pool, `truncate cdc_relay.inbox`)
		run(t, pool, `insert into cdc_relay.inbox (consumer_group, event_id, received_at)
			select 'g' || n % 2, n, now() - n * interval '1 minute' from generate_series(1, 12001) as n`)
	}
	const keep = 1500*time.Minute + 30*time.Second // more than two batches are older
	for name, prune := range map[string]func() (int64, error){
		"pgx":          func() (int64, error) { return consumer.Prune(t.Context(), pool, keep) },
		"database/sql": func() (int64, error) { return consumer.PruneSQL(t.Context(), db, keep) },
	} {
		fill()
		n, err := prune()
		left := ask(t, pool, `select concat_ws(' ', count(*), min(event_id::int), max(event_id::int)) from cdc_relay.inbox`)
		if n != 10501 || err != nil || left != "1500 1 1500" {
			t.Errorf("%s: %d forgotten, error %v, left %s", name, n, err, left)
		}
		if n, err := prune(); n != 0 || err != nil {
			t.Errorf("%s: %d forgotten again, error %v", name, n, err)
		}
	}
	fill()
	if got := ask(t, pool, `select concat_ws(' ', cdc_relay.inbox_prune('1500 minutes 30 seconds', 3), cdc_relay.inbox_prune('1500 minutes 30 seconds', 100000, 'g1'))`); got != "3 5249" {
		t.Errorf("in SQL: %s", got)
	}
	if got := ask(t, pool, `select max(event_id::int)::text from cdc_relay.inbox`); got != "11998" { // the oldest went first
		t.Errorf("the oldest left is %s", got)
	}
	if _, err := consumer.Prune(t.Context(), pool, 0); err == nil || !strings.Contains(err.Error(), "above zero") {
		t.Errorf("keep nothing: %v", err)
	}
}

// refused demands that a query fails with this SQLSTATE and text.
func refused(t *testing.T, pool *pgxpool.Pool, query, code, text string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), query)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != code || !strings.Contains(pg.Message, text) {
		t.Errorf("%s: %v; want SQLSTATE %s and %q", query, err, code, text)
	}
}

func TestFunctionsRefuse(t *testing.T) {
	t.Parallel()
	_, pool := database(t)
	for call, text := range map[string]string{
		`inbox_claim('', 'e')`:                                 "consumer_group is empty",
		`inbox_claim(null, 'e')`:                               "consumer_group is empty",
		`inbox_claim('g', '')`:                                 "event_id is empty",
		`inbox_claim('g', null)`:                               "event_id is empty",
		`inbox_claim_all('', '{e}')`:                           "consumer_group is empty",
		`inbox_claim_all('g', '{e,""}')`:                       "an event_id is empty",
		`inbox_claim_all('g', '{e,null}')`:                     "an event_id is empty",
		`inbox_claim_all('g', '{e}', '{t,t}')`:                 "longer than that of the ids",
		`inbox_claim_all('g', '{}', record_offsets => '{1}')`:  "longer than that of the ids",
		`inbox_prune('0')`:                                     "above zero",
		`inbox_prune(null)`:                                    "above zero",
		`inbox_prune('-1 day')`:                                "above zero",
		`inbox_prune('1 day', 0)`:                              "above zero",
		`inbox_prune(older_than => '1 day', max_rows => null)`: "above zero",
	} {
		refused(t, pool, `select cdc_relay.`+call, "22023", text)
	}
	for call, want := range map[string]string{ // in any order: no two have an id in common
		`inbox_claim_all('g', '{}')`:                           "{}",
		`inbox_claim_all('g', null)`:                           "{}",
		`inbox_claim_all('g', '{x,y,x}')`:                      "{t,t,f}",
		`inbox_claim_all('g', '{z,w,z}', partitions => '{7}')`: "{t,t,f}",
		`inbox_claim(consumer_group => 'g', event_id => 'v')`:  "true",
	} {
		if got := ask(t, pool, `select cdc_relay.`+call+`::text`); got != want {
			t.Errorf("%s: %s, want %s", call, got, want)
		}
	}
}

func TestWithoutTheInbox(t *testing.T) {
	t.Parallel()
	pool := open(t, stack.Postgres(t).Database(t), pgx.QueryExecModeCacheStatement)
	i := inbox(t, consumer.Options{})
	for name, err := range map[string]error{
		"once": func() error {
			_, err := i.Once(t.Context(), begin(t, pool, pgx.TxOptions{}), message("e", 1), nil)
			return err
		}(),
		"claim": func() error {
			_, err := i.Claim(t.Context(), begin(t, pool, pgx.TxOptions{}), message("e", 1))
			return err
		}(),
		"prune": func() error { _, err := consumer.Prune(t.Context(), pool, time.Hour); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "cdc-relay migrate --inbox URL") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The Python package ships the same script.
func TestPythonHasTheSameSQL(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(rig.Root(), "clients", "python", "cdc_relay", "inbox.sql"))
	if err != nil || string(text) != consumer.SQL {
		t.Errorf("clients/python/cdc_relay/inbox.sql differs from consumer/inbox.sql (%v); copy it", err)
	}
}
