package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

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

func ExamplePublish() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "postgres://essay_service@db/essays")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(finishEssay(ctx, conn, "essay-1"))
}

func ExamplePublishSQL() {
	db, err := sql.Open("pgx", "postgres://essay_service@db/essays")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(finishEssaySQL(context.Background(), db, "essay-1"))
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
