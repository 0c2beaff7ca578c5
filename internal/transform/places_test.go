package transform

import (
	"encoding/json"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// together finds paths in one walk, as newPath(…).find finds each.
func together(t testing.TB, doc []byte, paths []*jsonPath) {
	t.Helper()
	p := newPlaces(paths)
	out := make([][]byte, len(p.paths))
	p.find(doc, out)
	for i, path := range p.paths {
		want, ok := path.find(doc)
		if string(out[i]) != string(want) || (out[i] != nil) != ok {
			t.Errorf("%.80q at %v: %q, want %q", doc, path.steps, out[i], want)
		}
	}
}

func parsed(t testing.TB, texts ...string) []*jsonPath {
	t.Helper()
	var out []*jsonPath
	for _, s := range texts {
		p, err := contract.ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, newPath(p))
	}
	return out
}

var placesDocs = []string{
	`{"a":{"b":1,"c":{"d":"x"}},"e":null,"f":[1]}`,
	` { "f" : true , "a" : { "c" : { "d" : [ ] } } } `,
	`{"a":{"b":1},"a":{"c":{"d":2}},"e":"\"a\""}`,
	`{"a":{"b":1,"b":2,"c":{"d":1},"c":3},"a":{"b":4}}`,
	`{"a":{"b":1},"a":7}`,
	`{"\u0061":{"\u0062":"esc"},"e":1,"\u0065":2}`,
	`{"a":[{"b":1}],"f":{"b":2}}`,
	`{}`, `[]`, `"a"`, `7`, `null`,
}

var placesPaths = []string{"a", "a.b", "a.c.d", "a.c", "e", "f", "x.y"}

func TestPlacesFindWhatPathsFind(t *testing.T) {
	t.Parallel()
	for _, doc := range placesDocs {
		together(t, []byte(doc), parsed(t, placesPaths...))
	}
	for _, bad := range []string{``, `{`, `{"a":`, `{"a":{"b":1}`, `{"e":1,`, `{"e":1}}`[:6]} {
		p := newPlaces(parsed(t, placesPaths...))
		out := make([][]byte, len(p.paths))
		p.find([]byte(bad), out)
		for i := range out {
			if out[i] != nil {
				t.Errorf("%q: %q found in what is no JSON", bad, out[i])
			}
		}
	}
	paths := parsed(t, "a", "a[0].b")
	if p := newPlaces(append(paths, paths[0])); len(p.paths) != 1 || p.paths[0] != paths[0] {
		t.Errorf("took %d paths, want one: no elements of arrays, none twice", len(p.paths))
	}
}

func FuzzPlaces(f *testing.F) {
	for _, doc := range placesDocs {
		f.Add([]byte(doc), "a.b", "a.c.d", "e")
	}
	f.Fuzz(func(t *testing.T, doc []byte, one, two, three string) {
		var paths []*jsonPath
		for _, s := range []string{one, two, three} {
			if p, err := contract.ParsePath(s); err == nil {
				paths = append(paths, newPath(p))
			}
		}
		if json.Valid(doc) {
			together(t, doc, paths)
			return
		}
		p := newPlaces(paths) // must end and stay inside, whatever the text
		p.find(doc, make([][]byte, len(p.paths)))
	})
}
