package avrojson

import (
	"encoding/json"
	"testing"

	"github.com/hamba/avro/v2"
)

// jsonbOrder is doc as Postgres' jsonb prints it: keys by length, then bytes,
// and a blank behind colons and commas.
func jsonbOrder(t testing.TB, doc string) []byte {
	v, err := parseDoc([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return appendJSONB(nil, v)
}

func BenchmarkAppend(b *testing.B) {
	p, err := Compile(eventSchema)
	if err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name string
		doc  []byte
	}{{"schema_order", []byte(eventJSON)}, {"jsonb_order", jsonbOrder(b, eventJSON)}} {
		b.Run(bench.name, func(b *testing.B) {
			e := p.NewEncoder()
			buf := make([]byte, 0, 4096)
			b.SetBytes(int64(len(bench.doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Append(buf, bench.doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMapHamba is what the Program replaces. It checks no constraints and
// takes the timestamp as a number, since hamba knows no text for it.
func BenchmarkMapHamba(b *testing.B) {
	schema, err := avro.ParseWithCache(stripLogical(eventSchema), "", &avro.SchemaCache{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(eventJSON)))
	b.ReportAllocs()
	for b.Loop() {
		var m map[string]any
		if err := json.Unmarshal([]byte(eventJSON), &m); err != nil {
			b.Fatal(err)
		}
		m["event_timestamp"] = int64(1740824130123456)
		m["schema_version"] = int(m["schema_version"].(float64))
		data := m["data"].(map[string]any)
		for _, r := range data["essay_results"].([]any) {
			essay := r.(map[string]any)
			essay["rank"] = int(essay["rank"].(float64))
			for _, key := range []string{"feedback_uri", "metrics_uri"} {
				if s, ok := essay[key].(string); ok {
					essay[key] = map[string]any{"string": s}
				} else {
					essay[key] = map[string]any{"null": nil}
				}
			}
		}
		for _, r := range data["artifacts"].([]any) {
			artifact := r.(map[string]any)
			artifact["bytes"] = int64(artifact["bytes"].(float64))
			artifact["ttl_sec"], artifact["encryption"] = map[string]any{"null": nil}, map[string]any{"null": nil}
		}
		meta := map[string]any{}
		for k, v := range m["metadata"].(map[string]any) {
			meta[k] = v
		}
		m["metadata"] = meta
		if _, err := avro.Marshal(schema, m); err != nil {
			b.Fatal(err)
		}
	}
}
