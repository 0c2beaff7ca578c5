package transform

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// jsonPath finds one place in JSON text. Of members with the same name the last
// counts, as for Postgres and encoding/json.
type jsonPath struct {
	steps []pathStep
}

type pathStep struct {
	contract.Step

	// needle is the name and the quote after it, as a member is usually written.
	// It lacks the quote before it, because a search for a byte that is everywhere
	// is slow.
	needle []byte
	// plain: the only other way to write the name is with \u00XX, so a search
	// for needle can prove that the member does not come (again).
	plain bool
}

func newPath(p contract.Path) *jsonPath {
	out := &jsonPath{}
	for _, s := range p {
		step := pathStep{Step: s, plain: s.Member, needle: []byte(s.Name + `"`)}
		for i := range len(s.Name) {
			if c := s.Name[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '/' {
				step.plain = false
			}
		}
		out.steps = append(out.steps, step)
	}
	return out
}

// sql is the operator that follows the path in Postgres.
func (p *jsonPath) sql() string {
	var b strings.Builder
	b.WriteString("::jsonb #>> array[")
	for i, s := range p.steps {
		name := s.Name
		if !s.Member {
			name = strconv.Itoa(s.Index)
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("'" + strings.ReplaceAll(name, "'", "''") + "'")
	}
	return b.String() + "]"
}

// find returns the text of the value at the path, a part of doc.
func (p *jsonPath) find(doc []byte) ([]byte, bool) {
	if n := len(p.steps); n > 0 && p.steps[n-1].plain && !p.steps[n-1].mayBeIn(doc) {
		return nil, false
	}
	i := skipSpace(doc, 0)
	for k := range p.steps {
		s := &p.steps[k]
		if s.Member {
			i = s.member(doc, i)
		} else {
			i = element(doc, i, s.Index)
		}
		if i < 0 {
			return nil, false
		}
	}
	end := skipValue(doc, i)
	if end < 0 {
		return nil, false
	}
	return doc[i:end], true
}

// member returns where the value of the last member of that name starts in the
// object at i, or -1.
func (s *pathStep) member(doc []byte, i int) int {
	found := -1
	it := object(doc, i)
	for it.next() {
		if !s.is(it.key) {
			continue
		}
		found = it.val
		if s.plain && !s.mayBeIn(doc[found:]) {
			return found // it cannot come again: no need to read to the end
		}
	}
	if it.bad {
		return -1
	}
	return found
}

// is compares the name with a key as it stands between its quotes.
func (s *pathStep) is(key []byte) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return string(key) == s.Name
	}
	var room [64]byte
	text, ok := appendUnquoted(room[:0], key)
	return ok && string(text) == s.Name
}

// mayBeIn reports whether text can hold the name as a key.
func (s *pathStep) mayBeIn(text []byte) bool {
	for at := 0; ; at++ {
		i := bytes.Index(text[at:], s.needle)
		if i < 0 {
			return escapesASCII(text)
		}
		if at += i; at > 0 && text[at-1] == '"' {
			return true
		}
	}
}

var escapedLatin = []byte(`\u00`)

// escapesASCII reports whether an ASCII character may be written as \u00XX.
func escapesASCII(text []byte) bool {
	for {
		i := bytes.Index(text, escapedLatin)
		if i < 0 || len(text) < i+5 {
			return false
		}
		if text[i+4] < '8' {
			return true
		}
		text = text[i+5:]
	}
}

// scalar is what a JSON value is as text: a string's content, a number or a
// boolean as it stands. Null, objects and arrays are not resolved. Escapes are
// decoded into scratch, whose grown slice is returned; the text is a part of
// raw or of scratch.
func scalar(raw, scratch []byte) (text, grown []byte, ok bool) {
	if len(raw) == 0 {
		return nil, scratch, false
	}
	switch raw[0] {
	case '{', '[', 'n':
		return nil, scratch, false
	case '"':
		return stringText(raw, scratch)
	}
	return raw, scratch, true
}

// stringText decodes the string raw, quotes included.
func stringText(raw, scratch []byte) (text, grown []byte, ok bool) {
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, scratch, true
	}
	start := len(scratch)
	scratch, ok = appendUnquoted(scratch, raw)
	return scratch[start:len(scratch):len(scratch)], scratch, ok
}
