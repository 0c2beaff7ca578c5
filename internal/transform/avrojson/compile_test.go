package avrojson

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson/avrogen"
)

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	field := func(f string) string {
		return `{"type":"record","name":"R","namespace":"n","fields":[{"name":"f",` + f + `}]}`
	}
	tests := []struct{ schema, want string }{
		{``, `schema is not JSON: EOF`},
		{`int`, `schema is not JSON: invalid character 'i' looking for beginning of value`},
		{`"int" 1`, `schema is not JSON: text after the schema; remove it`},
		{`{"type":"int","type":"long"}`, `schema is not JSON: key "type" is given twice in one object; keep one`},
		{strings.Repeat("[", 300), `schema is not JSON: more than 200 levels`},
		{`5`, `schema at $: 5 is no type; write a type name, an object or a union`},
		{`"Foo"`, `schema at $: unknown type "Foo"; define it before its first use, or write its full name`},
		{field(`"type":{"type":"array","items":"Foo"}`), `schema at n.R.f[]: unknown type "Foo"; define it before its first use, or write its full name`},
		{field(`"type":{"type":["null","int"]}`), `schema at n.R.f: "type" must be a type name here, not ["null","int"]; write unions and nested types without an object around them`},
		{field(`"type":[]`), `schema at n.R.f: the union has no branches; name at least one type`},
		{field(`"type":["int",["null"]]`), `schema at n.R.f[1]: a union directly in a union; merge the two`},
		{field(`"type":["int",{"type":"int","logicalType":"date"}]`), `schema at n.R.f[1]: a second branch of type int; only named types may come more than once, by different names`},
		{`{"type":"record","fields":[]}`, `schema at $: the record has no name; give it one`},
		{`{"type":"record","name":"R"}`, `schema at R: the record has no array "fields"; add it, empty if need be`},
		{`{"type":"record","name":"R","fields":[{"type":"int"}]}`, `schema at R: field 0 is no object with a name; give it one`},
		{`{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}`, `schema at R.a: a second field of this name; rename one`},
		{field(`"type":{"type":"enum","name":"n.R","symbols":["A"]}`), `schema at n.R.f: the name n.R is taken; choose another, or refer to the type by its name`},
		{field(`"type":{"type":"enum","name":"E","symbols":[]}`), `schema at n.R.f: the enum has no "symbols"; list at least one`},
		{field(`"type":{"type":"enum","name":"E","symbols":["A","A"]}`), `schema at n.R.f: symbol "A" is no string or comes twice; remove it`},
		{field(`"type":{"type":"fixed","name":"F","size":1.5}`), `schema at n.R.f: "size" is 1.5; write a number of bytes up to 16777216`},
		{field(`"type":{"type":"map"}`), `schema at n.R.f: the map has no "values"; name the type of its elements`},
		{`{"type":"record","name":"9","fields":[]}`, `schema at $: avro: invalid name part "9" in name "9": invalid name 9`},
		// Constraints.
		{field(`"type":"boolean","minimum":0`), `schema at n.R.f: minimum makes no sense for boolean; remove it`},
		{field(`"type":"int","pattern":"a"`), `schema at n.R.f: pattern makes no sense for int; remove it`},
		{field(`"type":["null","boolean"],"maxLength":1`), `schema at n.R.f: maxLength makes no sense for any branch of [null, boolean]; remove it`},
		{field(`"type":{"type":"fixed","name":"F","size":2,"minLength":1}`), `schema at n.R.f: minLength makes no sense for n.F; remove it`},
		{field(`"type":"string","pattern":"(?=a)"`), "schema at n.R.f: pattern \"(?=a)\": error parsing regexp: invalid or unsupported Perl syntax: `(?=`; write it in RE2 syntax"},
		{field(`"type":"string","pattern":1`), `schema at n.R.f: pattern is 1; write a regular expression as a string`},
		{field(`"type":"int","minimum":"0"`), `schema at n.R.f: minimum is "0"; write a number`},
		{field(`"type":"int","minimum":1e999999`), `schema at n.R.f: minimum is 1e999999; write a number`},
		{field(`"type":"int","exclusiveMinimum":true`), `schema at n.R.f: exclusiveMinimum is true; write a number`},
		{field(`"type":"string","minLength":-1`), `schema at n.R.f: minLength is -1; write a whole number, 0 or more`},
		{field(`"type":"string","minLength":3,"maxLength":2`), `schema at n.R.f: minLength 3 is over maxLength 2; no value has both`},
		{field(`"type":{"type":"string","minLength":3},"maxLength":2`), `schema at n.R.f: minLength 3 is over maxLength 2; no value has both`},
		{field(`"type":"int","minimum":1.2,"maximum":1.8`), `schema at n.R.f: no int meets [minimum maximum]; widen them`},
		{field(`"type":"int","minimum":2147483648`), `schema at n.R.f: no int meets [minimum]; widen them`},
		{field(`"type":"double","exclusiveMinimum":0,"exclusiveMaximum":0`), `schema at n.R.f: no double meets [exclusiveMinimum exclusiveMaximum]; widen them`},
		{field(`"type":{"type":"bytes","logicalType":"decimal","precision":2,"minimum":100}`), `schema at n.R.f: no decimal meets [minimum]; widen them`},
		{field(`"type":{"type":"int","minimum":1},"minimum":2`), `schema at n.R.f: minimum is given on the field and on its type; keep one`},
		{field(`"type":"bytes","encoding":"base32"`), `schema at n.R.f: encoding is "base32"; write "base64" or "hex", or leave it out for code points`},
		{field(`"type":"string","encoding":"hex"`), `schema at n.R.f: encoding makes no sense for string; remove it`},
		// Logical types.
		{field(`"type":{"type":"string","logicalType":"date"}`), `schema at n.R.f: logicalType date cannot stand on string, only on [int]; change the type or remove it`},
		{field(`"type":{"type":"fixed","name":"F","size":15,"logicalType":"uuid"}`), `schema at n.R.f: logicalType uuid needs a fixed of size 16, this one has 15`},
		{field(`"type":{"type":"fixed","name":"F","size":11,"logicalType":"duration"}`), `schema at n.R.f: logicalType duration needs a fixed of size 12, this one has 11`},
		{field(`"type":{"type":"bytes","logicalType":"decimal"}`), `schema at n.R.f: the decimal's precision is null; write a number from 1 to 1000`},
		{field(`"type":{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}`), `schema at n.R.f: the decimal's scale is 3; write a number from 0 to its precision, 2`},
		{field(`"type":{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":5}`), `schema at n.R.f: a fixed of size 2 cannot hold 5 digits; make it larger or the precision smaller`},
		// Defaults.
		{field(`"type":"int","default":1.5`), `schema at n.R.f (default): 1.5 breaks what the schema demands of the int; change it`},
		{field(`"type":"int","default":"1"`), `schema at n.R.f (default): "1" is no default of type int; change it`},
		{field(`"type":"boolean","default":0`), `schema at n.R.f (default): 0 is no default of type boolean; change it`},
		{field(`"type":"null","default":0`), `schema at n.R.f (default): 0 is no default of type null; change it`},
		{field(`"type":"string","default":null`), `schema at n.R.f (default): null is no default of type string; change it`},
		{field(`"type":"int","minimum":1,"default":0`), `schema at n.R.f (default): 0 breaks what the schema demands of the int; change it`},
		{field(`"type":"string","pattern":"a","default":"b"`), `schema at n.R.f (default): "b" breaks what the schema demands of the string; change it`},
		{field(`"type":"bytes","default":"€"`), `schema at n.R.f (default): "€" has a code point over 255, which is no byte; change it`},
		{field(`"type":{"type":"enum","name":"E","symbols":["A"]},"default":"B"`), `schema at n.R.f (default): "B" is not one of A; change it`},
		{field(`"type":{"type":"fixed","name":"F","size":2},"default":"a"`), `schema at n.R.f (default): "a" breaks what the schema demands of the n.F; change it`},
		{field(`"type":{"type":"bytes","logicalType":"decimal","precision":2},"default":"\u0064"`), `schema at n.R.f (default): "d" breaks what the schema demands of the decimal; change it`},
		{field(`"type":{"type":"array","items":"int"},"default":{}`), `schema at n.R.f (default): {} is no default of type array; change it`},
		{field(`"type":{"type":"array","items":"int","minLength":1},"default":[]`), `schema at n.R.f (default): [] breaks what the schema demands of the array; change it`},
		{field(`"type":["int","null"],"default":null`), `schema at n.R.f (default): a union's default is one of its first branch; reorder the branches or change the default: schema at n.R.f (default): null is no default of type int; change it`},
		{field(`"type":"n.R","default":{}`), `schema at n.R.f: the default contains itself; give the inner field a value`},
		{field(`"type":{"type":"record","name":"S","fields":[{"name":"x","type":"int"}]},"default":{}`), `schema at n.R.f (default): field x is missing and has no default of its own; add it`},
		{field(`"type":{"type":"record","name":"S","fields":[]},"default":{"y":1}`), `schema at n.R.f (default): {"y":1} has a key that is no field of n.S; remove it`},
	}
	for _, tt := range tests {
		if _, err := Compile(tt.schema); err == nil || err.Error() != tt.want {
			t.Errorf("%.200s\n got %v\nwant %s", tt.schema, err, tt.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	tests := []struct{ field, want string }{
		{`"type":"null","default":null`, ``},
		{`"type":"boolean","default":true`, `01`},
		{`"type":"long","default":9223372036854775807`, `feffffffffffffffff01`},
		{`"type":"float","default":0.1`, `cdcccc3d`},
		{`"type":"double","default":-1`, `000000000000f0bf`},
		{`"type":"bytes","encoding":"hex","default":"ÿ"`, `02ff`},
		{`"type":{"type":"fixed","name":"F","size":2},"default":"ÿa"`, `ff61`},
		{`"type":{"type":"enum","name":"E","symbols":["A","B"]},"default":"B"`, `02`},
		{`"type":["string","null"],"default":"é"`, `0004c3a9`},
		{`"type":{"type":"int","logicalType":"date"},"default":1`, `02`},
		{`"type":{"type":"bytes","logicalType":"decimal","precision":2},"default":"\u00ff"`, `02ff`},
		{`"type":{"type":"map","values":{"type":"array","items":"int"}},"default":{"b":[1],"a":[]}`, `0402610002620202` + `0000`},
		{`"type":{"type":"record","name":"S","fields":[{"name":"x","type":"int","default":1},{"name":"y","type":["null","S"],"default":null}]},"default":{"x":2}`, `0400`},
	}
	for _, tt := range tests {
		p := mustCompile(t, `{"type":"record","name":"R","fields":[{"name":"f",`+tt.field+`}]}`)
		if got, err := p.NewEncoder().Append(nil, []byte("{}")); err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("%s: %x, %v; want %s", tt.field, got, err, tt.want)
		}
	}
}

// TestNamespaces shows names resolved in the namespace around them and wrappers
// that use full names.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, `{"type":"record","name":"R","namespace":"a.b","fields":[
		{"name":"x","type":{"type":"enum","name":"c.E","symbols":["A"]}},
		{"name":"y","type":["null","c.E",{"type":"record","name":"S","fields":[{"name":"z","type":"int"}]}]},
		{"name":"w","type":"S"},
		{"name":"v","type":{"type":"record","name":"T","namespace":"d","fields":[{"name":"u","type":["a.b.S","null"]}]}}]}`)
	got, err := p.NewEncoder().Append(nil, []byte(`{"x":"A","y":{"a.b.S":{"z":1}},"w":{"z":2},"v":{"u":{"z":3}}}`))
	if err != nil || hex.EncodeToString(got) != "000402040006" {
		t.Errorf("%x, %v", got, err)
	}
}

// TestSchemasAreApart shows that no name of one schema is known in another.
func TestSchemasAreApart(t *testing.T) {
	t.Parallel()
	mustCompile(t, `{"type":"fixed","name":"apart.F","size":1}`)
	if _, err := Compile(`{"type":"array","items":"apart.F"}`); err == nil {
		t.Error("a name of another schema is known")
	}
}

// TestManyNames fills name tables so that probing is used.
func TestManyNames(t *testing.T) {
	t.Parallel()
	var fields, members []string
	for i := range 300 {
		fields = append(fields, fmt.Sprintf(`{"name":"beginning_%03d_end_of_it","type":"int"}`, i))
		members = append([]string{fmt.Sprintf(`"beginning_%03d_end_of_it":%d`, i, i)}, members...)
	}
	schema := `{"type":"record","name":"t.R","fields":[` + strings.Join(fields, ",") + `]}`
	ref, err := newReference(schema)
	if err != nil {
		t.Fatal(err)
	}
	e := mustCompile(t, schema).NewEncoder()
	for range 2 {
		if !checkBoth(t, e, ref, []byte("{"+strings.Join(members, ",")+"}")) {
			t.Error("refused")
		}
	}
	if checkBoth(t, e, ref, []byte(`{"beginning_300_end_of_it":1}`)) {
		t.Error("an unknown field was accepted")
	}
}

// TestConcurrent shares a Program; it is for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, eventSchema)
	want, err := p.NewEncoder().Append(nil, []byte(eventJSON))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			e := p.NewEncoder()
			for range 50 {
				if got, err := e.Append(nil, []byte(eventJSON)); err != nil || string(got) != string(want) {
					t.Errorf("%x, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	texts := append([]string{"", "x\ny", "\n", "abab", "aba", "zab", "ab z"}, avrogen.StringTexts...)
	for _, expr := range append([]string{"", "a*", "^a*$", "^(a|ab)(c|bcd)$", "b$|^a", "[^b]$", "(?s).b", `^\w+$`, "^a{2,300}$", "(?m)^y", `\Ax`, `x\z`, "^[^\\x00-\\x7f]", "$a", "a^"}, avrogen.PatternTexts...) {
		p, err := newPattern(expr)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(expr)
		for _, text := range texts {
			if got, want := p.match([]byte(text)), re.MatchString(text); got != want {
				t.Errorf("%q on %q: %v, want %v", expr, text, got, want)
			}
		}
	}
	for _, expr := range []string{"^[A-F][+-]?$", "^[0-9a-f]{64}$"} {
		if p, err := newPattern(expr); err != nil || p.dfa == nil {
			t.Errorf("%s does not run as a table: %v", expr, err)
		}
	}
}
