package registry

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// library holds all named types of a folder while its schemas are put together.
type library struct {
	files map[string]*object       // file → its schema
	types map[string][]*definition // full name → where it is defined; several: versions of a schema
}

type definition struct {
	file  string
	node  *object
	outer string // namespace it is defined in
	text  string // for comparison with another definition of the name
}

func newLibrary() *library {
	return &library{files: map[string]*object{}, types: map[string][]*definition{}}
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	primitives = []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)

// fullName resolves name seen inside the namespace space, as the Avro
// specification says: a name with a dot is full already.
func fullName(name, space string) string {
	if strings.Contains(name, ".") || space == "" {
		return name
	}
	return space + "." + name
}

func split(full string) (space, name string) {
	if i := strings.LastIndexByte(full, '.'); i >= 0 {
		return full[:i], full[i+1:]
	}
	return "", full
}

// nameOf is the full name a definition gives itself inside the namespace outer.
func nameOf(node *object, outer string) (string, error) {
	name := node.str("name")
	if name == "" {
		return "", fmt.Errorf("a type %q has no name", node.str("type"))
	}
	space := outer
	if node.has("namespace") {
		space = node.str("namespace")
	}
	full := fullName(name, space)
	for _, part := range strings.Split(full, ".") {
		if !identifier.MatchString(part) {
			return "", fmt.Errorf("%q is not an Avro name: letters, digits and _ only, not beginning with a digit", full)
		}
	}
	return full, nil
}

// add takes the schema of one file and notes every named type in it.
func (l *library) add(file string, tree any) error {
	root, ok := tree.(*object)
	if !ok || !slices.Contains([]string{"record", "enum", "fixed"}, root.str("type")) {
		return fmt.Errorf("schema file %s: want one record, enum or fixed at the top", file)
	}
	full, err := nameOf(root, "")
	if err != nil {
		return fmt.Errorf("schema file %s: %w", file, err)
	}
	_, short := split(full)
	if stem := strings.TrimSuffix(path.Base(file), ".avsc"); short != stem && short != schemaOf(file) {
		return fmt.Errorf("schema file %s: it holds the type %s; rename the file to %s.avsc or the type to %s", file, short, short, stem)
	}
	l.files[file] = root
	if err := l.note(file, root, ""); err != nil {
		return fmt.Errorf("schema file %s: %w", file, err)
	}
	return nil
}

// note walks one schema and notes the types it defines.
func (l *library) note(file string, v any, space string) error {
	switch v := v.(type) {
	case []any:
		for _, branch := range v {
			if err := l.note(file, branch, space); err != nil {
				return err
			}
		}
	case *object:
		return l.noteObject(file, v, space)
	}
	return nil
}

func (l *library) noteObject(file string, node *object, space string) error {
	switch node.str("type") {
	case "array":
		return l.note(file, node.values["items"], space)
	case "map":
		return l.note(file, node.values["values"], space)
	case "record", "error", "enum", "fixed":
		return l.noteNamed(file, node, space)
	}
	return l.note(file, node.values["type"], space)
}

func (l *library) noteNamed(file string, node *object, outer string) error {
	full, err := nameOf(node, outer)
	if err != nil {
		return err
	}
	text, err := appendJSON(nil, node)
	if err != nil {
		return fmt.Errorf("type %s: %w", full, err)
	}
	if err := l.define(full, &definition{file: file, node: node, outer: outer, text: string(text)}); err != nil {
		return err
	}
	space, _ := split(full)
	for _, f := range fieldsOf(node) {
		if err := l.note(file, f.values["type"], space); err != nil {
			return err
		}
	}
	return nil
}

// define enters a definition. Versions of one schema may define a name each in
// their own way; others may not, because one consumer reads both.
func (l *library) define(full string, def *definition) error {
	for _, old := range l.types[full] {
		switch {
		case old.text == def.text && old.file == def.file:
			return nil
		case old.text == def.text:
		case old.file == def.file || schemaOf(old.file) == "" || schemaOf(old.file) != schemaOf(def.file):
			return fmt.Errorf("type %s is defined here and, otherwise, in %s: give one of them another name, or keep it in a file of its own and refer to it", full, old.file)
		}
	}
	l.types[full] = append(l.types[full], def)
	return nil
}

// find is the definition a file means by a name: its own, else the one all
// others agree on.
func (l *library) find(full, file string) (*definition, error) {
	defs := l.types[full]
	for _, d := range defs {
		if d.file == file {
			return d, nil
		}
	}
	if len(defs) == 0 {
		return nil, l.unknownType(full)
	}
	for _, d := range defs[1:] {
		if d.text != defs[0].text {
			return nil, fmt.Errorf("type %s is defined differently in %s and %s: a type that other files refer to needs the version in its name", full, defs[0].file, d.file)
		}
	}
	return defs[0], nil
}

// schemaOf is the schema a file is a version of; "" for a file without one.
func schemaOf(file string) string {
	m := versioned.FindStringSubmatch(strings.TrimSuffix(path.Base(file), ".avsc"))
	if m == nil {
		return ""
	}
	return m[1]
}

func fieldsOf(node *object) []*object {
	list, _ := node.values["fields"].([]any)
	fields := make([]*object, 0, len(list))
	for _, e := range list {
		if f, ok := e.(*object); ok {
			fields = append(fields, f)
		}
	}
	return fields
}

// refuseCycles refuses files that need each other. A type that refers to
// itself within its own file is fine.
func (l *library) refuseCycles(files []string) error {
	done := map[string]bool{}
	for _, file := range files {
		if err := l.visit(file, nil, done); err != nil {
			return err
		}
	}
	return nil
}

func (l *library) visit(file string, trail []string, done map[string]bool) error {
	if i := slices.Index(trail, file); i >= 0 {
		return fmt.Errorf("schema files need each other: %s: put these types into one file, the inner one spelled out where it is used",
			strings.Join(append(slices.Clone(trail[i:]), file), " → "))
	}
	if done[file] {
		return nil
	}
	trail = append(trail, file)
	for _, need := range l.needs(file) {
		if err := l.visit(need, trail, done); err != nil {
			return err
		}
	}
	done[file] = true
	return nil
}

// needs lists the other files whose types a file refers to.
func (l *library) needs(file string) []string {
	var out []string
	walkReferences(l.files[file], "", func(name, space string) {
		def, err := l.find(fullName(name, space), file)
		if err == nil && def.file != file && !slices.Contains(out, def.file) {
			out = append(out, def.file)
		}
	})
	slices.Sort(out)
	return out
}

// walkReferences calls seen for every name that stands where a type may stand.
func walkReferences(v any, space string, seen func(name, space string)) {
	switch v := v.(type) {
	case string:
		seen(v, space)
	case []any:
		for _, branch := range v {
			walkReferences(branch, space, seen)
		}
	case *object:
		switch v.str("type") {
		case "array":
			walkReferences(v.values["items"], space, seen)
		case "map":
			walkReferences(v.values["values"], space, seen)
		case "enum", "fixed": // they refer to nothing
		case "record", "error":
			if full, err := nameOf(v, space); err == nil {
				space, _ = split(full)
			}
			for _, f := range fieldsOf(v) {
				walkReferences(f.values["type"], space, seen)
			}
		default:
			walkReferences(v.values["type"], space, seen)
		}
	}
}

// inline returns the schema of one file as complete text; with keep the types
// of other files are named only.
func (l *library) inline(file string, keep bool) (string, error) {
	in := &inliner{lib: l, file: file, keep: keep, defined: map[string]bool{}}
	tree, err := in.schema(l.files[file], "")
	if err != nil {
		return "", fmt.Errorf("schema file %s: %w", file, err)
	}
	text, err := appendJSON(nil, tree)
	if err != nil {
		return "", fmt.Errorf("schema file %s: %w", file, err)
	}
	return string(text), nil
}

// unknownType is the error of a name no file defines.
func (l *library) unknownType(full string) error {
	names := slices.Clone(primitives)
	for name := range l.types {
		names = append(names, name)
	}
	if near, ok := contract.Nearest(full, names); ok {
		return fmt.Errorf("unknown type %s; did you mean %s?", full, near)
	}
	return fmt.Errorf("unknown type %s: no file in the schema folder defines it", full)
}

var errNoFields = errors.New("a record needs fields, a list")
