package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// value is one JSON value of a file and where it begins. Objects keep the order
// of their members.
type value struct {
	line    int
	members []member // of an object
	list    []*value // of an array
	scalar  any      // string, json.Number, bool or nil
	kind    jsonKind
}

type member struct {
	key   string
	value *value
}

type jsonKind uint8

const (
	scalarKind jsonKind = iota
	objectKind
	arrayKind
)

func (v *value) get(key string) *value {
	if v == nil {
		return nil
	}
	for _, m := range v.members {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

// str is the string under key; "" when there is none.
func (v *value) str(key string) string {
	s, _ := v.get(key).text()
	return s
}

func (v *value) text() (string, bool) {
	if v == nil || v.kind != scalarKind {
		return "", false
	}
	s, ok := v.scalar.(string)
	return s, ok
}

func (v *value) strings(key string) []string {
	var out []string
	for _, e := range v.get(key).elements() {
		if s, ok := e.text(); ok {
			out = append(out, s)
		}
	}
	return out
}

func (v *value) elements() []*value {
	if v == nil {
		return nil
	}
	return v.list
}

// json is v on one line.
func (v *value) json() string {
	switch v.kind {
	case objectKind:
		parts := make([]string, len(v.members))
		for i, m := range v.members {
			parts[i] = quote(m.key) + ":" + m.value.json()
		}
		return "{" + strings.Join(parts, ",") + "}"
	case arrayKind:
		parts := make([]string, len(v.list))
		for i, e := range v.list {
			parts[i] = e.json()
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	if s, ok := v.scalar.(string); ok {
		return quote(s)
	}
	if v.scalar == nil {
		return "null"
	}
	return fmt.Sprint(v.scalar)
}

// quote is s as a JSON string.
func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string always encodes
		return `"` + s + `"`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// maxDepth bounds the nesting of a schema's JSON.
const maxDepth = 200

// jsonError is where a text stops being JSON.
type jsonError struct {
	line int
	what string
}

func (e *jsonError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.what) }

type jsonReader struct {
	raw  []byte
	dec  *json.Decoder
	line int
	at   int64 // raw[:at] was counted into line
}

// parseJSON reads exactly one JSON value. Its error is a *jsonError.
func parseJSON(raw []byte) (*value, error) {
	r := &jsonReader{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw)), line: 1}
	r.dec.UseNumber()
	v, err := r.value(0)
	if err == nil {
		if _, more := r.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something after the value")
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		r.count()
		return nil, &jsonError{r.line, err.Error()}
	}
	return v, nil
}

// count brings line up to where the decoder is.
func (r *jsonReader) count() {
	to := min(r.dec.InputOffset(), int64(len(r.raw)))
	r.line += bytes.Count(r.raw[r.at:to], []byte("\n"))
	r.at = to
}

func (r *jsonReader) value(depth int) (*value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	tok, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	r.count()
	v := &value{line: r.line, scalar: tok}
	switch tok {
	case json.Delim('{'):
		v.kind, v.scalar = objectKind, nil
		err = r.object(v, depth)
	case json.Delim('['):
		v.kind, v.scalar = arrayKind, nil
		err = r.array(v, depth)
	}
	return v, err
}

func (r *jsonReader) object(v *value, depth int) error {
	for r.dec.More() {
		tok, err := r.dec.Token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		if !ok {
			return fmt.Errorf("key %v is not a string", tok)
		}
		if slices.ContainsFunc(v.members, func(m member) bool { return m.key == key }) {
			return fmt.Errorf("key %q is given twice in one object", key)
		}
		e, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		v.members = append(v.members, member{key, e})
	}
	_, err := r.dec.Token() // the closing brace
	return err
}

func (r *jsonReader) array(v *value, depth int) error {
	for r.dec.More() {
		e, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		v.list = append(v.list, e)
	}
	_, err := r.dec.Token() // the closing bracket
	return err
}
