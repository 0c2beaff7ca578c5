package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// EssayDone is an event of a service.
type EssayDone struct {
	EssayID string `json:"essay_id"`
	Grade   string `json:"grade"`
}

// finishEssay changes the essay and publishes that it did, both or neither.
func finishEssay(ctx context.Context, conn *pgx.Conn, id string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update essays set state = 'done' where id = $1`, id); err != nil {
			return err
		}
		return outbox.Publish(ctx, tx, outbox.Event{
			AggregateType: "essay",
			AggregateID:   id,
			Type:          "essay.done",
			Headers:       map[string]string{"trace_id": "4bf92f3577b34da6"},
			Payload:       EssayDone{EssayID: id, Grade: "A-"},
		})
	})
}

// finishEssaySQL is finishEssay with database/sql.
func finishEssaySQL(ctx context.Context, db *sql.DB, id string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit
	if _, err := tx.ExecContext(ctx, `update essays set state = 'done' where id = $1`, id); err != nil {
		return err
	}
	err = outbox.PublishSQL(ctx, tx, outbox.Event{
		AggregateType: "essay", AggregateID: id, Type: "essay.done", Payload: EssayDone{EssayID: id, Grade: "A-"},
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}

// TestExamples runs what the examples show.
func TestExamples(t *testing.T) {
	t.Parallel()
	url, c := database(t)
	if _, err := c.Exec(t.Context(), `create table essays (id text, state text); insert into essays values ('essay-1'), ('essay-2')`); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := finishEssay(t.Context(), c, "essay-1"); err != nil {
		t.Fatal(err)
	}
	if err := finishEssaySQL(t.Context(), db, "essay-2"); err != nil {
		t.Fatal(err)
	}
	got := rows(t, c)
	if len(got) != 2 || got[0].Payload != `{"essay_id":"essay-1","grade":"A-"}` || got[1].AggregateID != "essay-2" {
		t.Errorf("stored %+v", got)
	}
}

// exampleDatabase makes a database with an essay in it. A service has a pool
// instead, and its own tables.
func exampleDatabase(ctx context.Context) (conn *pgx.Conn, end func(), err error) {
	url, drop, err := exampleServer(ctx)
	if err != nil {
		return nil, nil, err
	}
	if conn, err = pgx.Connect(ctx, url); err != nil {
		return nil, nil, err
	}
	_, err = conn.Exec(ctx, `create table essays (id text, state text); insert into essays values ('essay-1', 'new')`)
	return conn, func() { _ = conn.Close(ctx); drop() }, err
}

// Publish writes in the transaction that changes the essay.
func ExamplePublish() {
	ctx := context.Background()
	conn, end, err := exampleDatabase(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	fmt.Println("error:", finishEssay(ctx, conn, "essay-1"))

	var kind, payload string
	err = conn.QueryRow(ctx, `select event_type, payload::text from cdc_relay.outbox`).Scan(&kind, &payload)
	fmt.Println(kind, payload, err)
	// Output:
	// error: <nil>
	// essay.done {"essay_id":"essay-1","grade":"A-"} <nil>
}

// A thin event for those who steer the flow, a rich one for those who need the
// data: both or none, under one correlation id.
func ExamplePublishDual() {
	ctx := context.Background()
	conn, end, err := exampleDatabase(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	pair := outbox.Dual{
		Thin: outbox.Event{AggregateType: "essay", AggregateID: "essay-1", Type: "spellcheck.phase.completed", Payload: `{"status":"SUCCEEDED"}`},
		Rich: outbox.Event{AggregateType: "essay", AggregateID: "essay-1", Type: "essay.spellcheck.completed", Payload: `{"status":"SUCCEEDED","words":512}`},
		Key:  "batch-7",
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return outbox.PublishDual(ctx, tx, &pair) })
	fmt.Println("error:", err)
	fmt.Println("one correlation id:", pair.Thin.Headers["correlation_id"] == pair.Rich.Headers["correlation_id"])

	var rows int
	err = conn.QueryRow(ctx, `select count(*) from cdc_relay.outbox where message_key = 'batch-7' and headers ->> 'correlation_id' = $1`, pair.CorrelationID).Scan(&rows)
	fmt.Println("rows:", rows, err)
	// Output:
	// error: <nil>
	// one correlation id: true
	// rows: 2 <nil>
}

// Emit leaves nothing in the table: the event is in the write-ahead log only.
func ExampleEmit() {
	ctx := context.Background()
	conn, end, err := exampleDatabase(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return outbox.Emit(ctx, tx, outbox.Event{AggregateType: "essay", AggregateID: "essay-1", Type: "essay.done", Payload: `{}`})
	})
	fmt.Println("error:", err)
	// Output: error: <nil>
}

// PublishSQL is for database/sql, with any driver of Postgres.
func ExamplePublishSQL() {
	ctx := context.Background()
	conn, end, err := exampleDatabase(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	db := stdlib.OpenDB(*conn.Config())
	defer func() { _ = db.Close() }()
	fmt.Println("error:", finishEssaySQL(ctx, db, "essay-1"))
	// Output: error: <nil>
}

// What is wrong with an event is known before the database is asked.
func ExampleEventError() {
	err := outbox.Publish(context.Background(), nil, outbox.Event{
		AggregateType: "essay", AggregateID: "essay-1", Type: "essay.done", Payload: []int{1, 2},
	})
	fmt.Println(err)
	// Output: outbox: event 0 (type "essay.done"): Payload is not a JSON object: "[1,2]"
}

// An ID set beforehand can be stored beside the event, as in a foreign key.
func ExampleNewID() {
	id := outbox.NewID()
	fmt.Println(len(id.String()))
	// Output: 36
}
