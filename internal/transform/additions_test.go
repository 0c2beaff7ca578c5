package transform

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

func TestCompositeKey(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(*nativeRow)
		rule   []string
		want   string
		fell   float64
	}{
		{"two", nil, []string{"{payload.data.job}:{aggregate_id}", "aggregate_id"}, "job-7:agg-1", 0},
		{"text around", nil, []string{"<{aggregate_type}/{event_type}>"}, "<assessment/result.published>", 0},
		{"one is missing", nil, []string{"{payload.none}:{aggregate_id}", "aggregate_id"}, "agg-1", 1},
		{"one is empty", func(r *nativeRow) { r.payload = `{"data":{"job":""}}` }, []string{"{payload.data.job}:{aggregate_id}", "aggregate_id", "const:x"}, "agg-1", 0},
		{"escapes", func(r *nativeRow) { r.payload = `{"a":"\u00e5","b":"\"x"}` }, []string{"{payload.a}{{{payload.b}}}{payload.a}"}, `å{"x}å`, 0},
		{"row's own before the rule", func(r *nativeRow) { r.key = "own" }, []string{"{payload.data.job}:{aggregate_id}"}, "own", 0},
		{"row's own inside", func(r *nativeRow) { r.key = "own" }, []string{"{aggregate_type}:{message_key}", "aggregate_id"}, "assessment:own", 0},
		{"numbers", nil, []string{"{payload.schema_version}-{header.trace_id}-{column.aggregate_id}"}, "1-t-1-agg-1", 0},
		{"aggregate_type", nil, []string{"aggregate_type"}, "assessment", 0},
		{"event_type", nil, []string{"event_type"}, "result.published", 0},
		{"in a column's JSON", nil, []string{"column.headers.correlation_id", "aggregate_id"}, "c-1", 0},
		{"not in a column's JSON", nil, []string{"column.headers.none", "aggregate_id", "const:x"}, "agg-1", 0},
		{"in a header's JSON", func(r *nativeRow) { r.headers = `{"ctx":{"tenant":["a","b"]}}` }, []string{`header["ctx"].tenant[1]`}, "b", 0},
		{"in a header's text that is JSON", func(r *nativeRow) { r.headers = `{"ctx":"{\"tenant\":\"t\"}"}` }, []string{`header["ctx"].tenant`}, "t", 0},
		{"no JSON in a header", func(r *nativeRow) { r.headers = `{"ctx":"}{"}` }, []string{`header["ctx"].tenant`, "const:c"}, "c", 1},
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
			if r := one(t, tr, row.msg(nativeTable())); string(r.Key) != tc.want {
				t.Errorf("key %q, want %q", r.Key, tc.want)
			}
			if n := counter(t, s0, "cdc_relay_partition_key_fallthrough_total", "svc", "result.published"); n != tc.fell {
				t.Errorf("fell through %v times, want %v", n, tc.fell)
			}
		})
	}
}

// The rule of a second form that falls through counts too, but the event once.
func TestFallThroughOfASecondForm(t *testing.T) {
	t.Parallel()
	var s0 *setup
	tr := transformer(t, func(s *setup) {
		s0 = s
		s.file.Events[3].Also = append(s.file.Events[3].Also, contract.Also{Topic: "third.v1", Encoding: "json", Key: []string{"payload.none", "aggregate_id"}},
			contract.Also{Topic: "fourth.v1", Encoding: "json", Key: []string{"payload.none", "aggregate_id"}})
	})
	row := fine()
	row.typ, row.headers = "two", `{"k":"hk"}`
	if _, err := records(t, tr, row.msg(nativeTable())); err != nil {
		t.Fatal(err)
	}
	if n := counter(t, s0, "cdc_relay_partition_key_fallthrough_total", "svc", "two"); n != 1 {
		t.Errorf("fell through %v times, want 1", n)
	}
}

// Two rules may ask for the same place in the payload, and so may a header that
// the relay derives: each finds it.
func TestTheSamePlaceTwice(t *testing.T) {
	t.Parallel()
	tr := transformer(t, func(s *setup) {
		s.file.Events[3].Key = []string{"payload.correlation_id", "const:none"}
		s.file.Events[3].Also[0].Key = []string{"payload.correlation_id", "const:none"}
		s.file.Events[3].Headers.Add = map[string][]string{"a": {"payload.correlation_id"}, "v": {"payload.schema_version"}}
	})
	row := fine()
	row.typ, row.headers, row.payload = "two", "", `{"correlation_id":"c-9","schema_version":2}`
	rs, err := records(t, tr, row.msg(nativeTable()))
	if err != nil || len(rs) != 2 {
		t.Fatalf("%d records, %v", len(rs), err)
	}
	for _, r := range rs {
		if string(r.Key) != "c-9" || !strings.Contains(headerText(r), "schema_version=2") || !strings.Contains(headerText(r), "correlation_id=c-9 a=c-9 v=2") {
			t.Errorf("key %q, headers %s", r.Key, headerText(r))
		}
	}
}

func TestAddedHeaders(t *testing.T) {
	t.Parallel()
	off := false
	add := func(pairs ...string) func(*setup) {
		return func(s *setup) {
			s.file.Events[1].Headers.Add = map[string][]string{}
			for i := 0; i < len(pairs); i += 2 {
				s.file.Events[1].Headers.Add[pairs[i]] = strings.Split(pairs[i+1], "|")
			}
		}
	}
	std := "event_id=" + rowID + " event_type=plain schema_version=1 occurred_at=2024-05-01T12:34:56.000000Z content_type=application/json"
	cases := []struct {
		name             string
		headers, payload string
		want             string
		missing          float64 // of the header tenant
		change           func(*setup)
	}{
		{"between standard and own", `{"x":"y"}`, `{"tenant_id":"acme"}`, std + " region=north tenant=acme x=y", 0, add("tenant", "payload.tenant_id", "region", "const:north")},
		{"fallback", `{}`, `{}`, std + " tenant=none", 0, add("tenant", "payload.tenant_id|const:none")},
		{"composite", `{}`, `{"tenant_id":"acme"}`, std + " tenant=acme/assessment", 0, add("tenant", "{payload.tenant_id}/{aggregate_type}")},
		{"the row wins", `{"tenant":"row","x":"y"}`, `{"tenant_id":"acme"}`, std + " tenant=row x=y", 0, add("tenant", "payload.tenant_id")},
		{"null of the row does not", `{"tenant":null}`, `{"tenant_id":"acme"}`, std + " tenant=acme", 0, add("tenant", "payload.tenant_id")},
		{"missing", `{"x":"y"}`, `{}`, std + " x=y", 1, add("tenant", "payload.tenant_id")},
		{"off", `{"x":"y"}`, `{"tenant_id":"acme"}`, "x=y", 0, func(s *setup) {
			add("tenant", "payload.tenant_id")(s)
			s.file.Events[1].Headers.Enabled = &off
		}},
		{"debezium", `{"x":"y"}`, `{}`, "id=" + rowID + " aggregate_type=assessment event_type=plain x=y", 0, func(s *setup) {
			add("event_type", "event_type", "aggregate_type", "aggregate_type")(s)
			s.file.Events[1].Headers.Preset = "debezium"
		}},
		{"debezium, the row wins", `{"event_type":"mine"}`, `{}`, "id=" + rowID + " event_type=mine", 0, func(s *setup) {
			add("event_type", "event_type")(s)
			s.file.Events[1].Headers.Preset = "debezium"
		}},
		{"replay", `{}`, `{"tenant_id":"acme"}`, std + " tenant=acme cdc_replay_id=r-1", 0, func(s *setup) {
			add("tenant", "payload.tenant_id")(s)
			s.opts.ReplayID = "r-1"
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var s0 *setup
			tr := transformer(t, func(s *setup) { s0 = s; tc.change(s) })
			row := fine()
			row.typ, row.headers, row.payload = "plain", tc.headers, tc.payload
			if got := headerText(one(t, tr, row.msg(nativeTable()))); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
			if tc.missing > 0 {
				if n := counter(t, s0, "cdc_relay_event_header_missing_total", "svc", "plain", "tenant"); n != tc.missing {
					t.Errorf("%v missing headers, want %v", n, tc.missing)
				}
			}
		})
	}
}

// A header that the relay works out itself is none to be added.
func TestAddedStandardHeader(t *testing.T) {
	t.Parallel()
	f := events()
	f.Events[1].Headers.Add = map[string][]string{"trace_id": {"const:x"}}
	c, err := contract.New(f)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Compile(Options{Contract: c, Versions: func(string) []int { return []int{1} },
		Schemas: func(string, int) (Schema, bool) { return Schema{ID: 1, Text: `"string"`}, true }})
	if err == nil || !strings.Contains(err.Error(), `event "plain": headers.add: trace_id is a standard header`) {
		t.Errorf("%v", err)
	}
}

// The work of the first row of a type and of every 64th after it is measured,
// under exactly the labels that were promised.
func TestMeasuredWork(t *testing.T) {
	t.Parallel()
	var s0 *setup
	tr := transformer(t, func(s *setup) { s0 = s })
	row := fine()
	m := row.msg(nativeTable())
	b := event.NewBatch(event.NewPool(8 << 20))
	for range 2*measureEvery + 1 {
		if err := tr.Append(b, m); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"partition_key_resolution_seconds", "event_header_serialization_seconds"} {
		if n := samples(t, s0, name, map[string]string{"service": "svc", "event_type": "result.published"}); n != 3 {
			t.Errorf("%s: %d samples, want 3", name, n)
		}
	}
}

// samples is the count of a histogram's series with exactly these labels.
func samples(t *testing.T, s *setup, name string, labels map[string]string) uint64 {
	t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			same := len(m.GetLabel()) == len(labels)
			for _, l := range m.GetLabel() {
				same = same && labels[l.GetName()] == l.GetValue()
			}
			if same {
				return m.GetHistogram().GetSampleCount()
			}
		}
	}
	t.Fatalf("no series of %s with %v", name, labels)
	return 0
}

// rules of every kind cost no allocation.
func TestSourcesDoNotAllocate(t *testing.T) {
	tr := transformer(t, func(s *setup) {
		s.file.Events[1].Key = []string{"payload.none", "{payload.data.job}:{aggregate_type}:{header.trace_id}"}
		s.file.Events[1].Headers.Add = map[string][]string{
			"a": {"payload.data.job"}, "b": {"const:x"}, "c": {"{payload.data.job}/{aggregate_id}"}, "d": {"column.headers.trace_id"}, "e": {`header["ctx"].t`},
		}
	})
	row := fine()
	row.typ, row.headers = "plain", `{"trace_id":"t-1","correlation_id":"c\u002d1","ctx":{"t":"u\u0076"}}`
	m := row.msg(nativeTable())
	b := event.NewBatch(event.NewPool(64 << 20))
	fill := func() {
		b.Reset()
		for range 100 {
			if err := tr.Append(b, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	if n := testing.AllocsPerRun(50, fill); n != 0 {
		t.Errorf("%v allocations per 100 rows", n)
	}
	if r := b.Records[0]; string(r.Key) != "job-7:assessment:t-1" || !strings.Contains(headerText(r), "a=job-7 b=x c=job-7/agg-1 d=t-1 e=uv") {
		t.Errorf("%q %s", r.Key, headerText(r))
	}
}
