package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// publisher runs work in a transaction of one of the two kinds and commits it
// unless work or the caller says no.
type publisher func(t *testing.T, commit bool, events ...outbox.Event) error

// kinds are the ways into the table: both APIs, and pgx without prepared
// statements, as behind a pooler.
func kinds(t *testing.T, url string) map[string]publisher {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return map[string]publisher{
		"pgx":    pgxPublisher(t, url, pgx.QueryExecModeCacheStatement),
		"exec":   pgxPublisher(t, url, pgx.QueryExecModeExec),
		"simple": pgxPublisher(t, url, pgx.QueryExecModeSimpleProtocol),
		"database/sql": func(t *testing.T, commit bool, events ...outbox.Event) error {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := outbox.PublishSQL(t.Context(), tx, events...); err != nil || !commit {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		},
	}
}

func pgxPublisher(t *testing.T, url string, mode pgx.QueryExecMode) publisher {
	t.Helper()
	return pgxPublisherOf(outbox.Publish, t, url, mode)
}

// pgxPublisherOf is a publisher by one of the functions for pgx.
func pgxPublisherOf(write func(context.Context, pgx.Tx, ...outbox.Event) error, t *testing.T, url string, mode pgx.QueryExecMode) publisher {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.DefaultQueryExecMode = mode
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return func(t *testing.T, commit bool, events ...outbox.Event) error {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := write(t.Context(), tx, events...); err != nil || !commit {
			return errors.Join(err, tx.Rollback(t.Context()))
		}
		return tx.Commit(t.Context())
	}
}

// database returns a migrated database and a connection to look into it.
func database(t *testing.T) (string, *pgx.Conn) {
	t.Helper()
	url := stack.Postgres(t).Database(t)
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return url, c
}

type stored struct {
	ID, AggregateType, AggregateID, Type string
	Topic, Key                           *string
	Headers, Payload                     string
	OccurredAt                           time.Time
}

// rows reads the table in the order of writing and empties it.
func rows(t *testing.T, c *pgx.Conn) []stored {
	t.Helper()
	r, err := c.Query(t.Context(), `select id::text, aggregate_type, aggregate_id, event_type, topic, message_key, headers::text, payload::text, occurred_at
		from cdc_relay.outbox order by ctid`)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(r, pgx.RowToStructByPos[stored])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "truncate cdc_relay.outbox"); err != nil {
		t.Fatal(err)
	}
	return out
}

// awkward strings: quotes, backslashes, braces, commas, NULL, blanks, line ends,
// letters beyond the basic plane.
var awkward = []string{`"`, `\`, `\"`, `{}`, `a,b`, `NULL`, ` `, "\n\t\r", `'); drop table x; --`, "åäö 日本 🎓", `$1`, `%s`, "\x01\x7f", `\u0000`}

func TestCommitRollbackAndContent(t *testing.T) {
	t.Parallel()
	url, c := database(t)
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_123_000, time.FixedZone("", 3600))
	for name, publish := range kinds(t, url) {
		var events []outbox.Event
		for i, s := range awkward {
			payload, err := json.Marshal(map[string]string{"text": s})
			if err != nil {
				t.Fatal(err)
			}
			e := outbox.Event{ID: outbox.NewID(), AggregateType: s, AggregateID: s, Type: s, Key: s, Headers: map[string]string{s: s}, Payload: payload, OccurredAt: at}
			if i%2 == 0 {
				e.Key, e.Topic, e.Headers = "", "topic.v1", nil
			}
			events = append(events, e)
		}
		if err := publish(t, false, events...); err != nil {
			t.Fatalf("%s: rollback: %v", name, err)
		}
		if n := len(rows(t, c)); n != 0 {
			t.Fatalf("%s: %d rows of a transaction rolled back", name, n)
		}
		if err := publish(t, true, events...); err != nil {
			t.Fatalf("%s: commit: %v", name, err)
		}
		got := rows(t, c)
		if len(got) != len(events) {
			t.Fatalf("%s: %d rows, want %d", name, len(got), len(events))
		}
		for i, e := range events {
			same(t, name, got[i], e)
		}
	}
}

func same(t *testing.T, name string, got stored, e outbox.Event) {
	t.Helper()
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	var headers map[string]string
	if err := json.Unmarshal([]byte(got.Headers), &headers); err != nil {
		t.Fatal(err)
	}
	if got.ID != e.ID.String() || got.AggregateType != e.AggregateType || got.AggregateID != e.AggregateID || got.Type != e.Type ||
		text(got.Topic) != e.Topic || text(got.Key) != e.Key || (got.Topic == nil) != (e.Topic == "") || (got.Key == nil) != (e.Key == "") ||
		fmt.Sprint(headers) != fmt.Sprint(e.Headers) || got.Payload != string(e.Payload.([]byte)) || !got.OccurredAt.Equal(e.OccurredAt) {
		t.Errorf("%s: stored %+v\nwant %+v", name, got, e)
	}
}

func TestManyInOneCall(t *testing.T) {
	t.Parallel()
	url, c := database(t)
	const n = 10_000
	for name, publish := range kinds(t, url) {
		events := make([]outbox.Event, n)
		for i := range events {
			events[i] = outbox.Event{AggregateType: "essay", AggregateID: fmt.Sprint(i), Type: "essay.done", Payload: map[string]int{"n": i}}
		}
		before := time.Now()
		if err := publish(t, true, events...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := rows(t, c)
		if len(got) != n {
			t.Fatalf("%s: %d rows", name, len(got))
		}
		for i, r := range got {
			if r.AggregateID != fmt.Sprint(i) || r.Payload != fmt.Sprintf(`{"n":%d}`, i) || r.ID != events[i].ID.String() || events[i].OccurredAt.Before(before) {
				t.Fatalf("%s: row %d is %+v; want the order of the call and %+v", name, i, r, events[i])
			}
		}
	}
}

// More than one statement holds: 5 events of 5 MiB, and one alone over the limit.
func TestLargeCall(t *testing.T) {
	t.Parallel()
	url, c := database(t)
	events := make([]outbox.Event, 6)
	for i := range events {
		size := 5 << 20
		if i == 5 {
			size = 20 << 20
		}
		events[i] = outbox.Event{AggregateType: "a", AggregateID: "1", Type: "t", Payload: `{"x":"` + strings.Repeat("x", size) + `"}`}
	}
	if err := kinds(t, url)["pgx"](t, true, events...); err != nil {
		t.Fatal(err)
	}
	for i, r := range rows(t, c) {
		if r.Payload != events[i].Payload.(string) {
			t.Errorf("payload %d has %d bytes", i, len(r.Payload))
		}
	}
}

type text struct{ s string }

func (t text) MarshalJSON() ([]byte, error) { return []byte(t.s), nil }

// noTx would show any use of the database.
type noTx struct{ pgx.Tx }

func TestEventErrors(t *testing.T) {
	t.Parallel()
	good := outbox.Event{AggregateType: "essay", AggregateID: "1", Type: "essay.done", Payload: `{}`}
	for name, c := range map[string]struct {
		set         func(*outbox.Event)
		field, want string
	}{
		"no aggregate type": {func(e *outbox.Event) { e.AggregateType = "" }, "AggregateType", "is empty"},
		"no aggregate id":   {func(e *outbox.Event) { e.AggregateID = "" }, "AggregateID", "is empty"},
		"no type":           {func(e *outbox.Event) { e.Type = "" }, "Type", "is empty"},
		"zero byte":         {func(e *outbox.Event) { e.AggregateID = "a\x00" }, "AggregateID", "zero byte"},
		"not UTF-8":         {func(e *outbox.Event) { e.Key = "\xff" }, "Key", "not UTF-8"},
		"topic":             {func(e *outbox.Event) { e.Topic = "a b" }, "Topic", `"a b" is not the name`},
		"topic dots":        {func(e *outbox.Event) { e.Topic = ".." }, "Topic", "is not the name"},
		"long topic":        {func(e *outbox.Event) { e.Topic = strings.Repeat("x", 250) }, "Topic", "at most 249"},
		"header name":       {func(e *outbox.Event) { e.Headers = map[string]string{"": "x"} }, "Headers", "must not be empty"},
		"header value":      {func(e *outbox.Event) { e.Headers = map[string]string{"x": "\xff"} }, "Headers", "must be UTF-8"},
		"no payload":        {func(e *outbox.Event) { e.Payload = nil }, "Payload", "is missing"},
		"empty payload":     {func(e *outbox.Event) { e.Payload = []byte(nil) }, "Payload", "not valid JSON"},
		"payload cut":       {func(e *outbox.Event) { e.Payload = json.RawMessage(`{"a":`) }, "Payload", "not valid JSON"},
		"payload bytes":     {func(e *outbox.Event) { e.Payload = []byte("{\"a\":\"\xff\"}") }, "Payload", "is not UTF-8"},
		"payload array":     {func(e *outbox.Event) { e.Payload = []int{1} }, "Payload", "not a JSON object"},
		"payload string":    {func(e *outbox.Event) { e.Payload = text{`"x"`} }, "Payload", "not a JSON object"},
		"payload null":      {func(e *outbox.Event) { e.Payload = (*text)(nil) }, "Payload", "not a JSON object"},
		"payload unknown":   {func(e *outbox.Event) { e.Payload = map[string]any{"f": math.Inf(1)} }, "Payload", "cannot be written as JSON"},
		"year":              {func(e *outbox.Event) { e.OccurredAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "OccurredAt", "year 10000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := good
			c.set(&bad)
			err := outbox.Publish(t.Context(), noTx{}, good, bad)
			e, ok := errors.AsType[*outbox.EventError](err)
			if !ok || e.Index != 1 || e.Field != c.field || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want field %s and %q", err, c.field, c.want)
			}
		})
	}
	if err := outbox.Publish(t.Context(), noTx{}); err != nil {
		t.Errorf("no events: %v", err)
	}
}

func TestErrorsOfTheDatabase(t *testing.T) {
	t.Parallel()
	url := stack.Postgres(t).Database(t)
	event := outbox.Event{AggregateType: "essay", AggregateID: "1", Type: "essay.done", Payload: `{}`}
	for name, publish := range kinds(t, url) {
		if err := publish(t, true, event); err == nil || !strings.Contains(err.Error(), "next: cdc-relay migrate") {
			t.Errorf("%s, no table: %v", name, err)
		}
	}
	emit := pgxPublisherOf(outbox.Emit, t, url, pgx.QueryExecModeExec)
	if err := emit(t, true, event); err == nil || !strings.Contains(err.Error(), "outbox: emit events 0 to 0") || !strings.Contains(err.Error(), "next: cdc-relay migrate") {
		t.Errorf("no function: %v", err)
	}
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	event.ID = outbox.NewID()
	for name, publish := range kinds(t, url) {
		if err := publish(t, true, event, event); err == nil || !strings.Contains(err.Error(), "insert events 0 to 1") || !strings.Contains(err.Error(), "23505") {
			t.Errorf("%s, the same id twice: %v", name, err)
		}
	}
}

// An event without an ID has the one it carries.
func TestCarriedID(t *testing.T) {
	t.Parallel()
	const id = "0195d8d6-5b1c-7cc0-8000-000000000001"
	for i, c := range []struct {
		header, payload string
		carried         bool
	}{
		{strings.ToUpper(id), `{}`, true},
		{"", `{"event_type":"t","event_id":"` + id + `"}`, true},
		{"no", `{"event_type":"t","event_id":"` + id + `","z":"\u0000"}`, true},
		{"", `{"event_type":"u","event_id":"` + id + `"}`, false},
		{"", `{"event_id":"` + id + `"}`, false},
		{"", `{"event_type":"t","event_id":5}`, false},
		{"", `{"event_type":"t","event_id":"0195d8d6x5b1c-7cc0-8000-000000000001"}`, false},
		{strings.ReplaceAll(id, "-", ""), `{"x":{"event_type":"t","event_id":"` + id + `"}}`, false},
	} {
		events := []outbox.Event{{AggregateType: "a", AggregateID: "1", Type: "t", Headers: map[string]string{"event_id": c.header}, Payload: c.payload}}
		if err := outbox.Publish(t.Context(), anyTx{}, events...); err != nil {
			t.Fatal(err)
		}
		if got := events[0].ID; (got.String() == id) != c.carried || got == (outbox.ID{}) {
			t.Errorf("%d: id %s", i, got)
		}
	}
}

func TestNewID(t *testing.T) {
	t.Parallel()
	before := time.Now().UnixMilli()
	seen := map[outbox.ID]bool{}
	for range 10_000 {
		id := outbox.NewID()
		if seen[id] {
			t.Fatalf("%s twice", id)
		}
		seen[id] = true
		s := id.String()
		var ms int64
		if _, err := fmt.Sscanf(strings.ReplaceAll(s[:13], "-", ""), "%x", &ms); err != nil || ms < before || ms > time.Now().UnixMilli() {
			t.Fatalf("%s does not begin with the time: %v", s, err)
		}
		if len(s) != 36 || s[14] != '7' || !strings.ContainsRune("89ab", rune(s[19])) {
			t.Fatalf("%s is not a UUID of version 7", s)
		}
	}
	if got := (outbox.ID{0x01, 0x9b, 15: 0xff}).String(); got != "019b0000-0000-0000-0000-0000000000ff" {
		t.Errorf("String: %s", got)
	}
}
