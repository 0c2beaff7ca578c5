package avrojson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hamba/avro/v2"
)

// The reference implementation: encoding/json into a tree, validation by the
// rules of doc.go written a second time, encoding by hamba/avro. It shares no
// code with the Program.

// reference encodes documents of one schema. Schemas it reads name types in full.
type reference struct {
	root  any
	named map[string]map[string]any
	whole avro.Schema
	parts map[string]avro.Schema
	hamba avro.API
}

// newHamba returns an API of its own for each schema: its cache of encoders takes
// two schemas for one if both hold, say, ["null","t.N1"], whatever t.N1 is.
func newHamba() avro.API {
	return avro.Config{BlockLength: 1 << 30, DisableBlockSizeHeader: true}.Freeze()
}

// stripLogical is the schema without what hamba would do itself: logical types
// (all values are given as the underlying type) and defaults.
func stripLogical(schema string) string {
	var raw any
	if err := json.Unmarshal([]byte(schema), &raw); err != nil {
		return schema // hamba says what is wrong with it
	}
	var strip func(any)
	strip = func(raw any) {
		switch v := raw.(type) {
		case []any:
			for _, x := range v {
				strip(x)
			}
		case map[string]any:
			for _, key := range []string{"logicalType", "default", "precision", "scale"} {
				delete(v, key)
			}
			for _, x := range v {
				strip(x)
			}
		}
	}
	strip(raw)
	text, _ := json.Marshal(raw)
	return string(text)
}

func newReference(schema string) (*reference, error) {
	dec := json.NewDecoder(strings.NewReader(schema))
	dec.UseNumber()
	r := &reference{named: map[string]map[string]any{}, parts: map[string]avro.Schema{}, hamba: newHamba()}
	if err := dec.Decode(&r.root); err != nil {
		return nil, err
	}
	r.collect(r.root)
	var err error
	r.whole, err = avro.ParseWithCache(stripLogical(schema), "", &avro.SchemaCache{})
	return r, err
}

func (r *reference) collect(raw any) {
	switch v := raw.(type) {
	case []any:
		for _, x := range v {
			r.collect(x)
		}
	case map[string]any:
		if name, ok := v["name"].(string); ok && (v["fields"] != nil || v["symbols"] != nil || v["size"] != nil) {
			r.named[name] = v
		}
		for key, x := range v {
			if key != "default" {
				r.collect(x)
			}
		}
	}
}

// encode is what Append must equal: the bytes, or an error.
func (r *reference) encode(doc []byte) ([]byte, error) {
	v, err := parseDoc(doc)
	if err != nil {
		return nil, err
	}
	n, err := r.value(r.root, nil, v)
	if err != nil {
		return nil, err
	}
	b, err := r.binary(r.root, n)
	if err != nil {
		return nil, err
	}
	if !ordered(n) {
		return b, nil
	}
	whole, err := r.hamba.Marshal(r.whole, native(n))
	if err != nil {
		return nil, fmt.Errorf("hamba: %w", err)
	}
	if !bytes.Equal(whole, b) {
		return nil, fmt.Errorf("the reference does not agree with hamba: %x, %x", b, whole)
	}
	return whole, nil
}

// resolve follows names; m is the type object, if there is one.
func (r *reference) resolve(raw any) (any, map[string]any) {
	if s, ok := raw.(string); ok && r.named[s] != nil {
		return r.named[s], r.named[s]
	}
	m, _ := raw.(map[string]any)
	if m != nil {
		if s, ok := m["type"].(string); ok && r.named[s] != nil {
			return r.named[s], r.named[s]
		}
	}
	return raw, m
}

func typeName(raw any) string {
	switch v := raw.(type) {
	case string:
		return v
	case map[string]any:
		if name, ok := v["name"].(string); ok {
			return name
		}
		return v["type"].(string)
	}
	return "union"
}

// value validates v and turns it into what binary takes. field holds the
// attributes of the field, nil elsewhere.
func (r *reference) value(raw any, field map[string]any, v any) (any, error) {
	raw, m := r.resolve(raw)
	if branches, ok := raw.([]any); ok {
		return r.union(branches, field, v)
	}
	kind, _ := raw.(string)
	if m != nil {
		kind = m["type"].(string)
	}
	var n any
	var err error
	logical, _ := m["logicalType"].(string)
	if logical == "no-such-type" {
		logical = ""
	}
	switch {
	case kind == "record" || kind == "error":
		return r.record(m, v)
	case kind == "array":
		n, err = r.array(m, v)
	case kind == "map":
		n, err = r.mapping(m, v)
	case logical != "":
		n, err = logicalValue(kind, logical, m, v)
	default:
		n, err = plainValue(kind, encodingOf(m, field), m, v)
	}
	if err != nil {
		return nil, err
	}
	for _, a := range []map[string]any{m, field} {
		if err := checkAttrs(a, kind, logical, m, n); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func encodingOf(m, field map[string]any) string {
	for _, a := range []map[string]any{m, field} {
		if s, ok := a["encoding"].(string); ok {
			return s
		}
	}
	return ""
}

func (r *reference) union(branches []any, field map[string]any, v any) (any, error) {
	for i, b := range branches {
		if n, err := r.value(b, field, v); err == nil {
			return branchOf{i, typeName(b), n}, nil
		}
	}
	o, ok := v.(*object)
	if !ok || len(o.keys) != 1 {
		return nil, refuse("no branch")
	}
	for i, b := range branches {
		if name := typeName(b); name == o.keys[0] && name != "null" {
			n, err := r.value(b, field, o.vals[0])
			return branchOf{i, name, n}, err
		}
	}
	return nil, refuse("no branch")
}

func (r *reference) record(m map[string]any, v any) (any, error) {
	o, ok := v.(*object)
	if !ok {
		return nil, refuse("no object")
	}
	n := map[string]any{}
	for _, raw := range m["fields"].([]any) {
		f := raw.(map[string]any)
		name := f["name"].(string)
		x, given := o.get(name)
		var err error
		if def, hasDef := f["default"]; given {
			n[name], err = r.value(f["type"], f, x)
		} else if hasDef {
			n[name], err = r.defaultValue(f["type"], def)
		} else {
			err = refuse("%s missing", name)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, key := range o.keys {
		if _, ok := n[key]; !ok {
			return nil, refuse("%s unknown", key)
		}
	}
	return n, nil
}

func (r *reference) array(m map[string]any, v any) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, refuse("no array")
	}
	n := make([]any, len(list))
	for i := range list {
		var err error
		if n[i], err = r.value(m["items"], nil, list[i]); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (r *reference) mapping(m map[string]any, v any) (any, error) {
	o, ok := v.(*object)
	if !ok {
		return nil, refuse("no object")
	}
	n := &object{keys: o.keys}
	for _, x := range o.vals {
		y, err := r.value(m["values"], nil, x)
		if err != nil {
			return nil, err
		}
		n.vals = append(n.vals, y)
	}
	return n, nil
}

// defaultValue turns a default of the schema into what binary takes.
func (r *reference) defaultValue(raw, def any) (any, error) {
	raw, m := r.resolve(raw)
	if branches, ok := raw.([]any); ok {
		n, err := r.defaultValue(branches[0], def)
		return branchOf{0, typeName(branches[0]), n}, err
	}
	kind, _ := raw.(string)
	if m != nil {
		kind = m["type"].(string)
	}
	switch def := def.(type) {
	case []any:
		n := make([]any, len(def))
		for i := range def {
			var err error
			if n[i], err = r.defaultValue(m["items"], def[i]); err != nil {
				return nil, err
			}
		}
		return n, nil
	case map[string]any:
		if kind == "record" {
			n := map[string]any{}
			for _, raw := range m["fields"].([]any) {
				f := raw.(map[string]any)
				name := f["name"].(string)
				d, ok := def[name]
				if !ok {
					d = f["default"]
				}
				var err error
				if n[name], err = r.defaultValue(f["type"], d); err != nil {
					return nil, err
				}
			}
			return n, nil
		}
		n := &object{}
		for key := range def {
			n.keys = append(n.keys, key)
		}
		slices.Sort(n.keys)
		for _, key := range n.keys {
			x, err := r.defaultValue(m["values"], def[key])
			if err != nil {
				return nil, err
			}
			n.vals = append(n.vals, x)
		}
		return n, nil
	}
	return plainValue(kind, "", m, def)
}
