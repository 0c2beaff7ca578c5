package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// object is a JSON object that keeps the order of its keys and refuses a key
// given twice. The other values are string, json.Number, bool, nil and []any.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) str(key string) string {
	s, _ := o.values[key].(string)
	return s
}

func (o *object) has(key string) bool {
	_, ok := o.values[key]
	return ok
}

// maxDepth bounds the nesting of a schema file: far above any real schema and
// far below what the stack holds.
const maxDepth = 200

// parseJSON reads exactly one JSON value. Numbers stay as they are written.
func parseJSON(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := parseValue(dec, 0)
	if err != nil {
		return nil, fmt.Errorf("not valid JSON near byte %d: %w", dec.InputOffset(), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("not valid JSON: there is something after the value, near byte %d", dec.InputOffset())
	}
	return v, nil
}

func parseValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	tok, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		return parseObject(dec, depth)
	case json.Delim('['):
		return parseArray(dec, depth)
	}
	return tok, nil
}

func parseObject(dec *json.Decoder, depth int) (any, error) {
	o := &object{values: map[string]any{}}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := tok.(string)
		if !ok {
			return nil, fmt.Errorf("key %v is not a string", tok)
		}
		if o.has(key) {
			return nil, fmt.Errorf("key %q is given twice in one object", key)
		}
		v, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		o.keys = append(o.keys, key)
		o.values[key] = v
	}
	_, err := dec.Token() // the closing brace
	return o, eofIsShort(err)
}

func parseArray(dec *json.Decoder, depth int) (any, error) {
	list := []any{}
	for dec.More() {
		v, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token() // the closing bracket
	return list, eofIsShort(err)
}

// eofIsShort makes the end of the input inside a value an error that says so.
func eofIsShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// leading is the order in which the keys of a schema are written; all others
// follow in alphabetical order.
var leading = []string{"type", "name", "namespace", "doc", "items", "values", "symbols", "size", "fields"}

// appendJSON writes v on one line with the keys of schemas and fields in a
// fixed order, so that the text does not depend on how a file is laid out.
func appendJSON(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case *object:
		return appendObject(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendJSON(dst, e); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	}
	return appendScalar(dst, v)
}

func appendObject(dst []byte, o *object) ([]byte, error) {
	dst = append(dst, '{')
	for i, key := range order(o) {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendScalar(dst, key); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = appendJSON(dst, o.values[key]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func order(o *object) []string {
	keys := make([]string, 0, len(o.keys))
	for _, key := range leading {
		if o.has(key) {
			keys = append(keys, key)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(o.keys), func(k string) bool { return slices.Contains(leading, k) })
	slices.Sort(rest)
	return append(keys, rest...)
}

func appendScalar(dst []byte, v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // a pattern with < or & must read as it was written
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return append(dst, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}
