package tail

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/twmb/avro"
)

// Form is what a value turned out to be.
type Form string

// The forms.
const (
	Avro   Form = "avro"
	JSON   Form = "json"
	Text   Form = "text"
	Binary Form = "binary"
	Null   Form = "null"
)

// Value is a decoded value.
type Value struct {
	Form   Form
	JSON   []byte // Avro and JSON: one line, members in the order of the schema or the text
	Raw    []byte // as it is in Kafka
	Schema int    // id in the registry; 0: none
	Err    error  // why it could not be decoded; Form is Binary then
}

// member is a string in the value's outermost object.
func (v *Value) member(name string) string {
	if v == nil || v.JSON == nil {
		return ""
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(v.JSON, &all) != nil {
		return ""
	}
	var s string
	if json.Unmarshal(all[name], &s) != nil {
		return ""
	}
	return s
}

// Schema is a schema as a registry has it.
type Schema struct {
	Type  string // AVRO, or another that is not decoded
	Text  string
	Needs []string // texts of schemas it refers to, each after those it needs
}

// Decoder decodes values. It is not safe for concurrent use.
type Decoder struct {
	find  func(ctx context.Context, id int) (Schema, error)
	now   func() time.Time
	known map[int]known
}

// known is a schema by its id, or why there is none, until then.
type known struct {
	schema *avro.Schema
	err    error
	until  time.Time
}

// askAgain is how long a schema that was not found is believed not to be there:
// each record would wait for the registry otherwise.
const askAgain = 10 * time.Second

// NewDecoder returns a Decoder that finds schemas by their ids with find; nil:
// there is no registry.
func NewDecoder(find func(ctx context.Context, id int) (Schema, error)) *Decoder {
	return &Decoder{find: find, now: time.Now, known: map[int]known{}}
}

// Confluent's wire format: zero, the schema's id in four bytes, the Avro body.
const wireHeader = 5

// Decode decodes the value of r. It never fails: what cannot be decoded says
// why.
func (d *Decoder) Decode(ctx context.Context, r *Record) *Value {
	v := &Value{Raw: r.Value, Form: Binary}
	content, _ := r.header("content_type")
	switch {
	case r.Value == nil:
		v.Form = Null
	case content == "application/octet-stream":
		v.text()
	case len(r.Value) >= wireHeader && r.Value[0] == 0:
		v.Schema = int(binary.BigEndian.Uint32(r.Value[1:wireHeader]))
		if v.JSON, v.Err = d.avro(ctx, v.Schema, r.Value[wireHeader:]); v.Err == nil {
			v.Form = Avro
		}
	case content == "application/avro":
		v.Err = fmt.Errorf("content_type says application/avro, but it is not in the wire format of a schema registry (a zero byte and a schema id)")
	default:
		v.text()
	}
	return v
}

// text is a value without a schema.
func (v *Value) text() {
	switch {
	case json.Valid(v.Raw):
		v.Form, v.JSON = JSON, oneLine(v.Raw)
	case utf8.Valid(v.Raw):
		v.Form = Text
	}
}

func (d *Decoder) avro(ctx context.Context, id int, body []byte) ([]byte, error) {
	s, err := d.schema(ctx, id)
	if err != nil {
		return nil, err
	}
	var v any
	rest, err := s.Decode(body, &v)
	switch {
	case err != nil:
		return nil, fmt.Errorf("it does not fit its schema %d: %w", id, err)
	case len(rest) > 0:
		return nil, fmt.Errorf("it does not fit its schema %d: %d bytes are left over", id, len(rest))
	}
	return appendValue(nil, v), nil
}

// schema finds and compiles a schema, once.
func (d *Decoder) schema(ctx context.Context, id int) (*avro.Schema, error) {
	if k, ok := d.known[id]; ok && (k.err == nil || d.now().Before(k.until)) {
		return k.schema, k.err
	}
	s, err := d.compile(ctx, id)
	if ctx.Err() == nil { // else it says nothing about the schema
		d.known[id] = known{s, err, d.now().Add(askAgain)}
	}
	return s, err
}

func (d *Decoder) compile(ctx context.Context, id int) (*avro.Schema, error) {
	if d.find == nil {
		return nil, fmt.Errorf("it was written with schema %d, and the configuration names no registry (registry.url)", id)
	}
	found, err := d.find(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	if found.Type != "AVRO" {
		return nil, fmt.Errorf("schema %d is of the type %s, which is not decoded here", id, found.Type)
	}
	s, err := parse(found)
	if err != nil {
		return nil, fmt.Errorf("schema %d cannot be read: %w", id, err)
	}
	return s, nil
}
