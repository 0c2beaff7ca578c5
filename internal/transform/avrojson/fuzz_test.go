package avrojson

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"

	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson/avrogen"
)

// differential makes one schema and some documents and holds the Program and
// the reference against each other, byte for byte.
func differential(t *rapid.T, accepted, refused *int) {
	g := avrogen.New(t)
	raw := g.Schema(3, false)
	text, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(string(text))
	if err != nil {
		if strings.Contains(err.Error(), "widen them") || strings.Contains(err.Error(), "is over maxLength") ||
			strings.Contains(err.Error(), "given on the field and on its type") {
			t.Skip()
		}
		t.Fatalf("%s: %v", text, err)
	}
	ref, err := newReference(string(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	e := p.NewEncoder()
	for range 8 {
		doc := g.Doc(raw)
		if g.Rare(4) {
			doc = g.Mutate(doc)
		}
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("schema %s", text)
				}
			}()
			if checkBoth(t, e, ref, doc) {
				*accepted++
			} else {
				*refused++
			}
		}()
	}
}

func TestAgainstReference(t *testing.T) {
	t.Parallel()
	var accepted, refused int
	for range 10 {
		rapid.Check(t, func(rt *rapid.T) { differential(rt, &accepted, &refused) })
	}
	t.Logf("%d documents accepted, %d refused by both", accepted, refused)
	if accepted < 100 || refused < 100 {
		t.Errorf("the generator makes too few of one sort: %d accepted, %d refused", accepted, refused)
	}
}

func FuzzAgainstReference(f *testing.F) {
	var accepted, refused int
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { differential(t, &accepted, &refused) }))
}

// fuzzSchema has every type, so that any bytes find something to break.
const fuzzSchema = `{"type":"record","name":"t.All","fields":[
 {"name":"s","type":"string","default":"","pattern":"^[a-zé]*$","maxLength":20},
 {"name":"i","type":"int","default":0},{"name":"l","type":"long","default":0},
 {"name":"f","type":"float","default":0},{"name":"d","type":"double","default":0,"minimum":-1e300},
 {"name":"b","type":"bytes","default":""},{"name":"h","type":"bytes","encoding":"hex","default":""},
 {"name":"x","type":"bytes","encoding":"base64","default":""},
 {"name":"fx","type":{"type":"fixed","name":"t.F","size":3},"default":"abc"},
 {"name":"e","type":{"type":"enum","name":"t.E","symbols":["A","B"]},"default":"A"},
 {"name":"u","type":["null","t.All","int",{"type":"map","values":"t.All"},{"type":"array","items":"t.All"},"string"],"default":null},
 {"name":"n","type":["null","t.All"],"default":null},
 {"name":"m","type":{"type":"map","values":"boolean"},"default":{}},
 {"name":"a","type":{"type":"array","items":["null","double"]},"default":[]},
 {"name":"dec","type":["null",{"type":"bytes","logicalType":"decimal","precision":40,"scale":5}],"default":null},
 {"name":"ts","type":["null",{"type":"long","logicalType":"timestamp-nanos"}],"default":null},
 {"name":"tm","type":["null",{"type":"int","logicalType":"time-millis"}],"default":null},
 {"name":"dt","type":["null",{"type":"int","logicalType":"date"}],"default":null},
 {"name":"id","type":["null",{"type":"fixed","name":"t.ID","size":16,"logicalType":"uuid"}],"default":null},
 {"name":"du","type":["null",{"type":"fixed","name":"t.DU","size":12,"logicalType":"duration"}],"default":null}]}`

func FuzzAppend(f *testing.F) {
	for _, doc := range []string{
		`{}`, `{"s":"é\u0061","i":1.0,"l":1e3,"f":0.1,"d":-1.5e-7}`, `{"b":"ÿ","h":"0aFF","x":"YQ==","fx":"abc","e":"B"}`,
		`{"n":{"n":{"t.All":{"i":3}}},"u":{"string":"x"},"m":{"a":true,"b":false},"a":[null,1,2.5]}`,
		`{"u":[{"i":1},{}],"dec":"-123456789012345678901234567890.12345","ts":"2024-01-31T10:15:30.123456789+02:00"}`,
		`{"tm":"10:15:30.5","dt":"2024-02-29","id":"7f1d2c36-0e5b-4b7a-9a55-6f0c8f1f2b11","du":"P1Y2M3DT4H5M6.789S"}`,
		`{"u":{"map":{"k":{"u":{"k":{"u":{}}}}}}}`, "{\"s\":\"\xff\"}", `{"s":"\ud800"}`, `{"dec":1e-5,"i":`,
	} {
		f.Add([]byte(doc))
	}
	p := mustCompile(f, fuzzSchema)
	schema, err := avro.ParseWithCache(stripLogical(fuzzSchema), "", &avro.SchemaCache{})
	if err != nil {
		f.Fatal(err)
	}
	e := p.NewEncoder()
	f.Fuzz(func(t *testing.T, doc []byte) {
		// A slice of its exact size, so that reading over its end panics.
		doc = append(make([]byte, 0, len(doc)), doc...)[:len(doc):len(doc)]
		out, err := e.Append(nil, doc)
		if err != nil {
			if err.Error() == "" || len(out) != 0 {
				t.Fatalf("%q: %q, %x", doc, err, out)
			}
			return
		}
		if !json.Valid(doc) {
			t.Fatalf("%q is not JSON and was accepted", doc)
		}
		const end = 0x5a // behind the body: decoding must stop right before it
		r := avro.NewReader(nil, 0).Reset(append(out, end))
		r.ReadNext(schema)
		last := make([]byte, 1)
		r.Read(last)
		if r.Error != nil || last[0] != end {
			t.Fatalf("%q: %x does not decode to its end: %v", doc, out, r.Error)
		}
		if r.Peek(); r.Error == nil {
			t.Fatalf("%q: %x has bytes behind its end", doc, out)
		}
	})
}
