package tail

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/avro"
)

// parse compiles a schema, with those it refers to, so that values are decoded
// as people read them: records keep the order of their fields, logical types
// become text.
func parse(s Schema) (*avro.Schema, error) {
	order := fieldOrder{}
	opts := append(slices.Clone(readable), avro.CustomType{AvroType: "record", Decode: order.object}, avro.CustomType{AvroType: "error", Decode: order.object})
	var all avro.SchemaCache
	for _, text := range s.Needs {
		need, err := all.Parse(text, opts...)
		if err != nil {
			return nil, err
		}
		order.learn(need.Root())
	}
	out, err := all.Parse(s.Text, opts...)
	if err == nil {
		order.learn(out.Root())
	}
	return out, err
}

// readable turn the logical types of Avro into what people read.
var readable = []avro.SchemaOpt{
	logical("long", "timestamp-millis", func(n int64) string { return stamp(time.UnixMilli(n), "Z") }),
	logical("long", "timestamp-micros", func(n int64) string { return stamp(time.UnixMicro(n), "Z") }),
	logical("long", "timestamp-nanos", func(n int64) string { return stamp(time.Unix(0, n), "Z") }),
	logical("long", "local-timestamp-millis", func(n int64) string { return stamp(time.UnixMilli(n), "") }),
	logical("long", "local-timestamp-micros", func(n int64) string { return stamp(time.UnixMicro(n), "") }),
	logical("long", "local-timestamp-nanos", func(n int64) string { return stamp(time.Unix(0, n), "") }),
	logical("long", "time-micros", func(n int64) string { return clock(time.Duration(n) * time.Microsecond) }),
	logical("int", "time-millis", func(n int32) string { return clock(time.Duration(n) * time.Millisecond) }),
	logical("int", "date", func(n int32) string { return time.Unix(int64(n)*86400, 0).UTC().Format(time.DateOnly) }),
	logical("fixed", "uuid", uuidText),
	logical("fixed", "duration", durationText),
	avro.CustomType{LogicalType: "decimal", Decode: decimal},
}

// logical decodes a logical type by text. What it does not expect stays as it
// is.
func logical[T int32 | int64 | []byte](on, name string, text func(T) string) avro.SchemaOpt {
	return avro.CustomType{AvroType: on, LogicalType: name, Decode: func(v any, _ *avro.SchemaNode) (any, error) {
		if raw, ok := v.(T); ok {
			return text(raw), nil
		}
		return v, nil
	}}
}

func stamp(t time.Time, zone string) string {
	return t.UTC().Format("2006-01-02T15:04:05.999999999") + zone
}

func clock(d time.Duration) string {
	if d < 0 || d >= 24*time.Hour {
		return d.String() // no time of day
	}
	return time.Unix(0, 0).UTC().Add(d).Format("15:04:05.999999999")
}

func uuidText(b []byte) string {
	if len(b) != 16 {
		return base64.StdEncoding.EncodeToString(b)
	}
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// durationText is a duration as ISO 8601 writes it: P1M2DT3.004S.
func durationText(b []byte) string {
	if len(b) != 12 {
		return base64.StdEncoding.EncodeToString(b)
	}
	d := avro.DurationFromBytes(b)
	seconds := strconv.FormatFloat(float64(d.Milliseconds)/1000, 'f', -1, 64)
	return fmt.Sprintf("P%dM%dDT%sS", d.Months, d.Days, seconds)
}

func decimal(v any, node *avro.SchemaNode) (any, error) {
	if raw, ok := v.([]byte); ok {
		return avro.RatFromBytes(raw, node.Scale).FloatString(node.Scale), nil
	}
	return v, nil
}

// object is a record with its fields in the order of the schema.
type object struct {
	names  []string
	values []any
}

// fieldOrder has the fields of every record of a schema, by its full name: what
// a decoder is told of a record does not hold them.
type fieldOrder map[string][]string

func (o fieldOrder) learn(n *avro.SchemaNode) {
	if n == nil {
		return
	}
	if len(n.Fields) > 0 {
		name := fullName(n)
		if _, known := o[name]; known {
			return
		}
		var fields []string
		for i := range n.Fields {
			fields = append(fields, n.Fields[i].Name)
		}
		o[name] = fields
	}
	for i := range n.Fields {
		o.learn(&n.Fields[i].Type)
	}
	for i := range n.Branches {
		o.learn(&n.Branches[i])
	}
	o.learn(n.Items)
	o.learn(n.Values)
}

func fullName(n *avro.SchemaNode) string {
	if n.Namespace == "" || strings.Contains(n.Name, ".") {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

// object puts the fields of a decoded record into order. Should they not be
// those of the schema, better unordered than lost.
func (o fieldOrder) object(v any, node *avro.SchemaNode) (any, error) {
	fields, ok := v.(map[string]any)
	order := o[fullName(node)]
	if !ok || len(order) != len(fields) {
		return v, nil
	}
	out := object{names: order}
	for _, name := range order {
		value, ok := fields[name]
		if !ok {
			return v, nil
		}
		out.values = append(out.values, value)
	}
	return out, nil
}

// appendValue writes a decoded value as JSON on one line.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case object:
		b = append(b, '{')
		for i, name := range v.names {
			b = appendMember(b, i, name, v.values[i])
		}
		return append(b, '}')
	case map[string]any:
		b = append(b, '{')
		for i, name := range sortedKeys(v) {
			b = appendMember(b, i, name, v[name])
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, item)
		}
		return append(b, ']')
	case []byte:
		return appendString(b, base64.StdEncoding.EncodeToString(v))
	case string:
		return appendString(b, v)
	case float32:
		return appendFloat(b, float64(v), 32)
	case float64:
		return appendFloat(b, v, 64)
	}
	return appendOther(b, v)
}

func appendMember(b []byte, i int, name string, v any) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return appendValue(append(appendString(b, name), ':'), v)
}

// appendFloat writes what JSON has no number for as text.
func appendFloat(b []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendString(b, strconv.FormatFloat(f, 'g', -1, bits))
	}
	return appendOther(b, json.Number(strconv.FormatFloat(f, 'g', -1, bits)))
}

func appendOther(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return appendString(b, fmt.Sprint(v))
	}
	return append(b, text...)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
