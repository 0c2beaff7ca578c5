package migrations_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// reader makes a slot that nobody reads: without any, emit_event refuses from 19 on.
const reader = `select pg_create_logical_replication_slot('reader', 'pgoutput')`

// emitted reads the transactional messages since the slot was made.
func emitted(t *testing.T, c *pgx.Conn, slot string) []map[string]any {
	t.Helper()
	rows, err := c.Query(t.Context(), `select data from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'none', 'messages', 'true')
		where get_byte(data, 0) = ascii('M')`, slot)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for _, m := range messages {
		prefix, rest, _ := bytes.Cut(m[10:], []byte{0}) // after kind, flags and LSN
		var content map[string]any
		if err := json.Unmarshal(rest[4:], &content); err != nil || m[1] != 1 || string(prefix) != "cdc_relay" {
			t.Fatalf("message %q: %v", m, err)
		}
		out = append(out, content)
	}
	return out
}

func TestEmitEvent(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, pg *stack.PG) {
		url := pg.Database(t)
		if _, err := migrations.Up(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		c := connect(t, url)
		var slot string
		if err := c.QueryRow(t.Context(), `select slot_name from pg_create_logical_replication_slot('s' || md5(current_database()), 'pgoutput')`).Scan(&slot); err != nil {
			t.Fatal(err)
		}
		defer exec(t, c, `select pg_drop_replication_slot('`+slot+`')`)
		exec(t, c, `begin`, `select cdc_relay.emit_event('a', 'gone', 't', '{}')`, `rollback`)
		const id = "0195d8d6-5b1c-7cc0-8000-000000000001"
		var ids [2]string
		if err := c.QueryRow(t.Context(), `select cdc_relay.emit_event('essay', 'ö "e" 1', 'essay.done', $1, 'topic.v1', 'k', '{"a": "b"}', $2, '2026-02-03 04:05:06.000007+01'),
			cdc_relay.emit_event('essay', 'e2', 'essay.done', '{}', headers => json_build_object('event_id', $2::text))`, `{"x": "ö\u0000",  "n": null}`, id).Scan(&ids[0], &ids[1]); err != nil {
			t.Fatal(err)
		}
		got := emitted(t, c, slot)
		if len(got) != 2 || ids != [2]string{id, id} {
			t.Fatalf("emitted %v, ids %v", got, ids)
		}
		at, err := time.Parse(time.RFC3339Nano, got[0]["occurred_at"].(string))
		if err != nil || !at.Equal(time.Date(2026, 2, 3, 3, 5, 6, 7000, time.UTC)) {
			t.Errorf("occurred at %v, %v", got[0]["occurred_at"], err)
		}
		delete(got[0], "occurred_at")
		want := map[string]any{"id": id, "aggregate_type": "essay", "aggregate_id": `ö "e" 1`, "event_type": "essay.done", "topic": "topic.v1", "message_key": "k",
			"headers": map[string]any{"a": "b"}, "payload": map[string]any{"x": "ö\x00", "n": nil}}
		if !reflect.DeepEqual(got[0], want) {
			t.Errorf("emitted %v, want %v", got[0], want)
		}
		if got[1]["topic"] != nil || got[1]["message_key"] != nil || got[1]["occurred_at"] == nil {
			t.Errorf("emitted %v", got[1])
		}
		if n := count(t, c); n != 0 {
			t.Errorf("%d rows in the table", n)
		}
		for args, want := range map[string]string{
			`'', '1', 't', '{}'`:                                       "emit_event: aggregate_type is empty",
			`'a', '1', 't', '[]'`:                                      "emit_event: event_data of t is not a JSON object but array",
			`'a', '1', 't', '{}', 'a b'`:                               `emit_event: "a b" is not the name of a Kafka topic`,
			`'a', '1', 't', '{}', headers => '{"n": 1}'`:               `emit_event: header "n" is not a string`,
			`'a', '1', 't', '{}', occurred_at => 'infinity'`:           "emit_event: occurred_at is infinity",
			`'a', '1', 't', '{}', headers => '"x"', topic => 'ok.v1'`:  "emit_event: headers is not a JSON object of strings but string",
			`'a', '1', 't', '{}', headers => '{"": "x"}', topic => ''`: "is not the name of a Kafka topic",
		} {
			if got := refused(t, c, `select cdc_relay.emit_event(`+args+`)`, "22023"); !strings.Contains(got.Message, want) {
				t.Errorf("%s: %s; want %q in it", args, got.Message, want)
			}
		}
	})
}

// TestEmitRights takes pg_logical_emit_message away from everybody, as
// docs/writing-events.md says: only writers can make an event then, by the
// function.
func TestEmitRights(t *testing.T) {
	t.Parallel()
	for _, version := range stack.Ends() { // 17 has one more parameter
		pg := stack.NewPostgres(t, stack.Version(version)) // roles are of the cluster
		admin := pg.Database(t)
		c := connect(t, admin)
		exec(t, c, `create role owner login password 'x'`, `create role service login password 'x'`, `create role other login password 'x'`,
			`do $$ begin execute format('grant create on database %I to owner', current_database()); end $$`,
			reader, `create role cdc_relay_writer nologin`, `create role cdc_relay_reader nologin`, `grant cdc_relay_writer to service`)
		if _, err := migrations.Up(t.Context(), as(t, admin, "owner")); err != nil {
			t.Fatal(err)
		}
		restrict(t, c)
		const emit = `select cdc_relay.emit_event('a', '1', 't', '{}')`
		const by = `select pg_logical_emit_message(true, 'cdc_relay', '{}')`
		service, other := connect(t, as(t, admin, "service")), connect(t, as(t, admin, "other"))
		exec(t, service, emit)
		refused(t, service, by, "42501")
		refused(t, other, emit, "42501")
		refused(t, other, by, "42501")
	}
}

// A server whose log nobody can decode says so.
func TestEmitWithoutLogicalLog(t *testing.T) {
	t.Parallel()
	url := stack.NewPostgres(t, stack.Version(18), stack.Setting("wal_level", "replica")).Database(t)
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	got := refused(t, connect(t, url), `select cdc_relay.emit_event('a', '1', 't', '{}')`, "55000")
	if !strings.Contains(got.Message, "wal_level is replica") {
		t.Error(got.Message)
	}
}

// From 19 on that is a server without any logical slot. A transaction that is
// older than the first one is refused to its end: the slot waits for it, and does
// not bring it.
func TestEmitWithoutSlot(t *testing.T) {
	t.Parallel()
	if stack.Ends()[1] < 19 {
		t.Skip("this machine has no PostgreSQL 19")
	}
	const emit = `select cdc_relay.emit_event('a', '1', 't', '{}')`
	const none = "the server has no logical replication slot"
	url := stack.NewPostgres(t, stack.Version(19)).Database(t)
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	c, older := connect(t, url), connect(t, url)
	if got := refused(t, c, emit, "55000"); !strings.Contains(got.Message, none) || !strings.Contains(got.Hint, "cdc-relay run") {
		t.Errorf("%s, %s", got.Message, got.Hint)
	}
	exec(t, older, `begin`, `select pg_current_xact_id()`)
	made := make(chan error, 1)
	maker := connect(t, url)
	go func() {
		_, err := maker.Exec(t.Context(), reader)
		made <- err
	}()
	level(t, connect(t, url), "logical")
	if got := refused(t, older, emit, "55000"); !strings.Contains(got.Message, none) {
		t.Error(got.Message)
	}
	exec(t, older, `rollback`)
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	exec(t, older, emit)
	exec(t, c, emit)
	if got := emitted(t, c, "reader"); len(got) != 2 {
		t.Errorf("read %v", got)
	}
	exec(t, c, `select pg_drop_replication_slot('reader')`)
	level(t, c, "replica")
	refused(t, c, emit, "55000")
}

// level waits until effective_wal_level is want.
func level(t *testing.T, c *pgx.Conn, want string) {
	t.Helper()
	for got := ""; got != want; {
		if err := c.QueryRow(t.Context(), `select current_setting('effective_wal_level') from pg_sleep(0.02)`).Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
}

// No slot can be made at all.
func TestEmitWithMinimalLog(t *testing.T) {
	t.Parallel()
	for version, need := range map[int]string{18: "logical", 19: "replica"} {
		if version > stack.Ends()[1] {
			continue
		}
		url := stack.NewPostgres(t, stack.Version(version), stack.Setting("wal_level", "minimal"), stack.Setting("max_wal_senders", "0")).Database(t)
		if _, err := migrations.Up(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		got := refused(t, connect(t, url), `select cdc_relay.emit_event('a', '1', 't', '{}')`, "55000")
		if !strings.Contains(got.Message, "wal_level is minimal") || !strings.Contains(got.Hint, "wal_level = "+need) {
			t.Errorf("%s, %s", got.Message, got.Hint)
		}
	}
}

// Down of a migration that replaces a function leaves the one of before.
func TestEmitGoesBack(t *testing.T) {
	t.Parallel()
	url := stack.Postgres(t).Database(t)
	plan, err := migrations.Plan(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Down(t.Context(), url, 5); err != nil {
		t.Fatal(err)
	}
	c := connect(t, url)
	back := shape(t, c)
	exec(t, c, plan[4].SQL)
	if again := shape(t, c); plan[4].Version != 5 || again != back {
		t.Errorf("down to 5 left\n%s\nand %s makes\n%s", back, plan[4].Name, again)
	}
}

// restrict runs the statement of the documentation.
func restrict(t *testing.T, c *pgx.Conn) {
	t.Helper()
	statement, err := rig.Example("docs/writing-events.md", "restrict-emit")
	if err != nil {
		t.Fatal(err)
	}
	exec(t, c, statement)
}
