package transform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Misfit is something about a mapping that does not fit the table it reads.
type Misfit struct {
	Field string // as the mapping calls it
	What  string
	Do    string
	Fatal bool // rows would stop the pipeline, or mean something else; not: something is of no use, or read by a guess
}

// Misfits compares the mapping with the columns a table has now, which a
// pipeline sees only at the first row. A mapping that is wrong by itself (Check)
// has none.
func (m Mapping) Misfits(t event.Table) []Misfit {
	c, err := compileMapping(m)
	if err != nil || !t.Exists {
		return nil
	}
	var out []Misfit
	for f := range fields {
		j := judge{field: f, written: *m.field(f) != nil, preset: c.preset, table: t}
		out = append(out, j.sources(c.fields[f])...)
	}
	return out
}

// Custom reports whether the mapping differs from its preset.
func (m Mapping) Custom() bool {
	for f := range fields {
		if *m.field(f) != nil {
			return true
		}
	}
	return m.PayloadOmit != nil || m.DefaultTopic != ""
}

// judge looks at the sources of one field.
type judge struct {
	field   field
	written bool // in the mapping; else the preset's
	preset  string
	table   event.Table
}

func (j *judge) sources(all []source) []Misfit {
	var out, lost []Misfit
	usable := len(all) == 0
	for i := range all {
		s := &all[i]
		if s.text != nil {
			usable = true
			continue
		}
		typ, there := j.table.Types[s.column]
		if !there {
			lost = append(lost, j.missing(s))
			continue
		}
		usable = true
		if m, bad := j.typed(s, typ); bad {
			out = append(out, m)
		}
	}
	for i := range lost {
		lost[i].Fatal = !usable
	}
	return append(lost, out...)
}

func (j *judge) name() string { return fieldNames[j.field] }

func (j *judge) misfit(do, format string, args ...any) Misfit {
	return Misfit{Field: j.name(), What: j.name() + ": " + fmt.Sprintf(format, args...), Do: do}
}

// missing is a column the table does not have, with the one that may be meant.
func (j *judge) missing(s *source) Misfit {
	var dos []string
	if name, ok := j.meant(s.column); ok {
		dos = append(dos, fmt.Sprintf("did you mean %s? write %s: [%s]", name, j.name(), quoteColumn(name)+s.rest()))
	} else {
		dos = append(dos, fmt.Sprintf("write %s: [COLUMN] with one of %s", j.name(), strings.Join(j.table.Columns, ", ")))
	}
	if doc, ok := j.document(); ok && s.path == nil && j.field != fieldPayload {
		dos = append(dos, fmt.Sprintf("or %s: [%s.PATH] where the JSON of %s holds it", j.name(), quoteColumn(doc), doc))
	}
	if j.field != fieldType && j.field != fieldPayload {
		dos = append(dos, fmt.Sprintf("or %s: [] if the table has none", j.name()))
	}
	who := "the mapping"
	if !j.written {
		who = "preset " + j.preset
	}
	return j.misfit(strings.Join(dos, ", "), "%s reads column %s, which table %s does not have", who, s.column, j.table.Name)
}

// usual are the names tables give to what a field holds, the likeliest first.
var usual = [fields][]string{
	fieldID:            {"id", "event_id", "message_id", "uuid"},
	fieldType:          {"event_type", "type", "event_name", "message_type", "kind"},
	fieldAggregateType: {"aggregate_type", "aggregatetype", "entity_type"},
	fieldAggregateID:   {"aggregate_id", "aggregateid", "entity_id"},
	fieldTopic:         {"topic", "kafka_topic", "destination"},
	fieldKey:           {"event_key", "message_key", "partition_key", "kafka_key", "key"},
	fieldHeaders:       {"headers", "event_headers", "message_headers"},
	fieldPayload:       {"event_data", "payload", "event_payload", "envelope", "data", "body", "message"},
	fieldOccurredAt:    {"occurred_at", "event_timestamp", "created_at", "inserted_at", "timestamp"},
	fieldSchemaVersion: {"schema_version", "event_version", "version"},
}

// meant is the column of the table that a wrong name may stand for: one that
// looks like it, else one with a name that is usual for the field.
func (j *judge) meant(wrong string) (string, bool) {
	if j.written {
		if name, ok := contract.Nearest(wrong, j.table.Columns); ok {
			return name, true
		}
	}
	for _, name := range usual[j.field] {
		if slices.Contains(j.table.Columns, name) {
			return name, true
		}
	}
	return "", false
}

// document is the table's column of JSON, if it has exactly one.
func (j *judge) document() (name string, ok bool) {
	for _, c := range j.table.Columns {
		if typeKind(j.table.Types[c]) == kindJSON {
			if ok {
				return "", false
			}
			name, ok = c, true
		}
	}
	return name, ok
}

// kind is what matters about a type.
type kind uint8

const (
	kindOther kind = iota // enums, and what nobody expects
	kindJSON
	kindText
	kindBytes
	kindNumber
	kindBool
	kindTime
	kindLocal // a time without zone
	kindUUID
	kindGenerated
)

func typeKind(typ string) kind {
	switch typ {
	case "json", "jsonb":
		return kindJSON
	case "text", "character varying", "character", "name", "citext", "public.citext":
		return kindText
	case "bytea":
		return kindBytes
	case "smallint", "integer", "bigint", "numeric", "real", "double precision":
		return kindNumber
	case "boolean":
		return kindBool
	case "timestamp with time zone":
		return kindTime
	case "timestamp without time zone", "date":
		return kindLocal
	case "uuid":
		return kindUUID
	case event.TypeGenerated:
		return kindGenerated
	}
	return kindOther
}

// typed judges the type of a column that is there.
func (j *judge) typed(s *source, typ string) (Misfit, bool) {
	k := typeKind(typ)
	switch {
	case k == kindGenerated:
		m := j.misfit("name the columns it is made of, or make it a column that a trigger fills", "column %s is generated: Postgres does not send it to the relay", s.column)
		m.Fatal = true
		return m, true
	case s.path != nil:
		return j.inside(s, typ, k)
	}
	switch j.field {
	case fieldPayload, fieldHeaders:
		return j.whole(s, typ, k)
	case fieldOccurredAt:
		return j.time(s, typ, k)
	}
	return j.scalar(s, typ, k)
}

// inside judges a path: what is read through it must be JSON.
func (j *judge) inside(s *source, typ string, k kind) (Misfit, bool) {
	whole := j.field == fieldPayload || j.field == fieldHeaders
	if k == kindJSON || k == kindText || k == kindBytes && whole {
		return Misfit{}, false
	}
	do := fmt.Sprintf("write %s: [%s] for the column as it is", j.name(), quoteColumn(s.column))
	if doc, ok := j.document(); ok {
		do += fmt.Sprintf(", or %s: [%s]", j.name(), quoteColumn(doc)+s.rest())
	}
	m := j.misfit(do, "%s is a place inside JSON, and column %s is of type %s", s.spec, s.column, typ)
	m.Fatal = true
	return m, true
}

// whole judges a column that is a document by itself.
func (j *judge) whole(s *source, typ string, k kind) (Misfit, bool) {
	if k == kindJSON || k == kindText || k == kindBytes {
		return Misfit{}, false
	}
	do := fmt.Sprintf("name a column of type json, jsonb or text (%s: [COLUMN])", j.name())
	if doc, ok := j.document(); ok {
		do = fmt.Sprintf("did you mean %s? write %s: [%s]", doc, j.name(), quoteColumn(doc))
	}
	m := j.misfit(do, "column %s is of type %s, which is no JSON", s.column, typ)
	m.Fatal = j.field == fieldHeaders
	return m, true
}

func (j *judge) time(s *source, typ string, k kind) (Misfit, bool) {
	switch k {
	case kindTime, kindText, kindNumber:
		return Misfit{}, false
	case kindLocal:
		return j.misfit("if the service writes UTC there is nothing to do; else write occurred_at: [] for the time of the commit",
			"column %s is of type %s: it is taken as UTC", s.column, typ), true
	}
	m := j.misfit("name a column that holds a time, or write occurred_at: [] for the time of the commit", "column %s is of type %s, which is no time", s.column, typ)
	m.Fatal = true
	return m, true
}

// scalar judges a column that is a name, an id, a key or a number.
func (j *judge) scalar(s *source, typ string, k kind) (Misfit, bool) {
	do := fmt.Sprintf("name a column that holds a text (%s: [COLUMN])", j.name())
	bad := k == kindBytes
	switch j.field {
	case fieldTopic, fieldType:
		bad = bad || k == kindBool || k == kindTime || k == kindLocal || k == kindUUID || k == kindNumber && j.field == fieldTopic
	case fieldSchemaVersion:
		bad = bad || k != kindNumber && k != kindText
		do = "name a column that holds a whole number, or leave schema_version out for that of the payload"
	}
	if k == kindJSON {
		bad = true
		do = fmt.Sprintf("write the place inside it: %s: [%s.PATH]", j.name(), quoteColumn(s.column))
	}
	if !bad {
		return Misfit{}, false
	}
	m := j.misfit(do, "column %s is of type %s, which as a whole is no %s", s.column, typ, j.name())
	m.Fatal = true
	return m, true
}

// rest is what follows the column in a source as it is written.
func (s *source) rest() string {
	if s.path == nil {
		return ""
	}
	var p contract.Path
	for _, step := range s.path.steps {
		p = append(p, step.Step)
	}
	if text := p.String(); text[0] != '[' {
		return "." + text
	} else {
		return text
	}
}

// quoteColumn writes a column's name as a source does.
func quoteColumn(name string) string {
	if strings.ContainsAny(name, ".[\" :") {
		return fmt.Sprintf("%q", name)
	}
	return name
}
