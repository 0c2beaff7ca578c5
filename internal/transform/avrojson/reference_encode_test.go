package avrojson

import (
	"encoding/json"
	"slices"

	"github.com/hamba/avro/v2"
)

// branchOf is a union's value.
type branchOf struct {
	index int
	name  string
	value any
}

// ordered reports that no map in n has two keys, whose order hamba does not keep.
func ordered(n any) bool {
	switch v := n.(type) {
	case *object:
		return len(v.keys) < 2 && !slices.ContainsFunc(v.vals, func(x any) bool { return !ordered(x) })
	case map[string]any:
		for _, x := range v {
			if !ordered(x) {
				return false
			}
		}
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !ordered(x) })
	case branchOf:
		return ordered(v.value)
	}
	return true
}

// native is n as hamba takes it.
func native(n any) any {
	switch v := n.(type) {
	case *object:
		m := map[string]any{}
		for i := range v.keys {
			m[v.keys[i]] = native(v.vals[i])
		}
		return m
	case map[string]any:
		m := map[string]any{}
		for key, x := range v {
			m[key] = native(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = native(v[i])
		}
		return l
	case branchOf:
		return map[string]any{v.name: native(v.value)}
	}
	return n
}

// binary encodes n, which value made, member by member, so that maps keep the
// order of the document; the leaves are hamba's.
func (r *reference) binary(raw, n any) ([]byte, error) {
	raw, m := r.resolve(raw)
	w := avro.NewWriter(nil, 64)
	part := func(raw, n any) error {
		b, err := r.binary(raw, n)
		_, _ = w.Write(b)
		return err
	}
	switch v := n.(type) {
	case branchOf:
		w.WriteLong(int64(v.index))
		err := part(raw.([]any)[v.index], v.value)
		return w.Buffer(), err
	case map[string]any:
		for _, f := range m["fields"].([]any) {
			f := f.(map[string]any)
			if err := part(f["type"], v[f["name"].(string)]); err != nil {
				return nil, err
			}
		}
		return w.Buffer(), nil
	case *object:
		if len(v.keys) > 0 {
			w.WriteLong(int64(len(v.keys)))
		}
		for i, key := range v.keys {
			w.WriteString(key)
			if err := part(m["values"], v.vals[i]); err != nil {
				return nil, err
			}
		}
		w.WriteLong(0)
		return w.Buffer(), nil
	case []any:
		if len(v) > 0 {
			w.WriteLong(int64(len(v)))
		}
		for _, x := range v {
			if err := part(m["items"], x); err != nil {
				return nil, err
			}
		}
		w.WriteLong(0)
		return w.Buffer(), nil
	}
	key, _ := json.Marshal(raw)
	schema := r.parts[string(key)]
	if schema == nil {
		var err error
		if schema, err = avro.ParseWithCache(stripLogical(string(key)), "", &avro.SchemaCache{}); err != nil {
			return nil, err
		}
		r.parts[string(key)] = schema
	}
	return r.hamba.Marshal(schema, n)
}
