package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/registry"
)

// Docs makes the reference of all events: what a team that consumes them needs,
// and nothing that is not in the contracts and schemas.
type Docs struct {
	Schemas *registry.Schemas // nil: no event is Avro
	// Samples gives the document of a schema version that people wrote; what it
	// has not is made up.
	Samples func(name string, version int) ([]byte, bool)

	events []*documented
}

// documented is one event, and the services that publish it.
type documented struct {
	rule     *contract.Rule
	contract *contract.Contract
	services []string
}

// Add takes the events of one service's contract.
func (d *Docs) Add(service string, c *contract.Contract) {
	for _, r := range c.Rules() {
		i := slices.IndexFunc(d.events, func(e *documented) bool { return e.rule.At == r.At && e.rule.Type == r.Type })
		if i < 0 {
			d.events = append(d.events, &documented{rule: r, contract: c, services: []string{service}})
			continue
		}
		d.events[i].services = append(d.events[i].services, service)
	}
}

// Write writes the reference as Markdown, events by name.
func (d *Docs) Write(w io.Writer) error {
	slices.SortStableFunc(d.events, func(a, b *documented) int { return strings.Compare(a.rule.Type, b.rule.Type) })
	p := &page{docs: d}
	p.line("<!-- Written by `cdc-relay schemas docs`; do not edit. -->\n")
	p.line("# Events\n")
	p.line("Every event of the contracts: where it is published, and what is in it.\n")
	p.line("| Event | Topic | Encoding | Schema | Published by |\n|---|---|---|---|---|")
	for _, e := range d.events {
		f := e.rule.Forms[0]
		p.line("| [%s](#%s) | %s | %s | %s | %s |", cell(e.rule.Type), anchor(e.rule.Type), code(topicOf(f)), f.Encoding, orDash(f.Schema), cell(strings.Join(e.services, ", ")))
	}
	for _, e := range d.events {
		if err := p.event(e); err != nil {
			return fmt.Errorf("event %q: %w", e.rule.Type, err)
		}
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

type page struct {
	docs *Docs
	out  bytes.Buffer
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.out, format+"\n", args...) }

func (p *page) event(e *documented) error {
	p.line("\n## %s", e.rule.Type)
	versions := p.versions(e.rule.Forms[0])
	if n := len(versions); n > 0 && versions[n-1].typ.Doc != "" {
		p.line("\n%s", versions[n-1].typ.Doc)
	}
	p.line("\n| | |\n|---|---|")
	for i, f := range e.rule.Forms {
		p.form(e, f, i)
	}
	switch e.rule.OnError {
	case contract.DeadLetter:
		p.line("| On error | a dead letter |")
	case contract.HoldKey:
		p.line("| On error | a dead letter; later events of its key wait behind it |")
	}
	p.line("| Published by | %s |", cell(strings.Join(e.services, ", ")))
	if len(versions) == 0 {
		return nil
	}
	return p.schema(e, versions)
}

// form describes one form of an event.
func (p *page) form(e *documented, f contract.Form, number int) {
	name := "Topic"
	if number > 0 {
		name = "Also on topic"
	}
	p.line("| %s | %s%s |", name, code(topicOf(f)), class(e.contract, f))
	p.line("| Key | %s |", keyRule(e.contract, f))
	p.line("| Encoding | %s |", f.Encoding)
	switch {
	case f.HeadersOff:
		p.line("| Headers | only those of the row |")
	case len(f.Add) > 0:
		var names []string
		for _, h := range f.Add {
			names = append(names, code(h.Name))
		}
		p.line("| Headers | the standard ones, and %s |", strings.Join(names, ", "))
	}
	p.claim(&f.Claim)
	if f.Encoding != contract.Avro {
		return
	}
	naming := contract.Subject{Topic: f.Topic, Schema: f.Schema, Naming: f.SubjectNaming}
	var subjects, numbers []string
	for _, v := range p.versions(f) {
		numbers = append(numbers, fmt.Sprint(v.number))
		if s := code(naming.Name(v.typ.Name)); !slices.Contains(subjects, s) {
			subjects = append(subjects, s)
		}
	}
	p.line("| Schema | %s, version %s |", f.Schema, strings.Join(numbers, ", "))
	p.line("| Subject | %s |", strings.Join(subjects, "<br>"))
}

// claim says what of a large event is a reference.
func (p *page) claim(c *contract.Claim) {
	what := "the whole value"
	if !c.Payload {
		var fields []string
		for _, f := range c.Fields {
			fields = append(fields, code(f.String()))
		}
		what = strings.Join(fields, ", ")
	}
	if c.On() {
		p.line("| In object storage | %s, when it has more than %d bytes |", what, c.Over)
	}
}

// version is one version of a schema.
type version struct {
	number int
	text   string
	typ    *Type
}

// versions are the versions of a form's schema; a version that cannot be read
// was refused when the schemas were loaded.
func (p *page) versions(f contract.Form) []version {
	if f.Encoding != contract.Avro || p.docs.Schemas == nil {
		return nil
	}
	var out []version
	for _, n := range p.docs.Schemas.Versions(f.Schema) {
		text, _ := p.docs.Schemas.Schema(f.Schema, n)
		if t, err := Parse(text); err == nil {
			out = append(out, version{n, text, t})
		}
	}
	return out
}

func (p *page) schema(e *documented, versions []version) error {
	name := e.rule.Forms[0].Schema
	latest := versions[len(versions)-1]
	for i := 1; i < len(versions); i++ {
		changes, err := Diff(versions[i-1].text, versions[i].text)
		if err != nil {
			return err
		}
		p.line("\n### What version %d changed\n", versions[i].number)
		for _, c := range changes {
			p.line("* %s", code(c.String()))
		}
	}
	p.line("\n### Fields of version %d\n", latest.number)
	p.line("| Field | Type | Default | Constraints | |\n|---|---|---|---|---|")
	p.fields(latest.typ, "", map[*Type]bool{})
	example, err := p.example(e.rule.Type, name, latest)
	if err != nil {
		return err
	}
	p.line("\n### Example of version %d\n\n```json\n%s\n```", latest.number, strings.TrimSpace(string(example)))
	return nil
}

// fields writes a row for each field, those of the records in it below it.
func (p *page) fields(t *Type, path string, above map[*Type]bool) {
	above[t] = true
	defer delete(above, t)
	for _, f := range t.Fields {
		at := join(path, f.Name)
		def := "required"
		if f.Default != nil {
			def = code(*f.Default)
		}
		inner, mark := insideOf(f.Type)
		p.line("| %s | %s | %s | %s | %s |", code(at), cell(f.Type.String()), def, constraints(f, inner), about(f, inner))
		if inner.Kind == "record" && !above[inner] {
			p.fields(inner, at+mark, above)
		}
	}
}

// insideOf is what a type holds in the end: the elements of arrays and maps, the
// other branch of nullable unions.
func insideOf(t *Type) (inner *Type, mark string) {
	for {
		switch t.Kind {
		case "array", "map":
			t, mark = t.Items, mark+"[]"
		case "union":
			other, ok := t.nullable()
			if !ok {
				return t, mark
			}
			t = other
		default:
			return t, mark
		}
	}
}

func constraints(f *Field, inner *Type) string {
	var out []string
	attrs := slices.Clone(f.Attrs)
	if inner.Kind != "record" {
		attrs = append(attrs, inner.Attrs...)
	}
	for _, key := range constraintKeys {
		i := slices.IndexFunc(attrs, func(a Attr) bool { return a.Name == key })
		if i < 0 {
			continue
		}
		var s string
		if json.Unmarshal([]byte(attrs[i].Value), &s) != nil { // a number
			s = attrs[i].Value
		}
		out = append(out, code(key+" "+s))
	}
	if inner.Kind == "enum" {
		out = append(out, code(strings.Join(inner.Symbols, ", ")))
	}
	return strings.Join(out, "<br>")
}

// about is the field's doc, else that of its type.
func about(f *Field, inner *Type) string {
	if f.Doc != "" {
		return cell(f.Doc)
	}
	return cell(inner.Doc)
}

// example is the document that lies beside the schema, else one made up. Either
// is checked.
func (p *page) example(event, name string, v version) ([]byte, error) {
	if p.docs.Samples != nil {
		if text, ok := p.docs.Samples(name, v.number); ok {
			if err := Valid(v.text, text); err != nil {
				return nil, fmt.Errorf("testdata/%sV%d.json is not valid: %w", name, v.number, err)
			}
			return text, nil
		}
	}
	known := map[string]string{}
	for _, f := range v.typ.Fields {
		switch {
		case f.Name == "event_type" && f.Type.Kind == "string":
			known[f.Name] = quote(event)
		case f.Name == "schema_version" && (f.Type.Kind == "int" || f.Type.Kind == "long"):
			known[f.Name] = fmt.Sprint(v.number)
		}
	}
	text, err := Example(v.text, known)
	if err != nil {
		return nil, fmt.Errorf("%sV%d: %w; write one: testdata/%sV%d.json in the schema folder", name, v.number, err, name, v.number)
	}
	return text, nil
}

func topicOf(f contract.Form) string {
	if f.Topic == "" {
		return "named by the row"
	}
	return f.Topic
}

// class is the topic class in words.
func class(c *contract.Contract, f contract.Form) string {
	cl, ok := c.Class(f.TopicClass)
	if !ok {
		return ""
	}
	parts := []string{fmt.Sprintf("%d partitions", cl.Partitions)}
	for _, k := range slices.Sorted(maps.Keys(cl.Config)) {
		parts = append(parts, k+" "+cl.Config[k])
	}
	return fmt.Sprintf("<br>class %s: %s", cell(f.TopicClass), cell(strings.Join(parts, ", ")))
}

func keyRule(c *contract.Contract, f contract.Form) string {
	var parts []string
	for _, k := range f.Key {
		parts = append(parts, code(k.String()))
	}
	for _, k := range c.DefaultKey() {
		if s := code(k.String()); !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return "the first that gives a value: " + strings.Join(parts, ", ")
}

// cell is text in a table's cell.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(s)
}

// code is text set as code, in a table's cell too.
func code(s string) string {
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if fence != "`" {
		s = " " + s + " "
	}
	return fence + strings.NewReplacer("|", "\\|", "\n", " ").Replace(s) + fence
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return cell(s)
}

// anchor is the target a Markdown heading gets.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}
