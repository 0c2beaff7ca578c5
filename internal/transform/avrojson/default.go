package avrojson

import (
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"
)

// defaults encodes the defaults of fields, in the form the specification gives
// for them: of the underlying type. It is written for clearness, not for speed:
// it runs at Compile only.
type defaults map[string]*defaultState

type defaultState struct {
	done  bool
	bytes []byte
}

// of returns the encoded default of f; nil if it has none.
func (d defaults) of(f *schemaField) ([]byte, error) {
	if !f.hasDef {
		return nil, nil
	}
	if s, ok := d[f.path]; ok {
		if !s.done {
			return nil, schemaError(f.path, "the default contains itself; give the inner field a value")
		}
		return s.bytes, nil
	}
	s := &defaultState{}
	d[f.path] = s
	b, err := d.append(nil, f.typ, f.def, f.path+" (default)")
	s.done, s.bytes = err == nil, b
	return b, err
}

func (d defaults) append(dst []byte, t *typ, v any, path string) ([]byte, error) {
	switch t.kind {
	case "null":
		if v != nil {
			return nil, wrongDefault(t, v, path)
		}
		return dst, nil
	case "boolean":
		b, ok := v.(bool)
		if !ok {
			return nil, wrongDefault(t, v, path)
		}
		if b {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case "int", "long", "float", "double":
		return appendNumberDefault(dst, t, v, path)
	case "string", "enum", "bytes", "fixed":
		return appendTextDefault(dst, t, v, path)
	case "array", "map":
		return d.container(dst, t, v, path)
	case "record":
		return d.record(dst, t, v, path)
	default:
		dst, err := d.append(append(dst, 0), t.branches[0], v, path)
		if err != nil {
			return nil, schemaError(path, "a union's default is one of its first branch; reorder the branches or change the default: %w", err)
		}
		return dst, nil
	}
}

func wrongDefault(t *typ, v any, path string) error {
	return schemaError(path, "%s is no default of type %s; change it", compact(v), t.name)
}

// broken reports a default that breaks a constraint or a logical type.
func (t *typ) broken(v any, path string) error {
	return schemaError(path, "%s breaks what the schema demands of the %s; change it", compact(v), t.text())
}

func appendNumberDefault(dst []byte, t *typ, v any, path string) ([]byte, error) {
	num, ok := v.(json.Number)
	if !ok {
		return nil, wrongDefault(t, v, path)
	}
	var n node
	c := compiler{p: &Program{}}
	if err := c.scalar(&n, t, path); err != nil {
		return nil, err
	}
	// The node's own reader and range; a logical type is its number here.
	e := Encoder{src: []byte(num)}
	var end int
	switch t.kind {
	case "float":
		dst, end = e.float(dst, 0, &n)
	case "double":
		dst, end = e.double(dst, 0, &n)
	default:
		dst, end = e.integer(dst, 0, &n)
	}
	if end < 0 {
		return nil, t.broken(v, path)
	}
	return dst, nil
}

func appendTextDefault(dst []byte, t *typ, v any, path string) ([]byte, error) {
	s, ok := v.(string)
	if !ok {
		return nil, wrongDefault(t, v, path)
	}
	b := []byte(s)
	switch t.kind {
	case "enum":
		i := slices.Index(t.symbols, s)
		if i < 0 {
			return nil, schemaError(path, "%s is not one of %s; change it", compact(v), strings.Join(t.symbols, ", "))
		}
		return appendLong(dst, int64(i)), nil
	case "bytes", "fixed":
		if b, ok = codePoints(s); !ok {
			return nil, schemaError(path, "%s has a code point over 255, which is no byte; change it", compact(v))
		}
	}
	if !t.holds(s, b) {
		return nil, t.broken(v, path)
	}
	if t.kind != "fixed" {
		dst = appendLong(dst, int64(len(b)))
	}
	return append(dst, b...), nil
}

// codePoints maps code points 0 to 255 to bytes.
func codePoints(s string) ([]byte, bool) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > math.MaxUint8 {
			return nil, false
		}
		b = append(b, byte(r))
	}
	return b, true
}

// holds checks a default against size, logical type and constraints.
func (t *typ) holds(s string, b []byte) bool {
	var id [16]byte
	if t.kind == "fixed" && len(b) != t.size || t.kind == "string" && t.logical == "uuid" && !parseUUID(&id, b) {
		return false
	}
	if t.logical == "decimal" {
		return t.holdsDecimal(b)
	}
	r := t.attrs.rule()
	switch {
	case r == nil || t.kind == "fixed":
		return true
	case t.kind == "string":
		return utf8.ValidString(s) && r.checkText(b) == 0
	}
	return r.checkCount(len(b)) == 0
}

func (t *typ) holdsDecimal(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	v := new(big.Int).SetBytes(b)
	if b[0] >= 0x80 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	limit := largest(t.precision)
	lo, hi := integerRange(t.attrs.bounds, new(big.Int).Neg(limit), limit, t.scale)
	return v.Cmp(lo) >= 0 && v.Cmp(hi) <= 0
}

func (d defaults) container(dst []byte, t *typ, v any, path string) ([]byte, error) {
	list, isList := v.([]any)
	object, isObject := v.(map[string]any)
	if t.kind == "array" && !isList || t.kind == "map" && !isObject {
		return nil, wrongDefault(t, v, path)
	}
	size := len(list) + len(object)
	if r := t.attrs.rule(); r != nil && r.checkCount(size) != 0 {
		return nil, t.broken(v, path)
	}
	if size == 0 {
		return append(dst, 0), nil
	}
	dst = appendLong(dst, int64(size))
	var err error
	for _, item := range list {
		if dst, err = d.append(dst, t.items, item, path+"[]"); err != nil {
			return nil, err
		}
	}
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	slices.Sort(keys) // the order of the schema's text is not kept; any is right
	for _, key := range keys {
		dst = append(appendLong(dst, int64(len(key))), key...)
		if dst, err = d.append(dst, t.items, object[key], path+"{}"); err != nil {
			return nil, err
		}
	}
	return append(dst, 0), nil
}

func (d defaults) record(dst []byte, t *typ, v any, path string) ([]byte, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, wrongDefault(t, v, path)
	}
	known := 0
	for i := range t.fields {
		f := &t.fields[i]
		value, given := object[f.name]
		if given {
			known++
			var err error
			if dst, err = d.append(dst, f.typ, value, path+"."+f.name); err != nil {
				return nil, err
			}
			continue
		}
		def, err := d.of(f)
		if err != nil {
			return nil, err
		}
		if !f.hasDef {
			return nil, schemaError(path, "field %s is missing and has no default of its own; add it", f.name)
		}
		dst = append(dst, def...)
	}
	if known != len(object) {
		return nil, schemaError(path, "%s has a key that is no field of %s; remove it", compact(v), t.name)
	}
	return dst, nil
}
