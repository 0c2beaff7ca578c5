package migrations_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// refused runs a statement that must fail with this SQLSTATE.
func refused(t *testing.T, c *pgx.Conn, statement, code string) *pgconn.PgError {
	t.Helper()
	_, err := c.Exec(t.Context(), statement)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != code {
		t.Errorf("%s: %v; want SQLSTATE %s", statement, err, code)
		return &pgconn.PgError{}
	}
	return pg
}

func TestPublishToOutbox(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, pg *stack.PG) {
		url := pg.Database(t)
		if _, err := migrations.Up(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		c := connect(t, url)

		// As people and drivers write it: literals, names, parameters.
		payload := `{"b": 1,  "a": "ö\u0000\"'", "b": 2.50}` // json keeps it as it is
		for _, call := range []struct {
			sql  string
			args []any
			want string // topic|key|headers
		}{
			{`select cdc_relay.publish_to_outbox('essay', 'e1', 'essay.done', '` + strings.ReplaceAll(payload, "'", "''") + `')`, nil, "||{}"},
			{`select cdc_relay.publish_to_outbox($1, $2, $3, $4)`, []any{"essay", "e1", "essay.done", payload}, "||{}"},
			{`select cdc_relay.publish_to_outbox($1, $2, $3, $4, $5, $6, $7)`, []any{"essay", "e1", "essay.done", payload, "t.v1", "k", map[string]string{"trace_id": "x"}}, `t.v1|k|{"trace_id":"x"}`},
			{`select cdc_relay.publish_to_outbox($1, $2, $3, $4, $5, $6, $7)`, []any{"essay", "e1", "essay.done", payload, nil, nil, nil}, "||{}"},
			{`select cdc_relay.publish_to_outbox(event_type => 'essay.done', aggregate_type => 'essay', aggregate_id => 'e1', event_data => $1, headers => 'null', message_key => '')`, []any{payload}, "||{}"},
			{`select cdc_relay.publish_to_outbox('essay', 'e1', 'essay.done', $1::text::json, headers => json_build_object('a', 'b'))`, []any{payload}, `||{"a" : "b"}`},
		} {
			var id, topicKeyHeaders, stored string
			if err := c.QueryRow(t.Context(), call.sql, call.args...).Scan(&id); err != nil {
				t.Fatalf("%s: %v", call.sql, err)
			}
			err := c.QueryRow(t.Context(), `select concat_ws('|', coalesce(topic, ''), coalesce(message_key, ''), headers), payload::text from cdc_relay.outbox
				where id = $1 and aggregate_type = 'essay' and aggregate_id = 'e1' and event_type = 'essay.done' and occurred_at >= created_at`, id).Scan(&topicKeyHeaders, &stored)
			if err != nil || topicKeyHeaders != call.want || stored != payload {
				t.Errorf("%s: stored %s %s, error %v; want %s %s", call.sql, topicKeyHeaders, stored, err, call.want, payload)
			}
		}

		for args, want := range map[string]string{
			`'', '1', 't', '{}'`:                             "aggregate_type is empty",
			`null, '1', 't', '{}'`:                           "aggregate_type is empty",
			`'a', '', 't', '{}'`:                             "aggregate_id is empty",
			`'a', '1', null, '{}'`:                           "event_type is empty",
			`'a', '1', 't', '[1]'`:                           "event_data of t is not a JSON object but array",
			`'a', '1', 't', '"x"'`:                           "event_data of t is not a JSON object but string",
			`'a', '1', 't', null`:                            "event_data of t is not a JSON object but null",
			`'a', '1', 't', '{}', 'a b'`:                     `"a b" is not the name of a Kafka topic`,
			`'a', '1', 't', '{}', ''`:                        `"" is not the name of a Kafka topic`,
			`'a', '1', 't', '{}', '..'`:                      `".." is not the name of a Kafka topic`,
			`'a', '1', 't', '{}', repeat('x', 250)`:          "is not the name of a Kafka topic",
			`'a', '1', 't', '{}', headers => '[]'`:           "headers is not a JSON object of strings but array",
			`'a', '1', 't', '{}', headers => '{"n": 1}'`:     `header "n" is not a string`,
			`'a', '1', 't', '{}', headers => '{"": "x"}'`:    `header "" is not a string with a name`,
			`'a', '1', 't', '{}', headers => '{"n": null}'`:  `header "n" is not a string`,
			`'a', '1', 't', '{}', headers => '{"n": ["x"]}'`: `header "n" is not a string`,
		} {
			got := refused(t, c, `select cdc_relay.publish_to_outbox(`+args+`)`, "22023")
			if !strings.Contains(got.Message, want) {
				t.Errorf("%s: %s; want %q in it", args, got.Message, want)
			}
		}
		refused(t, c, `select cdc_relay.publish_to_outbox('a', '1', 't', '{"cut')`, "22P02")

		// The row has the id that the event carries.
		const id = "0195d8d6-5b1c-7cc0-8000-000000000001"
		for call, carried := range map[string]bool{
			`'a', '1', 't', '{}', headers => '{"event_id": "` + strings.ToUpper(id) + `"}'`:             true,
			`'a', '1', 't', '{"event_type": "t", "event_id": "` + id + `"}'`:                            true,
			`'a', '1', 't', '{"event_type": "t", "event_id": "` + id + `"}', headers => '{"x": "y"}'`:   true,
			`'a', '1', 't', '{"event_type": "u", "event_id": "` + id + `"}'`:                            false,
			`'a', '1', 't', '{"event_id": "` + id + `"}'`:                                               false,
			`'a', '1', 't', '{"event_type": "t", "event_id": "no"}', headers => '{"event_id": "no"}'`:   false,
			`'a', '1', 't', '{"event_type": "t", "event_id": "` + id + `", "z": "\u0000"}'`:             false,
			`'a', '1', 't', '{"event_type": "t", "event_id": {"x": 1}}', headers => '{"event_id": ""}'`: false,
		} {
			var got string
			err := c.QueryRow(t.Context(), `select cdc_relay.publish_to_outbox(`+call+`)`).Scan(&got)
			if err != nil || (got == id) != carried {
				t.Errorf("%s: id %s, error %v", call, got, err)
			}
			exec(t, c, `truncate cdc_relay.outbox`)
		}

		// The table says no as well to those who insert by themselves.
		for _, values := range []string{`'', '1', 't', null, '{}', '{}'`, `'a', '', 't', null, '{}', '{}'`, `'a', '1', '', null, '{}', '{}'`,
			`'a', '1', 't', 'a b', '{}', '{}'`, `'a', '1', 't', '.', '{}', '{}'`, `'a', '1', 't', null, '[]', '{}'`, `'a', '1', 't', null, '{}', '1'`} {
			refused(t, c, `insert into cdc_relay.outbox (aggregate_type, aggregate_id, event_type, topic, headers, payload) values (`+values+`)`, "23514")
		}
	})
}
