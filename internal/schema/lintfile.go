package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// fileLint judges one file.
type fileLint struct {
	*linter
	file *source
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (w *fileLint) bad(v *value, path, rule, what, do string) {
	w.add(w.file, v.line, path, rule, what, do)
}

func (w *fileLint) root() {
	v := w.file.tree
	kind := v.str("type")
	if v.kind != objectKind || kind != "record" && kind != "enum" && kind != "fixed" {
		w.bad(v, "$", "shape", "the file holds no record, enum or fixed", `begin with {"type": "record", "name": …}`)
		return
	}
	stem := strings.TrimSuffix(w.file.name, ".avsc")
	if name := shortName(w.file.full); name != stem && (w.file.schema == "" || name != w.file.schema) {
		do := "call the type " + stem
		if w.file.schema != "" {
			do += " or " + w.file.schema
		}
		w.bad(v, "$.name", "file_name", fmt.Sprintf("the file is called %s and its type %s", w.file.name, name), do+", or rename the file to "+name+".avsc")
	}
	if namespaceOf(w.file.full) == "" {
		w.bad(v, "$", "namespace", "the type has no namespace", `add "namespace": "company.events"`)
	}
	w.named(v, "$", "")
}

// resolved is what lint knows of a type where it stands.
type resolved struct {
	kind, logical string
	branches      []resolved
}

// schema judges what stands where a type may stand.
func (w *fileLint) schema(v *value, path, space string) resolved {
	if name, ok := v.text(); ok {
		kind, full := w.lookUp(w.file, name, space)
		if kind == "" {
			w.bad(v, path, "unknown_type", "there is no type "+full, w.nearest(full))
		}
		return resolved{kind: kind}
	}
	switch v.kind {
	case arrayKind:
		return w.union(v, path, space)
	case objectKind:
		return w.object(v, path, space)
	}
	w.bad(v, path, "shape", v.json()+" is no type", "write a type's name, an object or a union")
	return resolved{}
}

func (w *fileLint) object(v *value, path, space string) resolved {
	kind := v.str("type")
	r := resolved{kind: kind, logical: v.str("logicalType")}
	switch kind {
	case "record", "error", "enum", "fixed":
		if kind == "error" {
			r.kind = "record"
		}
		w.named(v, path, space)
	case "array", "map":
		inner := map[string]string{"array": "items", "map": "values"}[kind]
		if v.get(inner) == nil {
			w.bad(v, path, "shape", kind+" without "+inner, "name the type of its elements")
			return r
		}
		w.schema(v.get(inner), path+"."+inner, space)
	case "":
		if v.get("type") == nil {
			w.bad(v, path, "shape", "an object without a type", `add "type"`)
			return r
		}
		w.bad(v, path, "shape", "a type inside an object of its own", "write it without the object around it")
		return w.schema(v.get("type"), path+".type", space)
	default:
		inner, full := w.lookUp(w.file, kind, space)
		if inner == "" {
			w.bad(v, path+".type", "unknown_type", "there is no type "+full, w.nearest(full))
		}
		r.kind = inner
	}
	w.logical(v, r, path)
	w.constraints(v, r, path)
	w.spelling(v, path, typeKeys)
	return r
}

func (w *fileLint) union(v *value, path, space string) resolved {
	r := resolved{kind: "union"}
	if len(v.list) == 0 {
		w.bad(v, path, "shape", "a union without branches", "name at least one type")
	}
	for i, e := range v.list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if e.kind == arrayKind {
			w.bad(e, at, "shape", "a union directly in a union", "merge the two")
			continue
		}
		r.branches = append(r.branches, w.schema(e, at, space))
	}
	for i, b := range r.branches {
		if i > 0 && b.kind == "null" {
			w.bad(v, path, "nullable_order", "null is not the first branch", `write ["null", …] and "default": null`)
		}
		for _, a := range r.branches[:i] {
			if why := alike(a, b); why != "" {
				w.bad(v, path, "union_ambiguous", fmt.Sprintf("%s and %s are both %s in JSON: the first that accepts a value is taken", a.kind, b.kind, why),
					"keep one of them, or have services wrap the value as {\"type\": value}")
			}
		}
	}
	return r
}

// alike is what two branches both look like in JSON; "" when they differ.
func alike(a, b resolved) string {
	if a.kind == "record" && b.kind == "record" {
		return "" // told apart by their fields
	}
	x, y := jsonShape(a), jsonShape(b)
	if x != "" && x == y {
		return x
	}
	return ""
}

func jsonShape(r resolved) string {
	switch r.kind {
	case "int", "long", "float", "double":
		return "a number"
	case "string", "bytes", "fixed", "enum":
		return "a string"
	case "record", "map":
		return "an object"
	}
	return ""
}

// named judges a definition.
func (w *fileLint) named(v *value, path, space string) {
	full := definedName(v, space)
	for _, part := range strings.Split(full, ".") {
		if !identifier.MatchString(part) {
			w.bad(v, path+".name", "name", fmt.Sprintf("%q is no name of a type", full), "use letters, digits and _, not a digit first")
			break
		}
	}
	if v.str("doc") == "" {
		w.bad(v, path, "type_doc", shortName(full)+" has no doc", `add "doc": "What it is."`)
	}
	switch v.str("type") {
	case "enum":
		w.enum(v, path)
	case "fixed":
		if n := v.get("size"); n == nil || number(n) <= 0 {
			w.bad(v, path, "shape", "a fixed without a size", `add "size", a number of bytes`)
		}
	default:
		w.record(v, path, namespaceOf(full))
	}
	if path == "$" { // inner ones are judged as objects
		r := resolved{kind: v.str("type"), logical: v.str("logicalType")}
		w.logical(v, r, path)
		w.constraints(v, r, path)
		w.spelling(v, path, typeKeys)
	}
}

func (w *fileLint) enum(v *value, path string) {
	symbols := v.get("symbols").elements()
	if len(symbols) == 0 {
		w.bad(v, path, "shape", "an enum without symbols", `add "symbols": ["…"]`)
	}
	var seen []string
	for i, e := range symbols {
		s, ok := e.text()
		at := fmt.Sprintf("%s.symbols[%d]", path, i)
		switch {
		case !ok || !identifier.MatchString(s):
			w.bad(e, at, "name", e.json()+" is no symbol", "use letters, digits and _, not a digit first")
		case slices.Contains(seen, s):
			w.bad(e, at, "name", s+" is given twice", "keep one")
		}
		seen = append(seen, s)
	}
	d := v.get("default")
	s, _ := d.text()
	switch {
	case d == nil:
		w.bad(v, path, "enum_default", "the enum has no default: a symbol added later breaks consumers with this schema",
			`add a symbol such as UNKNOWN and "default": "UNKNOWN"`)
	case !slices.Contains(seen, s):
		w.bad(d, path+".default", "default", d.json()+" is none of the symbols", "write one of "+strings.Join(seen, ", "))
	}
}

func (w *fileLint) record(v *value, path, space string) {
	list := v.get("fields")
	if list == nil || list.kind != arrayKind {
		w.bad(v, path, "shape", `a record without the list "fields"`, "add it")
		return
	}
	if len(list.list) == 0 {
		w.bad(list, path+".fields", "empty_record", "the record has no fields", "say what it holds, or leave it out")
	}
	var seen []string
	snake, camel := "", ""
	for i, f := range list.list {
		at := fmt.Sprintf("%s.fields[%d]", path, i)
		name := f.str("name")
		switch {
		case f.kind != objectKind || !identifier.MatchString(name):
			w.bad(f, at, "name", fmt.Sprintf("field %d has no name of letters, digits and _", i), "give it one")
			continue
		case slices.Contains(seen, name):
			w.bad(f, at, "name", "field "+name+" is given twice", "rename or delete one")
		}
		seen = append(seen, name)
		if strings.Contains(strings.Trim(name, "_"), "_") {
			snake = name
		}
		if camelCase.MatchString(name) {
			camel = name
		}
		w.field(f, name, at, space)
	}
	if snake != "" && camel != "" {
		w.bad(list, path+".fields", "field_case", fmt.Sprintf("%s is in snake_case, %s in camelCase", snake, camel), "write all fields of the record alike")
	}
}

var camelCase = regexp.MustCompile(`^[a-z]+[0-9]*([A-Z][a-z0-9]*)+$`)

func (w *fileLint) field(f *value, name, path, space string) {
	if f.str("doc") == "" {
		w.bad(f, path, "field_doc", "field "+name+" has no doc", `add "doc": "What it is."`)
	}
	t := f.get("type")
	if t == nil {
		w.bad(f, path, "shape", "field "+name+" has no type", `add "type"`)
		return
	}
	r := w.schema(t, path+".type", space)
	if f.get("logicalType") != nil {
		w.bad(f, path+".logicalType", "logical_type", "it stands on the field, where Avro ignores it",
			`write "type": {"type": …, "logicalType": `+f.get("logicalType").json()+"}")
	}
	w.constraints(f, r, path)
	w.spelling(f, path, fieldKeys)
	w.fieldDefault(f, r, name, path)
	w.meaning(f, r, name, path)
}

// fieldDefault judges the default as far as its kind goes; compiling judges the
// rest.
func (w *fileLint) fieldDefault(f *value, r resolved, name, path string) {
	d := f.get("default")
	nullable := slices.ContainsFunc(r.branches, func(b resolved) bool { return b.kind == "null" })
	switch {
	case d == nil && nullable && r.branches[0].kind == "null":
		w.bad(f, path, "nullable_default", "field "+name+" may be null and has no default", `add "default": null`)
	case d == nil:
	case len(r.branches) > 0 && !defaultFits(d, r.branches[0]):
		w.bad(d, path+".default", "default", fmt.Sprintf("%s is no %s, the first branch of the union", d.json(), r.branches[0].kind),
			"put the branch of the default first, or write another default")
	case len(r.branches) == 0 && !defaultFits(d, r):
		w.bad(d, path+".default", "default", fmt.Sprintf("%s is no %s", d.json(), r.kind), "write a default of the field's type")
	}
}

func defaultFits(d *value, r resolved) bool {
	if d.kind == objectKind {
		return r.kind == "record" || r.kind == "map" || r.kind == ""
	}
	if d.kind == arrayKind {
		return r.kind == "array" || r.kind == ""
	}
	switch d.scalar.(type) {
	case nil:
		return r.kind == "null" || r.kind == ""
	case bool:
		return r.kind == "boolean" || r.kind == ""
	case string:
		return slices.Contains([]string{"string", "bytes", "fixed", "enum", ""}, r.kind)
	}
	return slices.Contains([]string{"int", "long", "float", "double", ""}, r.kind)
}
