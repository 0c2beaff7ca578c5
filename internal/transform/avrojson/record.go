package avrojson

// span is where a field's bytes lie in dst; from is one more than the offset,
// so that the zero span says "not seen".
type span struct{ from, to int }

// record encodes an object. While fields come in the order of the schema they
// go straight to their place; from the first that does not, they are encoded in
// the order of the text and put in order when the object ends, so that the text
// is read once whatever its order.
func (e *Encoder) record(dst []byte, p int, n *node) ([]byte, int) {
	rec := &e.prog.records[n.sub]
	if e.depth++; e.depth > maxDepth {
		return e.fail(dst, failDepth, p, p, n)
	}
	start := p
	succ := e.succ[rec.succ : rec.succ+len(rec.fields)+1]
	prev, next := 0, 0 // next: fields before it are in dst, in order
	base := -1         // of the spans, once out of order
	p = skipSpace(e.src, p+1)
	if p < len(e.src) && e.src[p] == '}' {
		return e.recordEnd(dst, start, p, n, 0, -1)
	}
	for {
		f, q := e.key(rec, p, int(succ[prev]))
		if q < 0 {
			return dst, -1
		}
		if f != int(succ[prev]) {
			succ[prev] = uint16(f)
		}
		prev = f + 1
		switch {
		case base < 0 && f == next:
			next++
			if dst, q = e.value(dst, q, &e.nodes[rec.fields[f].node]); q < 0 {
				return dst, -1
			}
		case f < next || base >= 0 && e.spans[base+f-next].from != 0:
			return e.fail(dst, failTwice, p, p, n)
		default:
			if base < 0 {
				base = e.pushSpans(len(rec.fields) - next)
			}
			from := len(dst)
			if dst, q = e.value(dst, q, &e.nodes[rec.fields[f].node]); q < 0 {
				return dst, -1
			}
			e.spans[base+f-next] = span{from + 1, len(dst)}
		}
		var more bool
		if p, more = e.separator(q, '}'); p < 0 {
			return dst, -1
		}
		if !more {
			return e.recordEnd(dst, start, p, n, next, base)
		}
	}
}

// key reads the key at p and the colon behind it; it returns the field's index
// and the position of the value. guess is the field expected.
func (e *Encoder) key(rec *record, p, guess int) (int, int) {
	src := e.src
	if p >= len(src) || src[p] != '"' {
		_, p = e.syntax(nil, p)
		return 0, p
	}
	f, q := guess, 0
	if guess < len(rec.fields) {
		key := rec.fields[guess].key
		if end := p + 1 + len(key); end <= len(src) && string(src[p+1:end]) == key {
			q = end
		}
	}
	if q == 0 {
		var s []byte
		if s, q = e.readString(p); q < 0 {
			return 0, -1
		}
		if f = rec.index.find(s); f < 0 {
			e.failed = failure{code: failUnknown, off: p, reach: q, rec: rec}
			return 0, -1
		}
	}
	return f, e.colon(q)
}

// colon returns the position of the value behind the colon at q.
func (e *Encoder) colon(q int) int {
	src := e.src
	if q < len(src) && src[q] <= ' ' {
		q = skipSpace(src, q)
	}
	if q >= len(src) || src[q] != ':' {
		_, q = e.syntax(nil, q)
		return q
	}
	if q++; q < len(src) && src[q] <= ' ' {
		q = skipSpace(src, q)
	}
	return q
}

// separator reads what follows a member or element at p: a comma, then it
// returns where the next begins, or end, then it returns that position.
func (e *Encoder) separator(p int, end byte) (int, bool) {
	src := e.src
	if p < len(src) && src[p] <= ' ' {
		p = skipSpace(src, p)
	}
	if p < len(src) && src[p] == ',' {
		if p++; p < len(src) && src[p] <= ' ' {
			p = skipSpace(src, p)
		}
		return p, true
	}
	if p >= len(src) || src[p] != end {
		_, p = e.syntax(nil, p)
	}
	return p, false
}

func (e *Encoder) pushSpans(n int) int {
	base := len(e.spans)
	for range n {
		e.spans = append(e.spans, span{})
	}
	return base
}

// recordEnd fills in defaults and puts the fields from next on in order. p is
// at the closing brace.
func (e *Encoder) recordEnd(dst []byte, start, p int, n *node, next, base int) ([]byte, int) {
	rec := &e.prog.records[n.sub]
	e.depth--
	if next == len(rec.fields) {
		return dst, p + 1
	}
	if base < 0 {
		for i := next; i < len(rec.fields); i++ {
			f := &rec.fields[i]
			if !f.opt {
				return e.missing(dst, start, p, n, i)
			}
			dst = append(dst, f.def...)
		}
		return dst, p + 1
	}
	spans := e.spans[base:]
	first := len(dst) // of the bytes to be put in order
	for _, s := range spans {
		if s.from != 0 {
			first = min(first, s.from-1)
		}
	}
	e.perm = append(e.perm[:0], dst[first:]...)
	dst = dst[:first]
	for i := range spans {
		f := &rec.fields[next+i]
		switch s := spans[i]; {
		case s.from != 0:
			dst = append(dst, e.perm[s.from-1-first:s.to-first]...)
		case f.opt:
			dst = append(dst, f.def...)
		default:
			return e.missing(dst, start, p, n, next+i)
		}
	}
	e.spans = e.spans[:base]
	return dst, p + 1
}

func (e *Encoder) missing(dst []byte, start, p int, n *node, i int) ([]byte, int) {
	dst, p = e.fail(dst, failMissing, start, p, n)
	e.failed.aux = i
	return dst, p
}
