package transform

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

func TestNativeRow(t *testing.T) {
	t.Parallel()
	tr := transformer(t, nil)
	r := one(t, tr, fine().msg(nativeTable()))
	if *r.Topic != "results.v1" || string(r.Key) != "job-7" || r.Time != commitTime {
		t.Errorf("topic %q key %q time %d", *r.Topic, r.Key, r.Time)
	}
	if r.Value[0] != 0 || binary.BigEndian.Uint32(r.Value[1:]) != 101 || !strings.HasPrefix(string(r.Value[5:]), "ResultV1|{") {
		t.Errorf("value %q", r.Value)
	}
	want := "event_id=" + rowID + " event_type=result.published schema_version=1 occurred_at=2024-05-01T12:34:56.000000Z" +
		" content_type=application/avro trace_id=t-1 correlation_id=c-1"
	if got := headerText(r); got != want {
		t.Errorf("headers\n got %s\nwant %s", got, want)
	}
}

func TestDebeziumRow(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) {
		s.opts.Mapping = Mapping{Preset: "debezium"}
		s.file.Unknown, s.file.Defaults = "default", contract.Defaults{Encoding: "json"}
		for i := range s.file.Events {
			if s.file.Events[i].Encoding == "" {
				s.file.Events[i].Encoding = "avro"
			}
		}
	})
	r := one(t, tr, insert(debeziumTable(), rowID, "order", "42", "OrderCreated", `{"x": 1}`))
	if *r.Topic != "outbox.event.order" || string(r.Key) != "42" || string(r.Value) != `{"x": 1}` || headerText(r) != "id="+rowID {
		t.Errorf("%s %s %s %s", *r.Topic, r.Key, r.Value, headerText(r))
	}
	first := r.Topic
	if r = one(t, tr, insert(debeziumTable(), rowID, "order", "42", "OrderCreated", `{}`)); r.Topic != first {
		t.Error("the topic of a template is not interned")
	}
	if _, err := records(t, tr, insert(debeziumTable(), rowID, "", "42", "OrderCreated", `{}`)); err == nil {
		t.Error("a template without its aggregate type gave a topic")
	}
}

// A polling-era outbox: one JSON column holds an envelope with its headers and
// topic.
func TestMappedTable(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) {
		s.opts.Mapping = Mapping{
			ID: []string{"event_id", "event_data.event_id"}, Type: []string{"event_type"}, Key: []string{"event_key"},
			AggregateID: []string{"aggregate_id"}, AggregateType: []string{"const:essay"}, Topic: []string{"event_data.topic"},
			Headers: []string{"event_data.headers"}, Payload: []string{"event_data.body"}, OccurredAt: []string{"event_data.event_timestamp", "created_at"},
			SchemaVersion: []string{"event_data.body.version"}, DefaultTopic: "${aggregate_type}.${event_type}",
		}
	})
	rel := table("public.event_outbox", "event_id*", "aggregate_id", "event_type", "event_key", "event_data:jsonb", "published_at", "retry_count", "created_at")
	r := one(t, tr, insert(rel, "17", "a-1", "plain", "", `{"topic": "chosen.v1", "headers": {"x": "y"}, "event_timestamp": "2024-01-01T00:00:00+01:00", "body": {"version": 9, "correlation_id": "cc"}}`, "", "0", "2024-05-01 00:00:00+00"))
	if *r.Topic != "chosen.v1" || string(r.Key) != "a-1" || string(r.Value) != `{"version": 9, "correlation_id": "cc"}` {
		t.Errorf("%s %s %s", *r.Topic, r.Key, r.Value)
	}
	want := "event_id=17 event_type=plain schema_version=9 occurred_at=2023-12-31T23:00:00.000000Z content_type=application/json trace_id=cc correlation_id=cc x=y"
	if got := headerText(r); got != want {
		t.Errorf("headers\n got %s\nwant %s", got, want)
	}
	r = one(t, tr, insert(rel, "17", "a-1", "nowhere", "k", `{"body": {}}`, "", "0", "2024-05-01 00:00:00+00"))
	if *r.Topic != "essay.nowhere" || string(r.Key) != "k" || !strings.Contains(headerText(r), "occurred_at=2024-05-01T00:00:00.000000Z") {
		t.Errorf("%s %s %s", *r.Topic, r.Key, headerText(r))
	}
}

func TestLogicalMessage(t *testing.T) {
	t.Parallel()
	var s0 *setup
	tr := transformer(t, func(s *setup) { s0 = s })
	msg := func(prefix, content string, ord uint64) *event.Msg {
		return &event.Msg{
			Kind: event.Row, Pos: event.Position{Commit: 0x16B3748, Ord: ord}, Time: commitTime, XID: 742,
			Prefix: prefix, Content: []byte(content),
		}
	}
	content := `{"event_type":"plain","aggregate_id":"a\u002d1","headers":{"x":1},"payload":{"n":1.50},"occurred_at":null}`
	r := one(t, tr, msg("cdc_relay", content, 3))
	if *r.Topic != "plain.v1" || string(r.Key) != "a-1" || string(r.Value) != `{"n":1.50}` {
		t.Errorf("%s %s %s", *r.Topic, r.Key, r.Value)
	}
	again := one(t, tr, msg("cdc_relay", content, 3))
	next := one(t, tr, msg("cdc_relay", content, 4))
	if a, b, c := headerText(r), headerText(again), headerText(next); a != b || a == c || !strings.HasPrefix(a, "event_id=") {
		t.Errorf("ids: first %s, again %s, next %s", a, b, c)
	}
	if id, err := uuid.ParseBytes(r.Headers[0].Value); err != nil || id.Version() != 5 || id.Variant() != uuid.RFC4122 {
		t.Errorf("id %s: %v", r.Headers[0].Value, err)
	}
	if rs, err := records(t, tr, msg("other", "x", 5)); err != nil || len(rs) != 0 || counter(t, s0, "cdc_relay_logical_messages_ignored_total") != 1 {
		t.Errorf("another prefix: %v, %v", rs, err)
	}
	if _, err := records(t, tr, msg("cdc_relay", `{"event_type":"plain"`, 6)); err == nil || !strings.Contains(err.Error(), "is no JSON") {
		t.Errorf("broken content: %v", err)
	}
}

// TestDerivedID pins the ids of rows without one: they must never change.
func TestDerivedID(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) { s.opts.Mapping = Mapping{ID: []string{}} })
	id := func(rel *event.Relation, row nativeRow) string {
		return string(one(t, tr, row.msg(rel)).Headers[0].Value)
	}
	ns := uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/cdc-relay/cdc-relay"))
	want := uuid.NewSHA1(ns, []byte("19:7000000000000000001"+"6:essays"+"9:cdc_relay"+"6:outbox"+"2:id"+"36:"+rowID)).String()
	if got := id(nativeTable(), fine()); got != want {
		t.Errorf("id %s, want %s", got, want)
	}
	other := fine()
	other.id = strings.Replace(rowID, "0001", "0002", 1)
	if id(nativeTable(), other) == want {
		t.Error("two rows have the same id")
	}
	rel := nativeTable()
	rel.Columns[0].Key = false
	if _, err := records(t, tr, fine().msg(rel)); err == nil || !strings.Contains(err.Error(), "no primary key") {
		t.Errorf("no primary key: %v", err)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	off := false
	const hexTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent := "00-" + hexTrace + "-00f067aa0ba902b7-01"
	std := "event_id=" + rowID + " event_type=plain schema_version=1 occurred_at=2024-05-01T12:34:56.000000Z content_type=application/json"
	cases := []struct {
		name    string
		headers string
		payload string
		want    string
		change  func(*setup)
	}{
		{"none", "", `{}`, std, nil},
		{"null", "null", `{}`, std, nil},
		{"correlation from payload", `{}`, `{"correlation_id":"p-1"}`, std + " trace_id=p-1 correlation_id=p-1", nil},
		{"correlation from trace", `{"trace_id":"t"}`, `{}`, std + " trace_id=t correlation_id=t", nil},
		{"trace from correlation", `{"correlation_id":"c"}`, `{"correlation_id":"p"}`, std + " trace_id=c correlation_id=c", nil},
		{"trace from traceparent", `{"traceparent":"` + parent + `"}`, `{}`, std + " trace_id=" + hexTrace + " correlation_id=" + hexTrace + " traceparent=" + parent, nil},
		{"wrong traceparent", `{"traceparent":"00-0-0-00"}`, `{}`, std + " traceparent=00-0-0-00", nil},
		{"traceparent from trace", `{"trace_id":"` + hexTrace + `"}`, `{}`, std + " trace_id=" + hexTrace + " correlation_id=" + hexTrace + " traceparent=00-" + hexTrace + "-0190f3a17c3b7d44-01", nil},
		{"traceparent from span", `{"span_id":"00f067aa0ba902b7","trace_id":"` + hexTrace + `"}`, `{}`, std + " trace_id=" + hexTrace + " correlation_id=" + hexTrace + " traceparent=" + parent + " span_id=00f067aa0ba902b7", nil},
		{
			"given wins", `{"z":"1","event_id":"E","event_type":"T","schema_version":"v7","occurred_at":"then","content_type":"application/cloudevents+json","a":"2"}`, `{}`,
			"event_id=E event_type=T schema_version=v7 occurred_at=then content_type=application/cloudevents+json z=1 a=2", nil,
		},
		{"values", `{"s":"a\nå","n":1.0,"b":true,"o":{"x": [1]},"nil":null,"e":"","s":"last"}`, `{}`, std + ` s=last n=1.0 b=true o={"x": [1]} nil=<null> e=`, nil},
		{"null standard", `{"trace_id":null,"event_id":""}`, `{}`, std, nil},
		{"off", `{"trace_id":"t","x":"y"}`, `{"correlation_id":"p"}`, "trace_id=t x=y", func(s *setup) { s.file.Defaults.Headers.Enabled = &off }},
		{"off for the event", `{"trace_id":null}`, `{}`, "trace_id=<null>", func(s *setup) { s.file.Events[1].Headers.Enabled = &off }},
		{"debezium", `{"trace_id":"t","id":"mine"}`, `{}`, "id=mine trace_id=t", func(s *setup) { s.file.Defaults.Headers.Preset = "debezium" }},
		{"replay", `{"cdc_replay_id":"old","x":"y"}`, `{}`, std + " x=y cdc_replay_id=r-1", func(s *setup) { s.opts.ReplayID = "r-1" }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			row := fine()
			row.typ, row.headers, row.payload = "plain", tc.headers, tc.payload
			r := one(t, transformer(t, tc.change), row.msg(nativeTable()))
			if got := headerText(r); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
			if tc.name == "replay" && r.Time != 0 {
				t.Error("a replayed record has the commit time as its timestamp")
			}
		})
	}
}

func TestManyHeaders(t *testing.T) {
	t.Parallel()
	var doc strings.Builder
	for i := range 200 {
		fmt.Fprintf(&doc, `,"h%d":"%d"`, i%100, i)
	}
	row := fine()
	row.typ, row.headers = "plain", `{"trace_id":"t"`+doc.String()+`,"trace_id":"u"}`
	tr := transformer(t, nil)
	for range 2 { // the second time the map of names is there already
		r := one(t, tr, row.msg(nativeTable()))
		if len(r.Headers) != 7+100 || string(r.Headers[7].Value) != "100" || string(r.Headers[5].Value) != "u" {
			t.Errorf("%d headers: %s", len(r.Headers), headerText(r))
		}
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(*nativeRow)
		rule   []string
		want   string
		fell   float64
	}{
		{"first source", nil, []string{"payload.data.job", "aggregate_id"}, "job-7", 0},
		{"row's own before the rule", func(r *nativeRow) { r.key = "own" }, []string{"payload.data.job"}, "own", 0},
		{"where the rule places it", func(r *nativeRow) { r.key = "own" }, []string{"payload.data.job", "message_key"}, "job-7", 0},
		{"last fallback", nil, []string{"payload.none", "aggregate_id"}, "agg-1", 1},
		{"only source", nil, []string{"aggregate_id"}, "agg-1", 0},
		{"default after the rule", nil, []string{"payload.none"}, "agg-1", 1},
		{"object is no key", nil, []string{"payload.data", "const:k"}, "k", 1},
		{"number", nil, []string{"payload.schema_version"}, "1", 0},
		{"header", nil, []string{"header.trace_id"}, "t-1", 0},
		{"own header", func(r *nativeRow) { r.headers = `{"h.x":"hx"}` }, []string{"header.h.x"}, "hx", 0},
		{"column", nil, []string{"column.aggregate_type"}, "assessment", 0},
		{"no such column", nil, []string{"column.none", "column.id", "aggregate_id"}, rowID, 0},
		{"nothing", func(r *nativeRow) { r.aggID = "" }, []string{"header.none"}, "", 1},
		{"empty is nothing", func(r *nativeRow) { r.payload = `{"a":""}` }, []string{"payload.a", "column.topic", "aggregate_id"}, "agg-1", 1},
		{"default rule", func(r *nativeRow) { r.key = "k" }, nil, "k", 0},
		{"default fallback", nil, nil, "agg-1", 0},
		{"default nothing", func(r *nativeRow) { r.aggID = "" }, nil, "", 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var s0 *setup
			tr := transformer(t, func(s *setup) { s0 = s; s.file.Events[0].Key = tc.rule })
			row := fine()
			if tc.change != nil {
				tc.change(&row)
			}
			r := one(t, tr, row.msg(nativeTable()))
			if string(r.Key) != tc.want || (r.Key == nil) != (tc.want == "") {
				t.Errorf("key %q, want %q", r.Key, tc.want)
			}
			if n := counter(t, s0, "cdc_relay_partition_key_fallthrough_total", "svc", "result.published"); n != tc.fell {
				t.Errorf("fell through %v times, want %v", n, tc.fell)
			}
		})
	}
}

func TestKeyWarningIsLimited(t *testing.T) {
	t.Parallel()
	var s0 *setup
	tr := transformer(t, func(s *setup) { s0 = s })
	row := fine()
	row.payload = `{}`
	rel := nativeTable()
	for range 5 {
		one(t, tr, row.msg(rel))
	}
	if n := strings.Count(s0.log.String(), "key rule gave nothing"); n != 1 {
		t.Errorf("%d warnings for 5 rows in no time, want 1", n)
	}
	s0.now = s0.now.Add(warnEvery)
	one(t, tr, row.msg(rel))
	if log := s0.log.String(); strings.Count(log, "key rule gave nothing") != 2 || !strings.Contains(log, "more_since_last=4") {
		t.Errorf("after a minute: %s", log)
	}
}

func TestAlso(t *testing.T) {
	t.Parallel()
	tr := transformer(t, nil)
	row := fine()
	row.typ, row.headers, row.topic = "two", `{"k":"hk","content_type":"text/plain"}`, "moved.v1"
	rs, err := records(t, tr, row.msg(nativeTable()))
	if err != nil || len(rs) != 2 {
		t.Fatalf("%d records, %v", len(rs), err)
	}
	a, b := rs[0], rs[1]
	if *a.Topic != "moved.v1" || *b.Topic != "old.v1" || string(a.Key) != "hk" || string(b.Key) != "agg-1" {
		t.Errorf("topics %s %s keys %s %s", *a.Topic, *b.Topic, a.Key, b.Key)
	}
	if a.Value[0] != 0 || string(b.Value) != row.payload {
		t.Errorf("values %q %q", a.Value, b.Value)
	}
	if !strings.Contains(headerText(a), "content_type=application/avro") || !strings.Contains(headerText(b), "content_type=text/plain") {
		t.Errorf("content types\n%s\n%s", headerText(a), headerText(b))
	}
	// All records of a row or none: the second form is too large.
	tr = transformer(t, func(s *setup) {
		s.file.Events[3].Also[0].TopicClass = "small"
		s.file.TopicClasses = map[string]contract.TopicClass{"small": {Partitions: 1, Config: map[string]string{"max.message.bytes": "100"}}}
	})
	if rs, err = records(t, tr, row.msg(nativeTable())); err == nil || len(rs) != 0 {
		t.Errorf("%d records, %v", len(rs), err)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	tr := transformer(t, nil)
	rel := nativeTable()
	row := fine()
	row.payload = `{"schema_version":2}`
	if r := one(t, tr, row.msg(rel)); !strings.HasPrefix(string(r.Value[1:]), "\x00\x00\x00\x66ResultV2|") || !strings.Contains(headerText(r), "schema_version=2") {
		t.Errorf("version by payload: %q", r.Value)
	}
	row.headers = `{"schema_version":1}`
	if r := one(t, tr, row.msg(rel)); !strings.HasPrefix(string(r.Value[5:]), "ResultV1|") {
		t.Errorf("version by header: %q", r.Value)
	}
	row.payload = ""
	if r := one(t, tr, row.msg(rel)); r.Value != nil {
		t.Errorf("a null payload is no tombstone: %q", r.Value)
	}
	raw := table("cdc_relay.outbox", "id*", "aggregate_type", "aggregate_id", "event_type", "topic", "message_key", "headers", "payload:bytea", "occurred_at", "created_at")
	row = fine()
	row.typ, row.payload = "raw", `\x00ff`+hex.EncodeToString([]byte("hej"))
	r := one(t, tr, row.msg(raw))
	if !bytes.Equal(r.Value, []byte("\x00\xffhej")) || !strings.Contains(headerText(r), "content_type=application/octet-stream") {
		t.Errorf("bytes: %q %s", r.Value, headerText(r))
	}
	row.headers = `{"content_type":"image/png"}`
	if r := one(t, tr, row.msg(raw)); !strings.Contains(headerText(r), "content_type=image/png") {
		t.Errorf("bytes: %s", headerText(r))
	}
}
