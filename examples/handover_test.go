package examples_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The line deploy/handover.sql draws is exact on every version: what the slot
// holds behind it are the marked rows, all of them and no others, while
// transactions of every length insert. The whole recipe, with relay and workers,
// is test/e2e/adopt TestMigration.
func TestHandover(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a server of each version")
	}
	for _, version := range []int{14, 15, 16, 17, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			pg := stack.Postgres(t, stack.Version(version))
			for _, typ := range []string{"timestamptz", "timestamp"} {
				handedOver(t, pg.Database(t), typ)
			}
		})
	}
}

func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

func run(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func handedOver(t *testing.T, url, typ string) {
	t.Helper()
	c := dial(t, url)
	slot := "handover_" + c.Config().Database
	text, err := os.ReadFile(filepath.Join("..", "deploy", "handover.sql"))
	if err != nil {
		t.Fatal(err)
	}
	// A session's settings must not matter.
	run(t, c, "set timezone = 'Asia/Kathmandu'; set datestyle = 'German'")
	run(t, c, `create table "Out Box" (id bigint generated always as identity primary key, published_at `+typ+", n int)")
	run(t, c, string(text))
	run(t, c, `create publication p for table "Out Box" with (publish = 'insert')`)
	run(t, c, fmt.Sprintf("select pg_create_logical_replication_slot('%s', 'pgoutput')", slot))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 4)
	tell := make(chan struct{}, 1000)
	for n := range 4 {
		w := dial(t, url)
		go func() { done <- inserts(ctx, w, n, tell) }()
	}
	some := func() {
		for range 40 {
			<-tell
		}
	}
	some()
	run(t, c, fmt.Sprintf(`select cdc_relay_handover.take_over('"Out Box"', '%s')`, slot))
	some()
	_, err = c.Exec(t.Context(), `select cdc_relay_handover.settle('"Out Box"')`)
	if err == nil || !strings.Contains(err.Error(), "are still the worker's") {
		t.Fatalf("settled before the worker has: %v", err)
	}
	run(t, c, `update "Out Box" set published_at = now() where published_at is null`) // the worker
	run(t, c, `select cdc_relay_handover.settle('"Out Box"')`)
	run(t, c, `select cdc_relay_handover.settle('"Out Box"')`) // once more changes nothing
	some()
	cancel()
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	zone := map[string]string{"timestamptz": "", "timestamp": " at time zone 'UTC'"}[typ]
	marked := ids(t, c, `select id from "Out Box" t, cdc_relay_handover.taken x
		where published_at >= since::timestamptz`+zone+` and published_at < until::timestamptz`+zone)
	streamed := inSlot(t, c, slot)
	if !slices.Equal(marked, streamed) || len(marked) < 20 {
		t.Errorf("%s: %d rows are marked, %d are behind the line in the slot", typ, len(marked), len(streamed))
	}
	all := ids(t, c, `select id from "Out Box"`)
	if len(all)-len(marked) < 20 {
		t.Errorf("%d of %d rows are the relay's", len(marked), len(all))
	}
	run(t, c, `select cdc_relay_handover.release('"Out Box"')`)
	back := fmt.Sprintf(`select cdc_relay_handover.give_back('"Out Box"', '{%d,%d}')`, marked[0], marked[2])
	if n := ids(t, c, back); !slices.Equal(n, []int64{2}) {
		t.Errorf("%v rows were given back, want 2", n)
	}
	if got := ids(t, c, `select id from "Out Box" where published_at is null order by id`); !slices.Equal(got, []int64{marked[0], marked[2]}) {
		t.Errorf("given back: %v", got)
	}
	run(t, c, `select cdc_relay_handover.give_back('"Out Box"', null); select cdc_relay_handover.forget('"Out Box"')`)
	run(t, c, `insert into "Out Box" (n) values (0)`)
	if got := ids(t, c, `select id from "Out Box" where published_at is null`); len(got) != len(marked)+1 {
		t.Errorf("%d rows are the worker's, want all %d and a new one", len(got), len(marked))
	}
	run(t, c, "drop schema cdc_relay_handover cascade")
}

// inserts commits transactions of one to three rows until ctx ends; some are
// rolled back, some take their time.
func inserts(ctx context.Context, c *pgx.Conn, n int, tell chan<- struct{}) error {
	for i := n; ; i++ {
		if ctx.Err() != nil {
			return nil
		}
		sql := "begin;" + strings.Repeat(`insert into "Out Box" (n) values (1);`, 1+i%3)
		if i%7 == n {
			sql += "select pg_sleep(0.02);"
		}
		sql += []string{"commit", "commit", "commit", "rollback"}[i%4]
		_, err := c.PgConn().Exec(context.WithoutCancel(ctx), sql).ReadAll()
		if err != nil {
			return err
		}
		select {
		case tell <- struct{}{}:
		default:
		}
	}
}

func ids(t *testing.T, c *pgx.Conn, sql string) []int64 {
	t.Helper()
	rows, err := c.Query(t.Context(), sql)
	out, cerr := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err := errors.Join(err, cerr); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	slices.Sort(out)
	return out
}

// inSlot are the ids of the rows the slot would send now.
func inSlot(t *testing.T, c *pgx.Conn, slot string) []int64 {
	t.Helper()
	rows, err := c.Query(t.Context(), "select data from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'p')", slot)
	changes, cerr := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err := errors.Join(err, cerr); err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	for _, d := range changes {
		if d[0] != 'I' {
			continue
		}
		// 'I', relation, 'N', number of columns, 't', length, text of the first.
		size := binary.BigEndian.Uint32(d[9:])
		var id int64
		if _, err := fmt.Sscan(string(d[13:13+size]), &id); err != nil {
			t.Fatal(err)
		}
		seen[id] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// The example is sound and says what it is an example of.
func TestHuleedu(t *testing.T) {
	t.Parallel()
	cfg := load(t, filepath.Join("huleedu", "cdc-relay.yaml"))
	want := []string{"batch_orchestrator", "cj_assessment", "class_management", "email", "entitlements", "essay_lifecycle", "file", "identity", "nlp", "result_aggregator", "spellchecker"}
	var names, dumps []string
	for _, p := range cfg.Pipelines() {
		names = append(names, p.Name)
		if p.Service != p.Name+"_service" || p.Database != p.Name || !p.Mapping.Custom() {
			t.Errorf("%+v", p)
		}
	}
	files, err := filepath.Glob(filepath.Join("huleedu", "dump", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		dumps = append(dumps, strings.TrimSuffix(filepath.Base(f), ".sql"))
	}
	if !slices.Equal(names, want) || !slices.Equal(dumps, want) {
		t.Errorf("databases %v, dumps %v; want %v", names, dumps, want)
	}
	if cfg.NeedsRegistry() {
		t.Error("step one needs no registry")
	}
}
