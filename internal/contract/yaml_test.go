package contract_test

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// lines fills File.Lines as a decoder does.
func lines(n *yaml.Node, path string, out map[string]int) {
	out[path] = n.Line
	switch n.Kind {
	case yaml.DocumentNode:
		lines(n.Content[0], path, out)
	case yaml.SequenceNode:
		for i, c := range n.Content {
			lines(c, fmt.Sprintf("%s[%d]", path, i), out)
		}
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			lines(n.Content[i+1], strings.TrimPrefix(path+"."+n.Content[i].Value, "."), out)
		}
	}
}

func decode(t *testing.T, name, text string) contract.File {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	f := contract.File{Name: name, Lines: map[string]int{}}
	lines(&doc, "", f.Lines)
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

const example = `
unknown_event: stop
defaults: {encoding: avro, key: [message_key, aggregate_id], headers: {enabled: true}}
events:
  - type: assessment.result.published
    topic: huleedu.assessment.result.published.v1
    key: [payload.data.cj_assessment_job_id, aggregate_id]
    schema: AssessmentResultEvent
    encoding: avro
    also: [{topic: huleedu.assessment.results.v1, encoding: json}]
    topic_class: assessment_result
topic_classes:
  assessment_result: {partitions: 12, cleanup.policy: "compact,delete", retention.ms: 604800000}
  phase_completion:  {partitions: 12, cleanup.policy: delete, retention.ms: 86400000}
`

func TestYAML(t *testing.T) {
	t.Parallel()
	c, err := contract.New(decode(t, "events.yaml", example))
	if err != nil {
		t.Fatal(err)
	}
	r, ok := c.Lookup([]byte("assessment.result.published"))
	if !ok || r.At != "events.yaml:5" || len(r.Forms) != 2 || r.Forms[1].Encoding != contract.JSON {
		t.Errorf("%+v", r)
	}
	cl, ok := c.Class("assessment_result")
	if !ok || cl.Partitions != 12 || cl.Config["retention.ms"] != "604800000" || cl.Config["cleanup.policy"] != "compact,delete" || len(cl.Config) != 2 {
		t.Errorf("%+v", cl)
	}
	bad := strings.Replace(example, "encoding: json}", "encoding: jsn}", 1)
	_, err = contract.New(decode(t, "a.yaml", example), decode(t, "b.yaml", bad))
	for _, want := range []string{
		`b.yaml:5: events[0].type: "assessment.result.published" is defined already in a.yaml:5`,
		`b.yaml:10: events[0].also[0].encoding: "jsn" is no encoding`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %s in: %v", want, err)
		}
	}
}
