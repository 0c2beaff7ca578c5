package transform

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// What is cut out of an envelope leaves the rest as it was, byte for byte.
func TestOmit(t *testing.T) {
	t.Parallel()
	o, err := compileOmit([]string{"topic", "headers", "ä/b"})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"a": 1, "topic": "t", "b": 2}`:                      `{"a": 1, "b": 2}`,
		`{"topic": "t", "a": 1}`:                              `{"a": 1}`,
		`{"a": 1, "headers": {"x": "}\"{"}}`:                  `{"a": 1}`,
		`{"headers": [1, [2]], "topic": null}`:                `{}`,
		`{"topic":1,"headers":2,"a":3,"b":4}`:                 `{"a":3,"b":4}`,
		" { \"topic\" : 1 ,\n \"a\" : 2 , \"headers\" : 3 } ": " { \"a\" : 2 } ",
		`{"\u0074opic": 1, "b": "topic"}`:                     `{"b": "topic"}`,
		`{"topic": 1, "topic": 2, "c": 3}`:                    `{"c": 3}`,
		`{"ä/b": 1, "a": {"topic": "inner"}}`:                 `{"a": {"topic": "inner"}}`,
		`{"\u00e4\/b": 1}`:                                    `{}`,
	} {
		got, ok := o.cut([]byte("before"), []byte(in))
		if !ok || string(got) != "before"+want {
			t.Errorf("%s\n got  %s (%v)\n want %s", in, got, ok, want)
		}
		if !o.mayBeIn([]byte(in)) {
			t.Errorf("%s: not looked at", in)
		}
	}
	for _, in := range []string{`{}`, `{"a": 1}`, `["topic"]`, `"topic"`, `null`, ``, `{"topic": `, `{"topic" 1}`, `{"a": 1, "topic": 2`} {
		if got, ok := o.cut([]byte("before"), []byte(in)); ok || string(got) != "before" {
			t.Errorf("%q: cut to %q (%v)", in, got, ok)
		}
	}
	if _, err := compileOmit([]string{""}); err == nil {
		t.Error("a name without letters")
	}
}

// FuzzOmit compares the cut with encoding/json.
func FuzzOmit(f *testing.F) {
	for _, s := range []string{`{"a": 1, "topic": "t", "b": 2}`, `{"topic":{"headers":1},"x":[{}]}`, ` { "headers" : 3 } `, `{"\u0074opic": 1}`} {
		f.Add(s)
	}
	o, err := compileOmit([]string{"topic", "headers"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := o.cut(nil, []byte(in))
		var was, is map[string]json.RawMessage
		if !json.Valid([]byte(in)) || json.Unmarshal([]byte(in), &was) != nil || was == nil {
			return
		}
		_, a := was["topic"]
		_, b := was["headers"]
		if ok != (a || b) {
			t.Fatalf("%q: cut %v", in, ok)
		}
		if !ok {
			return
		}
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%q became %q: %v", in, got, err)
		}
		delete(was, "topic")
		delete(was, "headers")
		if len(is) != len(was) {
			t.Fatalf("%q became %q", in, got)
		}
		for k, v := range was {
			if string(is[k]) != string(v) {
				t.Fatalf("%q became %q at %q", in, got, k)
			}
		}
	})
}

// shared is the table of a polling outbox whose JSON column is the envelope,
// with the topic and the headers in it.
func shared(jsonType string) *event.Relation {
	return table("public.event_outbox", "id*", "aggregate_id", "aggregate_type", "event_type", "event_data:"+jsonType, "event_key",
		"created_at", "published_at", "retry_count", "last_error")
}

func sharedMapping() Mapping {
	return Mapping{
		ID: []string{"event_data.event_id", "id"}, Type: []string{"event_type", "event_data.event_type"},
		Topic: []string{"event_data.topic"}, Key: []string{"event_key"}, Headers: []string{"event_data.headers"},
		Payload: []string{"event_data"}, PayloadOmit: []string{"topic", "headers"}, OccurredAt: []string{"event_data.event_timestamp", "created_at"},
	}
}

// Every field of polling-era rows, with its fallbacks.
func TestPollingRows(t *testing.T) {
	t.Parallel()
	const ts = "2024-05-01 12:34:56.5"
	cases := []struct {
		name  string
		json  string // the envelope
		typ   string
		key   string
		want  string // topic key value
		heads string
	}{
		{
			"everything in the envelope", `{"event_id": "e-1", "event_timestamp": "2024-05-01T01:02:03.25+00:00", "correlation_id": "c-1", "schema_version": 2, "data": {"n": 1.50}, "topic": "t.v1", "headers": {"trace_id": "tr", "attempt": 3, "replayed": false, "score": 0.5, "tags": ["a"], "none": null}}`,
			"plain", "k-1",
			`t.v1 k-1 {"event_id": "e-1", "event_timestamp": "2024-05-01T01:02:03.25+00:00", "correlation_id": "c-1", "schema_version": 2, "data": {"n": 1.50}}`,
			`event_id=e-1 event_type=plain schema_version=2 occurred_at=2024-05-01T01:02:03.250000Z content_type=application/json trace_id=tr correlation_id=c-1 attempt=3 replayed=false score=0.5 tags=["a"] none=<null>`,
		},
		{
			"nothing but the data", `{"data": {}}`, "plain", "",
			`plain.v1 a-1 {"data": {}}`,
			`event_id=7 event_type=plain schema_version=1 occurred_at=2024-05-01T12:34:56.500000Z content_type=application/json`,
		},
		{
			"type in the envelope, time as a number, empty topic and headers", `{"topic": "", "headers": {}, "event_type": "plain", "event_timestamp": 1714525323250000}`, "", "k",
			`plain.v1 k {"event_type": "plain", "event_timestamp": 1714525323250000}`,
			`event_id=7 event_type=plain schema_version=1 occurred_at=2024-05-01T01:02:03.250000Z content_type=application/json`,
		},
		{
			"null in every place", `{"topic": null, "headers": null, "event_id": null, "event_timestamp": null}`, "plain", "",
			`plain.v1 a-1 {"event_id": null, "event_timestamp": null}`,
			`event_id=7 event_type=plain schema_version=1 occurred_at=2024-05-01T12:34:56.500000Z content_type=application/json`,
		},
		{
			"an envelope of numbers", `{"event_id": 99, "topic": "t.v1", "headers": {"event_id": 100, "schema_version": 4}}`, "plain", "k",
			`t.v1 k {"event_id": 99}`,
			`event_id=100 event_type=plain schema_version=4 occurred_at=2024-05-01T12:34:56.500000Z content_type=application/json`,
		},
	}
	for _, typ := range []string{"json", "jsonb", ""} {
		tr := transformer(t, func(s *setup) { s.opts.Mapping = sharedMapping() })
		for _, tc := range cases {
			r := one(t, tr, insert(shared(typ), "7", "a-1", "essay", tc.typ, tc.json, tc.key, ts, "", "0", ""))
			if got := *r.Topic + " " + string(r.Key) + " " + string(r.Value); got != tc.want {
				t.Errorf("%s (%s)\n got  %s\n want %s", tc.name, typ, got, tc.want)
			}
			if got := headerText(r); got != tc.heads {
				t.Errorf("%s (%s): headers\n got  %s\n want %s", tc.name, typ, got, tc.heads)
			}
		}
	}
}

// What is cut out of the envelope does not reach the Avro encoder either, which
// knows no such field; a second form has the same payload.
func TestOmitBeforeAvro(t *testing.T) {
	t.Parallel()
	m := sharedMapping()
	m.Topic = []string{}
	tr := transformer(t, func(s *setup) { s.opts.Mapping = m })
	rs, err := records(t, tr, insert(shared("json"), "7", "a-1", "essay", "two", `{"topic": "x", "event_id": "e", "headers": {}, "data": 1}`, "", "2024-05-01", "", "0", ""))
	if err != nil || len(rs) != 2 || string(rs[0].Value[5:]) != `ResultV1|{"event_id": "e", "data": 1}` || string(rs[1].Value) != `{"event_id": "e", "data": 1}` {
		t.Errorf("%v %+v", err, rs)
	}
}

// A row that stops the pipeline is found by what identifies it, also inside the
// envelope.
func TestFaultFindsTheRow(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) { s.opts.Mapping = sharedMapping() })
	for json, want := range map[string]string{
		`{"event_id": "o'x"}`: `select * from public.event_outbox where event_data::jsonb #>> array['event_id'] = 'o''x'`,
		`{}`:                  `select * from public.event_outbox where id = '7'`,
	} {
		_, err := records(t, tr, insert(shared("json"), "7", "a-1", "essay", "zzz", json, "", "2024-05-01", "", "0", ""))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in: %v", want, err)
		}
	}
}

// A table without headers, topic, key or envelope: what the row does not say the
// contract does.
func TestNarrowTable(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) {
		s.file.Unknown, s.file.Defaults = "default", contract.Defaults{Encoding: "json"}
		for i := range s.file.Events {
			if s.file.Events[i].Encoding == "" {
				s.file.Events[i].Encoding = "avro"
			}
		}
		s.opts.Mapping = Mapping{
			ID: []string{"seq"}, Type: []string{"kind"}, AggregateType: []string{"const:user"}, AggregateID: []string{"ref"},
			Topic: []string{}, Key: []string{}, Headers: []string{}, Payload: []string{"envelope.data", "envelope"}, OccurredAt: []string{"made"},
			SchemaVersion: []string{"envelope.version"}, DefaultTopic: "legacy.${aggregate_type}.${event_type}.v1",
		}
	})
	rel := table("public.outbox_events", "seq*", "kind", "ref", "envelope", "made", "sent")
	r := one(t, tr, insert(rel, "12", "registered", "u-1", `{"version": 3, "data": {"email": "å"}}`, "2024-05-01 12:34:56.123456", "f"))
	if *r.Topic != "legacy.user.registered.v1" || string(r.Key) != "u-1" || string(r.Value) != `{"email": "å"}` {
		t.Errorf("%s %s %s", *r.Topic, r.Key, r.Value)
	}
	want := "event_id=12 event_type=registered schema_version=3 occurred_at=2024-05-01T12:34:56.123456Z content_type=application/json"
	if got := headerText(r); got != want {
		t.Errorf("headers\n got  %s\n want %s", got, want)
	}
	r = one(t, tr, insert(rel, "13", "plain", "", `{"whole": true}`, "2024-05-01", "f"))
	if *r.Topic != "plain.v1" || r.Key != nil || string(r.Value) != `{"whole": true}` {
		t.Errorf("%s %q %s", *r.Topic, r.Key, r.Value)
	}
}
