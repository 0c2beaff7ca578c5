package consumer_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/consumer"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// finish does the work of a record, once, in a transaction of its own.
func finish(ctx context.Context, conn *pgx.Conn, inbox *consumer.Inbox, r *kgo.Record) (duplicate bool, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		m := consumer.NewMessage(r.Topic, r.Partition, r.Offset, r.Headers)
		duplicate, err = inbox.Once(ctx, tx, m, func(ctx context.Context) error {
			_, err := tx.Exec(ctx, `update essays set state = 'done' where id = $1`, string(r.Key))
			return err
		})
		return err
	})
	return duplicate, err
}

// finishSQL is finish with database/sql.
func finishSQL(ctx context.Context, db *sql.DB, inbox *consumer.Inbox, r *kgo.Record) (duplicate bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit
	m := consumer.NewMessage(r.Topic, r.Partition, r.Offset, r.Headers)
	duplicate, err = inbox.OnceSQL(ctx, tx, m, func(ctx context.Context) error {
		_, err := tx.ExecContext(ctx, `update essays set state = 'done' where id = $1`, string(r.Key))
		return err
	})
	if err != nil {
		return false, err
	}
	return duplicate, tx.Commit()
}

// finishAll does the work of a batch: one statement claims it.
func finishAll(ctx context.Context, conn *pgx.Conn, inbox *consumer.Inbox, records []*kgo.Record) error {
	messages := make([]consumer.Message, len(records))
	for i, r := range records {
		messages[i] = consumer.NewMessage(r.Topic, r.Partition, r.Offset, r.Headers)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		first, err := inbox.Claim(ctx, tx, messages...)
		if err != nil {
			return err
		}
		for i, r := range records {
			if !first[i] {
				continue // a duplicate
			}
			if _, err := tx.Exec(ctx, `update essays set state = 'done' where id = $1`, string(r.Key)); err != nil {
				return err
			}
		}
		return nil
	})
}

// park puts a record aside that failed too often.
func park(ctx context.Context, tx pgx.Tx, inbox *consumer.Inbox, m consumer.Message, key, value []byte, cause error) error {
	_, err := inbox.Once(ctx, tx, m, func(ctx context.Context) error {
		_, err := tx.Exec(ctx, `insert into parked (event_id, topic, key, value, error) values ($1, $2, $3, $4, $5)`,
			m.Headers.EventID(), m.Topic, key, value, cause.Error())
		return err
	})
	return err
}

// TestExamples runs what the examples show.
func TestExamples(t *testing.T) {
	t.Parallel()
	url, pool := database(t)
	run(t, pool, `create table essays (id text, state text); insert into essays select 'essay-' || n from generate_series(1, 4) as n`)
	run(t, pool, `create table parked (event_id text, topic text, key bytea, value bytea, error text)`)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	i := inbox(t, consumer.Options{})
	var records []*kgo.Record
	for n := range 4 {
		id := fmt.Sprint("essay-", n+1)
		records = append(records, &kgo.Record{Key: []byte(id), Topic: "essay.v1", Offset: int64(n), Value: []byte("?"), Headers: []kgo.RecordHeader{{Key: "event_id", Value: []byte("of " + id)}}})
	}
	for _, want := range []bool{false, true} {
		if duplicate, err := finish(t.Context(), conn.Conn(), i, records[0]); duplicate != want || err != nil {
			t.Errorf("pgx: duplicate %t, error %v", duplicate, err)
		}
		if duplicate, err := finishSQL(t.Context(), db, i, records[1]); duplicate != want || err != nil {
			t.Errorf("database/sql: duplicate %t, error %v", duplicate, err)
		}
	}
	run(t, pool, `update essays set state = null where id = 'essay-1'`) // its event is a duplicate
	if err := finishAll(t.Context(), conn.Conn(), i, records[:3]); err != nil {
		t.Error(err)
	}
	poison := records[3]
	m := consumer.NewMessage(poison.Topic, poison.Partition, poison.Offset, poison.Headers)
	for range 2 {
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			return park(t.Context(), tx, i, m, poison.Key, poison.Value, fmt.Errorf("no such essay"))
		})
		if err != nil {
			t.Error(err)
		}
	}
	if duplicate, err := finish(t.Context(), conn.Conn(), i, poison); !duplicate || err != nil {
		t.Errorf("a parked record: duplicate %t, error %v", duplicate, err)
	}
	if got := ask(t, pool, `select string_agg(id, ' ' order by id) from essays where state = 'done'`); got != "essay-2 essay-3" {
		t.Errorf("done: %s", got)
	}
	if got := ask(t, pool, `select string_agg(concat_ws(' ', event_id, topic, convert_from(key, 'utf8'), error), ', ') from parked`); got != "of essay-4 essay.v1 essay-4 no such essay" {
		t.Errorf("parked: %s", got)
	}
}

// What docs/consuming.md shows in Go is what the examples here run.
func TestPageShowsTheExamples(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"go poison": "example_test.go", "go trace": filepath.Join("otel", "example_test.go")} {
		shown, err := rig.Example("docs/consuming.md", name)
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(flush(string(source)), flush(shown)) {
			t.Errorf("example %q of docs/consuming.md is not in %s", name, file)
		}
	}
}

// flush is text without indentation.
func flush(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimLeft(line, "\t "))
	}
	return b.String()
}

// The SQL of docs/consuming.md: the first time it counts, the second it does
// not, as long as the program looks at the answer.
func TestPageSQL(t *testing.T) {
	t.Parallel()
	_, pool := database(t)
	run(t, pool, `create table essay_changes (essay_id text primary key, changes bigint not null)`)
	for _, name := range []string{"inbox sql", "inbox prune"} {
		text, err := rig.Example("docs/consuming.md", name)
		if err != nil {
			t.Fatal(err)
		}
		run(t, pool, text)
	}
	if got := ask(t, pool, `select concat_ws(' ', essay_id, changes, consumer_group, event_id, topic, partition, record_offset) from essay_changes, cdc_relay.inbox`); got !=
		"essay-17 1 result-aggregator 0198f3a2-7c1e-7b60-9f1d-3f0c7f3f5a11 essay.state.changed.v1 0 4711" {
		t.Errorf("after the page's SQL: %s", got)
	}
	if got := ask(t, pool, `select cdc_relay.inbox_claim('result-aggregator', '0198f3a2-7c1e-7b60-9f1d-3f0c7f3f5a11')::text`); got != "false" {
		t.Errorf("the page's event again: %s", got)
	}
}

func ExampleInbox_Once() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://result_aggregator@db/results")
	if err != nil {
		fmt.Println(err)
		return
	}
	inbox, err := consumer.New(consumer.Options{Group: "result-aggregator"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(finish(ctx, conn, inbox, &kgo.Record{Key: []byte("essay-1")}))
}

func ExampleInbox_Claim() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://result_aggregator@db/results")
	if err != nil {
		fmt.Println(err)
		return
	}
	inbox, err := consumer.New(consumer.Options{Group: "result-aggregator"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(finishAll(ctx, conn, inbox, []*kgo.Record{{Key: []byte("essay-1")}}))
}

func ExampleInbox_OnceSQL() {
	db, err := sql.Open("pgx", "postgres://result_aggregator@db/results")
	if err != nil {
		fmt.Println(err)
		return
	}
	inbox, err := consumer.New(consumer.Options{Group: "result-aggregator"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(finishSQL(context.Background(), db, inbox, &kgo.Record{Key: []byte("essay-1")}))
}

// The headers of a record, as any Kafka client has them.
func ExampleNewHeaders() {
	h := consumer.NewHeaders([]kgo.RecordHeader{
		{Key: "event_id", Value: []byte("0198f3a2-7c1e-7b60-9f1d-3f0c7f3f5a11")},
		{Key: "event_type", Value: []byte("essay.state.changed")},
		{Key: "schema_version", Value: []byte("2")},
	})
	version, err := h.SchemaVersion()
	fmt.Println(h.EventType(), version, err)
	// Output: essay.state.changed 2 <nil>
}
