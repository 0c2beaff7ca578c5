package avrojson

import (
	"slices"
	"strings"
	"testing"
)

const fieldSchema = `{"type":"record","name":"R","namespace":"n","fields":[
 {"name":"a","type":["null",{"type":"record","name":"A","fields":[{"name":"deep","type":["int","string",{"type":"record","name":"Ref","fields":[
   {"name":"uri","type":"string"},{"name":"ttl","type":["null","int"],"default":null}]}]}]}]},
 {"name":"m","type":{"type":"map","values":["null",{"type":"record","name":"B","fields":[{"name":"x","type":"bytes"}]}]}},
 {"name":"l","type":{"type":"array","items":"A"}}]}`

func TestCompileField(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"a.deep": "[int, string, n.Ref]", "m.any.x": "bytes", "m.any": "[null, n.B]", "l": "array", "a.deep.uri": "string",
		"a.none": "", "none": "", "l.deep": "", "a.deep.uri.more": "",
	} {
		f, found, err := CompileField(fieldSchema, strings.Split(path, "."))
		if err != nil || found != (want != "") || found && f.Type() != want {
			t.Errorf("%s: %v, %v", path, found, err)
		}
	}
	f, _, err := CompileField(fieldSchema, []string{"a", "deep"})
	if err != nil {
		t.Fatal(err)
	}
	at, ok := f.Branch("Ref")
	names, required := f.Members(at)
	if !ok || at != 2 || !f.Union() || f.Name(at) != "n.Ref" || f.Text(at) || !f.Text(1) || f.Text(0) || !slices.Equal(names, []string{"uri", "ttl"}) || !required["uri"] || required["ttl"] {
		t.Errorf("branch %d (%v), members %v, required %v", at, ok, names, required)
	}
	if out, err := f.NewEncoder().Append(nil, []byte(`{"uri":"x"}`)); err != nil || string(out) != "\x04\x02x\x00" {
		t.Errorf("%q, %v", out, err)
	}
	root, ok, err := CompileField(fieldSchema, nil)
	if err != nil || !ok || root.Union() || root.Name(0) != "n.R" {
		t.Errorf("the root: %v, %v", ok, err)
	}
	if _, ok := root.Branch("R"); !ok {
		t.Error("a record is its own branch")
	}
	if _, _, err := CompileField(`{"type":"nonsense"}`, nil); err == nil {
		t.Error("no schema, and no error")
	}
}
