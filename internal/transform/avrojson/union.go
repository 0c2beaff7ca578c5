package avrojson

// nullable encodes a union of null and one other type.
func (e *Encoder) nullable(dst []byte, p int, n *node) ([]byte, int) {
	u := &e.prog.unions[n.sub]
	if e.src[p] == 'n' {
		return append(dst, byte(u.null<<1)), e.literal(p, "null")
	}
	head := len(dst)
	m := e.mark()
	dst, q := e.value(append(dst, byte((1-u.null)<<1)), p, &e.nodes[u.branches[1-u.null]])
	if q >= 0 {
		return dst, q
	}
	if e.failed.code == failType && e.failed.off == p {
		e.failed.node = n
	}
	if e.src[p] != '{' || e.failed.final() {
		return dst, -1
	}
	return e.wrapped(dst[:head], p, u, m)
}

// union encodes a union: the first branch that accepts the value, else the
// branch a wrapper names. Of the failures the one that reached farthest is kept.
func (e *Encoder) union(dst []byte, p int, n *node) ([]byte, int) {
	u := &e.prog.unions[n.sub]
	kind := shapes[e.src[p]]
	head, m := len(dst), e.mark()
	tried := 0
	var nearest failure
	for i, b := range u.branches {
		branch := &e.nodes[b]
		if branch.accept&kind == 0 {
			continue
		}
		out, q := e.value(appendLong(dst[:head], int64(i)), p, branch)
		if q >= 0 {
			return out, q
		}
		if dst = out; e.failed.final() {
			return dst, -1
		}
		if tried++; tried == 1 || e.failed.reach > nearest.reach {
			nearest = e.failed
		}
		e.reset(m)
		e.charge(p)
	}
	switch {
	case tried == 0:
		dst, _ = e.mismatch(dst, p, n)
	case tried > 1 && nearest.off == p && nearest.code != failMissing:
		dst, _ = e.fail(dst, failUnion, p, nearest.reach, n)
	default:
		if e.failed = nearest; tried > 1 && nearest.near == nil {
			e.failed.near = u
		}
	}
	if kind != shapeObject {
		return dst, -1
	}
	return e.wrapped(dst[:head], p, u, m)
}

// wrapped encodes {"type.name": value}. If the object at p is none, e.failed
// stays as it is. Only objects can make failures multiply with the depth, and
// every object no branch accepts comes by here: so here the work is bounded.
func (e *Encoder) wrapped(dst []byte, p int, u *union, m marks) ([]byte, int) {
	plain := e.failed
	if e.reset(m); e.work < 0 {
		return e.fail(dst, failAmbiguous, p, p, nil)
	}
	q := skipSpace(e.src, p+1)
	if q >= len(e.src) || e.src[q] != '"' {
		return dst, -1
	}
	s, q := e.readString(q)
	if q < 0 {
		return dst, -1
	}
	i := e.branch(u, s)
	if i < 0 {
		return dst, -1
	}
	e.charge(p)
	if e.depth++; e.depth > maxDepth {
		return e.fail(dst, failDepth, p, p, nil)
	}
	if q = e.colon(q); q < 0 {
		return dst, -1
	}
	dst, q = e.value(appendLong(dst, int64(i)), q, &e.nodes[u.branches[i]])
	if q < 0 {
		return dst, -1
	}
	q, more := e.separator(q, '}')
	if q < 0 {
		return dst, -1
	}
	if more { // more than one member: no wrapper
		plain.reach = max(plain.reach, q)
		e.failed = plain
		return dst, -1
	}
	e.depth--
	return dst, q + 1
}

// branch returns the index of the branch other than null with the type name s.
func (e *Encoder) branch(u *union, s []byte) int {
	for i, b := range u.branches {
		if n := &e.nodes[b]; n.op != opNull && n.name == string(s) {
			return i
		}
	}
	return -1
}

// marks are the heights of the Encoder's stacks before a branch is tried.
type marks struct{ depth, spans, keys int }

func (e *Encoder) mark() marks { return marks{e.depth, len(e.spans), len(e.keys)} }

// reset undoes what a failed branch left behind.
func (e *Encoder) reset(m marks) {
	e.depth, e.spans, e.keys = m.depth, e.spans[:m.spans], e.keys[:m.keys]
}

// charge counts what a failed branch, tried at p, has read and will be read again.
func (e *Encoder) charge(p int) { e.work -= max(e.failed.reach-p, 0) + 16 }
