package avrojson

import (
	"encoding/base64"
	"slices"
	"unicode/utf8"
)

// strictBase64 refuses bits behind the end; line breaks it would skip are
// refused before.
var strictBase64 = base64.StdEncoding.Strict()

func (e *Encoder) bytes(dst []byte, p int, n *node) ([]byte, int) {
	s, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	size, code := bytesLen(s, n.form)
	if code == 0 && n.checks {
		code = n.rule.checkCount(size)
	}
	if code != 0 {
		return e.fail(dst, code, p, end, n)
	}
	return e.appendBytes(appendLong(dst, int64(size)), s, size, p, end, n)
}

func (e *Encoder) fixed(dst []byte, p int, n *node) ([]byte, int) {
	s, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	size, code := bytesLen(s, n.form)
	if code == 0 && size != int(n.size) {
		code = failSize
	}
	if code != 0 {
		dst, end = e.fail(dst, code, p, end, n)
		e.failed.aux = size
		return dst, end
	}
	return e.appendBytes(dst, s, size, p, end, n)
}

// bytesLen is the number of bytes s stands for, if it is well-formed; for base64
// and hex the letters are checked when they are decoded.
func bytesLen(s []byte, form textForm) (int, failCode) {
	switch form {
	case formBase64:
		pad := 0
		for pad < 2 && pad < len(s) && s[len(s)-1-pad] == '=' {
			pad++
		}
		if len(s)%4 != 0 || slices.Contains(s, '\n') || slices.Contains(s, '\r') {
			return 0, failBase64
		}
		return len(s)/4*3 - pad, 0
	case formHex:
		if len(s)%2 != 0 {
			return 0, failHex
		}
		return len(s) / 2, 0
	default:
		n := 0
		for i, c := range s {
			if c > 0xc3 { // begins a code point over 255
				return i, failCodePoint
			}
			if c < 0x80 || c >= 0xc0 {
				n++
			}
		}
		return n, 0
	}
}

// appendBytes appends the size bytes s stands for.
func (e *Encoder) appendBytes(dst, s []byte, size, p, end int, n *node) ([]byte, int) {
	at := len(dst)
	switch n.form {
	case formBase64:
		// Decode writes whole groups of three, over size by the padding.
		dst = slices.Grow(dst, len(s)/4*3)[:at+len(s)/4*3]
		if got, err := strictBase64.Decode(dst[at:], s); err != nil || got != size {
			return e.fail(dst, failBase64, p, end, n)
		}
		return dst[:at+size], end
	case formHex:
		dst = slices.Grow(dst, size)[:at+size]
		for i := range size {
			hi, lo := hexDigit[s[2*i]], hexDigit[s[2*i+1]]
			if hi < 0 || lo < 0 {
				return e.fail(dst, failHex, p, end, n)
			}
			dst[at+i] = byte(hi)<<4 | byte(lo)
		}
		return dst, end
	}
	if size == len(s) { // ASCII
		return append(dst, s...), end
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf { // two bytes: c is 0xc2 or 0xc3
			i++
			c = c<<6 | s[i]&0x3f
		}
		dst = append(dst, c)
	}
	return dst, end
}

// uuidGroups are where the hexadecimal digits of a UUID stand, by bytes.
var uuidGroups = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// uuid encodes a UUID on a string, kept as it is, or on fixed(16).
func (e *Encoder) uuid(dst []byte, p int, n *node) ([]byte, int) {
	s, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	var id [16]byte
	if !parseUUID(&id, s) {
		return e.fail(dst, failFormat, p, end, n)
	}
	if n.op == opUUIDFixed {
		return append(dst, id[:]...), end
	}
	if n.checks {
		if code := n.rule.checkText(s); code != 0 {
			return e.fail(dst, code, p, end, n)
		}
	}
	dst = appendLong(dst, int64(len(s)))
	return append(dst, s...), end
}

func parseUUID(id *[16]byte, s []byte) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	var bad int8
	for i, at := range uuidGroups {
		hi, lo := hexDigit[s[at]], hexDigit[s[at+1]]
		bad |= hi | lo
		id[i] = byte(hi)<<4 | byte(lo)
	}
	return bad >= 0
}
