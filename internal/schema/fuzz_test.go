package schema

import (
	"testing"
	"testing/fstest"

	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
)

// Whatever a file holds, lint says something or nothing, and where it finds no
// error a relay can use the schema. What can be read can be compared with itself.
func FuzzLint(f *testing.F) {
	for _, seed := range []string{
		`{"type":"record","name":"AV1","namespace":"n","doc":"d","fields":[{"name":"x","type":["null","AV1"],"default":null}]}`,
		`{"type":"record","name":"AV1","namespace":"n","fields":[{"name":"x","type":{"type":"enum","name":"E","symbols":[]},"minimum":1e400}]}`,
		`{"type":"enum","name":"n.AV1","symbols":["A"],"default":"B"}`, `{"type":"fixed","name":"AV1","size":-1,"logicalType":"decimal"}`,
		`{"type":{"type":"record"},"fields":{}}`, `[[]]`, `{"type":"record","name":"AV1","fields":[7,{"name":"a"},{"name":"a","type":{"type":"map","values":"B"}}]}`, `{`, ``, `"int"`,
		`{"type":"record","name":"A","fields":[{"name":"u","type":[]},{"name":"p","type":"string","pattern":"("}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fsys := fstest.MapFS{"AV1.avsc": {Data: []byte(text)}}
		found, err := Lint(fsys, LintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sound := true
		for _, x := range found {
			sound = sound && x.Severity != Error
		}
		if sound {
			all, err := registry.LoadSchemas(fsys)
			if err != nil {
				t.Fatalf("lint found no error: %v", err)
			}
			complete, _ := all.Schema("A", 1)
			if _, err := avrojson.Compile(complete); err != nil {
				t.Fatalf("lint found no error: %v", err)
			}
		}
		if _, err := Parse(text); err != nil {
			return
		}
		if changes, err := Diff(text, text); err != nil || len(changes) > 0 {
			t.Errorf("%v, %v", changes, err)
		}
		reasons, err := Compare(FullTransitive, Named{"a", text}, Named{"b", text})
		if sound && (err != nil || len(reasons) > 0) {
			t.Errorf("%v, %v", reasons, err)
		}
		if _, err := Example(text, nil); sound && err != nil {
			t.Logf("no example: %v", err)
		}
	})
}
