package transform

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// A scan over JSON text (RFC 8259) that neither builds values nor allocates.
// For valid text it agrees with encoding/json; of invalid text it promises
// only to end and to stay inside the slice. Who cannot trust the text (a text
// column, a logical message) asks json.Valid first; the types json and jsonb
// are checked by Postgres.

func skipSpace(d []byte, i int) int {
	for i < len(d) && (d[i] == ' ' || d[i] == '\n' || d[i] == '\t' || d[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that opens at i, or -1. It
// looks at eight bytes at a time: a byte of (w-ones)&^w&tops is set first where
// a byte of w is zero.
func skipString(d []byte, i int) int {
	const (
		ones      = 0x0101010101010101
		tops      = 0x8080808080808080
		quote     = ones * '"'
		backslash = ones * '\\'
	)
	for i++; i+8 <= len(d); {
		w := binary.LittleEndian.Uint64(d[i:])
		q, b := w^quote, w^backslash
		hit := ((q - ones) &^ q & tops) | ((b - ones) &^ b & tops)
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) / 8
		if d[i] == '"' {
			return i + 1
		}
		i += 2 // the backslash and what it escapes
	}
	for i < len(d) {
		switch d[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
		i++
	}
	return -1
}

// skipValue returns the index after the value that starts at i, or -1. It does
// not recurse: the depth of the text costs no stack.
func skipValue(d []byte, i int) int {
	if i >= len(d) {
		return -1
	}
	switch d[i] {
	case '"':
		return skipString(d, i)
	case '{', '[':
		return skipContainer(d, i)
	}
	start := i
	for i < len(d) && !endsScalar(d[i]) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

func endsScalar(c byte) bool {
	switch c {
	case ',', ']', '}', ':', '"', '[', '{', ' ', '\n', '\t', '\r':
		return true
	}
	return false
}

// nesting says which bytes matter to skipContainer.
var nesting = [256]int8{'{': 1, '[': 1, '}': -1, ']': -1, '"': 2}

func skipContainer(d []byte, i int) int {
	depth := 0
	for i < len(d) {
		switch n := nesting[d[i]]; n {
		case 0:
			i++
		case 2:
			if i = skipString(d, i); i < 0 {
				return -1
			}
		default:
			i++
			if depth += int(n); depth == 0 {
				return i
			}
		}
	}
	return -1
}

// members walks over an object.
type members struct {
	doc []byte
	key []byte // of the member found, as it stands between its quotes
	val int    // where its value starts
	end int    // after its value; 0: not known yet
	bad bool   // the text is no object
	at  int    // after what was read
}

// object starts a walk over the object at i.
func object(doc []byte, i int) members {
	if i >= len(doc) || doc[i] != '{' {
		return members{bad: true}
	}
	return members{doc: doc, at: i + 1, val: -1}
}

// next moves to the next member. False: there is none, or bad.
func (m *members) next() bool {
	if m.bad {
		return false
	}
	first := m.val < 0
	if !first {
		if _, ok := m.value(); !ok {
			return false
		}
		m.at = m.end
	}
	i := skipSpace(m.doc, m.at)
	switch {
	case i >= len(m.doc):
		m.bad = true
		return false
	case m.doc[i] == '}':
		m.at = i + 1
		return false
	case !first && m.doc[i] != ',':
		m.bad = true
		return false
	case !first:
		i = skipSpace(m.doc, i+1)
	}
	return m.member(i)
}

// member reads the key at i and the colon after it.
func (m *members) member(i int) bool {
	if i >= len(m.doc) || m.doc[i] != '"' {
		m.bad = true
		return false
	}
	end := skipString(m.doc, i)
	if end < 0 {
		m.bad = true
		return false
	}
	colon := skipSpace(m.doc, end)
	if colon >= len(m.doc) || m.doc[colon] != ':' {
		m.bad = true
		return false
	}
	m.key = m.doc[i+1 : end-1]
	m.val = skipSpace(m.doc, colon+1)
	m.end = 0
	return true
}

// value is the text of the value of the member found.
func (m *members) value() ([]byte, bool) {
	if m.end == 0 {
		if m.end = skipValue(m.doc, m.val); m.end < 0 {
			m.bad = true
			return nil, false
		}
	}
	return m.doc[m.val:m.end], true
}

// element returns where the n-th element of the array at i starts, or -1.
func element(doc []byte, i, n int) int {
	if i >= len(doc) || doc[i] != '[' {
		return -1
	}
	i = skipSpace(doc, i+1)
	if i < len(doc) && doc[i] == ']' {
		return -1
	}
	for ; n > 0; n-- {
		if i = skipValue(doc, i); i < 0 {
			return -1
		}
		if i = skipSpace(doc, i); i >= len(doc) || doc[i] != ',' {
			return -1
		}
		i = skipSpace(doc, i+1)
	}
	return i
}

// appendUnquoted appends what the text between the quotes of a JSON string
// means. Halves of surrogate pairs become U+FFFD, as in encoding/json.
func appendUnquoted(dst, s []byte) ([]byte, bool) {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...), true
		}
		dst = append(dst, s[:i]...)
		if s = s[i+1:]; len(s) == 0 {
			return dst, false
		}
		c := s[0]
		if c == 'u' {
			r, n := unquoteRune(s)
			if n == 0 {
				return dst, false
			}
			dst = utf8.AppendRune(dst, r)
			s = s[n:]
			continue
		}
		if c = unescape(c); c == 0 {
			return dst, false
		}
		dst = append(dst, c)
		s = s[1:]
	}
}

// unescape is the character a one-letter escape stands for; 0: there is none.
func unescape(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return 0
}

// unquoteRune reads "uXXXX" or the pair "uXXXX\uXXXX" and its length in bytes.
func unquoteRune(s []byte) (rune, int) {
	r := hex4(s)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 5
	}
	if len(s) >= 11 && s[5] == '\\' {
		if pair := utf16.DecodeRune(r, hex4(s[6:])); pair != utf8.RuneError {
			return pair, 11
		}
	}
	return utf8.RuneError, 5
}

// hex4 reads the four digits of "uXXXX"; -1: they are none.
func hex4(s []byte) rune {
	if len(s) < 5 || s[0] != 'u' {
		return -1
	}
	var r rune
	for _, c := range s[1:5] {
		d := hexDigit(c)
		if d < 0 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
