package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// anyTx takes every statement.
type anyTx struct{ pgx.Tx }

func (anyTx) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, nil
}

func openSQL(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestPublishDual(t *testing.T) {
	t.Parallel()
	url, c := database(t)
	db := openSQL(t, url)
	half := func(kind string) outbox.Event {
		return outbox.Event{AggregateType: "essay", AggregateID: "e1", Type: kind, Headers: map[string]string{"tenant": "x"}, Payload: `{"n":1}`}
	}
	for name, publish := range map[string]func(d *outbox.Dual, commit bool) error{
		"pgx": func(d *outbox.Dual, commit bool) error {
			tx, err := c.Begin(t.Context())
			if err != nil {
				return err
			}
			if err := outbox.PublishDual(t.Context(), tx, d); err != nil || !commit {
				return errors.Join(err, tx.Rollback(t.Context()))
			}
			return tx.Commit(t.Context())
		},
		"database/sql": func(d *outbox.Dual, commit bool) error {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				return err
			}
			if err := outbox.PublishDualSQL(t.Context(), tx, d); err != nil || !commit {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		},
	} {
		if err := publish(&outbox.Dual{Thin: half("thin"), Rich: half("rich")}, false); err != nil {
			t.Fatal(name, err)
		}
		if got := rows(t, c); len(got) != 0 {
			t.Errorf("%s: %d rows of a pair rolled back", name, len(got))
		}
		d := outbox.Dual{Thin: half("thin"), Rich: half("rich"), CorrelationID: "c-1", Key: "batch-7"}
		given := d.Thin.Headers
		d.Rich.Key = "own"
		if err := publish(&d, true); err != nil {
			t.Fatal(name, err)
		}
		got := rows(t, c)
		if len(got) != 2 || got[0].Type != "thin" || got[1].Type != "rich" || *got[0].Key != "batch-7" || *got[1].Key != "own" {
			t.Fatalf("%s: %+v", name, got)
		}
		for i, e := range []outbox.Event{d.Thin, d.Rich} {
			if got[i].ID != e.ID.String() || got[i].Headers != `{"correlation_id":"c-1","tenant":"x"}` || e.OccurredAt.IsZero() {
				t.Errorf("%s: row %+v of event %+v", name, got[i], e)
			}
		}
		if !maps.Equal(given, map[string]string{"tenant": "x"}) {
			t.Errorf("%s: the caller's headers became %v", name, given)
		}
	}
}

// The correlation id of a pair, by where it is given; the database is not asked.
func TestDualCorrelation(t *testing.T) {
	t.Parallel()
	event := func(payload string, header string) outbox.Event {
		e := outbox.Event{AggregateType: "a", AggregateID: "1", Type: "t", Payload: payload}
		if header != "" {
			e.Headers = map[string]string{"correlation_id": header}
		}
		return e
	}
	const none, one = `{}`, `{"correlation_id":"c-1"}`
	for i, ok := range []struct {
		d    outbox.Dual
		want string
	}{
		{outbox.Dual{Thin: event(none, ""), Rich: event(none, ""), CorrelationID: "c-9"}, "c-9"},
		{outbox.Dual{Thin: event(one, ""), Rich: event(none, "")}, "c-1"},
		{outbox.Dual{Thin: event(none, ""), Rich: event(one, "c-1")}, "c-1"},
		{outbox.Dual{Thin: event(none, "c-1"), Rich: event(one, ""), CorrelationID: "c-1"}, "c-1"},
		{outbox.Dual{Thin: event(`{"correlation_id":null}`, ""), Rich: event(`{"correlation_id":5}`, "")}, ""},
	} {
		if err := outbox.PublishDual(t.Context(), anyTx{}, &ok.d); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		got := ok.d.Thin.Headers["correlation_id"]
		if got != ok.d.Rich.Headers["correlation_id"] || got != ok.d.CorrelationID || ok.want != "" && got != ok.want || len(got) != 36 && ok.want == "" {
			t.Errorf("%d: %+v, want %q", i, ok.d, ok.want)
		}
	}
	for _, bad := range []struct {
		d     outbox.Dual
		index int
		field string
	}{
		{outbox.Dual{Thin: event(one, ""), Rich: event(none, ""), CorrelationID: "c-2"}, 0, "Payload"},
		{outbox.Dual{Thin: event(none, ""), Rich: event(none, "c-1"), CorrelationID: "c-2"}, 1, "Headers"},
		{outbox.Dual{Thin: event(one, ""), Rich: event(`{"correlation_id":"c-2"}`, "")}, 1, "Payload"},
		{outbox.Dual{Thin: event(one, ""), Rich: event(`[]`, "")}, 1, "Payload"},
		{outbox.Dual{Thin: event(one, ""), Rich: outbox.Event{AggregateType: "a", AggregateID: "1", Payload: `{}`}}, 1, "Type"},
	} {
		err := outbox.PublishDual(t.Context(), noTx{}, &bad.d)
		if e, ok := errors.AsType[*outbox.EventError](err); !ok || e.Index != bad.index || e.Field != bad.field {
			t.Errorf("got %v; want event %d, %s", err, bad.index, bad.field)
		}
	}
}

func TestEmit(t *testing.T) {
	t.Parallel()
	url, c := database(t)
	exec := func(sql string) {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`select pg_create_logical_replication_slot('s' || md5(current_database()), 'pgoutput')`)
	defer exec(`select pg_drop_replication_slot('s' || md5(current_database()))`)
	db := openSQL(t, url)
	event := func(id string) outbox.Event {
		return outbox.Event{AggregateType: "essay", AggregateID: id, Type: "essay.done", Payload: `{"x":"ö\u0000"}`}
	}
	gone := errors.New("rolled back")
	err := pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error {
		return errors.Join(outbox.Emit(t.Context(), tx, event("gone")), gone)
	})
	if !errors.Is(err, gone) || strings.Contains(err.Error(), "outbox:") {
		t.Fatal(err)
	}
	if err := pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error { return outbox.Emit(t.Context(), tx, event("e0"), event("e1"), event("e2")) }); err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Behind a pooler, without prepared statements.
	if err := pgxPublisherOf(outbox.Emit, t, url, pgx.QueryExecModeSimpleProtocol)(t, true, event("e3")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(outbox.EmitSQL(t.Context(), tx, event("e4")), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	r, err := c.Query(t.Context(), `select data from pg_logical_slot_get_binary_changes('s' || md5(current_database()), null, null, 'proto_version', '1', 'publication_names', 'none', 'messages', 'true')
		where get_byte(data, 0) = ascii('M')`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(r, pgx.RowTo[[]byte])
	if err != nil || len(got) != 5 {
		t.Fatalf("%d messages %q, %v", len(got), got, err)
	}
	for i, m := range got {
		text := string(m)
		if !strings.Contains(text, "cdc_relay\x00") || !strings.Contains(text, fmt.Sprintf(`"aggregate_id" : "e%d"`, i)) || !strings.Contains(text, `{"x":"ö\u0000"}`) {
			t.Errorf("message %d: %q", i, text)
		}
	}
	if n := len(rows(t, c)); n != 0 {
		t.Errorf("%d rows in the table", n)
	}
}
