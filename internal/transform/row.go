package transform

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// row is the row in hand: its message, the plan of its table and what was
// worked out of it so far. Everything in it aliases the socket buffer or the
// scratch and is dead when Append returns.
type row struct {
	m       *event.Msg
	plan    *plan
	cols    [][]byte
	content [1][]byte // cols of a logical message

	typ     []byte
	payload []byte // nil: null
	places  *places
	found   [][]byte // by places.paths, once walked
	walked  bool
	given   rowHeaders

	scratch []byte // decoded escapes, bytea
}

// scalar is the value of a field as text, by the first source that gives one
// that is not null and not empty.
func (r *row) scalar(f field) ([]byte, bool) {
	for i := range r.plan.fields[f] {
		s := &r.plan.fields[f][i]
		if s.text != nil {
			return s.text, true
		}
		col := r.cols[s.col]
		if s.path == nil {
			if len(col) > 0 {
				return col, true
			}
			continue
		}
		if v, ok := r.inside(col, s.path); ok {
			return v, true
		}
	}
	return nil, false
}

// inPayload is the scalar at a path in the payload, if it is not empty. The
// first question finds all that the row's rule may ask.
func (r *row) inPayload(p *jsonPath) ([]byte, bool) {
	i := slices.Index(r.places.paths, p)
	if i < 0 {
		return r.inside(r.payload, p)
	}
	if !r.walked {
		r.walked = true
		r.found = slices.Grow(r.found[:0], len(r.places.paths))[:len(r.places.paths)]
		r.places.find(r.payload, r.found)
	}
	return r.textOf(r.found[i])
}

// inside is the scalar at a path in JSON text, if it is not empty.
func (r *row) inside(doc []byte, p *jsonPath) ([]byte, bool) {
	raw, ok := p.find(doc)
	if !ok {
		return nil, false
	}
	return r.textOf(raw)
}

// textOf is the scalar raw, if it is not empty.
func (r *row) textOf(raw []byte) ([]byte, bool) {
	var v []byte
	var ok bool
	if v, r.scratch, ok = scalar(raw, r.scratch); !ok || len(v) == 0 {
		return nil, false
	}
	return v, true
}

// found says what raw found.
type found uint8

const (
	nothing  found = iota // no source resolved
	null                  // a source resolved to null
	unproved              // text nobody vouches for being JSON
	proved                // JSON by its type in Postgres
)

var errByteaFormat = errors.New(`a bytea column does not come in hex format; run: alter role … set bytea_output = 'hex' for the relay's role`)

// raw is the text of a field that is JSON or bytes as a whole: a column, or the
// text of the value at a path.
func (r *row) raw(f field) ([]byte, found, error) {
	best := nothing
	for i := range r.plan.fields[f] {
		s := &r.plan.fields[f][i]
		if s.text != nil {
			return s.text, unproved, nil
		}
		doc := r.cols[s.col]
		if doc == nil {
			best = null
			continue
		}
		if s.typ == oidBytea {
			var err error
			if doc, err = r.unhex(doc); err != nil {
				return nil, nothing, err
			}
		}
		if s.path != nil {
			v, ok := s.path.find(doc)
			if !ok {
				continue
			}
			if doc = v; string(v) == "null" {
				best = null
				continue
			}
		}
		if s.checked() {
			return doc, proved, nil
		}
		return doc, unproved, nil
	}
	return nil, best, nil
}

// unhex decodes the text form of bytea, \x6869.
func (r *row) unhex(text []byte) ([]byte, error) {
	digits, ok := bytes.CutPrefix(text, []byte(`\x`))
	if !ok {
		return nil, errByteaFormat
	}
	start := len(r.scratch)
	var err error
	if r.scratch, err = hex.AppendDecode(r.scratch, digits); err != nil {
		return nil, errByteaFormat
	}
	return r.scratch[start:len(r.scratch):len(r.scratch)], nil
}

// load binds the message to the plan of its table and reads type and payload.
func (t *Transformer) load(m *event.Msg) error {
	r := &t.row
	r.m, r.typ, r.payload, r.walked, r.scratch = m, nil, nil, false, r.scratch[:0]
	r.given.reset()
	rel := m.Rel
	r.cols = m.Cols
	if rel == nil {
		rel = messageRelation
		r.content[0] = m.Content
		r.cols = r.content[:]
	}
	if r.plan == nil || r.plan.rel != rel {
		p, err := t.plan(rel)
		if err != nil {
			return err
		}
		r.plan = p
	}
	if len(r.cols) != len(rel.Columns) {
		return &event.Fault{
			Verdict: event.Restart,
			What: fmt.Sprintf("row at LSN %s of %s has %d values, its relation %d columns",
				m.Pos, rel.Name(), len(r.cols), len(rel.Columns)),
		}
	}
	if m.Rel == nil && !json.Valid(m.Content) {
		return t.fault(nil, "write the content as a JSON object with the names of the columns of cdc_relay.outbox",
			"the content of the logical message is no JSON")
	}
	var ok bool
	if r.typ, ok = r.scalar(fieldType); !ok {
		return t.fault(nil, "have the service write it, or name its column in the mapping (type: [COLUMN])", "the row names no event type")
	}
	return nil
}

// unknownPayload is the mend of payload faults.
const unknownPayload = "have the service write it, or name its column in the mapping (payload: [COLUMN])"

// loadPayload reads the payload. A payload that is SQL NULL (or null at its
// path) leaves r.payload nil: the record is a tombstone.
func (t *Transformer) loadPayload(needJSON bool) error {
	r := &t.row
	doc, what, err := r.raw(fieldPayload)
	switch {
	case err != nil:
		return t.fault(err, "set it", "the payload cannot be read")
	case what == nothing:
		return t.fault(nil, unknownPayload, "the row has no payload where the mapping says")
	case what == null:
		return nil
	case what == unproved && needJSON && !json.Valid(doc):
		return t.fault(nil, "write encoding: bytes for the event, or make the column json", "the payload is no JSON, but the encoding is json")
	}
	if doc == nil {
		doc = []byte{}
	}
	r.payload = doc
	if r.m.Rel != nil && t.mapping.omit.mayBeIn(doc) {
		start := len(r.scratch)
		var some bool
		if r.scratch, some = t.mapping.omit.cut(r.scratch, doc); some {
			r.payload = r.scratch[start:len(r.scratch):len(r.scratch)]
		}
	}
	return nil
}
