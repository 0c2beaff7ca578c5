package examples_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// nativeOutbox is the shape of cdc_relay.outbox, with the types the relay asks
// about.
func nativeOutbox() *event.Relation {
	const text, jsonText = 25, 114
	r := &event.Relation{OID: 1, Schema: "cdc_relay", Table: "outbox"}
	for _, name := range []string{"id", "aggregate_type", "aggregate_id", "event_type", "topic", "message_key", "headers", "payload", "occurred_at", "created_at"} {
		c := event.Column{Name: name, Type: text, Key: name == "id"}
		if name == "headers" || name == "payload" {
			c.Type = jsonText
		}
		r.Columns = append(r.Columns, c)
	}
	return r
}

// relayed is what becomes of one row under examples/keys.
func relayed(t *testing.T, tr *transform.Transformer, kind, messageKey, payload string) event.Record {
	t.Helper()
	m := &event.Msg{Kind: event.Row, Pos: event.Position{Commit: 0x16B3748, Ord: 1}, Time: 1714566896123456, Rel: nativeOutbox()}
	for _, v := range []string{"0198c5a0-6b1e-7c3a-9d2f-5a1b2c3d4e5f", "essay", "agg-1", kind, "", messageKey, "", payload, "", "2026-05-01 00:00:00+00"} {
		if v == "" {
			m.Cols = append(m.Cols, nil)
			continue
		}
		m.Cols = append(m.Cols, []byte(v))
	}
	b := event.NewBatch(event.NewPool(1 << 20))
	if err := tr.Append(b, m); err != nil {
		t.Fatal(err)
	}
	if len(b.Records) != 1 {
		t.Fatalf("%d records", len(b.Records))
	}
	return b.Records[0]
}

// payloadOf is the sample payload of a schema, with a member of data changed.
func payloadOf(t *testing.T, schema, member, value string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "schemas", "avro", "testdata", schema+"V1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	data := doc["data"].(map[string]any)
	for name := range strings.SplitSeq(member, ",") {
		if _, ok := data[name]; !ok && name != "" {
			t.Fatalf("%s has no data.%s", schema, name)
		}
		if name != "" {
			data[name] = value
		}
	}
	raw, err = json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The rules of the first users, row by row: each event goes by its own field,
// and by the next where that one is empty.
func TestKeyRules(t *testing.T) {
	t.Parallel()
	cfg := load(t, filepath.Join("keys", "cdc-relay.yaml"))
	schemasExist(t, cfg)
	all, err := registry.LoadSchemas(os.DirFS(cfg.Schemas))
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	tr, err := transform.Compile(transform.Options{
		Contract: cfg.Pipelines()[0].Contract, Service: "huleedu", Registerer: reg, Versions: all.Versions,
		Schemas: func(name string, v int) (transform.Schema, bool) {
			text, ok := all.Schema(name, v)
			return transform.Schema{ID: 1, Text: text}, ok
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	fell := 0
	for _, row := range []struct {
		kind, schema   string
		member, value  string // of data, changed
		messageKey     string
		want           string
		fallsToTheLast bool
	}{
		{"assessment.result.published", "AssessmentResultEvent", "", "", "", "cj-42", false},
		{"assessment.result.published", "AssessmentResultEvent", "cj_assessment_job_id", "", "", "agg-1", true},
		{"spellcheck.result.published", "SpellcheckResultEvent", "", "", "", "batch-7", false},
		{"spellcheck.result.published", "SpellcheckResultEvent", "batch_id", "", "", "agg-1", true},
		{"essay.spellcheck.completed", "EssaySpellcheckCompletedEvent", "batch_id", "batch-8", "", "batch-8", false},
		{"essay.spellcheck.completed", "EssaySpellcheckCompletedEvent", "batch_id", "", "", "agg-1", true},
		{"spellcheck.phase.completed", "SpellcheckPhaseCompletedEvent", "", "", "", "batch-7", false},
		{"spellcheck.phase.completed", "SpellcheckPhaseCompletedEvent", "batch_id", "", "", "agg-1", true},
		{"nlp.result.published", "NLPResultEvent", "", "", "", "batch-7", false},
		{"nlp.result.published", "NLPResultEvent", "batch_id", "", "", "agg-1", true},
		{"essay.nlp.completed", "EssayNlpCompletedEvent", "", "", "", "batch-7", false},
		{"essay.nlp.completed", "EssayNlpCompletedEvent", "batch_id", "", "", "agg-1", true},
		{"student.matching.completed", "StudentMatchingCompletedEvent", "", "", "", "batch-7", false},
		{"student.matching.completed", "StudentMatchingCompletedEvent", "batch_id", "", "", "agg-1", true},
		{"essay.state.changed", "EssayStateChangedEvent", "", "", "", "essay:essay-0001", false},
		{"essay.state.changed", "EssayStateChangedEvent", "entity_ref", "", "", "essay-0001", false},
		{"essay.state.changed", "EssayStateChangedEvent", "entity_ref,essay_id", "", "", "agg-1", true},
		{"essay.state.changed", "EssayStateChangedEvent", "", "", "own", "own", false},
		{"ai.result.published", "AIResultEvent", "", "", "", "agg-1", false},
	} {
		r := relayed(t, tr, row.kind, row.messageKey, payloadOf(t, row.schema, row.member, row.value))
		if string(r.Key) != row.want {
			t.Errorf("%s with %s=%q: key %q, want %q", row.kind, row.member, row.value, r.Key, row.want)
		}
		if row.fallsToTheLast {
			fell++
		}
		got := map[string]string{}
		for _, h := range r.Headers {
			got[h.Key] = string(h.Value)
		}
		if got["tenant"] != "skola-1" || !strings.HasSuffix(got["source_service"], "_service") {
			t.Errorf("%s: headers %v", row.kind, got)
		}
	}
	if n := fallen(t, reg); n != fell {
		t.Errorf("%d events are counted as fallen through, want %d", n, fell)
	}
}

// fallen is the sum of the counter of rules that fell through.
func fallen(t *testing.T, reg *prometheus.Registry) int {
	t.Helper()
	const name = "cdc_relay_partition_key_fallthrough_total"
	if n, err := testutil.GatherAndCount(reg, name); err != nil || n == 0 {
		t.Fatalf("%d series of %s: %v", n, name, err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return int(sum)
}
