package transform

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// TestRelationChanges replaces the shape of the table between rows.
func TestRelationChanges(t *testing.T) {
	t.Parallel()
	tr := transformer(t, nil)
	one(t, tr, fine().msg(nativeTable()))
	cols := []string{"extra", "payload:json", "headers:json", "id*", "occurred_at", "message_key", "topic", "event_type", "aggregate_id", "aggregate_type"}
	row := insert(table("cdc_relay.outbox", cols...), "new", `{"data":{"job":"j"}}`, "", rowID, "", "", "", "result.published", "agg", "assessment")
	if r := one(t, tr, row); string(r.Key) != "j" || !strings.HasPrefix(headerText(r), "event_id="+rowID) {
		t.Errorf("added and reordered: %s %s", r.Key, headerText(r))
	}
	_, err := records(t, tr, insert(table("cdc_relay.outbox", "id*", "event_type", "payload:json"), rowID, "plain", "{}"))
	if err == nil || event.VerdictOf(err) != event.Stop || !strings.Contains(err.Error(), "has no column for aggregate_type") || !strings.Contains(err.Error(), "0/16B3748#3") {
		t.Errorf("dropped: %v", err)
	}
	for range 3 * maxPlans {
		one(t, tr, fine().msg(nativeTable()))
	}
	if len(tr.plans) > maxPlans {
		t.Errorf("%d plans are kept", len(tr.plans))
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	textTable := table("cdc_relay.outbox", "id*", "aggregate_type", "aggregate_id", "event_type", "topic", "message_key", "headers", "payload", "occurred_at", "created_at")
	cases := []struct {
		name   string
		rel    *event.Relation
		change func(*nativeRow)
		want   []string
	}{
		{"schema", nil, func(r *nativeRow) { r.payload = `{"bad":1}` }, []string{
			`event "result.published" row id "` + rowID + `" of cdc_relay.outbox at LSN 0/16B3748#3 (xid 742)`,
			"breaks its schema ResultV1 (topic results.v1)", "data.score: 1.2 > maximum 1",
			"select * from cdc_relay.outbox where id = '" + rowID + "'", "events.yaml:4", "cdc-relay run",
		}},
		{"no type", nil, func(r *nativeRow) { r.typ = "" }, []string{"names no event type", rowID}},
		{"unknown type", nil, func(r *nativeRow) { r.typ = "result.publishd" }, []string{`knows no event type "result.publishd"; did you mean "result.published"?`}},
		{"unlike any", nil, func(r *nativeRow) { r.typ = "zzz" }, []string{"no known type looks like it"}},
		{"no topic", nil, func(r *nativeRow) { r.typ = "nowhere" }, []string{"neither the row nor the contract names a topic", "0/16B3748#3"}},
		{"bad topic", nil, func(r *nativeRow) { r.topic = "a b" }, []string{`the topic "a b" of the row is no Kafka topic`}},
		{"version", nil, func(r *nativeRow) { r.payload = `{"schema_version":7}` }, []string{"knows no schema ResultV7, only the versions 1, 2: schema_version: 7 is not one of 1, 2", "add the file ResultV7.avsc"}},
		{"version text", nil, func(r *nativeRow) { r.payload = `{"schema_version":"1.0"}` }, []string{`schema_version "1.0" is no version`}},
		{"no version 1", nil, func(r *nativeRow) { r.typ, r.payload = "many", `{}` }, []string{"schema Many has no version 1 but 3, 4"}},
		{"headers array", nil, func(r *nativeRow) { r.headers = `["x"]` }, []string{"the headers are no JSON object"}},
		{"headers zero", nil, func(r *nativeRow) { r.headers = `{"a\u0000":"x"}` }, []string{"character zero"}},
		{"headers text", textTable, func(r *nativeRow) { r.headers = `{"a":{]}` }, []string{"the headers are no JSON object"}},
		{"payload text", textTable, func(r *nativeRow) { r.typ, r.payload = "plain", `{"a":{]}` }, []string{"the payload is no JSON, but the encoding is json"}},
		{"time", nil, func(r *nativeRow) { r.at = "infinity" }, []string{`occurred_at "infinity" is no time`}},
		{"size", nil, func(r *nativeRow) { r.typ, r.payload = "raw", `"`+strings.Repeat("x", DefaultMaxBytes)+`"` }, []string{"the record for topic raw.v1 has 1000", "its limit is 1000000"}},
		{"quoted id", nil, func(r *nativeRow) { r.typ, r.id = "zzz", "o'x" }, []string{`where id = 'o''x'`}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			row, rel := fine(), tc.rel
			tc.change(&row)
			if rel == nil {
				rel = nativeTable()
			}
			rs, err := records(t, transformer(t, nil), row.msg(rel))
			if err == nil || event.VerdictOf(err) != event.Stop || len(rs) != 0 {
				t.Fatalf("%d records, error %v", len(rs), err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("missing %q in: %v", want, err)
				}
			}
		})
	}
	tr := transformer(t, nil)
	m := fine().msg(nativeTable())
	m.Cols = m.Cols[:3]
	if _, err := records(t, tr, m); err == nil || event.VerdictOf(err) != event.Restart {
		t.Errorf("too few columns: %v", err)
	}
}

func TestPayloadFaults(t *testing.T) {
	t.Parallel()
	rel := table("App.Out Box", "id*", "kind", "doc:json", "raw:bytea")
	mapped := func(payload ...string) *Transformer {
		return transformer(t, func(s *setup) {
			s.opts.Mapping = Mapping{
				Type: []string{"kind"}, Payload: payload, AggregateType: []string{}, AggregateID: []string{"id"},
				Topic: []string{}, Key: []string{}, Headers: []string{}, OccurredAt: []string{},
			}
		})
	}
	row := func() *event.Msg { return insert(rel, "1", "raw", `{"a":{"b":2},"n":null}`, "escape-format") }
	if _, err := records(t, mapped("doc.none"), row()); err == nil || !strings.Contains(err.Error(), "no payload where the mapping says") ||
		!strings.Contains(err.Error(), `select * from "App"."Out Box" where id = '1'`) {
		t.Errorf("path: %v", err)
	}
	if _, err := records(t, mapped("raw"), row()); err == nil || !strings.Contains(err.Error(), "bytea_output") {
		t.Errorf("bytea: %v", err)
	}
	if r := one(t, mapped("doc.none", "doc.a"), row()); string(r.Value) != `{"b":2}` {
		t.Errorf("fallback: %q", r.Value)
	}
	if r := one(t, mapped("doc.n"), row()); r.Value != nil {
		t.Errorf("null at the path is no tombstone: %q", r.Value)
	}
}

func TestCompactedTopicNeedsKey(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) {
		s.file.Events[1].TopicClass = "c"
		s.file.TopicClasses = map[string]contract.TopicClass{"c": {Partitions: 1, Config: map[string]string{"cleanup.policy": "compact,delete"}}}
	})
	row := fine()
	row.typ, row.aggID = "plain", ""
	if _, err := records(t, tr, row.msg(nativeTable())); err == nil || !strings.Contains(err.Error(), "topic plain.v1 is compacted") {
		t.Errorf("%v", err)
	}
}

// What lies in the relay's own topics is not read as an event: a row cannot
// choose one.
func TestTopicsOfTheRelayAreRefused(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) { s.opts.Reserved = []string{"checkpoints", "letters"} })
	for _, topic := range []string{"checkpoints", "letters"} {
		row := fine()
		row.topic = topic
		for range 2 { // not even when it was seen before
			rs, err := records(t, tr, row.msg(nativeTable()))
			if event.VerdictOf(err) != event.Stop || len(rs) != 0 || !strings.Contains(err.Error(), topic+`" of the row is the relay's own`) {
				t.Errorf("%s: %v", topic, err)
			}
		}
	}
}
