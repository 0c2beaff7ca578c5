package avrojson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hamba/avro/v2"
)

// kind is an Avro type.
type kind string

// typ is a type of the schema at one place. Names are resolved: two uses of a
// named type are the same *typ, unless attributes tell them apart.
type typ struct {
	kind     kind
	logical  string // one of ours, or ""
	name     string // full name, or the kind
	fields   []schemaField
	items    *typ // of array and map
	branches []*typ
	symbols  []string
	size     int

	precision, scale int
	attrs            attrs
}

type schemaField struct {
	name   string
	typ    *typ
	def    any // JSON with json.Number, if hasDef
	hasDef bool
	path   string
}

// reader reads a schema's JSON into types. We read it ourselves, with hamba/avro
// as the judge of what is a schema (accept): its tree rounds numbers to float64,
// has no attributes on unions and references, does not know all logical types,
// and its check of defaults truncates 1.5 for an int and panics on a recursive
// record.
type reader struct {
	named map[string]*typ
}

// schemaError makes an error that names the place in the schema.
func schemaError(path, format string, args ...any) error {
	return fmt.Errorf("schema at %s: %w", path, fmt.Errorf(format, args...))
}

func readSchema(schema string) (*typ, error) {
	raw, err := decodeSchema(schema)
	if err != nil {
		return nil, fmt.Errorf("schema is not JSON: %w", err)
	}
	r := &reader{named: map[string]*typ{}}
	t, err := r.read(raw, "", "$")
	if err != nil {
		return nil, err
	}
	if err := accept(raw); err != nil {
		return nil, fmt.Errorf("schema at $: %w", err)
	}
	return t, nil
}

// maxSchemaDepth bounds the nesting of a schema's JSON.
const maxSchemaDepth = 200

// decodeSchema reads JSON as maps, slices, strings, bool, nil and json.Number; a
// key given twice is an error.
func decodeSchema(schema string) (any, error) {
	dec := json.NewDecoder(strings.NewReader(schema))
	dec.UseNumber()
	v, err := decodeValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the schema; remove it")
	}
	return v, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxSchemaDepth {
		return nil, fmt.Errorf("more than %d levels", maxSchemaDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		m := map[string]any{}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name, _ := key.(string)
			if _, ok := m[name]; ok {
				return nil, fmt.Errorf("key %q is given twice in one object; keep one", name)
			}
			if m[name], err = decodeValue(dec, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = dec.Token()
		return m, err
	case json.Delim('['):
		l := []any{}
		for dec.More() {
			v, err := decodeValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		_, err = dec.Token()
		return l, err
	}
	return tok, nil
}

// accept asks hamba/avro whether the structure is a schema. It gets the keys the
// specification gives a meaning, without field defaults and logical types: those
// are judged here, more strictly.
func accept(raw any) error {
	text, err := json.Marshal(structure(raw, false))
	if err != nil {
		return err
	}
	// A cache of its own: the default one would know names of other schemas.
	_, err = avro.ParseWithCache(string(text), "", &avro.SchemaCache{})
	return err
}

var structureKeys = []string{"type", "name", "namespace", "aliases", "fields", "symbols", "items", "values", "size", "order"}

func structure(raw any, field bool) any {
	switch v := raw.(type) {
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = structure(v[i], field)
		}
		return l
	case map[string]any:
		m := map[string]any{}
		for _, key := range structureKeys {
			if v, ok := v[key]; ok {
				m[key] = structure(v, key == "fields")
			}
		}
		if def, ok := v["default"]; ok && v["type"] == "enum" && !field {
			m["default"] = def
		}
		return m
	}
	return raw
}

var primitives = []kind{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}

func (r *reader) read(raw any, space, path string) (*typ, error) {
	switch v := raw.(type) {
	case string:
		return r.lookup(v, space, path)
	case []any:
		return r.union(v, space, path)
	case map[string]any:
		return r.object(v, space, path)
	}
	return nil, schemaError(path, "%s is no type; write a type name, an object or a union", compact(raw))
}

// lookup finds a primitive or a type named before.
func (r *reader) lookup(name, space, path string) (*typ, error) {
	if slices.Contains(primitives, kind(name)) {
		return newTyp(kind(name)), nil
	}
	if t, ok := r.named[fullName(name, space)]; ok {
		return t, nil
	}
	return nil, schemaError(path, "unknown type %q; define it before its first use, or write its full name", name)
}

func newTyp(k kind) *typ { return &typ{kind: k, name: string(k)} }

func fullName(name, space string) string {
	if space == "" || strings.Contains(name, ".") {
		return name
	}
	return space + "." + name
}

func (r *reader) union(list []any, space, path string) (*typ, error) {
	t := newTyp("union")
	if len(list) == 0 {
		return nil, schemaError(path, "the union has no branches; name at least one type")
	}
	seen := map[string]bool{}
	for i, raw := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		b, err := r.read(raw, space, at)
		if err != nil {
			return nil, err
		}
		if b.kind == "union" {
			return nil, schemaError(at, "a union directly in a union; merge the two")
		}
		if seen[b.name] {
			return nil, schemaError(at, "a second branch of type %s; only named types may come more than once, by different names", b.name)
		}
		seen[b.name] = true
		t.branches = append(t.branches, b)
	}
	return t, nil
}

func (r *reader) object(m map[string]any, space, path string) (*typ, error) {
	name, ok := m["type"].(string)
	if !ok {
		return nil, schemaError(path, `"type" must be a type name here, not %s; write unions and nested types without an object around them`, compact(m["type"]))
	}
	var t *typ
	var err error
	switch name {
	case "record", "error":
		t, err = r.record(m, space, path)
	case "enum":
		t, err = r.enum(m, space, path)
	case "fixed":
		t, err = r.fixed(m, space, path)
	case "array":
		t, err = r.container(m, "array", "items", space, path)
	case "map":
		t, err = r.container(m, "map", "values", space, path)
	default:
		t, err = r.lookup(name, space, path)
	}
	if err == nil && slices.Contains(primitives, kind(name)) {
		t, err = t.withLogical(m, path)
	}
	if err != nil {
		return nil, err
	}
	a, err := readAttrs(m, path)
	if err != nil {
		return nil, err
	}
	if t, err = t.with(a, path); err == nil && name == "fixed" {
		r.named[t.name] = t // attributes of the definition hold wherever it is used
	}
	return t, err
}

// define enters a named type; path becomes its name at the root of the schema.
func (r *reader) define(m map[string]any, k kind, space, path string) (*typ, string, error) {
	name, _ := m["name"].(string)
	if name == "" {
		return nil, "", schemaError(path, "the %s has no name; give it one", k)
	}
	if s, ok := m["namespace"].(string); ok && s != "" {
		space = s
	}
	full := fullName(name, space)
	if i := strings.LastIndexByte(full, '.'); i >= 0 {
		space = full[:i]
	}
	if r.named[full] != nil || slices.Contains(primitives, kind(full)) {
		return nil, "", schemaError(path, "the name %s is taken; choose another, or refer to the type by its name", full)
	}
	t := &typ{kind: k, name: full}
	r.named[full] = t
	return t, space, nil
}

func (r *reader) record(m map[string]any, space, path string) (*typ, error) {
	t, space, err := r.define(m, "record", space, path)
	if err != nil {
		return nil, err
	}
	if path == "$" {
		path = t.name
	}
	list, ok := m["fields"].([]any)
	if !ok {
		return nil, schemaError(path, `the record has no array "fields"; add it, empty if need be`)
	}
	seen := map[string]bool{}
	for i, raw := range list {
		fm, _ := raw.(map[string]any)
		name, _ := fm["name"].(string)
		if name == "" {
			return nil, schemaError(path, "field %d is no object with a name; give it one", i)
		}
		at := path + "." + name
		if seen[name] {
			return nil, schemaError(at, "a second field of this name; rename one")
		}
		seen[name] = true
		ft, err := r.read(fm["type"], space, at)
		if err != nil {
			return nil, err
		}
		a, err := readAttrs(fm, at)
		if err != nil {
			return nil, err
		}
		if ft, err = ft.with(a, at); err != nil {
			return nil, err
		}
		def, hasDef := fm["default"]
		t.fields = append(t.fields, schemaField{name: name, typ: ft, def: def, hasDef: hasDef, path: at})
	}
	return t, nil
}

func (r *reader) enum(m map[string]any, space, path string) (*typ, error) {
	t, _, err := r.define(m, "enum", space, path)
	if err != nil {
		return nil, err
	}
	list, _ := m["symbols"].([]any)
	if len(list) == 0 {
		return nil, schemaError(path, `the enum has no "symbols"; list at least one`)
	}
	for _, raw := range list {
		s, ok := raw.(string)
		if !ok || slices.Contains(t.symbols, s) {
			return nil, schemaError(path, "symbol %s is no string or comes twice; remove it", compact(raw))
		}
		t.symbols = append(t.symbols, s)
	}
	return t, nil
}

// maxFixed bounds the size of a fixed; a larger one fits no record.
const maxFixed = 1 << 24

func (r *reader) fixed(m map[string]any, space, path string) (*typ, error) {
	t, _, err := r.define(m, "fixed", space, path)
	if err != nil {
		return nil, err
	}
	size, ok := count(m["size"], maxFixed)
	if !ok {
		return nil, schemaError(path, `"size" is %s; write a number of bytes up to %d`, compact(m["size"]), maxFixed)
	}
	t.size = size
	lt, err := t.withLogical(m, path)
	r.named[t.name] = lt
	return lt, err
}

func (r *reader) container(m map[string]any, k kind, key, space, path string) (*typ, error) {
	raw, ok := m[key]
	if !ok {
		return nil, schemaError(path, "the %s has no %q; name the type of its elements", k, key)
	}
	mark := "[]"
	if k == "map" {
		mark = "{}"
	}
	items, err := r.read(raw, space, path+mark)
	if err != nil {
		return nil, err
	}
	t := newTyp(k)
	t.items = items
	return t, nil
}

// count reads a JSON integer from 0 to limit.
func count(raw any, limit int64) (int, bool) {
	num, ok := raw.(json.Number)
	if !ok {
		return 0, false
	}
	v, _, code := readInteger([]byte(num), 0)
	return int(v), code == 0 && v >= 0 && v <= limit
}

// compact prints a JSON value of the schema for a message.
func compact(raw any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(raw); err != nil {
		return fmt.Sprint(raw)
	}
	return cutValue(bytes.TrimSpace(b.Bytes()))
}
