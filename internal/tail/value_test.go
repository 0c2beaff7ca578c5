package tail

import (
	"context"
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// logicalSchema has every type that is shown in a form of its own.
const logicalSchema = `{"type":"record","name":"All","namespace":"t","fields":[
 {"name":"z_first","type":"string"},
 {"name":"millis","type":{"type":"long","logicalType":"timestamp-millis"}},
 {"name":"micros","type":{"type":"long","logicalType":"timestamp-micros"}},
 {"name":"local","type":{"type":"long","logicalType":"local-timestamp-micros"}},
 {"name":"day","type":{"type":"int","logicalType":"date"}},
 {"name":"tms","type":{"type":"int","logicalType":"time-millis"}},
 {"name":"tus","type":{"type":"long","logicalType":"time-micros"}},
 {"name":"id","type":{"type":"string","logicalType":"uuid"}},
 {"name":"fid","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}},
 {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
 {"name":"span","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}},
 {"name":"raw","type":"bytes"},
 {"name":"ratio","type":"double"},
 {"name":"small","type":"float"},
 {"name":"big","type":"long"},
 {"name":"kind","type":{"type":"enum","name":"K","symbols":["A","B"]}},
 {"name":"maybe","type":["null",{"type":"record","name":"In","fields":[{"name":"y","type":"int"},{"name":"x","type":["null","string","long"]}]}]},
 {"name":"list","type":{"type":"array","items":"In"}},
 {"name":"map","type":{"type":"map","values":{"type":"long","logicalType":"timestamp-millis"}}},
 {"name":"none","type":["null","string"]}
]}`

func logicalValue() map[string]any {
	at := time.Date(2026, 5, 1, 12, 34, 56, 123456000, time.UTC)
	return map[string]any{
		"z_first": "<å\u0085>\n", "millis": at, "micros": at, "local": at, "day": at, "tms": 3*time.Hour + 4*time.Millisecond, "tus": time.Duration(0),
		"id": "0198c5a0-6b1e-7c3a-9d2f-5a1b2c3d4e5f", "fid": [16]byte{0x01, 0x98, 0xc5, 0xa0, 0x6b, 0x1e, 0x7c, 0x3a, 0x9d, 0x2f, 0x5a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f},
		"price": big.NewRat(-123456, 100), "span": avro.Duration{Months: 1, Days: 2, Milliseconds: 3004}, "raw": []byte{0, 0xff}, "ratio": 0.1, "small": float32(0.1), "big": int64(9007199254740993),
		"kind": "B", "maybe": map[string]any{"y": int32(1), "x": int64(7)}, "list": []any{map[string]any{"y": int32(2), "x": "s"}, map[string]any{"y": int32(3), "x": nil}},
		"map": map[string]any{"b": at, "a": at}, "none": nil,
	}
}

const logicalJSON = `{"z_first":"<å\u0085>\n","millis":"2026-05-01T12:34:56.123Z","micros":"2026-05-01T12:34:56.123456Z","local":"2026-05-01T12:34:56.123456","day":"2026-05-01",` +
	`"tms":"03:00:00.004","tus":"00:00:00","id":"0198c5a0-6b1e-7c3a-9d2f-5a1b2c3d4e5f","fid":"0198c5a0-6b1e-7c3a-9d2f-5a1b2c3d4e5f","price":"-1234.56","span":"P1M2DT3.004S","raw":"AP8=",` +
	`"ratio":0.1,"small":0.1,"big":9007199254740993,"kind":"B","maybe":{"y":1,"x":7},"list":[{"y":2,"x":"s"},{"y":3,"x":null}],"map":{"a":"2026-05-01T12:34:56.123Z","b":"2026-05-01T12:34:56.123Z"},"none":null}`

// framed is a value in the wire format.
func framed(t testing.TB, id int, schema string, v any) []byte {
	t.Helper()
	s, err := avro.Parse(schema)
	if err != nil {
		t.Fatal(err)
	}
	body, err := s.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), body...)
}

// decoder finds these schemas, and says for others that they are unknown.
func decoder(schemas map[int]Schema, asked *int) *Decoder {
	return NewDecoder(func(_ context.Context, id int) (Schema, error) {
		*asked++
		if s, ok := schemas[id]; ok {
			return s, nil
		}
		return Schema{}, errors.New("not registered")
	})
}

func TestDecodeAvro(t *testing.T) {
	t.Parallel()
	asked := 0
	d := decoder(map[int]Schema{7: {Type: "AVRO", Text: logicalSchema}}, &asked)
	for range 2 {
		v := d.Decode(t.Context(), &Record{Value: framed(t, 7, logicalSchema, logicalValue())})
		if v.Err != nil || v.Form != Avro || v.Schema != 7 {
			t.Fatalf("%+v", v)
		}
		if string(v.JSON) != logicalJSON {
			t.Errorf("\n got %s\nwant %s", v.JSON, logicalJSON)
		}
	}
	if asked != 1 {
		t.Errorf("the registry was asked %d times", asked)
	}
}

// A schema that refers to others is decoded with those.
func TestDecodeWithReferences(t *testing.T) {
	t.Parallel()
	asked := 0
	const leaf = `{"type":"record","name":"Leaf","namespace":"t","fields":[{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}`
	const node = `{"type":"record","name":"Node","namespace":"t","fields":[{"name":"leaf","type":"t.Leaf"},{"name":"n","type":"int"}]}`
	const whole = `{"type":"record","name":"Node","namespace":"t","fields":[{"name":"leaf","type":` + leaf + `},{"name":"n","type":"int"}]}`
	d := decoder(map[int]Schema{3: {Type: "AVRO", Text: node, Needs: []string{leaf}}}, &asked)
	v := d.Decode(t.Context(), &Record{Value: framed(t, 3, whole, map[string]any{"leaf": map[string]any{"at": time.UnixMilli(0)}, "n": 5})})
	if string(v.JSON) != `{"leaf":{"at":"1970-01-01T00:00:00Z"},"n":5}` {
		t.Errorf("%s %v", v.JSON, v.Err)
	}
}

func TestDecodeOthers(t *testing.T) {
	t.Parallel()
	fine := framed(t, 7, logicalSchema, logicalValue())
	schemas := map[int]Schema{7: {Type: "AVRO", Text: logicalSchema}, 8: {Type: "PROTOBUF", Text: "syntax"}, 9: {Type: "AVRO", Text: "{"}}
	with := func(content string) []event.Header {
		return []event.Header{{Key: "content_type", Value: []byte(content)}}
	}
	for name, tc := range map[string]struct {
		r    Record
		form Form
		json string
		err  string
	}{
		"tombstone":      {Record{}, Null, "", ""},
		"json":           {Record{Value: []byte("{\"b\" : 1.50,\n \"a\":[\"\u0085\"]}")}, JSON, `{"b":1.50,"a":["\u0085"]}`, ""},
		"text":           {Record{Value: []byte("hej")}, Text, "", ""},
		"empty":          {Record{Value: []byte{}}, Text, "", ""},
		"binary":         {Record{Value: []byte{0xff, 0}}, Binary, "", ""},
		"octets":         {Record{Value: fine, Headers: with("application/octet-stream")}, Binary, "", ""},
		"not framed":     {Record{Value: []byte("{}"), Headers: with("application/avro")}, Binary, "", "not in the wire format"},
		"unknown schema": {Record{Value: []byte{0, 0, 0, 1, 0, 1}}, Binary, "", "schema 256: not registered"},
		"another type":   {Record{Value: []byte{0, 0, 0, 0, 8, 1}}, Binary, "", "schema 8 is of the type PROTOBUF"},
		"broken schema":  {Record{Value: []byte{0, 0, 0, 0, 9, 1}}, Binary, "", "schema 9 cannot be read"},
		"cut off":        {Record{Value: fine[:len(fine)-1]}, Binary, "", "it does not fit its schema 7"},
		"left over":      {Record{Value: append(fine[:len(fine):len(fine)], 1, 2)}, Binary, "", "2 bytes are left over"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			v := decoder(schemas, &asked).Decode(t.Context(), &tc.r)
			if v.Form != tc.form || string(v.JSON) != tc.json {
				t.Errorf("%s %s", v.Form, v.JSON)
			}
			if (v.Err == nil) != (tc.err == "") || v.Err != nil && !strings.Contains(v.Err.Error(), tc.err) {
				t.Errorf("error %v, want %s", v.Err, tc.err)
			}
		})
	}
	if v := NewDecoder(nil).Decode(t.Context(), &Record{Value: fine}); v.Err == nil || !strings.Contains(v.Err.Error(), "names no registry") {
		t.Errorf("without a registry: %v", v.Err)
	}
}

// A schema that is not there is asked for again, but not by each record.
func TestUnknownSchemaIsAskedAgain(t *testing.T) {
	t.Parallel()
	asked := 0
	schemas := map[int]Schema{}
	d := decoder(schemas, &asked)
	now := time.Unix(1_700_000_000, 0)
	d.now = func() time.Time { return now }
	r := &Record{Value: framed(t, 7, `"int"`, 5)}
	for range 3 {
		if v := d.Decode(t.Context(), r); v.Err == nil {
			t.Fatal("decoded without a schema")
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times within no time", asked)
	}
	schemas[7] = Schema{Type: "AVRO", Text: `"int"`}
	now = now.Add(askAgain)
	if v := d.Decode(t.Context(), r); v.Err != nil || string(v.JSON) != "5" {
		t.Errorf("%s %v", v.JSON, v.Err)
	}
}

// Whatever bytes come, decoding ends and what it shows is one line of JSON.
func FuzzDecode(f *testing.F) {
	f.Add(framed(f, 7, logicalSchema, logicalValue()))
	f.Add([]byte(`{"a":"\u009b"}`))
	f.Add([]byte{0, 0, 0, 0, 7})
	d := NewDecoder(func(context.Context, int) (Schema, error) { return Schema{Type: "AVRO", Text: logicalSchema}, nil })
	f.Fuzz(func(t *testing.T, value []byte) {
		r := &Record{Topic: "t", Key: value, Value: value, Headers: []event.Header{{Key: string(value), Value: value}}}
		v := d.Decode(t.Context(), r)
		checkLine(t, r, v)
	})
}
