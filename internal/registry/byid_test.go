package registry_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestByID(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answers []string
		want    registry.Registered
		seen    []string
		reason  registry.Reason
		says    string
	}{
		"avro without a type": {answers: []string{`200 {"schema":"\"int\""}`}, want: registry.Registered{Type: "AVRO", Text: `"int"`}, seen: []string{"GET /schemas/ids/7"}},
		"another type":        {answers: []string{`200 {"schema":"x","schemaType":"PROTOBUF"}`}, want: registry.Registered{Type: "PROTOBUF", Text: "x"}, seen: []string{"GET /schemas/ids/7"}},
		"references, each once": {
			answers: []string{
				`200 {"schema":"A","references":[{"name":"B","subject":"b/1","version":2},{"name":"C","subject":"c","version":1}]}`,
				`200 {"schema":"B","references":[{"name":"C","subject":"c","version":1}]}`,
				`200 {"schema":"C"}`,
			},
			want: registry.Registered{Type: "AVRO", Text: "A", Needs: []string{"C", "B"}},
			seen: []string{"GET /schemas/ids/7", "GET /subjects/b%2F1/versions/2", "GET /subjects/c/versions/1"},
		},
		"unknown":           {answers: []string{noSchema}, reason: registry.Missing, says: "this schema is not registered"},
		"a missing referee": {answers: []string{`200 {"schema":"A","references":[{"name":"B","subject":"b","version":2}]}`, noSubject}, reason: registry.Missing, says: "subject b (schema BV2)"},
		"no registry":       {answers: []string{"404 not here"}, reason: registry.NotARegistry, says: "404"},
		"denied":            {answers: []string{"403 {}"}, reason: registry.Denied, says: "403"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, url := serve(t, tc.answers...)
			got, err := client(t, registry.Options{URL: url, Retries: -1}).ByID(t.Context(), 7)
			if tc.says != "" {
				e, ok := errors.AsType[*registry.Error](err)
				if !ok || e.Reason != tc.reason || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || got.Type != tc.want.Type || got.Text != tc.want.Text || !slices.Equal(got.Needs, tc.want.Needs) {
				t.Errorf("%+v, %v", got, err)
			}
			if !slices.Equal(a.seen, tc.seen) {
				t.Errorf("asked %q", a.seen)
			}
		})
	}
	if _, err := client(t, registry.Options{URL: "nonsense"}).ByID(t.Context(), 7); err == nil {
		t.Error("no URL, no error")
	}
}

// A real registry gives back by its id what was registered, with what it refers
// to.
func TestRealRegistryByID(t *testing.T) {
	t.Parallel()
	url := stack.Registry(t).URL()
	c := client(t, registry.Options{URL: url})
	plain, err := sr.NewClient(sr.URLs(url))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	prefix := topic(t)
	space := strings.ReplaceAll(prefix, "-", "_")
	leaf := `{"type":"record","name":"Leaf","namespace":"` + space + `","fields":[{"name":"n","type":"int"}]}`
	node := `{"type":"record","name":"Node","namespace":"` + space + `","fields":[{"name":"leaf","type":"` + space + `.Leaf"}]}`
	first, err := plain.CreateSchema(ctx, prefix+"-leaf", sr.Schema{Schema: leaf})
	if err != nil {
		t.Fatal(err)
	}
	second, err := plain.CreateSchema(ctx, prefix+"-value", sr.Schema{Schema: node,
		References: []sr.SchemaReference{{Name: space + ".Leaf", Subject: prefix + "-leaf", Version: first.Version}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.ByID(ctx, second.ID)
	if err != nil || got.Type != "AVRO" || got.Text != node || !slices.Equal(got.Needs, []string{leaf}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.ByID(ctx, 2_000_000_000); err == nil || !strings.Contains(err.Error(), "not registered") {
		t.Errorf("an unknown id: %v", err)
	}
}
