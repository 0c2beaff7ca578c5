package registry_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cdc-relay/cdc-relay/internal/registry"
)

func folder(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func TestLoadSchemas(t *testing.T) {
	t.Parallel()
	s, err := registry.LoadSchemas(folder(map[string]string{
		// keys in another order than the result, an unused sibling, a folder of other files
		"OrderV1.avsc": `{"fields": [
			{"name":"lines", "type":{"items":"Line","type":"array"}, "default":[]},
			{"doc":"Its first.","type":["null","Line"],"name":"first","default":null},
			{"name":"currency","type":"shop.base.Currency"},
			{"name":"parent","type":["null","OrderV1"],"default":null},
			{"name":"note","type":{"type":"string","logicalType":"uuid"},"pattern":"^<&>$","maxLength":3,"minimum":1.50}
		], "doc":"An order.", "namespace":"shop", "name":"OrderV1", "type":"record"}`,
		"OrderV12.avsc": `{"type":"enum","name":"shop.OrderV12","symbols":["A"]}`,
		"Line.avsc":     `{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"unit","type":{"type":"fixed","name":"Unit","size":2}},{"name":"again","type":"Unit"}]}`,
		"Currency.avsc": `{"type":"enum","name":"Currency","namespace":"shop.base","symbols":["SEK","EUR"]}`,
		"README.md":     `not a schema`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"record","name":"OrderV1","namespace":"shop","doc":"An order.","fields":[` +
		`{"type":{"type":"array","items":{"type":"record","name":"Line","namespace":"shop","fields":[` +
		`{"type":{"type":"fixed","name":"Unit","namespace":"shop","size":2},"name":"unit"},{"type":"shop.Unit","name":"again"}]}},"name":"lines","default":[]},` +
		`{"type":["null","shop.Line"],"name":"first","doc":"Its first.","default":null},` +
		`{"type":{"type":"enum","name":"Currency","namespace":"shop.base","symbols":["SEK","EUR"]},"name":"currency"},` +
		`{"type":["null","shop.OrderV1"],"name":"parent","default":null},` +
		`{"type":{"type":"string","logicalType":"uuid"},"name":"note","maxLength":3,"minimum":1.50,"pattern":"^<&>$"}]}`
	if got, _ := s.Schema("Order", 1); got != want {
		t.Errorf("Order 1:\n got %s\nwant %s", got, want)
	}
	if got := s.Versions("Order"); !slices.Equal(got, []int{1, 12}) {
		t.Errorf("versions of Order: %v", got)
	}
	if _, ok := s.Schema("Line", 1); ok || s.Versions("Line") != nil {
		t.Error("Line has no version and can be referred to only")
	}
	for _, c := range []struct {
		name    string
		version int
		want    string
	}{{"Order", 2, "it has [1 12]"}, {"Ordr", 1, "did you mean Order?"}, {"Unrelated", 1, "no file UnrelatedV1.avsc"}} {
		if got := s.Missing(c.name, c.version).Error(); !strings.Contains(got, c.want) {
			t.Errorf("Missing(%s, %d) = %s; want %q in it", c.name, c.version, got, c.want)
		}
	}
}

// A type without a namespace must not fall into that of the type around it.
func TestLoadSchemasKeepsTheNullNamespace(t *testing.T) {
	t.Parallel()
	s, err := registry.LoadSchemas(folder(map[string]string{
		"AV1.avsc": `{"type":"record","name":"AV1","fields":[{"name":"b","type":"x.B"},{"name":"c","type":"C"}]}`,
		"B.avsc":   `{"type":"record","name":"B","namespace":"x","fields":[]}`,
		"C.avsc":   `{"type":"enum","name":"C","symbols":["Z"]}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := s.Schema("A", 1)
	if want := `{"type":"enum","name":"C","namespace":"","symbols":["Z"]}`; !strings.Contains(got, want) {
		t.Errorf("got %s; want %s in it", got, want)
	}
}

func TestLoadSchemasRefuses(t *testing.T) {
	t.Parallel()
	rec := func(name, fields string) string {
		return `{"type":"record","name":"` + name + `","namespace":"n","fields":[` + fields + `]}`
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"empty folder":      {nil, []string{"no *.avsc file"}},
		"not JSON":          {map[string]string{"A.avsc": `{"type":`}, []string{"A.avsc", "not valid JSON"}},
		"cut short":         {map[string]string{"A.avsc": `{"type":"enum"`}, []string{"A.avsc", "unexpected EOF"}},
		"two values":        {map[string]string{"A.avsc": rec("A", "") + `{}`}, []string{"A.avsc", "something after the value"}},
		"key twice":         {map[string]string{"A.avsc": `{"type":"record","name":"A","name":"A","fields":[]}`}, []string{`key "name" is given twice`}},
		"too deep":          {map[string]string{"A.avsc": strings.Repeat("[", 300)}, []string{"nested deeper"}},
		"no named type":     {map[string]string{"A.avsc": `"string"`}, []string{"A.avsc", "want one record, enum or fixed"}},
		"other name":        {map[string]string{"A.avsc": rec("B", "")}, []string{"A.avsc", "rename the file to B.avsc"}},
		"bad name":          {map[string]string{"A.avsc": rec("A-B", "")}, []string{"A.avsc", `"n.A-B" is not an Avro name`}},
		"no name":           {map[string]string{"A.avsc": `{"type":"record","fields":[]}`}, []string{"has no name"}},
		"unknown type":      {map[string]string{"A.avsc": rec("A", `{"name":"f","type":{"type":"array","items":"Artefact"}}`), "Artifact.avsc": rec("Artifact", "")}, []string{"A.avsc", "record n.A: field f: items", "unknown type n.Artefact; did you mean n.Artifact?"}},
		"unknown primitive": {map[string]string{"A.avsc": `{"type":"record","name":"A","fields":[{"name":"f","type":"strng"}]}`}, []string{"did you mean string?"}},
		"in a sibling":      {map[string]string{"A.avsc": rec("A", `{"name":"f","type":"B"}`), "B.avsc": rec("B", `{"name":"g","type":"Nowhere"}`)}, []string{"field f: type n.B of B.avsc", "field g: unknown type n.Nowhere"}},
		"cycle":             {map[string]string{"A.avsc": rec("A", `{"name":"f","type":["null","B"]}`), "B.avsc": rec("B", `{"name":"g","type":{"type":"map","values":"C"}}`), "C.avsc": rec("C", `{"name":"h","type":"A"}`)}, []string{"A.avsc → B.avsc → C.avsc → A.avsc"}},
		"defined twice":     {map[string]string{"A.avsc": rec("A", `{"name":"f","type":{"type":"enum","name":"E","symbols":["X"]}}`), "B.avsc": rec("B", `{"name":"f","type":{"type":"enum","name":"E","symbols":["Y"]}}`)}, []string{"B.avsc", "type n.E", "A.avsc"}},
		"field twice":       {map[string]string{"A.avsc": rec("A", `{"name":"f","type":"int"},{"name":"f","type":"int"}`)}, []string{"record n.A: field f is given twice"}},
		"field without":     {map[string]string{"A.avsc": rec("A", `{"name":"f"}`)}, []string{"record n.A: field f has no type"}},
		"no fields":         {map[string]string{"A.avsc": `{"type":"record","name":"A"}`}, []string{"a record needs fields"}},
		"array of nothing":  {map[string]string{"A.avsc": rec("A", `{"name":"f","type":{"type":"array"}}`)}, []string{"field f: array without items"}},
		"union in union":    {map[string]string{"A.avsc": rec("A", `{"name":"f","type":["null",["int"]]}`)}, []string{"field f: union branch 1 is a union"}},
		"empty union":       {map[string]string{"A.avsc": rec("A", `{"name":"f","type":[]}`)}, []string{"at least one branch"}},
		"number for a type": {map[string]string{"A.avsc": rec("A", `{"name":"f","type":7}`)}, []string{"7 stands where a type is wanted"}},
		"enum symbol":       {map[string]string{"A.avsc": `{"type":"enum","name":"A","symbols":["X","a b"]}`}, []string{"enum A: symbol a b"}},
		"enum symbol twice": {map[string]string{"A.avsc": `{"type":"enum","name":"A","symbols":["X","X"]}`}, []string{"symbol X is given twice"}},
		"fixed without":     {map[string]string{"A.avsc": `{"type":"fixed","name":"A"}`}, []string{"fixed A has no size"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := registry.LoadSchemas(folder(c.files))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant %q in it", err, want)
				}
			}
		})
	}
}

// The same nested type spelled out in two files is one type.
func TestLoadSchemasSameTypeTwice(t *testing.T) {
	t.Parallel()
	e := `{"type":"enum","name":"E","symbols":["X"]}`
	s, err := registry.LoadSchemas(folder(map[string]string{
		"AV1.avsc": `{"type":"record","name":"AV1","namespace":"n","fields":[{"name":"e","type":` + e + `},{"name":"b","type":"B"}]}`,
		"B.avsc":   `{"type":"record","name":"B","namespace":"n","fields":[{"name":"e","type":` + e + `}]}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := s.Schema("A", 1)
	if n := strings.Count(got, `"symbols"`); n != 1 || !strings.Contains(got, `{"type":"n.E","name":"e"}`) {
		t.Errorf("E is defined %d times: %s", n, got)
	}
}
