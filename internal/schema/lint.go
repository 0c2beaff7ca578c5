package schema

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
)

// LintOptions say how Lint judges.
type LintOptions struct {
	// Severity overrides the default of rules, by name.
	Severity map[string]Severity
	// Used reports that an event of the contract names a schema; nil: there is
	// no contract to ask, and a schema with a version counts as used.
	Used func(schema string) bool
}

// Lint judges the *.avsc files at the top of a folder, by file and line. It
// reads all files before it judges any, because they define types for each
// other. The error is about the folder.
func Lint(fsys fs.FS, o LintOptions) ([]Finding, error) {
	names, err := fs.Glob(fsys, "*.avsc")
	if err != nil {
		return nil, fmt.Errorf("list *.avsc files: %w", err)
	}
	if len(names) == 0 {
		return nil, errors.New("no *.avsc file in the schema folder: put one there, or name another folder")
	}
	l := &linter{opts: o, types: map[string][]typeAt{}}
	for _, name := range names {
		raw, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read schema file %s: %w", name, err)
		}
		l.read(name, raw)
	}
	for _, f := range l.files {
		w := &fileLint{linter: l, file: f}
		w.root()
	}
	l.folder()
	if !slices.ContainsFunc(l.out, func(f Finding) bool { return f.Severity == Error }) {
		l.whole(fsys)
	}
	return sorted(l.out), nil
}

// source is one file.
type source struct {
	name    string
	tree    *value
	schema  string // AssessmentResultEvent of AssessmentResultEventV1.avsc; else ""
	version int
	full    string   // full name of its type
	needs   []string // full names it refers to and does not define
}

// typeAt is a definition of a named type.
type typeAt struct {
	file *source
	node *value
}

type linter struct {
	opts  LintOptions
	files []*source
	types map[string][]typeAt // by full name
	out   []Finding
}

var versionedFile = regexp.MustCompile(`^(.+)V([1-9][0-9]{0,8})\.avsc$`)

// read parses a file and notes the types it defines.
func (l *linter) read(name string, raw []byte) {
	f := &source{name: name}
	if m := versionedFile.FindStringSubmatch(name); m != nil {
		f.schema = m[1]
		f.version, _ = strconv.Atoi(m[2]) // at most nine digits
	}
	tree, err := parseJSON(raw)
	if err != nil {
		bad, _ := errors.AsType[*jsonError](err)
		l.add(f, bad.line, "$", "json", "not valid JSON: "+bad.what, "mend the text at this line or just before it")
		return
	}
	f.tree = tree
	l.files = append(l.files, f)
	f.full = fullName(tree.str("name"), tree.str("namespace"))
	l.note(f, tree, "")
}

// note enters the named types below v.
func (l *linter) note(f *source, v *value, space string) {
	switch {
	case v == nil || v.kind == scalarKind:
	case v.kind == arrayKind:
		for _, e := range v.list {
			l.note(f, e, space)
		}
	default:
		switch v.str("type") {
		case "record", "error", "enum", "fixed":
			full := definedName(v, space)
			l.types[full] = append(l.types[full], typeAt{f, v})
			for _, e := range v.get("fields").elements() {
				l.note(f, e.get("type"), namespaceOf(full))
			}
		case "array", "map":
			l.note(f, v.get("items"), space)
			l.note(f, v.get("values"), space)
		default:
			l.note(f, v.get("type"), space)
		}
	}
}

func definedName(v *value, space string) string {
	if n, ok := v.get("namespace").text(); ok {
		space = n
	}
	return fullName(v.str("name"), space)
}

func (l *linter) add(f *source, line int, path, rule, what, do string) {
	r, _ := ruleOf(rule)
	s := r.Severity
	if own, ok := l.opts.Severity[rule]; ok && !r.Fixed {
		s = own
	}
	if s != Off {
		l.out = append(l.out, Finding{s, f.name, line, path, rule, what, do})
	}
}

// lookUp is the type a name means in f: a primitive's name, record, enum, fixed,
// or "" when nobody defines it.
func (l *linter) lookUp(f *source, name, space string) (kind, full string) {
	if slices.Contains(primitives, name) {
		return name, ""
	}
	full = fullName(name, space)
	defs := l.types[full]
	if len(defs) == 0 {
		return "", full
	}
	kind = defs[0].node.str("type")
	if kind == "error" {
		kind = "record"
	}
	if !slices.ContainsFunc(defs, func(d typeAt) bool { return d.file == f }) && !slices.Contains(f.needs, full) {
		f.needs = append(f.needs, full)
	}
	return kind, full
}

// nearest names what was meant by a type name.
func (l *linter) nearest(full string) string {
	names := slices.Clone(primitives)
	for n := range l.types {
		names = append(names, n)
	}
	slices.Sort(names)
	if near, ok := contract.Nearest(full, names); ok {
		return "did you mean " + near + "?"
	}
	return "write " + shortName(full) + ".avsc, or name a type that is there"
}

// folder judges what only all files together show.
func (l *linter) folder() {
	l.twice()
	l.cycles()
	l.versions()
	l.unused()
}

func (l *linter) twice() {
	for full, defs := range l.types {
		for _, d := range defs[1:] {
			first := defs[0]
			switch {
			case d.node.json() == first.node.json():
			case d.file != first.file && d.file.schema != "" && d.file.schema == first.file.schema:
			default:
				l.add(d.file, d.node.line, "$", "type_twice", fmt.Sprintf("%s is defined otherwise in %s", full, first.file.name),
					"give one of them another name, or keep it in a file of its own and refer to it")
			}
		}
	}
}

// fileOf is the file another one needs for a type.
func (l *linter) fileOf(full string) *source { return l.types[full][0].file }

func (l *linter) cycles() {
	done := map[*source]bool{}
	var visit func(f *source, trail []*source)
	visit = func(f *source, trail []*source) {
		if i := slices.Index(trail, f); i >= 0 {
			var names []string
			for _, t := range append(trail[i:], f) {
				names = append(names, t.name)
			}
			l.add(f, f.tree.line, "$", "cycle", "files need each other: "+strings.Join(names, ", "),
				"put these types into one file, the inner one spelled out where it is used")
			return
		}
		if done[f] {
			return
		}
		for _, full := range f.needs {
			visit(l.fileOf(full), append(slices.Clone(trail), f))
		}
		done[f] = true
	}
	for _, f := range l.files {
		visit(f, nil)
	}
}

func (l *linter) versions() {
	groups := map[string][]*source{}
	for _, f := range l.files {
		if f.schema != "" {
			groups[f.schema] = append(groups[f.schema], f)
		}
	}
	for name, group := range groups {
		slices.SortFunc(group, func(a, b *source) int { return a.version - b.version })
		for i, f := range group {
			if f.version != i+1 {
				l.add(f, f.tree.line, "$", "version_gap", fmt.Sprintf("there is no version %d of %s", i+1, name),
					fmt.Sprintf("call it %sV%d.avsc, or bring the file back", name, i+1))
				break
			}
		}
		first := group[0]
		for _, f := range group[1:] {
			if a, b := namespaceOf(f.full), namespaceOf(first.full); a != b {
				l.add(f, f.tree.line, "$.namespace", "namespace", fmt.Sprintf("the namespace is %q, and %q in %s", a, b, first.name),
					"write "+quote(b)+": another namespace makes it another record")
			}
			if (shortName(f.full) == name) != (shortName(first.full) == name) {
				l.add(f, f.tree.line, "$.name", "version_name", fmt.Sprintf("the record is called %s, and %s in %s", shortName(f.full), shortName(first.full), first.name),
					"name all versions alike")
			}
		}
	}
}

func (l *linter) unused() {
	needed := map[*source]bool{}
	for _, f := range l.files {
		for _, full := range f.needs {
			needed[l.fileOf(full)] = true
		}
	}
	for _, f := range l.files {
		switch {
		case needed[f]:
		case f.schema == "":
			l.add(f, 0, "$", "unused", "no other file refers to "+f.full, "delete the file, or give its name a version (V1) to publish it")
		case l.opts.Used != nil && !l.opts.Used(f.schema):
			l.add(f, 0, "$", "unused", fmt.Sprintf("no event has the schema %s, and no other file refers to it", f.schema),
				"write schema: "+f.schema+" at an event, or delete the file")
		}
	}
}

// whole puts the schemas together as a relay does and compiles them: the last
// word on what can be used.
func (l *linter) whole(fsys fs.FS) {
	all, err := registry.LoadSchemas(fsys)
	if err != nil {
		l.add(l.files[0], 0, "$", "avro", err.Error(), "mend it there")
		return
	}
	for _, f := range l.files {
		if f.schema == "" {
			continue
		}
		text, _ := all.Schema(f.schema, f.version)
		if _, err := avrojson.Compile(text); err != nil {
			rule := "avro"
			if strings.Contains(err.Error(), "default") {
				rule = "default"
			}
			l.add(f, 0, "$", rule, err.Error(), "mend it there")
			continue
		}
		if t, err := Parse(text); err == nil && !t.ends(map[*Type]bool{}) {
			l.add(f, f.tree.line, "$", "endless", "every "+shortName(f.full)+" holds another record that holds it: no value of it has an end",
				`make the field that leads back nullable: ["null", …] with "default": null`)
		}
	}
}

// ends reports that a value of t can be finite. known holds false for records in
// the making, which lead back to themselves, and true for those that end.
func (t *Type) ends(known map[*Type]bool) bool {
	switch t.Kind {
	case "union":
		return slices.ContainsFunc(t.Branches, func(b *Type) bool { return b.ends(known) })
	case "record":
		if ends, ok := known[t]; ok {
			return ends
		}
		known[t] = false
		ends := !slices.ContainsFunc(t.Fields, func(f *Field) bool { return !f.Type.ends(known) })
		if ends {
			known[t] = true
		} else {
			delete(known, t)
		}
		return ends
	}
	return true
}
