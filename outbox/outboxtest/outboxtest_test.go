package outboxtest_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/outboxtest"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

func database(t *testing.T) (string, *pgx.Conn) {
	t.Helper()
	url := stack.Postgres(t).Database(t)
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url, connect(t, url)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

func begin(t *testing.T, c *pgx.Conn) pgx.Tx {
	t.Helper()
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

func event(id string) outbox.Event {
	return outbox.Event{AggregateType: "essay", AggregateID: id, Type: "essay.done", Headers: map[string]string{"tenant": "x"}, Payload: `{"id": "` + id + `", "score": 1.50, "parts": [1, {"a": null}]}`}
}

func publish(t *testing.T, tx pgx.Tx, events ...outbox.Event) {
	t.Helper()
	if err := outbox.Publish(t.Context(), tx, events...); err != nil {
		t.Fatal(err)
	}
}

// recorder is a testing.TB that keeps what a test would have been told.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// told runs an assertion and returns what it says; "" nothing.
func told(t *testing.T, assert func(t testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		assert(r)
	}()
	<-done
	return r.said
}

// Only what this transaction wrote counts, behind savepoints too, and in the
// order of writing.
func TestPublishedInThisTransaction(t *testing.T) {
	t.Parallel()
	url, c := database(t)
	before := begin(t, c)
	publish(t, before, event("before"))
	if err := before.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx := begin(t, c)
	outboxtest.RequirePublished(t, tx)
	publish(t, tx, event("e0"))
	// Others, which commit or not, after this one has got its number.
	other, open := connect(t, url), connect(t, url)
	theirs := begin(t, other)
	publish(t, theirs, event("theirs"))
	if err := theirs.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, begin(t, open), event("open"))

	kept, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish(t, kept, event("e1"), event("e2"))
	outboxtest.RequirePublished(t, kept, event("e0"), event("e1"), event("e2")) // inside of the savepoint
	if err := kept.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	undone, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish(t, undone, event("undone"))
	if err := undone.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, tx, event("e3"))
	outboxtest.RequirePublished(t, tx, event("e0"), event("e1"), event("e2"), event("e3"))
	outboxtest.RequireIncludes(t, tx, event("e1"), event("e3"))
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	outboxtest.RequirePublished(t, begin(t, c)) // the next one has written nothing
}

func TestDatabaseSQL(t *testing.T) {
	t.Parallel()
	url, _ := database(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	outboxtest.RequirePublishedSQL(t, tx)
	want := event("e0")
	want.ID, want.Topic, want.Key, want.OccurredAt = outbox.NewID(), "topic.v1", "k", time.Date(2026, 2, 3, 4, 5, 6, 789_123_456, time.UTC)
	if err := outbox.PublishSQL(t.Context(), tx, event("first"), want); err != nil {
		t.Fatal(err)
	}
	outboxtest.RequirePublishedSQL(t, tx, event("first"), want)
	outboxtest.RequireIncludesSQL(t, tx, want)
	if got := outboxtest.PublishedSQL(t, tx)[1]; got.ID != want.ID || got.Topic != "topic.v1" || got.Key != "k" || got.Headers["tenant"] != "x" {
		t.Errorf("read %+v", got)
	}
	if said := told(t, func(t testing.TB) { outboxtest.RequirePublishedSQL(t, tx) }); !strings.Contains(said, "2 events were published in this transaction, 0 wanted") {
		t.Error(said)
	}
}

// What is zero is not compared.
func TestZeroFields(t *testing.T) {
	t.Parallel()
	_, c := database(t)
	tx := begin(t, c)
	full := event("e0")
	full.Topic, full.Key = "topic.v1", "k"
	publish(t, tx, full)
	outboxtest.RequirePublished(t, tx, outbox.Event{})
	outboxtest.RequirePublished(t, tx, outbox.Event{Type: "essay.done"})
	outboxtest.RequirePublished(t, tx, outbox.Event{Payload: map[string]any{"parts": []any{1.0, map[string]any{"a": nil}}, "score": 15e-1, "id": "e0"}})
}

func TestMessages(t *testing.T) {
	t.Parallel()
	_, c := database(t)
	tx := begin(t, c)
	publish(t, tx, event("e0"), event("e1"))
	with := func(change func(*outbox.Event)) outbox.Event {
		e := event("e1")
		change(&e)
		return e
	}
	for name, m := range map[string]struct {
		want []outbox.Event
		says []string
	}{
		"missing":    {[]outbox.Event{event("e0"), event("e1"), event("e2")}, []string{"2 events were published in this transaction, 3 wanted", "event 2 is missing:", `  AggregateID: "e2"`, `  Headers["tenant"]: "x"`, `  Payload: {"id":"e2"`}},
		"one more":   {[]outbox.Event{event("e0")}, []string{"event 1 was not wanted:", `  AggregateID: "e1"`}},
		"order":      {[]outbox.Event{event("e1"), event("e0")}, []string{"event 0 (essay.done) differs:", `  AggregateID: got "e0", want "e1"`, `  Payload.id: got "e0", want "e1"`, "event 1 (essay.done) differs:"}},
		"type":       {[]outbox.Event{event("e0"), with(func(e *outbox.Event) { e.Type = "essay.gone" })}, []string{`event 1 (essay.done) differs:`, `  Type: got "essay.done", want "essay.gone"`}},
		"topic, key": {[]outbox.Event{event("e0"), with(func(e *outbox.Event) { e.Topic, e.Key = "t", "k" })}, []string{`  Topic: got "", want "t"`, `  Key: got "", want "k"`}},
		"headers": {[]outbox.Event{event("e0"), with(func(e *outbox.Event) { e.Headers = map[string]string{"tenant": "y", "z": "1"} })},
			[]string{`  Headers["tenant"]: got "x", want "y"`, `  Headers["z"]: missing, want "1"`}},
		"payload": {[]outbox.Event{event("e0"), with(func(e *outbox.Event) { e.Payload = `{"score": 1.6, "parts": [1, {"a": 0}], "more": [1]}` })},
			[]string{`  Payload.score: got 1.50, want 1.6`, `  Payload.parts[1].a: got null, want 0`, `  Payload.more: missing, want [1]`, `  Payload.id: got "e1", not wanted`}},
		"length":  {[]outbox.Event{event("e0"), with(func(e *outbox.Event) { e.Payload = `{"id": "e1", "score": 1.5, "parts": []}` })}, []string{`  Payload.parts: got [1,{"a":null}], want []`}},
		"no JSON": {[]outbox.Event{event("e0"), with(func(e *outbox.Event) { e.Payload = `{"id` })}, []string{"Payload: the wanted one is no JSON"}},
		"id and time": {[]outbox.Event{event("e0"), with(func(e *outbox.Event) { e.ID, e.OccurredAt = outbox.ID{1}, time.Unix(0, 0) })},
			[]string{`want "01000000-0000-0000-0000-000000000000"`, `want "1970-01-01T00:00:00.000000Z"`}},
	} {
		said := told(t, func(t testing.TB) { outboxtest.RequirePublished(t, tx, m.want...) })
		for _, want := range m.says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: says\n%s\nand not %q", name, said, want)
			}
		}
	}
	said := told(t, func(t testing.TB) { outboxtest.RequireIncludes(t, tx, event("e1"), event("e0")) })
	for _, want := range []string{"wanted event 1 is not among the 2", "event 0 (essay.done):\n  fits, but comes before another that was wanted first", `  AggregateID: got "e1", want "e0"`} {
		if !strings.Contains(said, want) {
			t.Errorf("includes: says\n%s\nand not %q", said, want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	raw := stack.Postgres(t).Database(t)
	c := connect(t, raw)
	if said := told(t, func(tb testing.TB) { outboxtest.Published(tb, begin(t, c)) }); !strings.Contains(said, "next: cdc-relay migrate") {
		t.Error(said)
	}
	raw, c = database(t)
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	role := "r" + strings.ReplaceAll(outbox.NewID().String(), "-", "")
	if _, err := c.Exec(t.Context(), `create role `+role+` login password 'x'`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Exec(context.WithoutCancel(t.Context()), `drop role `+role) })
	u.User = url.UserPassword(role, "x")
	writer := connect(t, u.String())
	if said := told(t, func(tb testing.TB) { outboxtest.Published(tb, begin(t, writer)) }); !strings.Contains(said, "next: ") {
		t.Error(said)
	}
	failed := begin(t, connect(t, raw))
	_, _ = failed.Exec(t.Context(), "select 1/0")
	if said := told(t, func(tb testing.TB) { outboxtest.Published(tb, failed) }); !strings.Contains(said, "an earlier statement of the transaction failed") {
		t.Error(said)
	}
}
