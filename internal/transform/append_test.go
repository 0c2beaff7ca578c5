package transform

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

const benchSchema = `{"type":"record","name":"ResultEventV1","namespace":"huleedu.events","fields":[
 {"name":"event_id","type":{"type":"string","logicalType":"uuid"}},
 {"name":"event_type","type":"string"},
 {"name":"event_timestamp","type":{"type":"long","logicalType":"timestamp-micros"}},
 {"name":"schema_version","type":"int"},
 {"name":"source_service","type":"string"},
 {"name":"correlation_id","type":{"type":"string","logicalType":"uuid"}},
 {"name":"metadata","type":{"type":"map","values":"string"},"default":{}},
 {"name":"data","type":{"type":"record","name":"ResultV1","fields":[
  {"name":"cj_assessment_job_id","type":"string"},
  {"name":"status","type":{"type":"enum","name":"Status","symbols":["DONE","FAILED"]}},
  {"name":"essay_results","type":{"type":"array","items":{"type":"record","name":"EssayResultV1","fields":[
   {"name":"essay_id","type":"string"},
   {"name":"normalized_score","type":"double","minimum":0,"maximum":1},
   {"name":"letter_grade","type":"string","pattern":"^[A-F][+-]?$"},
   {"name":"rank","type":"int","minimum":1},
   {"name":"is_anchor","type":"boolean","default":false},
   {"name":"feedback_uri","type":["null","string"],"default":null}]}}}]}}]}`

// benchPayload is an envelope of about 1 KB.
func benchPayload(tb testing.TB) string {
	tb.Helper()
	essay := map[string]any{"essay_id": "essay-000001", "normalized_score": 0.7312, "letter_grade": "B+", "rank": 3, "is_anchor": false, "feedback_uri": "s3://bucket/essays/000001/feedback.md"}
	doc, err := json.Marshal(map[string]any{
		"event_id": rowID, "event_type": "result.published", "event_timestamp": "2024-05-01T12:34:56.123456Z", "schema_version": 1,
		"source_service": "cj_assessment_service", "correlation_id": "6f1c1c9e-1111-4222-8333-444455556666", "metadata": map[string]string{"k": "v"},
		"data": map[string]any{"cj_assessment_job_id": "job-7", "status": "DONE", "essay_results": []any{essay, essay, essay, essay}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(doc)
}

// realAvro is a transformer of the real encoder, with a 1 KB native row of
// seven headers.
func realAvro(tb testing.TB) (*Transformer, *event.Msg) {
	tb.Helper()
	tr := transformer(tb, func(s *setup) {
		s.opts.compile = nil
		s.opts.Versions = func(string) []int { return []int{1} }
		s.opts.Schemas = func(string, int) (Schema, bool) { return Schema{ID: 7, Text: benchSchema}, true }
		s.file.Events = s.file.Events[:1]
		s.file.Events[0].Key = []string{"payload.data.cj_assessment_job_id", "aggregate_id"}
	})
	row := fine()
	row.payload = benchPayload(tb)
	row.headers = `{"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "correlation_id": "6f1c1c9e-1111-4222-8333-444455556666"}`
	return tr, row.msg(nativeTable())
}

func TestAppendRealAvro(t *testing.T) {
	t.Parallel()
	tr, m := realAvro(t)
	r := one(t, tr, m)
	if len(r.Headers) != 8 || string(r.Key) != "job-7" || string(r.Value[:5]) != "\x00\x00\x00\x00\x07" || !strings.Contains(string(r.Value), "essay-000001") {
		t.Errorf("%q %q %s", r.Key, r.Value, headerText(r))
	}
	tr, m = realAvro(t)
	m.Cols[7] = []byte(strings.Replace(string(m.Cols[7]), "0.7312", "1.2", 1))
	_, err := records(t, tr, m)
	if err == nil || !strings.Contains(err.Error(), "data.essay_results[0].normalized_score: 1.2 > maximum 1") || event.VerdictOf(err) != event.Stop {
		t.Errorf("%v", err)
	}
}

// TestAppendDoesNotAllocate appends until the batch is warm, then measures.
func TestAppendDoesNotAllocate(t *testing.T) {
	native, nm := realAvro(t)
	noID, im := realAvro(t)
	im.Cols[0], im.Cols[6] = nil, nil // derived id, derived headers
	im.Cols[8] = nil
	deb := transformer(t, func(s *setup) {
		s.opts.Mapping = Mapping{Preset: "debezium"}
		s.file.Unknown, s.file.Defaults = "default", contract.Defaults{Encoding: "json"}
		s.file.Events = nil
	})
	dm := insert(debeziumTable(), rowID, "order", "42", "OrderCreated", benchPayload(t))
	two := transformer(t, nil)
	row := fine()
	row.typ, row.headers = "two", `{"k":"å\u00e5","own":"v","n":1}`
	polled := transformer(t, func(s *setup) { s.opts.Mapping = sharedMapping() })
	pm := insert(shared("jsonb"), "7", "a-1", "essay", "plain", `{"topic": "t.v1", "headers": {"n": 1}, `+benchPayload(t)[1:], "k", "2024-05-01", "", "0", "")
	cases := []struct {
		name string
		tr   *Transformer
		m    *event.Msg
	}{
		{"native avro", native, nm}, {"derived", noID, im}, {"debezium json", deb, dm}, {"also", two, row.msg(nativeTable())},
		{"envelope", polled, pm},
	}
	for _, tc := range cases {
		b := event.NewBatch(event.NewPool(64 << 20))
		fill := func() {
			b.Reset()
			for range 100 {
				if err := tc.tr.Append(b, tc.m); err != nil {
					t.Fatal(err)
				}
			}
		}
		fill()
		if n := testing.AllocsPerRun(50, fill); n != 0 {
			t.Errorf("%s: %v allocations per 100 rows", tc.name, n)
		}
	}
}

func benchAppend(b *testing.B, tr *Transformer, m *event.Msg) {
	b.Helper()
	batch := event.NewBatch(event.NewPool(64 << 20))
	size := 0
	for _, c := range m.Cols {
		size += len(c)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if len(batch.Records) == 2000 {
			batch.Reset()
		}
		if err := tr.Append(batch, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	b.Run("avro", func(b *testing.B) {
		tr, m := realAvro(b)
		benchAppend(b, tr, m)
	})
	b.Run("derived", func(b *testing.B) {
		tr, m := realAvro(b)
		m.Cols[0], m.Cols[6], m.Cols[8] = nil, nil, nil
		benchAppend(b, tr, m)
	})
	b.Run("json", func(b *testing.B) {
		tr := transformer(b, nil)
		row := fine()
		row.typ, row.payload = "plain", benchPayload(b)
		benchAppend(b, tr, row.msg(nativeTable()))
	})
}
