package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// plain is a record as a person would write it down: key, then headers in their
// order, then the value. A header named "*" stands for one whose value the test
// cannot know.
type plain struct {
	key     string
	headers []string // name=value
	value   string
}

// read compares the records of a topic, one partition, with what is wanted.
func read(n *lab.Lane, topic string, want ...plain) *lab.Tape {
	n.Helper()
	t := n.Tape(topic)
	for i := range max(len(t.Records), len(want)) {
		if i >= len(t.Records) || i >= len(want) {
			n.Fatalf("%s holds %d records, want %d", topic, len(t.Records), len(want))
		}
		r, w := t.Records[i], want[i]
		var headers []string
		for at, h := range r.Headers {
			value := string(h.Value)
			if at < len(w.headers) && w.headers[at] == h.Key+"=*" {
				value = "*"
			}
			headers = append(headers, h.Key+"="+value)
		}
		value := string(r.Value)
		if r.Value == nil {
			value = "(null)"
		}
		if string(r.Key) != w.key || !slices.Equal(headers, w.headers) || value != w.value {
			n.Errorf("%s, record %d:\n key %q headers %q\n value %s\nwant\n key %q headers %q\n value %s", topic, i, r.Key, headers, value, w.key, w.headers, w.value)
		}
	}
	return t
}

// Debezium's default table works as its outbox event router reads it: key,
// topic and the one header; a type that the contract names may have more.
func TestDebeziumTable(t *testing.T) {
	n := lab.NewLane(t, lab.With(func(c *rig.Config) {
		c.Extra = "mapping: debezium\n"
		c.Contract = `unknown_event: default
defaults: {encoding: json}
events:
  - {type: OrderPaid, topic: TOPIC, key: [payload.order.id, aggregate_id], encoding: json, topic_class: lane, headers: {preset: native}}
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`
	}))
	router := "outbox.event." + n.ID
	n.Check(n.Kafka.CreateTopic(n.Ctx(time.Minute), router, 1, nil))
	n.Exec(lab.DebeziumTable)
	r := n.Start()
	const id = "0195d8d6-5b1c-7cc0-8000-00000000000"
	n.Exec(`insert into outboxevent values
		('`+id+`1', $1, 'o-1', 'OrderCreated', '{"b": 1, "a": [1, 2.50]}'),
		('`+id+`2', $1, 'o-1', 'OrderPaid', '{"order": {"id": 77}, "correlation_id": "c-9"}'),
		('`+id+`3', $1, 'o-2', 'OrderDeleted', null)`, n.ID)
	n.Exec(`delete from outboxevent`) // as the router's documentation advises
	n.Check(n.Reader(router, n.Topic).Read(n.Ctx(time.Minute), func(got int) bool { return got >= 3 }))
	n.Stopped(r, 0)
	read(n, router,
		plain{"o-1", []string{"id=" + id + "1"}, `{"a": [1, 2.50], "b": 1}`},
		plain{"o-2", []string{"id=" + id + "3"}, "(null)"})
	read(n, n.Topic, plain{"77", []string{
		"event_id=" + id + "2", "event_type=OrderPaid", "schema_version=1", "occurred_at=*", "content_type=application/json",
		"trace_id=c-9", "correlation_id=c-9",
	}, `{"order": {"id": 77}, "correlation_id": "c-9"}`})
}

// A table of any shape is read by configuration: columns, places inside JSON,
// fallbacks, constants.
func TestCustomTable(t *testing.T) {
	n := lab.NewLane(t, lab.With(func(c *rig.Config) {
		c.Extra = `table: legacy.Events
mapping:
  id: [body.id, seq]
  type: [body.meta.type, kind]
  aggregate_type: ["const:order"]
  aggregate_id: ["body.lines[0].sku", ref]
  key: [attrs.partition]
  topic: [attrs.topic]
  headers: [attrs.headers]
  payload: [body.data, body]
  occurred_at: [body.at, made]
`
		c.Contract = `unknown_event: stop
defaults: {encoding: json, key: [message_key, aggregate_id]}
events:
  - {type: order.placed, topic: TOPIC, topic_class: lane}
  - {type: order.sent, topic: TOPIC, topic_class: lane}
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`
	}))
	n.Exec(`create schema legacy; create table legacy."Events" (made timestamptz, seq bigserial primary key, attrs jsonb, kind text, ref text, body json not null)`)
	other := n.ID + ".chosen-by-the-row"
	n.Check(n.Kafka.CreateTopic(n.Ctx(time.Minute), other, 1, nil))
	r := n.Start()
	n.Exec(`insert into legacy."Events" (made, attrs, kind, ref, body) values
		('2026-01-02 03:04:05.6+02', '{"partition": "p-1", "headers": {"tenant": "acme", "trace_id": "t-1"}}', 'order.sent', 'r-1',
		 '{"id": "e-1", "meta": {"type": "order.placed"}, "at": "2026-05-06T07:08:09Z", "lines": [{"sku": "s-1"}], "data": {"x":  1}}'),
		('2026-01-02 03:04:05.6+02', null, 'order.sent', 'r-2', '{"id": "", "lines": [{"sku": "s-2"}], "data": {"y": "ä"}}'),
		('2026-01-02 03:04:05.6+02', '{"topic": "` + other + `"}', 'order.sent', 'r-3', '{"z": [null], "schema_version": 4}')`)
	n.Check(n.Reader(n.Topic, other).Read(n.Ctx(time.Minute), func(got int) bool { return got >= 3 }))
	n.Stopped(r, 0)
	read(n, n.Topic,
		plain{"p-1", []string{
			"event_id=e-1", "event_type=order.placed", "schema_version=1", "occurred_at=2026-05-06T07:08:09.000000Z",
			"content_type=application/json", "trace_id=t-1", "correlation_id=t-1", "tenant=acme",
		}, `{"x":  1}`},
		plain{"s-2", []string{
			"event_id=2", "event_type=order.sent", "schema_version=1", "occurred_at=2026-01-02T01:04:05.600000Z", "content_type=application/json",
		}, `{"y": "ä"}`})
	read(n, other, plain{"r-3", []string{
		"event_id=3", "event_type=order.sent", "schema_version=4", "occurred_at=2026-01-02T01:04:05.600000Z", "content_type=application/json",
	}, `{"z": [null], "schema_version": 4}`})
}

// Logical messages are events without a table, in one order with the rows around
// them. Those that are not of a transaction, or not ours, are none.
func TestMessagesAndRowsInOneOrder(t *testing.T) {
	n := lab.NewLane(t, lab.With(func(c *rig.Config) { c.Messages = "cdc_relay" }))
	r := n.Start()
	content := func(e rig.Event) string {
		return fmt.Sprintf(`{"id":%q,"event_type":%q,"aggregate_type":"essay","aggregate_id":%q,"payload":%s}`, e.ID, e.Type, e.Key, e.Payload())
	}
	message := func(o *lab.Open, transactional bool, prefix string) rig.Event {
		e := n.Next()
		_, err := o.Tx.Exec(n.Context(), `select pg_logical_emit_message($1, $2, $3::text)`, transactional, prefix, content(e))
		n.Check(err)
		return e
	}
	tx := n.Begin()
	a := tx.Event()
	b := message(tx, true, "cdc_relay")
	message(tx, true, "somebody_else")
	c := tx.Event()
	tx.Exec("savepoint one")
	message(tx, true, "cdc_relay")
	tx.Event()
	tx.Exec("rollback to one")
	d := message(tx, true, "cdc_relay")
	message(tx, false, "cdc_relay") // written at once, and not a part of the transaction
	tx.Commit()
	n.Committed(a, b, c, d)

	gone := n.Begin()
	message(gone, true, "cdc_relay")
	message(gone, false, "cdc_relay")
	n.Check(gone.Tx.Rollback(n.Context()))
	n.Publish(1)

	n.Arrived(n.Reader(n.Topic))
	ignored, err := r.Metric(n.Ctx(time.Minute), "cdc_relay_replication_skipped_total", `reason="non_transactional_message"`)
	n.Check(err)
	if ignored != 2 {
		t.Errorf("%v messages outside of transactions were counted, want 2", ignored)
	}
	n.Finished(r)
}

// encoding: json passes the payload through unchanged, and also publishes a
// second form of each event in the same Kafka transaction.
func TestSecondForm(t *testing.T) {
	n := lab.NewLane(t, lab.With(func(c *rig.Config) {
		c.Contract = strings.Replace(lab.LaneContract, "encoding: avro,", "encoding: avro, also: [{topic: TOPIC.json, encoding: json, key: [payload.data.batch_id]}],", 1)
	}))
	r := n.Start()
	tell, writing := keepWriting(n)
	n.Check(n.Reader(n.Topic).Read(n.Ctx(time.Minute), func(got int) bool { return got > 150 }))
	r.Kill()
	r = n.Start()
	tell()
	writing.Wait()
	n.Arrived(n.Reader(n.Topic))
	avro := n.Finished(r)
	json := n.Tape(n.Topic + ".json")
	n.Same(json.IDs())
	if avro.Commits < 3 || !maps.EqualFunc(avro.PerTx, json.PerTx, slices.Equal[[]int]) {
		t.Errorf("the transactions of the two topics differ: %d with %v events, %d with %v", avro.Commits, avro.PerTx, json.Commits, json.PerTx)
	}
	for i, rec := range json.Records {
		stored := n.Ask(`select payload::text from cdc_relay.outbox where id = $1`, n.Want[i].ID)
		if string(rec.Value) != stored || lab.Header(rec, "content_type") != "application/json" || string(rec.Key) != "batch-7" {
			t.Fatalf("record %d: key %s, headers %v, value\n%s\nwant\n%s", i, rec.Key, rec.Headers, rec.Value, stored)
		}
		if lab.Header(rec, "content_type") == lab.Header(avro.Records[i], "content_type") {
			t.Fatalf("record %d: both forms are %s", i, lab.Header(rec, "content_type"))
		}
	}
}
