package avrojson

import (
	"strings"
)

// Field is one place in a schema, compiled on its own: what a value there has to
// be, and whether another kind of value would fit too. It is immutable.
type Field struct {
	typ  *typ
	prog *Program
}

// CompileField compiles the type of the field that a path of names leads to
// from the root of schema, through records and maps, and through unions of them.
// An empty path is the root. False: the schema has no such field.
func CompileField(schema string, path []string) (*Field, bool, error) {
	root, err := readSchema(schema)
	if err != nil {
		return nil, false, err
	}
	t, at := root.find(path), root.place()
	if t == nil {
		return nil, false, nil
	}
	if len(path) > 0 {
		at = strings.Join(path, ".")
	}
	c := &compiler{p: &Program{}, nodes: map[*typ]int32{}, defaults: defaults{}}
	if c.p.root, err = c.node(t, at); err != nil {
		return nil, false, err
	}
	return &Field{t, c.p}, true, nil
}

// find follows a path of names; nil: it leads nowhere.
func (t *typ) find(path []string) *typ {
	if len(path) == 0 {
		return t
	}
	switch t.kind {
	case "record":
		for i := range t.fields {
			if t.fields[i].name == path[0] {
				return t.fields[i].typ.find(path[1:])
			}
		}
	case "map":
		return t.items.find(path[1:])
	case "union":
		for _, b := range t.branches {
			if found := b.find(path); found != nil {
				return found
			}
		}
	}
	return nil
}

// Type is the type as a schema writes it, named types by their name.
func (f *Field) Type() string { return f.typ.text() }

// NewEncoder returns an Encoder of the field's values.
func (f *Field) NewEncoder() *Encoder { return f.prog.NewEncoder() }

// Branch finds the record of that name, without its namespace, among the
// branches of a union. A type that is no union is its own only branch.
func (f *Field) Branch(name string) (index int, ok bool) {
	for i, b := range f.branches() {
		if b.kind == "record" && b.name[strings.LastIndexByte(b.name, '.')+1:] == name {
			return i, true
		}
	}
	return -1, false
}

// Text reports whether a branch is a string or bytes: its encoding is a length
// and then what the value says, unescaped and decoded.
func (f *Field) Text(index int) bool {
	b := f.branches()[index]
	return b.kind == "string" || b.kind == "bytes" && b.logical == ""
}

func (f *Field) branches() []*typ {
	if f.typ.kind == "union" {
		return f.typ.branches
	}
	return []*typ{f.typ}
}

// Union reports whether the type is one: its encoding begins with the index of
// the branch.
func (f *Field) Union() bool { return f.typ.kind == "union" }

// Name is the full name of a branch.
func (f *Field) Name(index int) string { return f.branches()[index].name }

// Members are the fields of a branch that is a record; those that have no
// default are required.
func (f *Field) Members(index int) (names []string, required map[string]bool) {
	required = map[string]bool{}
	for _, m := range f.branches()[index].fields {
		names = append(names, m.name)
		required[m.name] = !m.hasDef
	}
	return names, required
}
