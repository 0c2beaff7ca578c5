package migrations_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// half is a row of a pair: everything but its id and payload.
type half struct {
	AggregateType, AggregateID, EventType string
	Topic, Key                            *string
	Headers                               map[string]string
}

func TestPublishDualEvents(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, pg *stack.PG) {
		url := pg.Database(t)
		if _, err := migrations.Up(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		c := connect(t, url)
		payload := `{"b": 1,  "a": "ö\"'", "b": 2.50}` // json keeps it as it is
		thin := `{"aggregate_type": "essay", "aggregate_id": 17, "event_type": "thin", "event_data": ` + payload + `, "headers": {"tenant": "x", "event_id": "0195d8d6-5b1c-7cc0-8000-000000000001"}}`
		rich := `{"event_data": ` + payload + `, "aggregate_type": "essay", "aggregate_id": "e1", "event_type": "rich", "topic": "rich.v1", "headers": null}`

		var thinID, richID string
		if err := c.QueryRow(t.Context(), `select * from cdc_relay.publish_dual_events($1, $2, $3, $4)`, thin, rich, "c-1", "k").Scan(&thinID, &richID); err != nil {
			t.Fatal(err)
		}
		if thinID != "0195d8d6-5b1c-7cc0-8000-000000000001" || richID == thinID {
			t.Errorf("ids %s, %s", thinID, richID)
		}
		topic, key := "rich.v1", "k"
		for id, want := range map[string]half{
			thinID: {"essay", "17", "thin", nil, &key, map[string]string{"tenant": "x", "event_id": thinID, "correlation_id": "c-1"}},
			richID: {"essay", "e1", "rich", &topic, &key, map[string]string{"correlation_id": "c-1"}},
		} {
			var got half
			var stored string
			err := c.QueryRow(t.Context(), `select aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload::text from cdc_relay.outbox where id = $1`, id).
				Scan(&got.AggregateType, &got.AggregateID, &got.EventType, &got.Topic, &got.Key, &got.Headers, &stored)
			if err != nil || !same(got, want) || stored != payload {
				t.Errorf("stored %+v %s, error %v; want %+v %s", got, stored, err, want, payload)
			}
		}

		// One statement: what fails, fails for both.
		before := count(t, c)
		refused(t, c, `select cdc_relay.publish_dual_events('`+thin2+`', `+"json_build_object('aggregate_type', 'a', 'aggregate_id', '1', 'event_type', 't', 'event_data', '{}'::json, 'headers', json_build_object('event_id', '"+richID+"')))", "23505")
		if after := count(t, c); after != before {
			t.Errorf("%d rows after a pair that failed, %d before", after, before)
		}
	})
}

const thin2 = `{"aggregate_type": "a", "aggregate_id": "1", "event_type": "t", "event_data": {}}`

func count(t *testing.T, c *pgx.Conn) (n int) {
	t.Helper()
	if err := c.QueryRow(t.Context(), `select count(*) from cdc_relay.outbox`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func same(a, b half) bool {
	text := func(s *string) string {
		if s == nil {
			return "(null)"
		}
		return *s
	}
	if len(a.Headers) != len(b.Headers) {
		return false
	}
	for k, v := range a.Headers {
		if b.Headers[k] != v {
			return false
		}
	}
	return a.AggregateType == b.AggregateType && a.AggregateID == b.AggregateID && a.EventType == b.EventType && text(a.Topic) == text(b.Topic) && text(a.Key) == text(b.Key)
}

// The correlation id of a pair and its key, by where they are given.
func TestDualCorrelation(t *testing.T) {
	t.Parallel()
	url := stack.Postgres(t).Database(t)
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	c := connect(t, url)
	event := func(more string) string {
		return `{"aggregate_type": "a", "aggregate_id": "1", "event_type": "t"` + more + `}`
	}
	const data, with = `, "event_data": {}`, `, "event_data": {"correlation_id": "c-1"}`
	const head = `, "headers": {"correlation_id": "c-1", "z": "y"}`
	for _, ok := range []struct {
		thin, rich string
		id, key    any
		want       string // correlation id and key of both; "*": a new UUID
	}{
		{data, data, "c-9", "k", "c-9 k c-9 k"},
		{data, data, nil, nil, "* - * -"},
		{with, data, nil, nil, "c-1 - c-1 -"},
		{data, with, nil, nil, "c-1 - c-1 -"},
		{data, data + head, nil, nil, "c-1 - c-1 -"},
		{with + head, with + head, "c-1", nil, "c-1 - c-1 -"},
		{data + `, "message_key": "own"`, data + `, "message_key": null`, nil, "k", "* own * k"},
		{`, "event_data": {"correlation_id": null}`, `, "event_data": {"correlation_id": ""}`, nil, nil, "* - * -"},
	} {
		var ids [2]string
		if err := c.QueryRow(t.Context(), `select * from cdc_relay.publish_dual_events($1, $2, $3, $4)`, event(ok.thin), event(ok.rich), ok.id, ok.key).Scan(&ids[0], &ids[1]); err != nil {
			t.Errorf("%s %s: %v", ok.thin, ok.rich, err)
			continue
		}
		var got []string
		made := map[string]bool{}
		for _, id := range ids {
			var correlation, key string
			if err := c.QueryRow(t.Context(), `select headers ->> 'correlation_id', coalesce(message_key, '-') from cdc_relay.outbox where id = $1`, id).Scan(&correlation, &key); err != nil {
				t.Fatal(err)
			}
			if len(correlation) == 36 {
				made[correlation], correlation = true, "*"
			}
			got = append(got, correlation, key)
		}
		if strings.Join(got, " ") != ok.want || len(made) > 1 {
			t.Errorf("%s %s %v %v: %v (made %v), want %s", ok.thin, ok.rich, ok.id, ok.key, got, made, ok.want)
		}
	}

	for _, bad := range []struct{ thin, rich, id, want string }{
		{event(data), event(with), "c-2", `rich_event: correlation_id of its event_data is "c-1", that of the pair is "c-2"`},
		{event(data + head), event(data), "c-2", `thin_event: correlation_id of its headers is "c-1", that of the pair is "c-2"`},
		{event(with), event(`, "event_data": {"correlation_id": "c-2"}`), "", `rich_event: correlation_id of its event_data is "c-2", that of the pair is "c-1"`},
		{`null`, event(data), "", `thin_event is not a JSON object but null`},
		{event(data), `[1]`, "", `rich_event is not a JSON object but array`},
		{event(data), event(data + `, "topc": "x"`), "", `rich_event has the unknown key "topc"`},
		{event(``), event(data), "", `thin_event: event_data of t is not a JSON object but null`},
		{event(`, "event_data": "{}"`), event(data), "", `thin_event: event_data of t is not a JSON object but string`},
		{`{}`, event(data), "", `thin_event: aggregate_type is empty`},
		{`{"aggregate_type": "a"}`, event(data), "", `thin_event: aggregate_id is empty`},
		{`{"aggregate_type": "a", "aggregate_id": {}}`, event(data), "", `thin_event: aggregate_id is not text but object`},
		{event(data + `, "topic": true`), event(data), "", `thin_event: topic is not text but boolean`},
		{event(data + `, "topic": "a b"`), event(data), "", `thin_event: "a b" is not the name of a Kafka topic`},
		{event(data + `, "headers": []`), event(data), "", `thin_event: headers is not a JSON object of strings but array`},
		{event(data + `, "headers": {"n": 1}`), event(data), "", `thin_event: header "n" is not a string with a name`},
	} {
		id := `null`
		if bad.id != "" {
			id = `'` + bad.id + `'`
		}
		got := refused(t, c, `select cdc_relay.publish_dual_events('`+bad.thin+`', '`+bad.rich+`', `+id+`)`, "22023")
		if !strings.HasPrefix(got.Message, "publish_dual_events: ") || !strings.Contains(got.Message, bad.want) {
			t.Errorf("%s %s: %s; want %q in it", bad.thin, bad.rich, got.Message, bad.want)
		}
	}
	refused(t, c, `select cdc_relay.publish_dual_events('`+event(data)+`', '`+event(data)+`', '')`, "22023")
	refused(t, c, `select cdc_relay.publish_dual_events(null, '`+event(data)+`')`, "22023")
}
