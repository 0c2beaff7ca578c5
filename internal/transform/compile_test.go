package transform

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// counter reads a metric (a histogram: its count), 0 when there is none.
func counter(t testing.TB, s *setup, name string, labels ...string) float64 {
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
			if !hasLabels(m, labels) {
				continue
			}
			if h := m.GetHistogram(); h != nil {
				return float64(h.GetSampleCount())
			}
			return m.GetCounter().GetValue()
		}
	}
	return 0
}

func hasLabels(m *dto.Metric, values []string) bool {
	have := map[string]bool{}
	for _, l := range m.GetLabel() {
		have[l.GetValue()] = true
	}
	for _, v := range values {
		if !have[v] {
			return false
		}
	}
	return true
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	var s0 *setup
	tr := transformer(t, func(s *setup) { s0 = s })
	rel := nativeTable()
	one(t, tr, fine().msg(rel)) // everything given
	row := fine()
	row.headers, row.at, row.payload = "", "", `{"pad":"`+strings.Repeat("x", TargetBytes)+`","data":{"job":"j"}}`
	one(t, tr, row.msg(rel))
	label := []string{"svc", "result.published"}
	for name, want := range map[string]float64{
		"kafka_event_headers_missing_total": 1, "cdc_relay_event_over_target_total": 1, "kafka_event_bytes": 2,
	} {
		if got := counter(t, s0, name, label...); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, h := range []string{"schema_version", "occurred_at", "trace_id", "correlation_id"} {
		if got := counter(t, s0, "cdc_relay_event_header_missing_total", append(label, h)...); got != 1 {
			t.Errorf("header %s is missing %v times, want 1", h, got)
		}
	}
	if got := counter(t, s0, "cdc_relay_event_header_missing_total", append(label, "event_id")...); got != 0 {
		t.Errorf("event_id was there, counted %v", got)
	}
	// A second database of the process shares the metrics.
	s0.opts.Service = "other"
	if _, err := Compile(s0.opts); err != nil {
		t.Error(err)
	}
}

func TestUnknownEventsFollowDefaults(t *testing.T) {
	t.Parallel()
	var s0 *setup
	tr := transformer(t, func(s *setup) {
		s0 = s
		s.file.Unknown, s.file.Defaults = "default", contract.Defaults{Encoding: "json", Topic: "other.v1"}
		s.file.Events = nil
	})
	row := fine()
	row.typ = "never.heard.of"
	r := one(t, tr, row.msg(nativeTable()))
	if *r.Topic != "other.v1" || string(r.Value) != row.payload || !strings.Contains(headerText(r), "event_type=never.heard.of ") {
		t.Errorf("%s %s %s", *r.Topic, r.Value, headerText(r))
	}
	if n := counter(t, s0, "kafka_event_bytes", "svc", unknownLabel); n != 1 {
		t.Errorf("counted %v under %s", n, unknownLabel)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"no contract", func(o *Options) { o.Contract = nil }, "no contract"},
		{"preset", func(o *Options) { o.Mapping.Preset = "kafka" }, `preset "kafka" is none; write native or debezium`},
		{"no type", func(o *Options) { o.Mapping.Type = []string{} }, "mapping: type has no source"},
		{"no column", func(o *Options) { o.Mapping.ID = []string{".x"} }, `mapping: id: ".x" names no column`},
		{"path", func(o *Options) { o.Mapping.Payload = []string{"data..x"} }, `"data..x": what follows the column is no path`},
		{"dot at the end", func(o *Options) { o.Mapping.Payload = []string{"data."} }, `what follows the column is no path`},
		{"quote", func(o *Options) { o.Mapping.Payload = []string{`"data`} }, "is not closed"},
		{"const", func(o *Options) { o.Mapping.Type = []string{"const:"} }, "has no text"},
		{"template", func(o *Options) { o.Mapping.DefaultTopic = "a.${routedByValue}" }, "${routedByValue is no place; write ${aggregate_type}"},
		{"template characters", func(o *Options) { o.Mapping.DefaultTopic = "a b" }, "holds only"},
		{"no versions", func(o *Options) { o.Versions = func(string) []int { return nil } }, "schemas/avro/ResultV1.avsc"},
		{"no schemas", func(o *Options) { o.Versions = nil }, "schema Result: no schemas were loaded"},
		{"listed only", func(o *Options) { o.Schemas = func(string, int) (Schema, bool) { return Schema{}, false } }, "schema ResultV1: it is listed but not there"},
		{"no id", func(o *Options) { o.Schemas = func(string, int) (Schema, bool) { return Schema{}, true } }, "id 0 is none of a schema registry"},
		{"schema", func(o *Options) {
			o.compile = func(string) (encoder, error) { return nil, errors.New("fields[0]: no type") }
		}, `events.yaml:4: event "result.published": schema ResultV1: fields[0]: no type`},
		{"name taken", func(o *Options) {
			reg := prometheus.NewRegistry()
			reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "kafka_event_bytes"}))
			o.Registerer = reg
		}, "kafka_event_bytes"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := transformer(t, nil).opts
			o.Registerer = nil
			tc.change(&o)
			if _, err := Compile(o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got:  %v\nwant: %s", err, tc.want)
			}
		})
	}
}

func TestSourceForms(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		`data`: "data", `data.a.b`: "data a.b", `data[0].x`: "data [0].x", `"Event Data"`: "Event Data", `"a.b".c`: "a.b c", `data["x.y"]`: `data ["x.y"]`,
	} {
		s, err := parseSource(spec)
		got := s.column
		if s.path != nil {
			var p contract.Path
			for _, st := range s.path.steps {
				p = append(p, st.Step)
			}
			got += " " + p.String()
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", spec, got, err, want)
		}
	}
	if (Mapping{}).Check() != nil || (Mapping{Preset: "x"}).Check() == nil {
		t.Error("Check")
	}
}
