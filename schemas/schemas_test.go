package schemas_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
	"github.com/cdc-relay/cdc-relay/schemas"
)

func load(t *testing.T) (fs.FS, *registry.Schemas) {
	t.Helper()
	fsys, err := schemas.Avro()
	if err != nil {
		t.Fatal(err)
	}
	s, err := registry.LoadSchemas(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return fsys, s
}

// schema is one *.avsc file.
type schema struct {
	Type, Name, Namespace, Doc string
	Fields                     []map[string]any
}

func file(t *testing.T, fsys fs.FS, name string) schema {
	t.Helper()
	raw, err := fs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

func TestEveryFile(t *testing.T) {
	t.Parallel()
	fsys, _ := load(t)
	names, err := fs.Glob(fsys, "*.avsc")
	if err != nil || len(names) < 20 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		s := file(t, fsys, name)
		if s.Namespace != "huleedu.events" || s.Doc == "" {
			t.Errorf("%s: namespace %q, doc %q", name, s.Namespace, s.Doc)
		}
		for _, f := range s.Fields {
			if doc, _ := f["doc"].(string); doc == "" {
				t.Errorf("%s: field %v has no doc", name, f["name"])
			}
		}
	}
}

// Avro cannot include one record in another, so every event spells the
// envelope; it must be the same in all.
func TestEveryEventHasTheEnvelope(t *testing.T) {
	t.Parallel()
	fsys, all := load(t)
	envelope := file(t, fsys, "EventEnvelope.avsc").Fields
	for _, name := range all.Names() {
		kind, isEvent := strings.CutSuffix(name, "Event")
		if !isEvent {
			if !slices.Contains(all.Names(), name+"Event") && !slices.Contains([]string{"EssayResult", "StudentMatch"}, name) {
				t.Errorf("%sV1 has no %sEventV1", name, name)
			}
			continue
		}
		for _, version := range all.Versions(name) {
			fields := file(t, fsys, name+"V1.avsc").Fields
			last := len(fields) - 1
			if !reflect.DeepEqual(fields[:last], envelope) {
				t.Errorf("%sV%d: the envelope differs from EventEnvelope.avsc", name, version)
			}
			if fields[last]["name"] != "data" || fields[last]["type"] != kind+"V1" {
				t.Errorf("%sV%d: the last field is %v", name, version, fields[last])
			}
		}
	}
}

// Results repeat the fields of EssayResultV1 after their batch_id.
func TestResultsHaveTheEssayResult(t *testing.T) {
	t.Parallel()
	fsys, _ := load(t)
	essay := file(t, fsys, "EssayResultV1.avsc").Fields
	for _, name := range []string{"NLPResultV1", "SpellcheckResultV1", "AIResultV1"} {
		fields := file(t, fsys, name+".avsc").Fields
		if fields[0]["name"] != "batch_id" || !reflect.DeepEqual(fields[1:1+len(essay)], essay) {
			t.Errorf("%s does not have batch_id and then the fields of EssayResultV1", name)
		}
	}
}

func TestSamplesEncode(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, name := range all.Names() {
		if !strings.HasSuffix(name, "Event") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sample, enc := sampleOf(t, all, name)
			out, err := enc.Append(nil, sample)
			if err != nil || len(out) < 100 {
				t.Fatalf("%d bytes, %v", len(out), err)
			}
			if _, err := enc.Append(nil, []byte(strings.Replace(string(sample), `"data"`, `"dta"`, 1))); err == nil {
				t.Error("a payload with an unknown field encodes")
			}
		})
	}
}

func sampleOf(t *testing.T, all *registry.Schemas, name string) ([]byte, *avrojson.Encoder) {
	t.Helper()
	text, ok := all.Schema(name, 1)
	if !ok {
		t.Fatal(all.Missing(name, 1))
	}
	program, err := avrojson.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	sample, err := os.ReadFile(filepath.Join("avro", "testdata", name+"V1.json"))
	if err != nil {
		t.Fatal(err)
	}
	return sample, program.NewEncoder()
}

// Every constraint is there and reaches the encoder through the loader.
func TestConstraints(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	for _, c := range []struct{ event, old, bad, want string }{
		{"AssessmentResultEvent", `"normalized_score": 0.87`, `"normalized_score": 1.2`, "data.essay_results[0].normalized_score: 1.2"},
		{"AssessmentResultEvent", `"normalized_score": 0.5`, `"normalized_score": -0.1`, "data.essay_results[1].normalized_score: -0.1"},
		{"AssessmentResultEvent", `"confidence_score": 0.91`, `"confidence_score": 1.01`, "confidence_score"},
		{"AssessmentResultEvent", `"letter_grade": "A-"`, `"letter_grade": "G"`, "letter_grade"},
		{"AssessmentResultEvent", `"confidence_label": "HIGH"`, `"confidence_label": "high"`, "confidence_label"},
		{"AssessmentResultEvent", `"rank": 1`, `"rank": 0`, "rank"},
		{"AssessmentResultEvent", `"bytes": 18432`, `"bytes": -1`, "data.artifacts[0].bytes"},
		{"AssessmentResultEvent", `"sha256": "9f`, `"sha256": "9F`, "sha256"},
		{"AssessmentResultEvent", `"type": "feedback_md"`, `"type": "feedback"`, "type"},
		{"AssessmentResultEvent", `"status": "COMPLETED"`, `"status": "DONE"`, "status"},
		{"AssessmentResultEvent", `"event_id": "0198`, `"event_id": "x198`, "event_id"},
		{"AssessmentResultEvent", `"correlation_id": "6f1b2c3d-`, `"correlation_id": "6f1b2c3d`, "correlation_id"},
		{"EssaySpellcheckCompletedEvent", `"total_corrections": 17`, `"total_corrections": -17`, "data.result.total_corrections"},
	} {
		sample, enc := sampleOf(t, all, c.event)
		if !strings.Contains(string(sample), c.old) {
			t.Fatalf("the sample of %s has no %s", c.event, c.old)
		}
		_, err := enc.Append(nil, []byte(strings.Replace(string(sample), c.old, c.bad, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.bad, err, c.want)
		}
	}
}

// Fields with a default may be left out.
func TestDefaults(t *testing.T) {
	t.Parallel()
	_, all := load(t)
	sample, enc := sampleOf(t, all, "AssessmentResultEvent")
	var doc map[string]any
	if err := json.Unmarshal(sample, &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc, "metadata")
	data := doc["data"].(map[string]any)
	delete(data, "artifacts")
	essay := data["essay_results"].([]any)[0].(map[string]any)
	delete(essay, "is_anchor")
	delete(essay, "feedback_uri")
	delete(essay, "metrics_uri")
	short, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Append(nil, short); err != nil {
		t.Error(err)
	}
	delete(essay, "rank")
	if short, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Append(nil, short); err == nil || !strings.Contains(err.Error(), "rank") {
		t.Errorf("without rank: %v", err)
	}
}
