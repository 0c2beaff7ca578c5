package schema

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func folder(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

// order is a sound schema with one field put in.
func order(field string) map[string]string {
	return map[string]string{"OrderV1.avsc": fmt.Sprintf(`{
		"type": "record", "name": "OrderV1", "namespace": "shop", "doc": "An order.", "fields": [
			{"name": "id", "type": "string", "doc": "Its id."},
			%s
		]}`, field)}
}

func and(files map[string]string, more ...string) map[string]string {
	out := maps.Clone(files)
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

const line = `{"type":"record","name":"Line","namespace":"shop","doc":"A line.","fields":[{"name":"sku","type":"string","doc":"What."}]}`

// Every rule finds what it is for, with its place; and nothing but it is found.
func TestLintRules(t *testing.T) {
	t.Parallel()
	sound := `{"name":"lines","type":{"type":"array","items":"Line"},"doc":"Its lines.","default":[]}`
	covered := map[string]bool{}
	for i, c := range []struct {
		rule  string
		files map[string]string
		path  string // of the finding
		want  string // in what it says
	}{
		{"json", map[string]string{"A.avsc": "{\n\"type\": \"record\",\n\"type\": 1}"}, "$", `key "type" is given twice`},
		{"json", map[string]string{"A.avsc": `{"type": "record"`}, "$", "unexpected EOF"},
		{"json", map[string]string{"A.avsc": `{"type": "enum"} x`}, "$", "not valid JSON"},
		{"shape", map[string]string{"AV1.avsc": `["null"]`}, "$", "no record, enum or fixed"},
		{"shape", order(`{"name":"x","doc":"d"}`), "$.fields[1]", "field x has no type"},
		{"shape", order(`{"name":"x","doc":"d","type":{"type":"array"}}`), "$.fields[1].type", "array without items"},
		{"shape", order(`{"name":"x","doc":"d","type":{"type":["null","int"]},"default":null}`), "$.fields[1].type", "inside an object of its own"},
		{"shape", order(`{"name":"x","doc":"d","type":[["int"]]}`), "$.fields[1].type[0]", "union directly in a union"},
		{"shape", order(`{"name":"x","doc":"d","type":7}`), "$.fields[1].type", "7 is no type"},
		{"file_name", map[string]string{"OrdrV1.avsc": order(sound2)["OrderV1.avsc"]}, "$.name", "the file is called OrdrV1.avsc and its type OrderV1"},
		{"name", order(`{"name":"a-b","doc":"d","type":"int"}`), "$.fields[1]", "no name of letters"},
		{"name", order(`{"name":"id","doc":"d","type":"int"}`), "$.fields[1]", "field id is given twice"},
		{"name", order(`{"name":"x","doc":"d","type":{"type":"enum","name":"E","doc":"d","default":"A","symbols":["A","A"]}}`), "$.fields[1].type.symbols[1]", "A is given twice"},
		{"unknown_type", and(order(`{"name":"x","doc":"d","type":"Lin"}`), "Line.avsc", line, "BV1.avsc", strings.Replace(order(sound)["OrderV1.avsc"], "OrderV1", "BV1", 1)), "$.fields[1].type", "there is no type shop.Lin"},
		{"type_twice", and(order(`{"name":"x","doc":"d","type":`+line+`}`), "AV1.avsc",
			strings.Replace(order(`{"name":"x","doc":"d","type":` + strings.Replace(line, "What.", "Who.", 1) + `}`)["OrderV1.avsc"], "OrderV1", "AV1", 1)), "$", "shop.Line is defined otherwise in AV1.avsc"},
		{"cycle", and(order(`{"name":"x","doc":"d","type":"Line"}`), "Line.avsc", strings.Replace(line, `"string"`, `"OrderV1"`, 1)), "$", "Line.avsc, OrderV1.avsc, Line.avsc"},
		{"constraint", order(`{"name":"x","doc":"d","type":"string","minimum":1}`), "$.fields[1].minimum", "minimum makes no sense for string"},
		{"constraint", order(`{"name":"x","doc":"d","type":["null","int"],"default":null,"pattern":"^a$"}`), "$.fields[1].pattern", "any of null, int"},
		{"constraint", order(`{"name":"x","doc":"d","type":"string","pattern":"^(?!a)$"}`), "$.fields[1].pattern", "error parsing regexp"},
		{"constraint", order(`{"name":"x","doc":"d","type":"int","minimum":"1"}`), "$.fields[1].minimum", `"1" is no number`},
		{"constraint", order(`{"name":"x","doc":"d","type":"int","minimum":2,"maximum":1}`), "$.fields[1].minimum", "no value has minimum 2 and maximum 1"},
		{"constraint", order(`{"name":"x","doc":"d","type":{"type":"string","minLength":-1}}`), "$.fields[1].type.minLength", "-1 is no length"},
		{"constraint", order(`{"name":"x","doc":"d","type":"bytes","encoding":"utf8"}`), "$.fields[1].encoding", "no encoding"},
		{"default", order(`{"name":"x","doc":"d","type":"int","default":"1"}`), "$.fields[1].default", `"1" is no int`},
		{"default", order(`{"name":"x","doc":"d","type":["null","int"],"default":1}`), "$.fields[1].default", "the first branch of the union"},
		{"default", order(`{"name":"x","doc":"d","type":{"type":"enum","name":"E","doc":"d","symbols":["A"],"default":"B"}}`), "$.fields[1].type.default", "none of the symbols"},
		{"default", order(`{"name":"x","doc":"d","type":"int","default":5000000000}`), "$", "default"},
		{"avro", order(`{"name":"x","doc":"d","type":{"type":"string","logicalType":"date"}}`), "$.fields[1].type.logicalType", "date cannot stand on string"},
		{"avro", order(`{"name":"x","doc":"d","type":{"type":"bytes","logicalType":"decimal","scale":2}}`), "$.fields[1].type.logicalType", "needs a precision"},
		{"avro", order(`{"name":"x","doc":"d","type":{"type":"fixed","name":"F","doc":"d","size":1,"logicalType":"decimal","precision":9}}`), "$", "cannot hold 9 digits"},
		{"logical_type", order(`{"name":"x","doc":"d","type":"long","logicalType":"timestamp-micros"}`), "$.fields[1].logicalType", "stands on the field"},
		{"logical_type", order(`{"name":"x","doc":"d","type":{"type":"long","logicalType":"timestamp-micro"}}`), "$.fields[1].type.logicalType", "no logical type"},
		{"namespace", map[string]string{"EV1.avsc": `{"type":"enum","name":"EV1","doc":"d","symbols":["A"],"default":"A"}`}, "$", "no namespace"},
		{"namespace", and(order(sound2), "OrderV2.avsc", `{"type":"record","name":"OrderV2","namespace":"shp","doc":"d","fields":[{"name":"id","type":"string","doc":"d"}]}`), "$.namespace", `"shop" in OrderV1.avsc`},
		{"endless", order(`{"name":"x","doc":"d","type":"OrderV1"}`), "$", "every OrderV1 holds another"},
		{"endless", order(`{"name":"x","doc":"d","type":{"type":"record","name":"R","doc":"d","fields":[{"name":"y","doc":"d","type":["OrderV1","int"]},{"name":"z","doc":"d","type":"R"}]}}`), "$", "every OrderV1 holds another"},
		{"nullable_order", order(`{"name":"x","doc":"d","type":["int","null"]}`), "$.fields[1].type", "null is not the first branch"},
		{"nullable_default", order(`{"name":"x","doc":"d","type":["null","int"]}`), "$.fields[1]", "has no default"},
		{"union_ambiguous", order(`{"name":"x","doc":"d","type":["int","double"]}`), "$.fields[1].type", "int and double are both a number"},
		{"field_doc", order(`{"name":"x","type":"int"}`), "$.fields[1]", "field x has no doc"},
		{"type_doc", order(`{"name":"x","doc":"d","type":{"type":"fixed","name":"F","size":1}}`), "$.fields[1].type", "F has no doc"},
		{"enum_default", order(`{"name":"x","doc":"d","type":{"type":"enum","name":"E","doc":"d","symbols":["A"]}}`), "$.fields[1].type", "no default"},
		{"pattern_anchored", order(`{"name":"x","doc":"d","type":"string","pattern":"^a"}`), "$.fields[1].pattern", "found anywhere"},
		{"attribute", order(`{"name":"x","doc":"d","type":"int","minimun":1}`), "$.fields[1].minimun", "minimun"},
		{"attribute", order(`{"name":"x","doc":"d","type":{"type":"long","logicaltype":"date"}}`), "$.fields[1].type.logicaltype", "logicaltype"},
		{"field_case", order(`{"name":"two_words","doc":"d","type":"int"},{"name":"twoWords","doc":"d","type":"int"}`), "$.fields", "two_words is in snake_case"},
		{"money_field", order(`{"name":"total_amount","doc":"d","type":["null","double"],"default":null}`), "$.fields[1].type", "looks like money"},
		{"time_field", order(`{"name":"created_at","doc":"d","type":"long"}`), "$.fields[1].type", "looks like a time"},
		{"uuid_field", order(`{"name":"essay_uuid","doc":"d","type":"string"}`), "$.fields[1].type", "looks like a UUID"},
		{"empty_record", order(`{"name":"x","doc":"d","type":{"type":"record","name":"R","doc":"d","fields":[]}}`), "$.fields[1].type.fields", "no fields"},
		{"version_gap", map[string]string{"OrderV2.avsc": strings.Replace(order(sound2)["OrderV1.avsc"], "OrderV1", "OrderV2", 1)}, "$", "no version 1 of Order"},
		{"version_name", and(order(sound2), "OrderV2.avsc", strings.Replace(order(sound2)["OrderV1.avsc"], "OrderV1", "Order", 1)), "$.name", "called Order, and OrderV1"},
		{"unused", and(order(sound2), "Line.avsc", line), "$", "no other file refers to shop.Line"},
	} {
		covered[c.rule] = true
		t.Run(fmt.Sprintf("%d %s", i, c.rule), func(t *testing.T) {
			t.Parallel()
			found, err := Lint(folder(c.files), LintOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 {
				t.Fatalf("%d findings, want one:\n%v", len(found), found)
			}
			if f := found[0]; f.Rule != c.rule || f.Path != c.path || !strings.Contains(f.What, c.want) || f.Do == "" || f.File == "" {
				t.Errorf("%+v\nwant %s at %s, %q", f, c.rule, c.path, c.want)
			}
		})
	}
	for _, r := range Rules {
		if !covered[r.Name] {
			t.Errorf("no case finds %s", r.Name)
		}
	}
}

const sound2 = `{"name":"note","type":["null","string"],"doc":"A note.","default":null,"maxLength":10}`

func TestLintIsContent(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"sound":                     order(sound2),
		"sibling":                   and(order(`{"name":"lines","type":{"type":"array","items":"Line"},"doc":"Its lines.","default":[]}`), "Line.avsc", line),
		"recursive in a list":       order(`{"name":"children","type":{"type":"array","items":"OrderV1"},"doc":"d","default":[]}`),
		"recursive":                 order(`{"name":"parent","type":["null","OrderV1"],"doc":"d","default":null}`),
		"versions of one name":      {"OrderV1.avsc": strings.Replace(order(sound2)["OrderV1.avsc"], "OrderV1", "Order", 1), "OrderV2.avsc": strings.Replace(order(sound)["OrderV1.avsc"], "OrderV1", "Order", 1)},
		"foreign attributes":        order(`{"name":"x","doc":"d","type":"int","pii":true,"owner.team":"a","connect.default":1}`),
		"constraint on null, map":   order(`{"name":"x","doc":"d","type":{"type":"map","values":"string"},"maxLength":3}`),
		"named types of each other": order(`{"name":"a","doc":"d","type":{"type":"fixed","name":"F","doc":"d","size":2}},{"name":"b","doc":"d","type":"F"}`),
	} {
		found, err := Lint(folder(files), LintOptions{})
		if err != nil || len(found) > 0 {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
}

const sound = `{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2},"doc":"What it costs."}`

func TestLintSeverity(t *testing.T) {
	t.Parallel()
	files := folder(and(order(`{"name":"x","type":"int"}`), "OtherV1.avsc", strings.Replace(order(sound2)["OrderV1.avsc"], "OrderV1", "OtherV1", 1)))
	severities := func(o LintOptions) (out []string) {
		found, err := Lint(files, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			out = append(out, f.Rule+" "+string(f.Severity))
		}
		return out
	}
	for _, c := range []struct {
		opts LintOptions
		want []string
	}{
		{LintOptions{}, []string{"field_doc warn"}},
		{LintOptions{Severity: map[string]Severity{"field_doc": Error}}, []string{"field_doc error"}},
		{LintOptions{Severity: map[string]Severity{"field_doc": Off}}, nil},
		{LintOptions{Used: func(name string) bool { return name == "Order" }}, []string{"field_doc warn", "unused warn"}},
	} {
		if got := severities(c.opts); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.opts, got, c.want)
		}
	}
	for _, c := range []struct{ rule, severity, want string }{
		{"field_doc", "error", ""},
		{"json", "error", ""},
		{"json", "off", "always an error"},
		{"feld_doc", "off", "did you mean field_doc?"},
		{"nonsense_of_mine", "off", "--rules lists them"},
		{"field_doc", "loud", "write off, warn or error"},
	} {
		err := CheckSeverity(c.rule, c.severity)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %q", c.rule, c.severity, err, c.want)
		}
	}
	if _, err := Lint(folder(nil), LintOptions{}); err == nil {
		t.Error("an empty folder has no errors")
	}
}

func TestLintSaysTheLine(t *testing.T) {
	t.Parallel()
	text := "{\n\"type\": \"record\", \"name\": \"AV1\", \"namespace\": \"n\",\n\"doc\": \"d\",\n\"fields\": [\n\n{\"name\": \"x\", \"type\": \"int\"}\n]}"
	found, err := Lint(folder(map[string]string{"AV1.avsc": text, "BV1.avsc": "{\n\n\"type\": 1,}"}), LintOptions{})
	if err != nil || len(found) != 2 || found[0].Line != 6 || found[1].Line != 3 {
		t.Fatalf("%+v, %v", found, err)
	}
	if s := found[0].String(); s != `AV1.avsc:6: warn $.fields[0] (field_doc): field x has no doc; add "doc": "What it is."` {
		t.Error(s)
	}
}

// The shipped schemas have no errors.
func TestLintShipped(t *testing.T) {
	t.Parallel()
	found, err := Lint(os.DirFS(filepath.Join("..", "..", "schemas", "avro")), LintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Severity == Error || f.Rule != "enum_default" && f.Rule != "unused" {
			t.Error(f)
		}
	}
}
