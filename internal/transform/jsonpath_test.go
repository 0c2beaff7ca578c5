package transform

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

func lookup(t testing.TB, doc, path string) (string, bool) {
	t.Helper()
	p, err := contract.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := newPath(p).find([]byte(doc))
	if !ok {
		return "", false
	}
	v, _, ok := scalar(raw, nil)
	return string(v), ok
}

func TestJSONPath(t *testing.T) {
	t.Parallel()
	cases := []struct{ doc, path, want string }{
		{`{"a":"x"}`, "a", "x"},
		{` { "a" : { "b" : [ 1 , "y" , {"c":true} ] } } `, "a.b[2].c", "true"},
		{`{"a":{"b":[1,"y"]}}`, "a.b[1]", "y"},
		{`[[],[0,-1.5e3]]`, "[1][1]", "-1.5e3"},
		{`{"a":"\"\\\/\b\f\n\r\tå\u00e5\ud83d\ude00\ud800"}`, "a", "\"\\/\b\f\n\r\tåå😀\uFFFD"},
		{`{"x":"}{][\",\"a\":1","a":2}`, "a", "2"},
		{`{"a":1,"a":2}`, "a", "2"},
		{`{"a":{"b":1},"a":{"b":2},"c":"\"a\""}`, "a.b", "2"},
		{`{"a":{"b":1},"a":2}`, "a.b", ""},
		{`{"a":1,"\u0061":2}`, "a", "2"},
		{`{"\u0061":{"\u0062":"esc"}}`, "a.b", "esc"},
		{`{"å":1,"\u00e5":2}`, "å", "2"},
		{`{"a/b":1,"a\/b":2}`, `a/b`, "2"},
		{`{"":1}`, `[""]`, "1"},
		{`{"data":{"data":{"data":7}}}`, "data.data.data", "7"},
		{`{"b":{"a":1}}`, "a", ""},
		{`{"b":"a"}`, "a", ""},
		{`{"a":null}`, "a", ""},
		{`{"a":[]}`, "a", ""},
		{`{"a":[]}`, "a[0]", ""},
		{`{"a":[1]}`, "a[1]", ""},
		{`{"a":{}}`, "a", ""},
		{`{"a":{}}`, "a.b", ""},
		{`{}`, "a", ""},
		{`"a"`, "a", ""},
		{``, "a", ""},
		{`{"a":`, "a", ""},
		{`{"a"`, "a", ""},
		{`{"a":1,`, "b", ""},
		{`{"a":"\`, "a", ""},
		{`{"a":"\ud83"}`, "a", ""},
		{`not json "a":1`, "a", ""},
		{strings.Repeat("[", 100_000) + `"a"`, "[0]", ""},
	}
	for _, tc := range cases {
		got, ok := lookup(t, tc.doc, tc.path)
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("%.60s at %s: %q, %v; want %q", tc.doc, tc.path, got, ok, tc.want)
		}
	}
}

// oracle finds the value by encoding/json.
func oracle(doc []byte, path contract.Path) (string, bool) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", false
	}
	for _, s := range path {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[s.Name]
			if !ok || !s.Member {
				return "", false
			}
			v = next
		case []any:
			if s.Member || s.Index >= len(at) {
				return "", false
			}
			v = at[s.Index]
		default:
			return "", false
		}
	}
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "true", true
		}
		return "false", true
	}
	return "", false
}

func FuzzJSONPath(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,{"c":"x\u0061\ud83d\ude00"}]},"\u0061":2}`), "a.b[1].c")
	f.Add([]byte(`{"a":1,"a":{"a":[true,null]}}`), "a.a[0]")
	f.Add([]byte(`{"å/\"":"\\"}`), `["å/\""]`)
	f.Fuzz(func(t *testing.T, doc []byte, text string) {
		p, err := contract.ParsePath(text)
		if err != nil {
			return
		}
		raw, ok := newPath(p).find(doc) // must end and stay inside, whatever the text
		if !json.Valid(doc) || !utf8.Valid(doc) || !utf8.ValidString(text) {
			return
		}
		var v []byte
		if ok {
			v, _, ok = scalar(raw, nil)
		}
		want, found := oracle(doc, p)
		if ok != found || string(v) != want {
			t.Errorf("%q at %q: %q, %v; encoding/json says %q, %v", doc, text, v, ok, want, found)
		}
	})
}

// headerOracle reads headers by encoding/json, in order.
func headerOracle(doc []byte) (names []string, values map[string][]byte, ok bool) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(doc, &raw); err != nil || raw == nil {
		return nil, nil, false
	}
	values = map[string][]byte{}
	for k, v := range raw {
		var s string
		switch {
		case string(v) == "null":
			values[k] = nil
		case v[0] == '"':
			if json.Unmarshal(v, &s) != nil {
				return nil, nil, false
			}
			values[k] = []byte(s)
		default:
			values[k] = v
		}
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	_, _ = dec.Token()
	seen := map[string]bool{}
	for dec.More() {
		tok, _ := dec.Token()
		name, _ := tok.(string)
		if !seen[name] {
			names = append(names, name)
		}
		seen[name] = true
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return nil, nil, false
		}
	}
	return names, values, true
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte(`{"trace_id":"x","n":1,"o":{"a":[1, 2]},"z":null,"trace_id":"\u00e5","\u006e":"2"}`))
	f.Add([]byte(` { } `))
	f.Add([]byte(`{"a":"b"} x`))
	var many strings.Builder
	for i := range 100 {
		many.WriteString(`,"k` + strings.Repeat("x", i%70) + `":"v"`)
	}
	f.Add([]byte("{" + many.String()[1:] + "}"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		tr := &Transformer{names: map[string]string{}}
		err := tr.parseHeaders(doc)
		if !json.Valid(doc) || !utf8.Valid(doc) {
			return
		}
		names, values, ok := headerOracle(doc)
		for _, n := range names {
			if strings.ContainsRune(n, 0) {
				ok = false
			}
		}
		if ok != (err == nil) {
			t.Fatalf("%q: %v; encoding/json: %v", doc, err, ok)
		}
		if !ok {
			return
		}
		given := tr.row.given.list
		if len(given) != len(names) {
			t.Fatalf("%q: %d headers, want %q", doc, len(given), names)
		}
		for i, n := range names {
			g := given[i]
			if g.key != n || !bytes.Equal(g.value, values[n]) || (g.value == nil) != (values[n] == nil) {
				t.Errorf("%q: header %d is %q=%q, want %q=%q", doc, i, g.key, g.value, n, values[n])
			}
		}
	})
}
