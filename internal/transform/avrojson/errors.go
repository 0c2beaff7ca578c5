package avrojson

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error says why a document is not of the schema.
type Error struct {
	// Path is where in the document, as in essay_results[3].score; keys that are
	// no identifiers as in metadata["a b"]; "$" is the document itself. A union's
	// wrapper is a level of its own.
	Path string
	// Value is the JSON text of the value there, cut to 64 code points; empty
	// where the rule speaks of no value.
	Value string
	// Rule is what it breaks, to be read after Value.
	Rule string
}

func (e *Error) Error() string {
	if e.Value == "" {
		return e.Path + ": " + e.Rule
	}
	return e.Path + ": " + e.Value + " " + e.Rule
}

// maxValue is how many code points of a value an Error shows.
const maxValue = 64

type failCode uint8

const (
	failSyntax failCode = iota + 1
	failEscape
	failSurrogate
	failUTF8
	failDepth
	failAmbiguous
	lastFinal = failAmbiguous // up to here no other branch of a union can help
)

const (
	failType failCode = iota + lastFinal + 1
	failRange
	failFraction
	failSymbol
	failUnknown
	failMissing
	failTwice
	failUnion
	failFormat
	failCodePoint
	failBase64
	failHex
	failSize
	failScale
	failPrecision
	failPattern
	failShort
	failLong
)

// failure is an Error before it is text: setting it costs no allocation.
type failure struct {
	code  failCode
	off   int     // of the value, the key or the byte
	reach int     // how far the document was read
	aux   int     // missing: the field; size: bytes given
	node  *node   // nil where the code needs none
	rec   *record // unknown field
	near  *union  // other branches of this union failed before off
}

// final reports that no other branch of a union can succeed.
func (f *failure) final() bool { return f.code <= lastFinal }

// fail notes a failure at off; a syntax error is at reach.
func (e *Encoder) fail(dst []byte, code failCode, off, reach int, n *node) ([]byte, int) {
	if code == failSyntax {
		off = reach
	}
	e.failed = failure{code: code, off: off, reach: reach, node: n}
	return dst, -1
}

// syntax notes that the byte at p is not JSON there.
func (e *Encoder) syntax(dst []byte, p int) ([]byte, int) {
	return e.fail(dst, failSyntax, p, p, nil)
}

// mismatch notes that the value at p is of a kind n does not accept.
func (e *Encoder) mismatch(dst []byte, p int, n *node) ([]byte, int) {
	if shapes[e.src[p]] == 0 {
		return e.syntax(dst, p)
	}
	return e.fail(dst, failType, p, p, n)
}

// explain turns the failure into an Error.
func (e *Encoder) explain() *Error {
	f := &e.failed
	err := &Error{Path: pathTo(e.src, f.off)}
	switch f.code {
	case failSyntax:
		err.Rule = e.syntaxRule(f.off)
	case failEscape:
		err.Rule = fmt.Sprintf("not JSON: broken \\u escape at byte %d", f.off)
	case failSurrogate:
		err.Rule = fmt.Sprintf("not JSON: lone surrogate in an escape at byte %d", f.off)
	case failUTF8:
		err.Rule = fmt.Sprintf("not UTF-8 at byte %d", f.off)
	case failDepth:
		err.Rule = fmt.Sprintf("more than %d levels of objects and arrays", maxDepth)
	case failAmbiguous:
		err.Rule = "too ambiguous: trying the branches of its unions takes too long; wrap values as {\"type.name\": value}"
	case failUnknown:
		err.Path = joinKey(err.Path, keyAt(e.src, f.off))
		err.Rule = "not a field of " + f.rec.name
	case failTwice:
		err.Path = joinKey(err.Path, keyAt(e.src, f.off))
		err.Rule = "given twice"
	case failMissing:
		err.Path = joinKey(err.Path, e.prog.records[f.node.sub].index.list[f.aux])
		err.Rule = "missing, and the schema gives no default"
	default:
		err.Value = cutValue(e.src[f.off:])
		err.Rule = e.valueRule(f)
	}
	if f.near != nil {
		err.Rule += " (the nearest branch of " + f.near.text + ")"
	}
	return err
}

func (e *Encoder) syntaxRule(off int) string {
	if off >= len(e.src) {
		if skipSpace(e.src, 0) == len(e.src) {
			return "not JSON: empty"
		}
		return fmt.Sprintf("not JSON: it ends too early, at byte %d", off)
	}
	r, n := utf8.DecodeRune(e.src[off:])
	if r == utf8.RuneError && n == 1 {
		return fmt.Sprintf("not JSON: unexpected byte 0x%02x at byte %d", e.src[off], off)
	}
	return fmt.Sprintf("not JSON: unexpected %q at byte %d", r, off)
}

// valueRule is the text for a failure that shows the value.
func (e *Encoder) valueRule(f *failure) string {
	n := f.node
	switch f.code {
	case failType:
		if n.op == opUnion || n.op == opNullable {
			return "is not one of " + e.prog.unions[n.sub].text
		}
		if n.op == opEnum {
			return "is not one of " + strings.Join(e.prog.enums[n.sub].list, ", ")
		}
		return "is not " + n.what
	case failRange:
		return n.rangeRule(e.src[f.off:])
	case failFraction:
		return "is not an integer"
	case failSymbol:
		return "is not one of " + strings.Join(e.prog.enums[n.sub].list, ", ")
	case failUnion:
		return "fits no branch of " + e.prog.unions[n.sub].text
	case failFormat:
		return "is not " + n.what
	case failCodePoint:
		return "has a code point over 255, which is no byte"
	case failBase64:
		return "is not base64"
	case failHex:
		return "is not hexadecimal"
	case failSize:
		return fmt.Sprintf("has %d bytes, not %d", f.aux, n.size)
	case failScale:
		return fmt.Sprintf("has more than %d digits after the point", e.prog.decimals[n.sub].scale)
	case failPrecision:
		d := &e.prog.decimals[n.sub]
		return fmt.Sprintf("has more than %d digits (%d after the point)", d.precision, d.scale)
	case failPattern:
		return "does not match pattern " + n.rule.pattern.text
	case failShort:
		return "is shorter than minLength " + strconv.Itoa(n.rule.minLen)
	default: // failLong
		return "is longer than maxLength " + strconv.Itoa(n.rule.maxLen)
	}
}

// level is an object or array around a position.
type level struct {
	object bool
	key    []byte // as it stands in the text, without quotes
	index  int
}

// pathTo names the place off of src. What is before off has been read, so it is
// JSON and brackets match.
func pathTo(src []byte, off int) string {
	var levels []level
	wantKey := false
	for p := 0; p < off && p < len(src); p++ {
		top := len(levels) - 1
		switch src[p] {
		case '{', '[':
			wantKey = src[p] == '{'
			levels = append(levels, level{object: wantKey})
		case '}', ']':
			levels = levels[:max(top, 0)]
			wantKey = false
		case ',':
			if top >= 0 {
				levels[top].index++
				levels[top].key = nil
				wantKey = levels[top].object
			}
		case '"':
			end := endOfString(src, p)
			if wantKey && end <= off {
				levels[top].key = src[p+1 : end-1]
				wantKey = false
			}
			p = end - 1
		}
	}
	path := "$"
	for _, l := range levels {
		switch {
		case !l.object:
			path += "[" + strconv.Itoa(l.index) + "]"
		case l.key != nil:
			path = joinKey(path, unquote(l.key))
		}
	}
	if path != "$" {
		path = strings.TrimPrefix(strings.TrimPrefix(path, "$"), ".")
	}
	return path
}

// endOfString returns the position behind the string that begins at p, or one
// over the end of src if it is not closed.
func endOfString(src []byte, p int) int {
	for p++; p < len(src); p++ {
		switch src[p] {
		case '\\':
			p++
		case '"':
			return p + 1
		}
	}
	return len(src) + 1
}

// keyAt is the key whose quote is at off.
func keyAt(src []byte, off int) string {
	return unquote(src[off+1 : endOfString(src, off)-1])
}

// unquote is the content of a JSON string known to be sound.
func unquote(s []byte) string {
	var e Encoder
	e.src = append(append([]byte{'"'}, s...), '"')
	text, _ := e.readString(0)
	return string(text)
}

func joinKey(path, key string) string {
	if !identifier(key) {
		return strings.TrimPrefix(path, "$") + "[" + strconv.Quote(key) + "]"
	}
	if path == "$" {
		return key
	}
	return path + "." + key
}

func identifier(s string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// cutValue is the text of the value src begins with, cut to maxValue code points.
func cutValue(src []byte) string {
	s := strings.ToValidUTF8(string(src[:min(valueEnd(src), len(src))]), "\uFFFD")
	runes := 0
	for i := range s {
		if runes++; runes > maxValue {
			return s[:i] + "…"
		}
	}
	return s
}

// valueEnd is where the value src begins with ends.
func valueEnd(src []byte) int {
	depth := 0
	for p := 0; p < len(src); p++ {
		switch src[p] {
		case '"':
			if p = endOfString(src, p) - 1; depth == 0 {
				return p + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth <= 1 {
				return p + depth // behind the bracket, or before one that is not ours
			}
			depth--
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return p
			}
		}
	}
	return len(src)
}
