package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/registry"
)

// For every type and constraint a document can be made up; Example checks it.
func TestExample(t *testing.T) {
	t.Parallel()
	for _, field := range []string{
		`"type":"int"`, `"type":"int","minimum":10`, `"type":"int","exclusiveMaximum":-3`, `"type":"long","exclusiveMinimum":7,"maximum":8`,
		`"type":"double","minimum":0,"maximum":1`, `"type":"double","exclusiveMinimum":0,"exclusiveMaximum":0.001`, `"type":"float","minimum":1e3`,
		`"type":"string"`, `"type":"string","minLength":30`, `"type":"string","maxLength":2`, `"type":"string","minLength":3,"maxLength":3`,
		`"type":"string","pattern":"^[A-F][+-]?$"`, `"type":"string","pattern":"^[0-9a-f]{64}$"`, `"type":"string","pattern":"^(GET|PUT) /[a-z]+$","minLength":20`,
		`"type":"string","pattern":"^\\w+@\\w+\\.se$"`, `"type":"string","pattern":"^[^a-zA-Z0-9 ]$"`, `"type":"string","pattern":"b\\b"`, `"type":"string","pattern":"^(?i)x\\.y$"`,
		`"type":["null","int"],"default":null,"minimum":5`, `"type":["null","string"],"pattern":"^x{5}$"`, `"type":["null","Order"],"default":null`,
		`"type":{"type":"array","items":"Order"},"default":[]`, `"type":{"type":"map","values":["null","Order"]}`, `"type":{"type":"array","items":"int"},"minLength":3`,
		`"type":{"type":"array","items":"int"},"maxLength":0`, `"type":{"type":"map","values":{"type":"string","pattern":"^k$"}},"minLength":2`,
		`"type":{"type":"enum","name":"E","symbols":["B","A"]}`, `"type":{"type":"fixed","name":"F","size":4}`, `"type":{"type":"fixed","name":"F","size":4},"encoding":"hex"`,
		`"type":"bytes","encoding":"base64","minLength":5`, `"type":"bytes","maxLength":0`, `"type":"boolean"`, `"type":"null"`,
		`"type":{"type":"string","logicalType":"uuid"}`, `"type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":4}`,
		`"type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2,"minimum":100.5}`, `"type":{"type":"int","logicalType":"date"}`,
		`"type":{"type":"long","logicalType":"timestamp-micros","minimum":5}`, `"type":{"type":"long","logicalType":"timestamp-millis"}`,
		`"type":{"type":"long","logicalType":"local-timestamp-nanos"}`, `"type":{"type":"int","logicalType":"time-millis"}`,
		`"type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}`, `"type":["int",{"type":"record","name":"R","fields":[]}]`,
	} {
		text := `{"type":"record","name":"Order","fields":[{"name":"x",` + field + `}]}`
		if doc, err := Example(text, nil); err != nil {
			t.Errorf("%s: %v", field, err)
		} else if !strings.Contains(string(doc), `"x": `) {
			t.Errorf("%s: the field is not in %s", field, doc)
		}
	}
	if _, err := Example(`{"type":"record","name":"Order","fields":[{"name":"x","type":"string","pattern":"a$b"}]}`, nil); err == nil || !strings.Contains(err.Error(), "x: no text was found") {
		t.Errorf("a pattern nothing matches: %v", err)
	}
	doc, err := Example(`{"type":"record","name":"Order","fields":[{"name":"version","type":"int"},{"name":"essay_id","type":"string"}]}`, map[string]string{"version": "3"})
	if err != nil || string(doc) != "{\n  \"version\": 3,\n  \"essay_id\": \"essay-1\"\n}" {
		t.Errorf("%s, %v", doc, err)
	}
}

func TestMatching(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern   string
		low, high int
		ok        bool
	}{
		{"^a+$", 5, 7, true}, {"^a{3}$", 4, -1, false}, {"^(ab|c)*$", 3, 10, true}, {"^[[:upper:]]{2,4}$", 3, 3, true}, {"x", 10, -1, false}, {"x.*", 10, -1, true}, {"^$", 0, 0, true}, {"[", 0, -1, false},
	} {
		s, ok := matching(c.pattern, c.low, c.high)
		if ok != c.ok || ok && (!regexp.MustCompile(c.pattern).MatchString(s) || len(s) < c.low) {
			t.Errorf("%s from %d to %d: %q, %t", c.pattern, c.low, c.high, s, ok)
		}
	}
}

func contractOf(t *testing.T, file contract.File) *contract.Contract {
	t.Helper()
	c, err := contract.New(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDocs(t *testing.T) {
	t.Parallel()
	all, err := registry.LoadSchemas(folder(map[string]string{
		"OrderV1.avsc": `{"type":"record","name":"OrderV1","namespace":"shop","doc":"An order.","fields":[{"name":"schema_version","type":"int"},{"name":"event_type","type":"string"}]}`,
		"OrderV2.avsc": `{"type":"record","name":"OrderV2","namespace":"shop","doc":"An order | now with lines.","fields":[{"name":"schema_version","type":"int"},{"name":"event_type","type":"string"},
			{"name":"lines","type":{"type":"array","items":"Line"},"default":[]}]}`,
		"Line.avsc": `{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"sku","type":["null","string"],"doc":"a|b","default":null,"pattern":"^(a|b)$"}]}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	off := false
	c := contractOf(t, contract.File{Name: "events.yaml", Lines: map[string]int{"events[0]": 1, "events[1]": 5}, Events: []contract.Event{
		{Type: "order.placed", Topic: "orders.v1", Key: []string{"payload.id"}, Schema: "Order", TopicClass: "few", SubjectName: "record",
			Also: []contract.Also{{Topic: "legacy", Encoding: "json", Headers: contract.Headers{Enabled: &off}}}},
		{Type: "note.taken", Topic: "notes", Encoding: "json", OnError: "dead_letter_and_hold_key",
			Headers:    contract.Headers{Add: map[string][]string{"tenant": {"payload.tenant"}}},
			ClaimCheck: contract.ClaimCheck{Fields: []string{"data.text"}, Over: "1KB"}},
	}, TopicClasses: map[string]contract.TopicClass{"few": {Partitions: 3, Config: map[string]string{"retention.ms": "1000"}}}})
	d := Docs{Schemas: all}
	d.Add("orders_service", c)
	d.Add("billing_service", c)
	var b strings.Builder
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| [order.placed](#orderplaced) | `orders.v1` | avro | Order | orders_service, billing_service |",
		"| Topic | `orders.v1`<br>class few: 3 partitions, retention.ms 1000 |",
		"| Key | the first that gives a value: `payload.id`, `message_key`, `aggregate_id` |",
		"| Schema | Order, version 1, 2 |", "| Subject | `shop.OrderV1`<br>`shop.OrderV2` |",
		"| Also on topic | `legacy`<br>class few", "| Encoding | json |", "| Headers | only those of the row |",
		"### What version 2 changed", "* `+ lines  array of record Line, default []`",
		"| `lines` | array of record Line | `[]` |", "| `lines[].sku` | string or null | `null` | `pattern ^(a\\|b)$` | a\\|b |",
		`"schema_version": 2,`, `"event_type": "order.placed",`, "\nAn order | now with lines.\n", "## note.taken",
		"| Headers | the standard ones, and `tenant` |", "| In object storage | `data.text`, when it has more than 1000 bytes |",
		"| On error | a dead letter; later events of its key wait behind it |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Index(b.String(), "## note.taken") > strings.Index(b.String(), "## order.placed") {
		t.Error("events are not in order")
	}
	d.Samples = func(name string, version int) ([]byte, bool) {
		return []byte(fmt.Sprintf(`{"schema_version":%d,"event_type":"mine"}`, version)), name == "Order"
	}
	b.Reset()
	if err := d.Write(&b); err != nil || !strings.Contains(b.String(), `{"schema_version":2,"event_type":"mine"}`) {
		t.Errorf("the sample is not used: %v", err)
	}
	d.Samples = func(string, int) ([]byte, bool) { return []byte(`{"schema_version":"two"}`), true }
	if err := d.Write(&b); err == nil || !strings.Contains(err.Error(), `event "order.placed": testdata/OrderV2.json is not valid: schema_version`) {
		t.Errorf("a wrong sample: %v", err)
	}
}

// A type is named as people say it.
func TestTypeString(t *testing.T) {
	t.Parallel()
	var got []string
	typ, err := Parse(`{"type":"record","name":"n.R","fields":[{"name":"a","type":["string","null"]},{"name":"b","type":["int","string","null"]},
		{"name":"c","type":{"type":"map","values":["null","long"]}},{"name":"d","type":{"type":"fixed","name":"F","size":3}},{"name":"e","type":"R"},{"name":"f","type":"n.F"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range typ.Fields {
		got = append(got, f.Type.String())
	}
	if want := []string{"string or null", "int or string or null", "map of (long or null)", "fixed F of 3 bytes", "record R", "fixed F of 3 bytes"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"", "7", `"unknown"`, `{"items":"int"}`, `{"type":"array"}`, `{"type":"record","name":"R","fields":[{"name":"x"}]}`, `[]x`} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}
