package consumer_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cdc-relay/cdc-relay/consumer"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// database returns a pool of a database with an inbox and a table of effects.
func database(t *testing.T) (url string, pool *pgxpool.Pool) {
	t.Helper()
	url = stack.Postgres(t).Database(t)
	pool = open(t, url, pgx.QueryExecModeCacheStatement)
	if err := consumer.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	run(t, pool, `create table effects (event_id text)`)
	return url, pool
}

func open(t *testing.T, url string, mode pgx.QueryExecMode) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.DefaultQueryExecMode = mode
	cfg.MaxConns = 8
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func run(t *testing.T, pool *pgxpool.Pool, statement string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// ask returns the one text value of a query.
func ask(t *testing.T, pool *pgxpool.Pool, query string, args ...any) string {
	t.Helper()
	var s string
	if err := pool.QueryRow(t.Context(), query, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func inbox(t *testing.T, o consumer.Options) *consumer.Inbox {
	t.Helper()
	if o.Group == "" {
		o.Group = "group"
	}
	i, err := consumer.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func message(id string, offset int64) consumer.Message {
	_, franz, _ := pairs("event_id", id)
	return consumer.NewMessage("topic.v1", 3, offset, franz)
}

func begin(t *testing.T, pool *pgxpool.Pool, o pgx.TxOptions) pgx.Tx {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }) // no effect after Commit
	return tx
}

// processor claims an event and notes it in effects; fail makes the work fail.
type processor func(i *consumer.Inbox, m consumer.Message, fail error) (duplicate bool, err error)

// processors are the ways to claim: both APIs, and pgx without prepared
// statements, as behind a pooler.
func processors(t *testing.T, url string) map[string]processor {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	all := map[string]processor{
		"database/sql": func(i *consumer.Inbox, m consumer.Message, fail error) (bool, error) {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			duplicate, err := i.OnceSQL(t.Context(), tx, m, func(ctx context.Context) error {
				_, err := tx.ExecContext(ctx, `insert into effects values ($1)`, m.Headers.EventID())
				return errors.Join(err, fail)
			})
			if err != nil {
				return duplicate, errors.Join(err, tx.Rollback())
			}
			return duplicate, tx.Commit()
		},
	}
	for name, mode := range map[string]pgx.QueryExecMode{
		"pgx": pgx.QueryExecModeCacheStatement, "describe": pgx.QueryExecModeCacheDescribe, "exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol,
	} {
		pool := open(t, url, mode)
		all[name] = func(i *consumer.Inbox, m consumer.Message, fail error) (duplicate bool, err error) {
			err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				duplicate, err = i.Once(t.Context(), tx, m, func(ctx context.Context) error {
					_, err := tx.Exec(ctx, `insert into effects values ($1)`, m.Headers.EventID())
					return errors.Join(err, fail)
				})
				return err
			})
			return duplicate, err
		}
	}
	return all
}

func TestOnce(t *testing.T) {
	t.Parallel()
	url, pool := database(t)
	for name, process := range processors(t, url) {
		registry := prometheus.NewRegistry()
		i := inbox(t, consumer.Options{Registerer: registry, Service: "essays"})
		m, broken := message("event of "+name, 1<<40), errors.New("broken")
		if duplicate, err := process(i, m, broken); duplicate || !errors.Is(err, broken) {
			t.Errorf("%s: work that fails: duplicate %t, error %v", name, duplicate, err)
		}
		for at, want := range []bool{false, true, true} {
			if duplicate, err := process(i, m, nil); duplicate != want || err != nil {
				t.Errorf("%s: time %d: duplicate %t, error %v", name, at, duplicate, err)
			}
		}
		// Another group does its own work.
		if duplicate, err := process(inbox(t, consumer.Options{Group: "other"}), m, nil); duplicate || err != nil {
			t.Errorf("%s: another group: duplicate %t, error %v", name, duplicate, err)
		}
		if got := ask(t, pool, `select count(*)::text from effects where event_id = $1`, m.Headers.EventID()); got != "2" {
			t.Errorf("%s: %s effects of two groups", name, got)
		}
		row := ask(t, pool, `select concat_ws(' ', topic, partition, record_offset, received_at <= now()) from cdc_relay.inbox where consumer_group = 'group' and event_id = $1`, m.Headers.EventID())
		if row != "topic.v1 3 1099511627776 t" {
			t.Errorf("%s: row %s", name, row)
		}
		const want = "# HELP kafka_duplicate_events_total Events that came again and were not processed again.\n# TYPE kafka_duplicate_events_total counter\n" +
			`kafka_duplicate_events_total{consumer_group="group",deduplication_method="inbox",service="essays"} 2` + "\n"
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Two transactions claim one event at the same time: the second waits for the
// end of the first, and sees a duplicate or does the work.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	_, pool := database(t)
	i := inbox(t, consumer.Options{})
	for name, commits := range map[string]bool{"the first commits": true, "the first rolls back": false} {
		m := message(name, 1)
		first, second := begin(t, pool, pgx.TxOptions{}), begin(t, pool, pgx.TxOptions{})
		nothing := func(context.Context) error { return nil }
		if duplicate, err := i.Once(t.Context(), first, m, nothing); duplicate || err != nil {
			t.Fatalf("%s: duplicate %t, error %v", name, duplicate, err)
		}
		type answer struct {
			duplicate bool
			err       error
		}
		answered, worked := make(chan answer, 1), false
		go func() {
			duplicate, err := i.Once(t.Context(), second, m, func(context.Context) error { worked = true; return nil })
			answered <- answer{duplicate, err}
		}()
		waits(t, pool, first.Conn().PgConn().PID(), second.Conn().PgConn().PID())
		end := first.Rollback
		if commits {
			end = first.Commit
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a := <-answered; a.err != nil || a.duplicate != commits || worked == commits {
			t.Errorf("%s: duplicate %t, worked %t, error %v", name, a.duplicate, worked, a.err)
		}
		if err := second.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, pool, `select count(*)::text from cdc_relay.inbox where event_id = $1`, name); got != "1" {
			t.Errorf("%s: %s claims", name, got)
		}
	}
}

// waits waits until Postgres says that blocked waits for holder, or has an
// answer already, which is wrong.
func waits(t *testing.T, pool *pgxpool.Pool, holder, blocked uint32) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if ask(t, pool, `select ($1::int = any (pg_blocking_pids($2::int)))::text`, int32(holder), int32(blocked)) == "true" {
			return
		}
		<-tick.C
	}
	t.Fatal("nobody waits for the transaction that claimed the event")
}

// In repeatable read a claim committed in between can neither be seen nor
// ignored: the transaction has to run again, and then it is a duplicate.
func TestRepeatableRead(t *testing.T) {
	t.Parallel()
	_, pool := database(t)
	i := inbox(t, consumer.Options{})
	nothing := func(context.Context) error { return nil }
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		m := message(string(level), 1)
		late := begin(t, pool, pgx.TxOptions{IsoLevel: level})
		if _, err := late.Exec(t.Context(), `select 1`); err != nil { // takes its snapshot
			t.Fatal(err)
		}
		if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { _, err := i.Once(t.Context(), tx, m, nothing); return err }); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Once(t.Context(), late, m, nothing); err == nil || !strings.Contains(err.Error(), "40001") || !strings.Contains(err.Error(), "run the transaction again") {
			t.Errorf("%s: error %v", level, err)
		}
		_ = late.Rollback(t.Context())
		again := begin(t, pool, pgx.TxOptions{IsoLevel: level})
		if duplicate, err := i.Once(t.Context(), again, m, nothing); !duplicate || err != nil {
			t.Errorf("%s, again: duplicate %t, error %v", level, duplicate, err)
		}
	}
}

// noTx would show any use of the database.
type noTx struct{ pgx.Tx }

func TestRecordsThatCannotBeClaimed(t *testing.T) {
	t.Parallel()
	i := inbox(t, consumer.Options{})
	for id, want := range map[string]string{
		"":                        "record topic.v1/3@9: no header event_id",
		"a\x00b":                  "zero byte",
		"\xff":                    "not UTF-8",
		strings.Repeat("x", 1025): "1025 bytes, more than 1024",
	} {
		m := message(id, 9)
		_, err := i.Once(t.Context(), noTx{}, m, func(context.Context) error { t.Error("worked"); return nil })
		e, ok := errors.AsType[*consumer.EventIDError](err)
		if !ok || e.Message.Offset != 9 || !strings.Contains(err.Error(), want) {
			t.Errorf("id %.10q: %v; want %q", id, err, want)
		}
		if _, err := i.Claim(t.Context(), noTx{}, message("good", 1), m); !errors.As(err, &e) {
			t.Errorf("id %.10q among others: %v", id, err)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := consumer.New(consumer.Options{}); err == nil || !strings.Contains(err.Error(), "Options.Group") {
		t.Errorf("no group: %v", err)
	}
	registry := prometheus.NewRegistry()
	for range 2 { // two inboxes of one process share the metric
		if _, err := consumer.New(consumer.Options{Group: "g", Registerer: registry}); err != nil {
			t.Error(err)
		}
	}
	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "kafka_duplicate_events_total", Help: "of somebody else"}))
	if _, err := consumer.New(consumer.Options{Group: "g", Registerer: taken}); err == nil || !strings.Contains(err.Error(), "kafka_duplicate_events_total") {
		t.Errorf("a name that is taken: %v", err)
	}
}
