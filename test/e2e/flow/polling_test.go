package flow

import (
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// pollingLane is a lane whose table is a polling outbox; lines are its mapping.
func pollingLane(t *testing.T, lines string) *lab.Lane {
	t.Helper()
	return lab.NewLane(t, lab.With(func(c *rig.Config) {
		c.Extra = "table: public.event_outbox\nmapping:\n" + lines
		c.Contract = `unknown_event: stop
defaults: {encoding: json, key: [message_key]}
events:
  - {type: essay.graded, topic: TOPIC, topic_class: lane}
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`
	}))
}

// What the old worker and its clean-up do to rows is no event: only inserts are,
// each once. The publication keeps none of it from working, although the table
// has no primary key.
func TestPollingWorkerMakesNoEvents(t *testing.T) {
	n := pollingLane(t, `
  id: [event_data.event_id, id]
  type: [event_type]
  topic: [event_data.topic]
  key: [event_key]
  headers: [event_data.headers]
  payload: [event_data.data]
  occurred_at: [event_data.at, created_at]
  schema_version: [event_data.schema_version]
`)
	n.Exec(`create table event_outbox (id int, aggregate_id text, aggregate_type text, event_type text, event_data jsonb, event_key text,
		published_at timestamp, retry_count int default 0, last_error text, created_at timestamp default '2026-01-02 03:04:05.6')`)
	n.Exec(`create table event_outbox_archive (like event_outbox)`)
	n.Exec(`insert into event_outbox (id, aggregate_id, aggregate_type, event_type, event_data) values (1, 'a', 'x', 'essay.graded', '{"data": "before the relay"}')`)
	r := n.Start()
	n.Exec(`insert into event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key) values
		(2, 'a', 'essay', 'essay.graded', '{"event_id": "e-2", "data": {"n": 2, "a": 1}, "headers": {"attempt": 2, "retried": true, "share": 0.50, "who": null, "tags": ["x"], "at": {"b": 1}}, "at": 1767323045600}', 'k-2'),
		(3, 'a', 'essay', 'essay.graded', '{"data": [3], "topic": null, "schema_version": 7}', null),
		(4, 'a', 'essay', 'essay.graded', '{"data": "four", "headers": {}}', '')`)
	n.Exec(`update event_outbox set retry_count = retry_count + 1, last_error = 'timeout'`)
	n.Exec(`update event_outbox set published_at = now()`)
	n.Exec(`with gone as (delete from event_outbox where id < 3 returning *) insert into event_outbox_archive select * from gone`)
	n.Exec(`insert into event_outbox (id, aggregate_id, aggregate_type, event_type, event_data) values (5, 'a', 'essay', 'essay.graded', '{"data": null}')`)
	n.Exec(`truncate event_outbox`)
	n.Exec(`drop table event_outbox_archive`)
	n.Check(n.Reader(n.Topic).Read(n.Ctx(time.Minute), func(got int) bool { return got >= 4 }))
	n.Stopped(r, 0)
	read(n, n.Topic,
		plain{"k-2", []string{
			"event_id=e-2", "event_type=essay.graded", "schema_version=1", "occurred_at=2026-01-02T03:04:05.600000Z", "content_type=application/json",
			"at={\"b\": 1}", "who=", "tags=[\"x\"]", "share=0.50", "attempt=2", "retried=true",
		}, `{"a": 1, "n": 2}`},
		plain{"", []string{"event_id=3", "event_type=essay.graded", "schema_version=7", "occurred_at=2026-01-02T03:04:05.600000Z", "content_type=application/json"}, `[3]`},
		plain{"", []string{"event_id=4", "event_type=essay.graded", "schema_version=1", "occurred_at=2026-01-02T03:04:05.600000Z", "content_type=application/json"}, `"four"`},
		plain{"", []string{"event_id=5", "event_type=essay.graded", "schema_version=1", "occurred_at=2026-01-02T03:04:05.600000Z", "content_type=application/json"}, "(null)"})
}

// doctor compares the mapping with the table: what the first row would stop at,
// with the name that is meant, before there is one.
func TestDoctorReadsTheMapping(t *testing.T) {
	n := pollingLane(t, `
  type: [event_typ]
  topic: [event_data.topic]
  key: [event_kye]
  headers: [retry_count]
  payload: [event_data]
  payload_omit: [topic]
  occurred_at: [published_at, created_at]
`)
	n.Exec(`create domain envelope as jsonb`)
	n.Exec(`create table event_outbox (id uuid primary key, aggregate_id text, aggregate_type text, event_type text, event_data envelope, event_key text,
		published_at timestamp, retry_count int default 0, created_at timestamptz default now(), topic text generated always as (event_type) stored)`)
	n.Command("topics", "apply").Exits(0)
	var found lab.Findings
	n.Findings(&found, 3)
	says := func(level doctor.Level, want ...string) {
		t.Helper()
		for _, f := range found.Findings {
			if f.Check == "mapping" && f.Level == level && strings.Contains(f.What, want[0]) && strings.Contains(f.Do, want[1]) {
				return
			}
		}
		t.Errorf("no %s %q in %+v", level, want, found.Findings)
	}
	says(doctor.Fail, "type: the mapping reads column event_typ, which table public.event_outbox does not have", "write type: [event_type]")
	says(doctor.Fail, "key: the mapping reads column event_kye", "did you mean event_key? write key: [event_key]")
	says(doctor.Fail, "headers: column retry_count is of type integer, which is no JSON", "did you mean event_data?")
	says(doctor.Warn, "occurred_at: column published_at is of type timestamp without time zone: it is taken as UTC", "occurred_at: []")

	n.Rewrite(func(c *rig.Config) {
		c.Extra = strings.NewReplacer("event_typ]", "event_type]", "event_kye", "event_key", "[retry_count]", "[event_data.headers]",
			"[published_at, created_at]", "[created_at]", "[event_data.topic]", "[topic]").Replace(c.Extra)
	})
	n.Findings(&found, 3)
	says(doctor.Fail, "topic: column topic is generated: Postgres does not send it to the relay", "trigger")
	n.Rewrite(func(c *rig.Config) { c.Extra = strings.Replace(c.Extra, "[topic]\n  key", "[]\n  key", 1) })
	n.Findings(&found, 0)
	says(doctor.OK, "every field finds its column in public.event_outbox", "")
	r := n.Start()
	n.Exec(`insert into event_outbox values ('0195d8d6-5b1c-7cc0-8000-000000000001', 'a', 'b', 'essay.graded', '{"topic": "x", "headers": {"h": 1}}', 'k')`)
	n.Check(n.Reader(n.Topic).Read(n.Ctx(time.Minute), func(got int) bool { return got >= 1 }))
	n.Stopped(r, 0)
	read(n, n.Topic, plain{"k", []string{
		"event_id=0195d8d6-5b1c-7cc0-8000-000000000001", "event_type=essay.graded", "schema_version=1", "occurred_at=*", "content_type=application/json", "h=1",
	}, `{"headers": {"h": 1}}`})
}
