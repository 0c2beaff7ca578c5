package schema

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/avro"
	"pgregory.net/rapid"
)

func rec(name, fields string) string {
	return fmt.Sprintf(`{"type":"record","name":%q,"namespace":"shop","fields":[%s]}`, name, fields)
}

// comparison is two schemas and where the second does not fit the first.
type comparison struct {
	was, now          string
	backward, forward string // rule and path of the reason; "": compatible
	do                string
}

func comparisons() map[string]comparison {
	const id = `{"name":"id","type":"string"}`
	inner := func(f string) string {
		return id + `,{"name":"lines","type":{"type":"array","items":{"type":"record","name":"L","fields":[` + f + `]}}}`
	}
	enum := func(symbols, more string) string {
		return `{"name":"e","type":{"type":"enum","name":"E","symbols":[` + symbols + `]` + more + `}}`
	}
	return map[string]comparison{
		"nothing":                     {rec("O", id), rec("O", id), "", "", ""},
		"field with default added":    {rec("O", id), rec("O", id+`,{"name":"n","type":"int","default":0}`), "", "", ""},
		"field without default added": {rec("O", id), rec("O", id+`,{"name":"n","type":"int"}`), "field_default n", "", "a default, such as 0"},
		"field removed":               {rec("O", id+`,{"name":"n","type":"int"}`), rec("O", id), "", "field_default n", "keep the field"},
		"field with default removed":  {rec("O", id+`,{"name":"n","type":"int","default":1}`), rec("O", id), "", "", ""},
		"renamed with alias":          {rec("O", id), rec("O", `{"name":"key","aliases":["id"],"type":"string"}`), "", "field_default id", ""},
		"widened":                     {rec("O", `{"name":"n","type":"int"}`), rec("O", `{"name":"n","type":"long"}`), "", "type n", "keep the type"},
		"retyped":                     {rec("O", `{"name":"n","type":"int"}`), rec("O", `{"name":"n","type":"string"}`), "type n", "type n", "keep the type"},
		"became nullable":             {rec("O", id), rec("O", `{"name":"id","type":["null","string"],"default":null}`), "", "union_branch id", "give the field to consumers first"},
		"no longer nullable":          {rec("O", `{"name":"id","type":["null","string"]}`), rec("O", id), "union_branch id", "", "keep null"},
		"union lost a type":           {rec("O", `{"name":"v","type":["int","string"]}`), rec("O", `{"name":"v","type":["int","boolean"]}`), "union_branch v", "union_branch v", ""},
		"inside an array":             {rec("O", inner(`{"name":"a","type":"int"}`)), rec("O", inner(`{"name":"a","type":"int"},{"name":"b","type":["null","int"]}`)), "field_default lines[].b", "", "such as null"},
		"another record":              {rec("OV1", id), rec("OV2", id), "name $", "name $", `"aliases": ["shop.OV1"]`},
		"another record with alias":   {rec("OV1", id), strings.Replace(rec("OV2", id), `"fields"`, `"aliases":["OV1"],"fields"`, 1), "", "name $", "subject_name: record"},
		"symbol added":                {rec("O", enum(`"A"`, "")), rec("O", enum(`"A","B"`, "")), "", "enum_symbol e", "in a later one"},
		"symbol added, with default":  {rec("O", enum(`"A"`, `,"default":"A"`)), rec("O", enum(`"A","B"`, `,"default":"A"`)), "", "", ""},
		"symbol removed":              {rec("O", enum(`"A","B"`, "")), rec("O", enum(`"A"`, "")), "enum_symbol e", "", "keep the symbols"},
		"fixed grew":                  {rec("O", `{"name":"f","type":{"type":"fixed","name":"F","size":2}}`), rec("O", `{"name":"f","type":{"type":"fixed","name":"F","size":3}}`), "fixed_size f", "fixed_size f", ""},
		"scale": {rec("O", `{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}`),
			rec("O", `{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}}`), "decimal d", "decimal d", "keep precision and scale"},
		"recursive": {rec("O", `{"name":"p","type":["null","O"],"default":null},`+id), rec("O", `{"name":"p","type":["null","O"],"default":null}`), "", "field_default id", ""},
	}
}

// Each change is compatible in the directions it should be, and where it is not
// there is one reason with the field's path.
func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range comparisons() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for level, want := range map[Level]string{Backward: c.backward, Forward: c.forward, None: ""} {
				got := compared(t, level, c.now, c.was)
				if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || got[0].Rule+" "+got[0].Path != want) {
					t.Errorf("%s: %v, want %q", level, got, want)
				}
				if len(got) == 1 && got[0].Do == "" {
					t.Errorf("%s: nothing to do about %v", level, got)
				}
			}
			full := compared(t, Full, c.now, c.was)
			if (len(full) > 0) != (c.backward+c.forward != "") {
				t.Errorf("full: %v", full)
			}
			if !strings.Contains(fmt.Sprint(full), c.do) && c.do != "" && !slices.ContainsFunc(full, func(r Reason) bool { return strings.Contains(r.Do, c.do) }) {
				t.Errorf("nothing says %q: %+v", c.do, full)
			}
		})
	}
}

func compared(t *testing.T, level Level, now, was string) []Reason {
	t.Helper()
	got, err := Compare(level, Named{"OrderV2", now}, Named{"version 1", was})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// All fields that do not fit are named, also those of a type used twice.
func TestCompareNamesEveryField(t *testing.T) {
	t.Parallel()
	money := func(typ string) string {
		return rec("O", `{"name":"net","type":{"type":"record","name":"Money","fields":[{"name":"amount","type":"`+typ+`"}]}},{"name":"gross","type":"Money"}`+
			`,{"name":"list","type":{"type":"map","values":["null","Money"]}}`)
	}
	var paths []string
	for _, r := range compared(t, Backward, money("string"), money("long")) {
		paths = append(paths, r.Path)
	}
	if !slices.Equal(paths, []string{"net.amount", "gross.amount", "list[].amount"}) {
		t.Errorf("paths %v", paths)
	}
}

// schemaText draws a record from few names and types, so that two of them are
// often near each other.
func schemaText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		prims := rapid.SampledFrom([]string{`"int"`, `"long"`, `"double"`, `"string"`, `"bytes"`, `["null","int"]`, `["null","string"]`, `["null","long","string"]`,
			`{"type":"array","items":"int"}`, `{"type":"array","items":"long"}`, `{"type":"map","values":["null","int"]}`})
		var fields []string
		for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3, rapid.ID).Draw(t, "names") {
			typ := prims.Draw(t, "type")
			switch rapid.IntRange(0, 5).Draw(t, "named") {
			case 0:
				typ = fmt.Sprintf(`{"type":"enum","name":"E%s","symbols":%s}`, n, rapid.SampledFrom([]string{`["A"]`, `["A","B"]`, `["B"],"default":"B"`}).Draw(t, "symbols"))
			case 1:
				typ = fmt.Sprintf(`{"type":"record","name":"R%s","fields":[{"name":"x","type":{"type":"array","items":%s}}]}`, n, prims.Draw(t, "inner"))
			}
			def := ""
			switch {
			case strings.HasPrefix(typ, `["null"`): // the other one takes null for the default where none is written
				def = `,"default":null`
			case typ == `"int"` && rapid.Bool().Draw(t, "default"):
				def = `,"default":0`
			}
			fields = append(fields, fmt.Sprintf(`{"name":%q,"type":%s%s}`, n, typ, def))
		}
		return rec(rapid.SampledFrom([]string{"O", "O", "P"}).Draw(t, "record"), strings.Join(fields, ","))
	})
}

// What we call compatible another implementation does too, and the reverse.
func TestCompareAgreesWithAnotherImplementation(t *testing.T) {
	t.Parallel()
	both := [2]int{}
	rapid.Check(t, func(r *rapid.T) {
		was, now := schemaText().Draw(r, "was"), schemaText().Draw(r, "now")
		c := comparer{reader: "now", writer: "was", readerIsNew: true, seen: walk{}}
		n, err := Parse(now)
		if err != nil {
			r.Fatal(err)
		}
		w, err := Parse(was)
		if err != nil {
			r.Fatal(err)
		}
		c.types(n, w, "")
		theirs := avro.CheckCompatibility(avro.MustParse(was), avro.MustParse(now))
		if (len(c.out) == 0) != (theirs == nil) {
			r.Fatalf("we: %v\nthey: %v", c.out, theirs)
		}
		if theirs == nil {
			both[0]++
		} else {
			both[1]++
		}
	})
	if both[0] == 0 || both[1] == 0 {
		t.Errorf("%d compatible and %d incompatible pairs show nothing", both[0], both[1])
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Level{"full": Full, "Backward_transitive": BackwardTransitive, "forward-transitive": ForwardTransitive, "NONE": None} {
		if l, err := ParseLevel(text); err != nil || l != want {
			t.Errorf("%s: %s, %v", text, l, err)
		}
	}
	if _, err := ParseLevel("SIDEWAYS"); err == nil || !strings.Contains(err.Error(), "BACKWARD") {
		t.Error(err)
	}
	if Full.Transitive() || !FullTransitive.Transitive() {
		t.Error("transitive")
	}
}

func TestSideBySide(t *testing.T) {
	t.Parallel()
	one, two := rec("OV1", `{"name":"id","type":"string"}`), rec("OV2", `{"name":"id","type":"string"},{"name":"n","type":"int"}`)
	lines := []Line{
		{"t-value", "t", []Named{{"OV1", one}, {"OV2", two}}},
		{"shop.OV1", "", []Named{{"OV1", one}}},
		{"shop.OV2", "", []Named{{"OV2", two}}},
	}
	got := SideBySide(lines, Backward)
	if len(got) != 1 || len(got[0].Reasons) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{"topic t, subject t-value: OV2 cannot follow OV1 at the level BACKWARD", "$: the record is called shop.OV1 in OV1 and shop.OV2 in OV2", "n: OV1 does not write it", "subject_name: record"} {
		if !strings.Contains(got[0].String(), want) {
			t.Errorf("%s\nlacks %q", got[0], want)
		}
	}
	if got := SideBySide(lines, None); len(got) > 0 {
		t.Errorf("at NONE: %v", got)
	}
	// Transitive compares with all.
	three := []Line{{"t-value", "t", []Named{{"V1", rec("O", `{"name":"a","type":"int"}`)}, {"V2", rec("O", `{"name":"b","type":"int","default":0}`)}, {"V3", rec("O", `{"name":"a","type":"string","default":""}`)}}}}
	if a, b := SideBySide(three, Backward), SideBySide(three, BackwardTransitive); len(a) != 0 || len(b) != 1 || b[0].Before != "V1" {
		t.Errorf("%v, %v", a, b)
	}
}
