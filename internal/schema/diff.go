package schema

import (
	"fmt"
	"slices"
	"strings"
)

// Change is one difference between two schemas.
type Change struct {
	Path string `json:"path"` // as in data.lines[].amount; "$": the record itself
	Kind string `json:"kind"` // added, removed, retyped, default, symbols, name, aliases, attribute, doc
	Was  string `json:"was,omitempty"`
	Now  string `json:"now,omitempty"`
}

func (c Change) String() string {
	switch c.Kind {
	case "added":
		return "+ " + c.Path + "  " + c.Now
	case "removed":
		return "- " + c.Path + "  " + c.Was
	case "retyped":
		return "~ " + c.Path + "  " + c.Was + " -> " + c.Now
	}
	return fmt.Sprintf("~ %s  %s: %s -> %s", c.Path, c.Kind, orNone(c.Was), orNone(c.Now))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// DocsOnly reports that nothing but documentation changed.
func DocsOnly(changes []Change) bool {
	return !slices.ContainsFunc(changes, func(c Change) bool { return c.Kind != "doc" })
}

// Diff lists what is different in now: fields added, removed and retyped, then
// what stands on them. Schemas without a difference are the same but for the
// order of their fields and attributes.
func Diff(was, now string) ([]Change, error) {
	a, err := Parse(was)
	if err != nil {
		return nil, err
	}
	b, err := Parse(now)
	if err != nil {
		return nil, err
	}
	d := &differ{seen: walk{}}
	d.types(a, b, "")
	return d.out, nil
}

type differ struct {
	seen walk
	out  []Change
}

func (d *differ) add(path, kind, was, now string) {
	if was == now {
		return
	}
	if path == "" {
		path = "$"
	}
	d.out = append(d.out, Change{path, kind, was, now})
}

func (d *differ) types(a, b *Type, path string) {
	d.seen.once(pair{a, b}, func() int { return len(d.out) }, func() { d.pair(a, b, path) })
}

func (d *differ) pair(a, b *Type, path string) {
	x, ok := a.nullable()
	y, both := b.nullable()
	if ok && both && (a.Branches[0].Kind == "null") == (b.Branches[0].Kind == "null") {
		d.types(x, y, path)
		return
	}
	if a.Kind != b.Kind || a.Kind == "union" && unionOrder(a) != unionOrder(b) || a.Logical != b.Logical ||
		a.Precision != b.Precision || a.Scale != b.Scale || a.Size != b.Size {
		d.retyped(a, b, path)
		return
	}
	switch a.Kind {
	case "union":
		for i := range a.Branches {
			d.types(a.Branches[i], b.Branches[i], path)
		}
	case "array", "map":
		d.types(a.Items, b.Items, path+"[]")
	}
	d.named(a, b, path)
	d.attrs(a.Attrs, b.Attrs, path)
	d.fields(a, b, path)
}

// retyped notes another type; a nullable one whose other branch is the same
// differs by null alone.
func (d *differ) retyped(a, b *Type, path string) {
	was, now := a.String(), b.String()
	if was == now {
		was, now = "with "+unionOrder(a), "with "+unionOrder(b)
	}
	d.add(path, "retyped", was, now)
}

func unionOrder(t *Type) string {
	var kinds []string
	for _, b := range t.Branches {
		kinds = append(kinds, b.String())
	}
	return "[" + strings.Join(kinds, ", ") + "]"
}

func (d *differ) named(a, b *Type, path string) {
	d.add(path, "name", a.Name, b.Name)
	d.add(path, "aliases", strings.Join(a.Aliases, ", "), strings.Join(b.Aliases, ", "))
	d.add(path, "symbols", strings.Join(a.Symbols, ", "), strings.Join(b.Symbols, ", "))
	d.add(path, "default", deref(a.Default), deref(b.Default))
	if a.Kind == "record" || a.Kind == "enum" || a.Kind == "fixed" {
		d.add(path, "doc", quoted(a.Doc), quoted(b.Doc))
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return quote(s)
}

func (d *differ) attrs(a, b []Attr, path string) {
	for _, x := range a {
		now := ""
		if i := slices.IndexFunc(b, func(y Attr) bool { return y.Name == x.Name }); i >= 0 {
			now = b[i].Value
		}
		if now != x.Value {
			d.add(path, "attribute", x.Name+" "+x.Value, prefixed(x.Name, now))
		}
	}
	for _, y := range b {
		if !slices.ContainsFunc(a, func(x Attr) bool { return x.Name == y.Name }) {
			d.add(path, "attribute", "", y.Name+" "+y.Value)
		}
	}
}

func prefixed(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func (d *differ) fields(a, b *Type, path string) {
	for _, f := range a.Fields {
		g := named(b, f.Name)
		at := join(path, f.Name)
		if g == nil {
			d.add(at, "removed", described(f), "")
			continue
		}
		d.types(f.Type, g.Type, at)
		d.add(at, "default", deref(f.Default), deref(g.Default))
		d.add(at, "aliases", strings.Join(f.Aliases, ", "), strings.Join(g.Aliases, ", "))
		d.attrs(f.Attrs, g.Attrs, at)
		d.add(at, "doc", quoted(f.Doc), quoted(g.Doc))
	}
	for _, g := range b.Fields {
		if named(a, g.Name) == nil {
			d.add(join(path, g.Name), "added", "", described(g))
		}
	}
}

func named(t *Type, name string) *Field {
	for _, f := range t.Fields {
		if f.Name == name {
			return f
		}
	}
	return nil
}

func described(f *Field) string {
	s := f.Type.String()
	if f.Default != nil {
		s += ", default " + *f.Default
	}
	return s
}

// SameName reports that two schemas define a record, enum or fixed of the same
// full name.
func SameName(a, b string) bool {
	x, err := Parse(a)
	if err != nil {
		return false
	}
	y, err := Parse(b)
	return err == nil && x.Name == y.Name
}
