package registry

import (
	"fmt"
	"slices"
)

// inliner writes one schema with every type it needs, each defined where it is
// first used and named from there on. It copies; the library stays as it is.
type inliner struct {
	lib     *library
	file    string          // whose definitions come first
	keep    bool            // name the types of other files instead of defining them
	defined map[string]bool // full names already defined in this schema
}

// schema copies what stands where a type may stand, inside the namespace space.
func (in *inliner) schema(v any, space string) (any, error) {
	switch v := v.(type) {
	case string:
		return in.reference(v, space)
	case []any:
		return in.union(v, space)
	case *object:
		return in.object(v, space)
	}
	return nil, fmt.Errorf("%v stands where a type is wanted", v)
}

func (in *inliner) union(branches []any, space string) (any, error) {
	if len(branches) == 0 {
		return nil, fmt.Errorf("a union needs at least one branch")
	}
	out := make([]any, len(branches))
	for i, branch := range branches {
		if _, nested := branch.([]any); nested {
			return nil, fmt.Errorf("union branch %d is a union itself; Avro does not allow that", i)
		}
		s, err := in.schema(branch, space)
		if err != nil {
			return nil, fmt.Errorf("union branch %d: %w", i, err)
		}
		out[i] = s
	}
	return out, nil
}

func (in *inliner) object(node *object, space string) (any, error) {
	switch node.str("type") {
	case "array":
		return in.with(node, "items", space)
	case "map":
		return in.with(node, "values", space)
	case "record", "error", "enum", "fixed":
		return in.named(node, space)
	}
	if !node.has("type") {
		return nil, fmt.Errorf("a schema object has no type")
	}
	return in.with(node, "type", space)
}

// with copies node and the schema under key.
func (in *inliner) with(node *object, key, space string) (any, error) {
	if !node.has(key) {
		return nil, fmt.Errorf("%s without %s", node.str("type"), key)
	}
	s, err := in.schema(node.values[key], space)
	if err != nil {
		if key == "type" {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return replaced(node, key, s), nil
}

func (in *inliner) reference(name, space string) (any, error) {
	if slices.Contains(primitives, name) {
		return name, nil
	}
	full := fullName(name, space)
	if in.defined[full] {
		return full, nil
	}
	def, err := in.lib.find(full, in.file)
	if err != nil {
		return nil, err
	}
	if in.keep && def.file != in.file {
		return full, nil
	}
	outer := in.file
	in.file = def.file
	s, err := in.named(def.node, def.outer)
	in.file = outer
	if err != nil {
		return nil, fmt.Errorf("type %s of %s: %w", full, def.file, err)
	}
	return s, nil
}

// named copies a definition, or names it where it is defined already. The
// namespace is always spelled out, because the definition may have moved into
// another one.
func (in *inliner) named(node *object, outer string) (any, error) {
	full, err := nameOf(node, outer)
	if err != nil {
		return nil, err
	}
	if in.defined[full] {
		return full, nil
	}
	in.defined[full] = true
	space, short := split(full)
	out := replaced(replaced(node, "name", short), "namespace", space)
	switch node.str("type") {
	case "enum":
		return out, checkEnum(node, full)
	case "fixed":
		if !node.has("size") {
			return nil, fmt.Errorf("fixed %s has no size", full)
		}
		return out, nil
	}
	fields, err := in.fields(node, full, space)
	if err != nil {
		return nil, err
	}
	return replaced(out, "fields", fields), nil
}

func (in *inliner) fields(node *object, full, space string) ([]any, error) {
	list, ok := node.values["fields"].([]any)
	if !ok {
		return nil, fmt.Errorf("record %s: %w", full, errNoFields)
	}
	seen := map[string]bool{}
	out := make([]any, len(list))
	for i, e := range list {
		f, ok := e.(*object)
		if !ok || !identifier.MatchString(f.str("name")) {
			return nil, fmt.Errorf("record %s: field %d needs a name of letters, digits and _", full, i)
		}
		name := f.str("name")
		if seen[name] {
			return nil, fmt.Errorf("record %s: field %s is given twice", full, name)
		}
		seen[name] = true
		if !f.has("type") {
			return nil, fmt.Errorf("record %s: field %s has no type", full, name)
		}
		s, err := in.schema(f.values["type"], space)
		if err != nil {
			return nil, fmt.Errorf("record %s: field %s: %w", full, name, err)
		}
		out[i] = replaced(f, "type", s)
	}
	return out, nil
}

func checkEnum(node *object, full string) error {
	list, _ := node.values["symbols"].([]any)
	if len(list) == 0 {
		return fmt.Errorf("enum %s has no symbols", full)
	}
	seen := map[any]bool{}
	for _, e := range list {
		s, ok := e.(string)
		if !ok || !identifier.MatchString(s) {
			return fmt.Errorf("enum %s: symbol %v is not a name of letters, digits and _", full, e)
		}
		if seen[e] {
			return fmt.Errorf("enum %s: symbol %s is given twice", full, s)
		}
		seen[e] = true
	}
	return nil
}

// replaced returns a copy of node with one value set.
func replaced(node *object, key string, v any) *object {
	out := &object{keys: slices.Clone(node.keys), values: make(map[string]any, len(node.values)+1)}
	for k, old := range node.values {
		out.values[k] = old
	}
	if !out.has(key) {
		out.keys = append(out.keys, key)
	}
	out.values[key] = v
	return out
}
