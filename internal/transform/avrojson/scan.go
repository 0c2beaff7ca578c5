package avrojson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }
func load32(b []byte, i int) uint64 { return uint64(binary.LittleEndian.Uint32(b[i:])) }

// skipSpace returns the position of the first byte from p on that is no JSON
// white space.
func skipSpace(src []byte, p int) int {
	for p < len(src) {
		if c := src[p]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			break
		}
		p++
	}
	return p
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scanPlain returns the position of the first byte from p on that ends a plain
// run of a string: a quote, a backslash or a control character, or len(src).
// high has a bit set if a byte before it is not ASCII.
func scanPlain(src []byte, p int) (end int, high uint64) {
	for p+8 <= len(src) {
		x := load64(src, p)
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// A borrow makes false hits only above a true one of the same kind, so
		// the lowest hit is right.
		hit := ((quote-ones)&^quote | (slash-ones)&^slash | (x-ones*' ')&^x) & highs
		if hit != 0 {
			at := bits.TrailingZeros64(hit) &^ 7
			return p + at>>3, high | x&highs&(1<<at-1)
		}
		high |= x & highs
		p += 8
	}
	for p < len(src) {
		c := src[p]
		if c == '"' || c == '\\' || c < ' ' {
			break
		}
		high |= uint64(c & 0x80)
		p++
	}
	return p, high
}

// readString reads the string whose opening quote is at p. The result lies in
// src or in e.text and is valid until the next call. The position is behind the
// closing quote.
func (e *Encoder) readString(p int) ([]byte, int) {
	p++
	end, high := scanPlain(e.src, p)
	if end < len(e.src) && e.src[end] == '"' {
		s := e.src[p:end]
		if high != 0 && !utf8.Valid(s) {
			return nil, e.notUTF8(p)
		}
		return s, end + 1
	}
	return e.readEscaped(p, end, high)
}

// readEscaped goes on at end, which is no closing quote.
func (e *Encoder) readEscaped(start, end int, high uint64) ([]byte, int) {
	src := e.src
	e.text = e.text[:0]
	from := start
	for {
		e.text = append(e.text, src[from:end]...)
		switch {
		case end >= len(src) || src[end] < ' ':
			_, end = e.syntax(nil, end)
			return nil, end
		case src[end] == '"':
			if high != 0 && !utf8.Valid(e.text) {
				return nil, e.notUTF8(start)
			}
			return e.text, end + 1
		}
		if from = e.unescape(end); from < 0 {
			return nil, -1
		}
		var h uint64
		end, h = scanPlain(src, from)
		high |= h
	}
}

// unescape appends what the escape at p stands for to e.text and returns the
// position behind it.
func (e *Encoder) unescape(p int) int {
	src := e.src
	if p+1 >= len(src) {
		_, p = e.syntax(nil, len(src))
		return p
	}
	switch c := src[p+1]; c {
	case '"', '\\', '/':
		e.text = append(e.text, c)
	case 'b':
		e.text = append(e.text, '\b')
	case 'f':
		e.text = append(e.text, '\f')
	case 'n':
		e.text = append(e.text, '\n')
	case 'r':
		e.text = append(e.text, '\r')
	case 't':
		e.text = append(e.text, '\t')
	case 'u':
		return e.unescapeUnicode(p)
	default:
		_, p = e.syntax(nil, p+1)
		return p
	}
	return p + 2
}

func (e *Encoder) unescapeUnicode(p int) int {
	r := hex4(e.src, p+2)
	if r < 0 {
		e.failed = failure{code: failEscape, off: p, reach: p}
		return -1
	}
	end := p + 6
	if utf16.IsSurrogate(r) {
		low := rune(-1)
		if end+1 < len(e.src) && e.src[end] == '\\' && e.src[end+1] == 'u' {
			low = hex4(e.src, end+2)
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			e.failed = failure{code: failSurrogate, off: p, reach: p}
			return -1
		}
		end += 6
	}
	e.text = utf8.AppendRune(e.text, r)
	return end
}

// hex4 reads four hexadecimal digits at p, or returns -1.
func hex4(src []byte, p int) rune {
	if p+4 > len(src) {
		return -1
	}
	var r rune
	for _, c := range src[p : p+4] {
		d := hexDigit[c]
		if d < 0 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}

// hexDigit is the value of a hexadecimal digit, -1 for any other byte.
var hexDigit = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range 10 {
		t['0'+i] = int8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = int8(10+i), int8(10+i)
	}
	return t
}()

// notUTF8 fails at the first byte from p on that is not UTF-8.
func (e *Encoder) notUTF8(p int) int {
	for p < len(e.src) {
		r, n := utf8.DecodeRune(e.src[p:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		p += n
	}
	e.failed = failure{code: failUTF8, off: p, reach: p}
	return -1
}
