package transform

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// polling is the catalogue's word on the table of a polling outbox.
func polling() event.Table {
	t := event.Table{Name: "public.event_outbox", Exists: true, Types: map[string]string{}}
	for _, c := range [][2]string{
		{"id", "uuid"}, {"aggregate_id", "character varying"}, {"aggregate_type", "character varying"}, {"event_type", "character varying"},
		{"event_data", "jsonb"}, {"event_key", "character varying"}, {"created_at", "timestamp with time zone"},
		{"published_at", "timestamp without time zone"}, {"retry_count", "integer"}, {"raw", "bytea"}, {"sent", "boolean"},
		{"kind", "mood"}, {"whole", event.TypeGenerated}, {"odd name", "json"},
	} {
		t.Columns = append(t.Columns, c[0])
		t.Types[c[0]] = c[1]
	}
	return t
}

func TestMisfits(t *testing.T) {
	t.Parallel()
	sound := func(change func(*Mapping)) Mapping {
		m := sharedMapping()
		m.AggregateType, m.AggregateID = []string{"aggregate_type"}, []string{"aggregate_id"}
		change(&m)
		return m
	}
	cases := []struct {
		name string
		m    Mapping
		want []string // "fatal|WHAT|DO", parts of it
	}{
		{"nothing", sound(func(*Mapping) {}), nil},
		{"enum, text and constants", sound(func(m *Mapping) { m.Type, m.AggregateType = []string{"kind"}, []string{"const:x", "nowhere"} }), []string{
			"false|aggregate_type: the mapping reads column nowhere, which table public.event_outbox does not have|",
		}},
		{"a slip", sound(func(m *Mapping) { m.Key = []string{"event_kye"} }), []string{
			"true|key: the mapping reads column event_kye, which table public.event_outbox does not have|did you mean event_key? write key: [event_key], or key: [",
		}},
		{"a slip before a path", sound(func(m *Mapping) { m.Headers = []string{"event_dat.headers[0]"} }), []string{
			"true|headers: the mapping reads column event_dat|write headers: [event_data.headers[0]]",
		}},
		{"one of two", sound(func(m *Mapping) { m.ID = []string{"uuid", "id"} }), []string{"false|id: the mapping reads column uuid|write id: [id]"}},
		{"the preset", Mapping{Type: []string{"event_type"}}, []string{
			"true|topic: preset native reads column topic|write topic: [COLUMN] with one of id, aggregate_id,|or topic: [] if the table has none",
			"true|key: preset native reads column message_key|did you mean event_key? write key: [event_key]",
			"true|headers: preset native reads column headers|or headers: [] if the table has none",
			"true|payload: preset native reads column payload|did you mean event_data? write payload: [event_data]",
			"true|occurred_at: preset native reads column occurred_at|did you mean created_at? write occurred_at: [created_at]",
		}},
		{"a path into a number", sound(func(m *Mapping) { m.ID = []string{"retry_count.id"} }), []string{
			"true|id: retry_count.id is a place inside JSON, and column retry_count is of type integer|write id: [retry_count] for the column as it is",
		}},
		{"a path into bytes", sound(func(m *Mapping) { m.Payload, m.Key = []string{"raw.x"}, []string{"raw.y"} }), []string{
			"true|key: raw.y is a place inside JSON, and column raw is of type bytea|",
		}},
		{"documents as texts", sound(func(m *Mapping) { m.ID, m.Key, m.Type = []string{"event_data"}, []string{"raw"}, []string{"sent"} }), []string{
			"true|id: column event_data is of type jsonb, which as a whole is no id|write the place inside it: id: [event_data.PATH]",
			"true|type: column sent is of type boolean|", "true|key: column raw is of type bytea|",
		}},
		{"topic", sound(func(m *Mapping) { m.Topic = []string{"retry_count"} }), []string{"true|topic: column retry_count is of type integer|"}},
		{"no documents", sound(func(m *Mapping) { m.Headers, m.Payload = []string{"sent"}, []string{"retry_count"} }), []string{
			"true|headers: column sent is of type boolean, which is no JSON|", "false|payload: column retry_count is of type integer, which is no JSON|",
		}},
		{"times", sound(func(m *Mapping) { m.OccurredAt = []string{"published_at", "sent", "retry_count"} }), []string{
			"false|occurred_at: column published_at is of type timestamp without time zone: it is taken as UTC|occurred_at: [] for the time of the commit",
			"true|occurred_at: column sent is of type boolean, which is no time|",
		}},
		{"version", sound(func(m *Mapping) { m.SchemaVersion = []string{"created_at"} }), []string{"true|schema_version: column created_at|a whole number"}},
		{"generated", sound(func(m *Mapping) { m.Payload = []string{"whole"} }), []string{"true|payload: column whole is generated: Postgres does not send it|"}},
		{"quoted", sound(func(m *Mapping) { m.Payload = []string{`"odd nam".x`} }), []string{`true|payload: the mapping reads column odd nam|write payload: ["odd name".x]`}},
		{"wrong by itself", Mapping{Preset: "x"}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := tc.m.Misfits(polling())
			var text []string
			for _, m := range got {
				if !strings.HasPrefix(m.What, m.Field+": ") || m.Do == "" {
					t.Errorf("incomplete: %+v", m)
				}
				text = append(text, fmt.Sprintf("%v|%s|%s", m.Fatal, m.What, m.Do))
			}
			if len(got) != len(tc.want) {
				t.Fatalf("%d misfits, want %d:\n%s", len(got), len(tc.want), strings.Join(text, "\n"))
			}
			for _, want := range tc.want {
				parts := strings.Split(want, "|")
				if !slices.ContainsFunc(text, func(s string) bool {
					return strings.HasPrefix(s, parts[0]+"|"+parts[1]) && !slices.ContainsFunc(parts[2:], func(p string) bool { return !strings.Contains(s, p) })
				}) {
					t.Errorf("no %q in:\n%s", want, strings.Join(text, "\n"))
				}
			}
		})
	}
	if m := (Mapping{}).Misfits(event.Table{Name: "public.gone"}); m != nil {
		t.Errorf("a table that is not there: %+v", m)
	}
	if (Mapping{Preset: "debezium"}).Custom() || !(Mapping{Key: []string{}}).Custom() || !(Mapping{PayloadOmit: []string{"x"}}).Custom() {
		t.Error("Custom")
	}
}
