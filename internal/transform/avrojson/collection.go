package avrojson

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
)

// array encodes one block. Its count is known at the end: one byte is kept free
// for it, and the elements make room if they are more than 63.
func (e *Encoder) array(dst []byte, p int, n *node) ([]byte, int) {
	if e.depth++; e.depth > maxDepth {
		return e.fail(dst, failDepth, p, p, n)
	}
	start, head, count := p, len(dst), 0
	items := &e.nodes[n.sub]
	dst = append(dst, 0)
	p = skipSpace(e.src, p+1)
	for more := p >= len(e.src) || e.src[p] != ']'; more; count++ {
		if dst, p = e.value(dst, p, items); p < 0 {
			return dst, -1
		}
		if p, more = e.separator(p, ']'); p < 0 {
			return dst, -1
		}
	}
	e.depth--
	if n.checks {
		if code := n.rule.checkCount(count); code != 0 {
			return e.fail(dst, code, start, p, n)
		}
	}
	return closeBlock(dst, head, count), p + 1
}

// closeBlock writes the count of the block that began at head and its end.
func closeBlock(dst []byte, head, count int) []byte {
	if count == 0 {
		return dst // the byte kept free is the end
	}
	u := uint64(count) << 1
	if u < 0x80 {
		dst[head] = byte(u)
		return append(dst, 0)
	}
	extra := 0
	for v := u >> 7; v != 0; v >>= 7 {
		dst = append(dst, 0)
		extra++
	}
	copy(dst[head+1+extra:], dst[head+1:len(dst)-extra])
	appendVarint(dst[:head], u)
	return append(dst, 0)
}

// mapKey is a key of a map being read: where it lies in dst and in the text.
type mapKey struct {
	hash    uint64
	at, len int
	off     int
}

// keySeed makes collisions of keys nobody's choice.
var keySeed = maphash.MakeSeed()

func (e *Encoder) mapping(dst []byte, p int, n *node) ([]byte, int) {
	if e.depth++; e.depth > maxDepth {
		return e.fail(dst, failDepth, p, p, n)
	}
	start, head, base := p, len(dst), len(e.keys)
	values := &e.nodes[n.sub]
	dst = append(dst, 0)
	p = skipSpace(e.src, p+1)
	for more := p >= len(e.src) || e.src[p] != '}'; more; {
		if p >= len(e.src) || e.src[p] != '"' {
			return e.syntax(dst, p)
		}
		s, q := e.readString(p)
		if q < 0 {
			return dst, -1
		}
		dst = appendLong(dst, int64(len(s)))
		e.keys = append(e.keys, mapKey{maphash.Bytes(keySeed, s), len(dst), len(s), p})
		dst = append(dst, s...)
		if p = e.colon(q); p < 0 {
			return dst, -1
		}
		if dst, p = e.value(dst, p, values); p < 0 {
			return dst, -1
		}
		if p, more = e.separator(p, '}'); p < 0 {
			return dst, -1
		}
	}
	e.depth--
	keys := e.keys[base:]
	e.keys = e.keys[:base]
	if off := twice(dst, keys); off >= 0 {
		return e.fail(dst, failTwice, off, p, n)
	}
	if n.checks {
		if code := n.rule.checkCount(len(keys)); code != 0 {
			return e.fail(dst, code, start, p, n)
		}
	}
	return closeBlock(dst, head, len(keys)), p + 1
}

// twice returns the offset in the text of a key that was given before, or -1.
func twice(dst []byte, keys []mapKey) int {
	if len(keys) > 12 {
		return twiceSorted(dst, keys)
	}
	for i := 1; i < len(keys); i++ {
		for j := range i {
			if keys[i].hash == keys[j].hash && sameKey(dst, keys[i], keys[j]) {
				return keys[i].off
			}
		}
	}
	return -1
}

func twiceSorted(dst []byte, keys []mapKey) int {
	slices.SortFunc(keys, func(a, b mapKey) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		if c := bytes.Compare(dst[a.at:a.at+a.len], dst[b.at:b.at+b.len]); c != 0 {
			return c
		}
		return cmp.Compare(a.off, b.off)
	})
	first := -1
	for i := 1; i < len(keys); i++ {
		if keys[i].hash == keys[i-1].hash && sameKey(dst, keys[i], keys[i-1]) && (first < 0 || keys[i].off < first) {
			first = keys[i].off
		}
	}
	return first
}

func sameKey(dst []byte, a, b mapKey) bool {
	return string(dst[a.at:a.at+a.len]) == string(dst[b.at:b.at+b.len])
}
