package tail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// hidden reports characters that a terminal acts on, or that change the order of
// what is around them: they are shown as escapes.
func hidden(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// appendString writes s as a JSON string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i, r := range s {
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = appendRune(b, r, i, s)
		}
	}
	return append(b, '"')
}

// appendRune writes one character of s, at i, escaped where it must be.
func appendRune(b []byte, r rune, i int, s string) []byte {
	if r == utf8.RuneError {
		if _, width := utf8.DecodeRuneInString(s[i:]); width == 1 {
			return append(b, `\ufffd`...)
		}
	}
	if hidden(r) {
		return fmt.Appendf(b, `\u%04x`, r)
	}
	return utf8.AppendRune(b, r)
}

// oneLine is valid JSON text on one line. What is escaped in it can only stand
// in its strings.
func oneLine(text []byte) []byte {
	var compact bytes.Buffer
	if json.Compact(&compact, text) != nil { // it was valid: never
		return text
	}
	s := compact.String()
	out := make([]byte, 0, len(s))
	for i, r := range s {
		out = appendRune(out, r, i, s)
	}
	return out
}

// indented is one-line JSON for people, each line after prefix.
func indented(line []byte, prefix string) []byte {
	var out bytes.Buffer
	out.WriteString(prefix)
	if json.Indent(&out, line, prefix, "  ") != nil { // it was made here: never
		return append([]byte(prefix), line...)
	}
	return out.Bytes()
}

// shown is text for a person: as it is, or quoted when something in it could not
// be seen, or it is empty or would run into what is beside it.
func shown(b []byte) string {
	if b == nil {
		return "null"
	}
	s := string(b)
	plain := s != "" && s != "null" && utf8.ValidString(s)
	for _, r := range s {
		plain = plain && !hidden(r) && r != '"'
	}
	if plain && s[0] != ' ' && s[len(s)-1] != ' ' {
		return s
	}
	if !utf8.ValidString(s) {
		return fmt.Sprintf("0x%x", b)
	}
	return string(appendString(nil, s))
}

// visible is a sentence of ours that may quote what a record holds.
func visible(s string) string {
	b := make([]byte, 0, len(s))
	for i, r := range s {
		b = appendRune(b, r, i, s)
	}
	return string(b)
}
