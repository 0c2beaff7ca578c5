package transform

import (
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// OIDs of types whose text form means something to us.
const (
	oidBytea = 17
	oidJSON  = 114
	oidJSONB = 3802
)

// bound is a source whose column was found in a relation.
type bound struct {
	col  int // -1: text
	path *jsonPath
	text []byte
	typ  uint32
}

// checked reports whether Postgres vouches for the column being JSON.
func (s *bound) checked() bool { return s.typ == oidJSON || s.typ == oidJSONB }

// plan is a mapping bound to one shape of one table.
type plan struct {
	rel     *event.Relation
	fields  [fields][]bound
	columns map[string]int
}

// maxPlans bounds the memory of plans: each change of a table's shape makes a
// new relation. When it is reached all are dropped and made anew.
const maxPlans = 64

// plan returns the plan of rel, made at the first row that shows it.
func (t *Transformer) plan(rel *event.Relation) (*plan, error) {
	if p, ok := t.plans[rel]; ok {
		return p, nil
	}
	m := t.mapping
	if rel == messageRelation {
		m = t.message
	}
	p := &plan{rel: rel, columns: make(map[string]int, len(rel.Columns))}
	for i, c := range rel.Columns {
		p.columns[c.Name] = i
	}
	for f := range fields {
		var missing []string
		for i := range m.fields[f] {
			s := &m.fields[f][i]
			col, found := p.columns[s.column]
			switch {
			case s.text != nil:
				p.fields[f] = append(p.fields[f], bound{col: -1, text: s.text})
			case found:
				p.fields[f] = append(p.fields[f], bound{col: col, path: s.path, typ: rel.Columns[col].Type})
			default:
				missing = append(missing, s.spec)
			}
		}
		if len(p.fields[f]) == 0 && len(missing) > 0 {
			return nil, t.missingColumn(rel, f, missing)
		}
	}
	if len(t.plans) >= maxPlans {
		clear(t.plans)
	}
	t.plans[rel] = p
	return p, nil
}

func (t *Transformer) missingColumn(rel *event.Relation, f field, missing []string) error {
	names := make([]string, len(rel.Columns))
	for i, c := range rel.Columns {
		names[i] = c.Name
	}
	return stopf("name the column that holds it in the mapping ("+fieldNames[f]+": [COLUMN], or "+fieldNames[f]+
		": [] if the table has none), then: cdc-relay config validate && cdc-relay run",
		"table %s has no column for %s (row at LSN %s): the mapping names %s, the table has %s",
		rel.Name(), fieldNames[f], t.row.m.Pos, strings.Join(missing, ", "), strings.Join(names, ", "))
}

// messageRelation is the shape a logical message is read in: one column with
// the content, a JSON object with the names of the native table. Its type says
// JSON because load checks it.
var messageRelation = &event.Relation{Columns: []event.Column{{Name: "content", Type: oidJSON}}}

// messageMapping is the native mapping, one step inside the content.
func messageMapping() (*mapping, error) {
	m := Native()
	for f := range fields {
		specs := m.field(f)
		for i, s := range *specs {
			(*specs)[i] = "content." + s
		}
	}
	return compileMapping(m)
}
