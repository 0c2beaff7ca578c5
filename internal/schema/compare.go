package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/avro"
)

// Level is a compatibility rule of a subject, as registries name them.
type Level string

// The levels. The transitive ones compare with every version, the others with
// the latest.
const (
	None               Level = "NONE"
	Backward           Level = "BACKWARD"
	BackwardTransitive Level = "BACKWARD_TRANSITIVE"
	Forward            Level = "FORWARD"
	ForwardTransitive  Level = "FORWARD_TRANSITIVE"
	Full               Level = "FULL"
	FullTransitive     Level = "FULL_TRANSITIVE"
)

// Levels are all levels.
var Levels = []Level{None, Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive}

// Transitive reports that every version counts, not the latest alone.
func (l Level) Transitive() bool { return strings.HasSuffix(string(l), "_TRANSITIVE") }

// ParseLevel reads a level in upper or lower case.
func ParseLevel(s string) (Level, error) {
	l := Level(strings.ReplaceAll(strings.ToUpper(s), "-", "_"))
	if !slices.Contains(Levels, l) {
		return "", fmt.Errorf("%q is no compatibility level; write one of %v", s, Levels)
	}
	return l, nil
}

func (l Level) backward() bool {
	return strings.HasPrefix(string(l), "BACKWARD") || strings.HasPrefix(string(l), "FULL")
}

func (l Level) forward() bool {
	return strings.HasPrefix(string(l), "FORWARD") || strings.HasPrefix(string(l), "FULL")
}

// Reason is one place at which two schemas do not fit.
type Reason struct {
	Path string `json:"path"` // of the field, as in data.lines[].amount; "$": the record itself
	Rule string `json:"rule"`
	What string `json:"what"`
	Do   string `json:"do"`
}

func (r Reason) String() string { return r.Path + ": " + r.What }

// Named is a schema and what messages call it.
type Named struct{ Name, Text string }

// Compare says why next cannot follow prev under a level, one reason per place;
// none: it can. The rules are those of Avro's schema resolution.
func Compare(level Level, next, prev Named) ([]Reason, error) {
	n, err := Parse(next.Text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", next.Name, err)
	}
	p, err := Parse(prev.Text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", prev.Name, err)
	}
	var out []Reason
	if level.backward() {
		c := comparer{reader: next.Name, writer: prev.Name, readerIsNew: true, seen: walk{}}
		c.types(n, p, "")
		out = append(out, c.second(next.Text, prev.Text)...)
	}
	if level.forward() {
		c := comparer{reader: prev.Name, writer: next.Name, seen: walk{}}
		c.types(p, n, "")
		for _, r := range c.second(prev.Text, next.Text) {
			if !slices.ContainsFunc(out, func(o Reason) bool { return o.Path == r.Path && o.Rule == r.Rule }) {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

type pair struct{ r, w *Type }

// walk remembers pairs of types: those in the making, which recursion meets
// again, and those that showed nothing. What showed something is told again at
// each place it stands in.
type walk map[pair]bool

// maxTold bounds what is told of two schemas: types that hold each other twice
// over and over would be told without end.
const maxTold = 200

// once calls do unless p is in the making or known to show nothing; size is how
// much there is to tell so far.
func (s walk) once(p pair, size func() int, do func()) {
	before := size()
	if s[p] || before >= maxTold {
		return
	}
	s[p] = true
	do()
	if size() != before {
		delete(s, p)
	}
}

// comparer finds where data of a writer cannot be read by a reader.
type comparer struct {
	reader, writer string // for messages
	readerIsNew    bool
	seen           walk
	out            []Reason
}

// second asks another implementation, so that nothing it refuses passes for
// compatible here.
func (c *comparer) second(reader, writer string) []Reason {
	if len(c.out) > 0 {
		return c.out
	}
	r, err := avro.Parse(reader)
	if err != nil {
		return nil // not our question: lint says what is wrong with it
	}
	w, err := avro.Parse(writer)
	if err != nil {
		return nil // as above
	}
	if err := avro.CheckCompatibility(w, r); err != nil {
		c.add("", "resolution", fmt.Sprintf("%s cannot read what %s writes: %v", c.reader, c.writer, err), "undo the change")
	}
	return c.out
}

func (c *comparer) add(path, rule, what, do string) {
	if path == "" {
		path = "$"
	}
	c.out = append(c.out, Reason{path, rule, what, do})
}

// mend is what to do, which depends on whose schema can still be changed.
func (c *comparer) mend(readerIsNew, writerIsNew string) string {
	if c.readerIsNew {
		return readerIsNew
	}
	return writerIsNew
}

func (c *comparer) types(r, w *Type, path string) {
	c.seen.once(pair{r, w}, func() int { return len(c.out) }, func() { c.pair(r, w, path) })
}

func (c *comparer) pair(r, w *Type, path string) {
	switch {
	case w.Kind == "union":
		for _, b := range w.Branches {
			c.branch(r, b, path)
		}
	case r.Kind == "union":
		c.branch(r, w, path)
	case r.Kind == w.Kind:
		c.same(r, w, path)
	case !promotes(w.Kind, r.Kind):
		c.add(path, "type", fmt.Sprintf("it is %s in %s and %s in %s", w, c.writer, r, c.reader),
			"keep the type, or add a field of another name beside it")
	}
}

// branch reads one type with a reader that may be a union.
func (c *comparer) branch(r, w *Type, path string) {
	if r.Kind != "union" {
		if w.Kind == "null" && r.Kind != "null" {
			c.add(path, "union_branch", fmt.Sprintf("%s may write null, %s takes only %s", c.writer, c.reader, r),
				c.mend("keep null among the types", "leave null out, or give the field to consumers first"))
			return
		}
		c.types(r, w, path)
		return
	}
	var best *comparer
	for _, b := range r.Branches {
		try := &comparer{reader: c.reader, writer: c.writer, readerIsNew: c.readerIsNew, seen: c.seen}
		try.types(b, w, path)
		if len(try.out) == 0 {
			return
		}
		// The branch of the same name is the one that was meant.
		if b.Kind == w.Kind && (b.Name == "" || sameName(b, w)) {
			best = try
		}
	}
	if best != nil {
		c.out = append(c.out, best.out...)
		return
	}
	c.add(path, "union_branch", fmt.Sprintf("%s may write %s, which is none of the types in %s (%s)", c.writer, w, c.reader, r),
		c.mend("keep that type in the union", "leave that type out of the union, or publish under another topic"))
}

func (c *comparer) same(r, w *Type, path string) {
	if r.Name != "" && !sameName(r, w) {
		c.add(path, "name", fmt.Sprintf("the %s is called %s in %s and %s in %s", r.Kind, w.Name, c.writer, r.Name, c.reader),
			c.mend(fmt.Sprintf("give %s \"aliases\": [%q], or give each record a subject of its own (subject_name: record)", r.Name, w.Name),
				"keep the name, or give each record a subject of its own (subject_name: record)"))
		if path != "" {
			return // what is inside is another type's
		}
	}
	switch r.Kind {
	case "record":
		c.records(r, w, path)
	case "enum":
		c.enums(r, w, path)
	case "array", "map":
		c.types(r.Items, w.Items, path+"[]")
	case "fixed":
		if r.Size != w.Size {
			c.add(path, "fixed_size", fmt.Sprintf("it has %d bytes in %s and %d in %s", w.Size, c.writer, r.Size, c.reader),
				"keep the size, or add a field of another name beside it")
		}
	}
	if r.Logical == "decimal" && w.Logical == "decimal" && (r.Scale != w.Scale || r.Precision != w.Precision) {
		c.add(path, "decimal", fmt.Sprintf("it is decimal(%d,%d) in %s and decimal(%d,%d) in %s: the same bytes would be another number",
			w.Precision, w.Scale, c.writer, r.Precision, r.Scale, c.reader), "keep precision and scale, or add a field of another name beside it")
	}
}

func (c *comparer) records(r, w *Type, path string) {
	for _, rf := range r.Fields {
		at := join(path, rf.Name)
		wf := fieldOf(w, rf)
		if wf != nil {
			c.types(rf.Type, wf.Type, at)
			continue
		}
		if rf.Default != nil {
			continue
		}
		c.add(at, "field_default",
			fmt.Sprintf("%s does not write it, and %s has no default for it", c.writer, c.reader),
			c.mend("give the new field a default, such as "+suggestDefault(rf.Type),
				"keep the field; it may go once every consumer's schema has a default for it"))
	}
}

// suggestDefault is a default the type can have.
func suggestDefault(t *Type) string {
	switch t.Kind {
	case "union":
		if len(t.Branches) > 0 {
			return suggestDefault(t.Branches[0])
		}
	case "null":
		return "null"
	case "string", "bytes":
		return `""`
	case "boolean":
		return "false"
	case "array":
		return "[]"
	case "map":
		return "{}"
	case "enum":
		if t.Default != nil {
			return quote(*t.Default)
		}
		if len(t.Symbols) > 0 {
			return quote(t.Symbols[0])
		}
	case "record", "fixed":
		return `null, with the type ["null", ` + quote(shortName(t.Name)) + `]`
	}
	return "0"
}

func (c *comparer) enums(r, w *Type, path string) {
	if r.Default != nil {
		return
	}
	var lacking []string
	for _, s := range w.Symbols {
		if !slices.Contains(r.Symbols, s) {
			lacking = append(lacking, s)
		}
	}
	if len(lacking) > 0 {
		c.add(path, "enum_symbol", fmt.Sprintf("%s may write %s, which %s does not know, and the enum has no default symbol there",
			c.writer, strings.Join(lacking, ", "), c.reader),
			c.mend("keep the symbols, or give the enum a default", "give the enum a default in a first version, and the symbol in a later one"))
	}
}

// sameName follows Avro's Java implementation, which registries run: the name
// without its namespace, or an alias of the reader.
func sameName(r, w *Type) bool {
	return shortName(r.Name) == shortName(w.Name) || slices.Contains(r.Aliases, w.Name)
}

func fieldOf(w *Type, rf *Field) *Field {
	for _, name := range append([]string{rf.Name}, rf.Aliases...) {
		for _, f := range w.Fields {
			if f.Name == name {
				return f
			}
		}
	}
	return nil
}

func promotes(from, to string) bool {
	switch from {
	case "int":
		return to == "long" || to == "float" || to == "double"
	case "long":
		return to == "float" || to == "double"
	case "float":
		return to == "double"
	case "string":
		return to == "bytes"
	case "bytes":
		return to == "string"
	}
	return false
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
