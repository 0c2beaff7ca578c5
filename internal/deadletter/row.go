package deadletter

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// OIDs of the types whose text is JSON.
const (
	oidJSON  = 114
	oidJSONB = 3802
)

// How the text of a value is written. Nothing of it may be lost: the letter is
// the only copy of a row that Postgres has forgotten.
const (
	asText   = ""       // a JSON string
	asJSON   = "json"   // as the JSON it is, byte for byte
	asBase64 = "base64" // text that is no UTF-8
)

// AppendRow appends the value of a letter: the row of m with all its columns by
// name, or the logical message. Columns that are JSON in Postgres are written as
// they are, every other value as the text Postgres sent, NULL as null.
//
//	{"v":1,"schema":"cdc_relay","table":"outbox",
//	 "columns":[{"name":"id","type":2950,"key":true},{"name":"payload","type":114,"as":"json"}],
//	 "row":{"id":"0190…","payload":{"score":1.2}}}
//	{"v":1,"message":{"prefix":"cdc_relay","as":"json","content":{…}}}
func AppendRow(dst []byte, m *event.Msg) []byte {
	dst = append(dst, `{"v":`...)
	dst = strconv.AppendInt(dst, Version, 10)
	if m.Rel == nil {
		as := form(m.Content, true)
		dst = append(dst, `,"message":{"prefix":`...)
		dst = appendText(dst, []byte(m.Prefix))
		dst = appendForm(dst, as)
		dst = append(dst, `,"content":`...)
		return append(appendValue(dst, m.Content, as), `}}`...)
	}
	dst = append(dst, `,"schema":`...)
	dst = appendText(dst, []byte(m.Rel.Schema))
	dst = append(dst, `,"table":`...)
	dst = appendText(dst, []byte(m.Rel.Table))
	dst = append(dst, `,"columns":[`...)
	for i := range m.Rel.Columns {
		c := &m.Rel.Columns[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = appendText(dst, []byte(c.Name))
		dst = append(dst, `,"type":`...)
		dst = strconv.AppendUint(dst, uint64(c.Type), 10)
		if c.Key {
			dst = append(dst, `,"key":true`...)
		}
		dst = append(appendForm(dst, form(m.Cols[i], isJSON(c.Type))), '}')
	}
	dst = append(dst, `],"row":{`...)
	for i := range m.Rel.Columns {
		c := &m.Rel.Columns[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendText(dst, []byte(c.Name)), ':')
		dst = appendValue(dst, m.Cols[i], form(m.Cols[i], isJSON(c.Type)))
	}
	return append(dst, `}}`...)
}

func isJSON(oid uint32) bool { return oid == oidJSON || oid == oidJSONB }

// form is how a value is written. JSON with space around it is not written as
// JSON: a reader would lose the space.
func form(v []byte, maybeJSON bool) string {
	switch {
	case v == nil:
		return asText
	case !utf8.Valid(v):
		return asBase64
	case maybeJSON && len(v) > 0 && !space(v[0]) && !space(v[len(v)-1]) && json.Valid(v):
		return asJSON
	}
	return asText
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func appendForm(dst []byte, as string) []byte {
	if as == asText {
		return dst
	}
	return append(append(append(dst, `,"as":"`...), as...), '"')
}

func appendValue(dst, v []byte, as string) []byte {
	switch {
	case v == nil:
		return append(dst, "null"...)
	case as == asJSON:
		return append(dst, v...)
	case as == asBase64:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v), '"')
	}
	return appendText(dst, v)
}

// appendText appends valid UTF-8 as a JSON string that reads back as it was.
func appendText(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// Rows reads the values of letters. Relations are shared: letters of one shape of
// one table have the same one. It belongs to one goroutine.
type Rows struct {
	relations map[string]*event.Relation
}

// rowText is the value of a letter.
type rowText struct {
	V       int                        `json:"v"`
	Schema  string                     `json:"schema"`
	Table   string                     `json:"table"`
	Columns []columnText               `json:"columns"`
	Row     map[string]json.RawMessage `json:"row"`
	Message *messageText               `json:"message"`
}

type columnText struct {
	Name string `json:"name"`
	Type uint32 `json:"type"`
	Key  bool   `json:"key"`
	As   string `json:"as"`
}

type messageText struct {
	Prefix  string          `json:"prefix"`
	As      string          `json:"as"`
	Content json.RawMessage `json:"content"`
}

// Message makes the message of the stream that a letter is about.
func (r *Rows) Message(l *Letter, value []byte) (event.Msg, error) {
	m := event.Msg{Kind: event.Row, Pos: l.Pos, XID: l.XID, Time: l.Commit}
	var text rowText
	if err := json.Unmarshal(value, &text); err != nil {
		return m, fmt.Errorf("dead letter %s: its value cannot be read: %w", l.ID, err)
	}
	if text.V < 1 || text.V > Version {
		return m, fmt.Errorf("dead letter %s: value of format %d, this relay reads up to %d", l.ID, text.V, Version)
	}
	var err error
	if text.Message != nil {
		m.Prefix = text.Message.Prefix
		m.Content, err = parseValue(text.Message.Content, text.Message.As)
		if err != nil {
			err = fmt.Errorf("dead letter %s: content: %w", l.ID, err)
		}
		return m, err
	}
	m.Rel = r.relation(&text)
	m.Cols = make([][]byte, len(text.Columns))
	for i, c := range text.Columns {
		if m.Cols[i], err = parseValue(text.Row[c.Name], c.As); err != nil {
			return m, fmt.Errorf("dead letter %s: column %s: %w", l.ID, c.Name, err)
		}
	}
	return m, nil
}

func parseValue(raw json.RawMessage, as string) ([]byte, error) {
	switch {
	case as == asJSON:
		return raw, nil
	case len(raw) == 0, string(raw) == "null":
		return nil, nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	if as == asBase64 {
		return base64.StdEncoding.DecodeString(s)
	}
	return []byte(s), nil
}

// relation is the one of the shape, which may change while letters are read.
func (r *Rows) relation(t *rowText) *event.Relation {
	shape := fmt.Sprintf("%q.%q", t.Schema, t.Table)
	for _, c := range t.Columns {
		shape += fmt.Sprintf(" %q/%d/%t", c.Name, c.Type, c.Key)
	}
	if rel, ok := r.relations[shape]; ok {
		return rel
	}
	rel := &event.Relation{Schema: t.Schema, Table: t.Table}
	for _, c := range t.Columns {
		rel.Columns = append(rel.Columns, event.Column{Name: c.Name, Type: c.Type, Key: c.Key})
	}
	if r.relations == nil {
		r.relations = map[string]*event.Relation{}
	}
	r.relations[shape] = rel
	return rel
}
