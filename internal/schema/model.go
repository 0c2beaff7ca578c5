package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Type is one type of a complete schema. Two uses of a named type are one *Type;
// records may be recursive.
type Type struct {
	Kind             string // a primitive, record, enum, fixed, array, map or union
	Name             string // full name, of a named type
	Aliases          []string
	Doc              string
	Logical          string
	Precision, Scale int

	Fields   []*Field
	Items    *Type // of array and map
	Branches []*Type
	Symbols  []string
	Default  *string // of an enum, for readers
	Size     int

	Attrs []Attr // all other attributes, by name
}

// Field is one field of a record.
type Field struct {
	Name    string
	Aliases []string
	Doc     string
	Type    *Type
	Default *string // as JSON
	Attrs   []Attr
}

// Attr is an attribute Avro gives no meaning to; the constraints are such.
type Attr struct {
	Name, Value string // Value as JSON
}

var primitives = []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}

// reserved are the attributes Avro gives a meaning to, and what the relay reads
// into fields of Type.
var reserved = []string{"type", "name", "namespace", "doc", "aliases", "fields", "items", "values", "symbols", "size", "default", "order",
	"logicalType", "precision", "scale"}

// Parse reads a complete schema. It is no judge of what is valid: it refuses
// only what it cannot make sense of.
func Parse(text string) (*Type, error) {
	v, err := parseJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the schema is not JSON: %w", err)
	}
	p := &parser{named: map[string]*Type{}}
	return p.read(v, "")
}

type parser struct{ named map[string]*Type }

func (p *parser) read(v *value, space string) (*Type, error) {
	if name, ok := v.text(); ok {
		return p.reference(name, space)
	}
	switch v.kind {
	case arrayKind:
		t := &Type{Kind: "union"}
		for _, e := range v.list {
			b, err := p.read(e, space)
			if err != nil {
				return nil, err
			}
			t.Branches = append(t.Branches, b)
		}
		return t, nil
	case objectKind:
		return p.object(v, space)
	}
	return nil, fmt.Errorf("line %d: %s is no type", v.line, v.json())
}

func (p *parser) reference(name, space string) (*Type, error) {
	if slices.Contains(primitives, name) {
		return &Type{Kind: name}, nil
	}
	if t := p.named[fullName(name, space)]; t != nil {
		return t, nil
	}
	if t := p.named[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("unknown type %q", name)
}

func (p *parser) object(v *value, space string) (*Type, error) {
	kind, ok := v.get("type").text()
	if !ok {
		if v.get("type") == nil {
			return nil, fmt.Errorf("line %d: an object without a type", v.line)
		}
		return p.read(v.get("type"), space)
	}
	var t *Type
	var err error
	switch kind {
	case "record", "error", "enum", "fixed":
		t, err = p.definition(v, kind, space)
	case "array", "map":
		t = &Type{Kind: kind}
		inner := map[string]string{"array": "items", "map": "values"}[kind]
		if v.get(inner) == nil {
			return nil, fmt.Errorf("line %d: %s without %s", v.line, kind, inner)
		}
		t.Items, err = p.read(v.get(inner), space)
	default:
		t, err = p.reference(kind, space)
	}
	if err != nil || t.Name != "" && t.Kind != kind && kind != "error" {
		return t, err // a reference: what stands beside it is of no matter
	}
	t.Logical, t.Precision, t.Scale = v.str("logicalType"), number(v.get("precision")), number(v.get("scale"))
	t.Attrs = attrsOf(v)
	return t, nil
}

func (p *parser) definition(v *value, kind, outer string) (*Type, error) {
	if kind == "error" {
		kind = "record"
	}
	space := outer
	if n := v.get("namespace"); n != nil {
		space, _ = n.text()
	}
	t := &Type{Kind: kind, Name: fullName(v.str("name"), space), Doc: v.str("doc"), Symbols: v.strings("symbols"), Size: number(v.get("size"))}
	space = namespaceOf(t.Name)
	for _, a := range v.strings("aliases") {
		t.Aliases = append(t.Aliases, fullName(a, space))
	}
	p.named[t.Name] = t
	if s, ok := v.get("default").text(); ok && kind == "enum" {
		t.Default = &s
	}
	for _, e := range v.get("fields").elements() {
		f, err := p.field(e, space)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t.Name, e.str("name"), err)
		}
		t.Fields = append(t.Fields, f)
	}
	return t, nil
}

func (p *parser) field(v *value, space string) (*Field, error) {
	if v.get("type") == nil {
		return nil, fmt.Errorf("line %d: a field without a type", v.line)
	}
	t, err := p.read(v.get("type"), space)
	if err != nil {
		return nil, err
	}
	f := &Field{Name: v.str("name"), Aliases: v.strings("aliases"), Doc: v.str("doc"), Type: t, Attrs: attrsOf(v)}
	if d := v.get("default"); d != nil {
		text := d.json()
		f.Default = &text
	}
	return f, nil
}

func attrsOf(v *value) []Attr {
	var out []Attr
	for _, m := range v.members {
		if !slices.Contains(reserved, m.key) {
			out = append(out, Attr{m.key, m.value.json()})
		}
	}
	slices.SortFunc(out, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func number(v *value) int {
	if v == nil {
		return 0
	}
	n, _ := v.scalar.(json.Number)
	i, _ := strconv.Atoi(n.String())
	return i
}

func fullName(name, space string) string {
	if space == "" || strings.Contains(name, ".") {
		return name
	}
	return space + "." + name
}

func namespaceOf(full string) string {
	return full[:max(strings.LastIndexByte(full, '.'), 0)]
}

func shortName(full string) string { return full[strings.LastIndexByte(full, '.')+1:] }

// nullable is the other branch of a union of null and one type, and whether t
// is one.
func (t *Type) nullable() (*Type, bool) {
	if t.Kind != "union" || len(t.Branches) != 2 {
		return nil, false
	}
	for i, b := range t.Branches {
		if b.Kind == "null" {
			return t.Branches[1-i], true
		}
	}
	return nil, false
}

// String is the type as people say it: "long (timestamp-micros)",
// "array of LineV1", "string or null".
func (t *Type) String() string {
	switch t.Kind {
	case "array":
		return "array of " + t.Items.grouped()
	case "map":
		return "map of " + t.Items.grouped()
	case "union":
		if other, ok := t.nullable(); ok {
			return other.String() + " or null"
		}
		parts := make([]string, len(t.Branches))
		for i, b := range t.Branches {
			parts[i] = b.String()
		}
		return strings.Join(parts, " or ")
	case "record", "enum":
		return t.Kind + " " + shortName(t.Name)
	}
	name := t.Kind
	if t.Kind == "fixed" {
		name = fmt.Sprintf("fixed %s of %d bytes", shortName(t.Name), t.Size)
	}
	switch {
	case t.Logical == "decimal":
		return fmt.Sprintf("%s (decimal %d,%d)", name, t.Precision, t.Scale)
	case t.Logical != "":
		return name + " (" + t.Logical + ")"
	}
	return name
}

func (t *Type) grouped() string {
	if t.Kind == "union" {
		return "(" + t.String() + ")"
	}
	return t.String()
}
