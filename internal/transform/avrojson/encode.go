package avrojson

import (
	"math"
)

const (
	// maxDepth bounds the levels of objects and arrays in a document.
	maxDepth = 512
	// workFactor times the document is what failed union branches may read.
	workFactor = 64
	// maxScratch is what an Encoder keeps of its buffers between documents.
	maxScratch = 1 << 20
)

// Encoder encodes documents of one Program. It is not safe for concurrent use.
//
// Every function of the hot path takes dst and a position in src and returns
// both advanced; a position below zero says that it failed and e.failed says
// how. Errors become text only when they leave, because a union tries branches
// that fail as a matter of course.
type Encoder struct {
	prog  *Program
	nodes []node
	src   []byte // the document; nil between documents
	depth int
	work  int // bytes failed branches may still read

	// succ predicts keys: at record.succ+0 the field that came first last time,
	// at +1+f the one that followed field f. Producers repeat themselves, and
	// jsonb has an order of its own.
	succ []uint16

	text  []byte   // unescaped string; valid until the next one
	spans []span   // stack: fields of the records that are out of order
	perm  []byte   // such a record's bytes while they are put in order
	keys  []mapKey // stack: keys of the maps being read
	limbs []uint64 // of a decimal, least significant first

	failed failure
}

// Append encodes the document json and appends the Avro body to dst. On an
// error, always an *Error, it returns dst as it was. Neither slice is kept; json
// is only read.
func (e *Encoder) Append(dst, json []byte) ([]byte, error) {
	e.src, e.depth, e.work = json, 0, workFactor*len(json)+4096
	e.spans, e.keys = e.spans[:0], e.keys[:0]
	out, p := e.value(dst, skipSpace(json, 0), &e.nodes[e.prog.root])
	if p >= 0 {
		if p = skipSpace(json, p); p != len(json) {
			_, p = e.syntax(out, p)
		}
	}
	if p < 0 {
		err := e.explain()
		e.release()
		return dst, err
	}
	e.release()
	return out, nil
}

// release lets go of the document and of scratch that one large document made.
func (e *Encoder) release() {
	e.src = nil
	if cap(e.text) > maxScratch {
		e.text = nil
	}
	if cap(e.perm) > maxScratch {
		e.perm = nil
	}
	if cap(e.keys) > maxScratch/32 {
		e.keys = nil
	}
	if cap(e.spans) > maxScratch/16 {
		e.spans = nil
	}
}

// value encodes the value that starts at p with n.
func (e *Encoder) value(dst []byte, p int, n *node) ([]byte, int) {
	if uint(p) >= uint(len(e.src)) {
		return e.syntax(dst, p)
	}
	if n.accept&shapes[e.src[p]] == 0 {
		return e.mismatch(dst, p, n)
	}
	switch n.op {
	case opNull:
		return dst, e.literal(p, "null")
	case opBoolean:
		return e.boolean(dst, p)
	case opInteger:
		return e.integer(dst, p, n)
	case opFloat:
		return e.float(dst, p, n)
	case opDouble:
		return e.double(dst, p, n)
	case opString:
		return e.string(dst, p, n)
	case opBytes:
		return e.bytes(dst, p, n)
	case opFixed:
		return e.fixed(dst, p, n)
	case opEnum:
		return e.enum(dst, p, n)
	case opArray:
		return e.array(dst, p, n)
	case opMap:
		return e.mapping(dst, p, n)
	case opRecord:
		return e.record(dst, p, n)
	case opNullable:
		return e.nullable(dst, p, n)
	case opUnion:
		return e.union(dst, p, n)
	case opDecimal:
		return e.decimal(dst, p, n)
	case opUUID, opUUIDFixed:
		return e.uuid(dst, p, n)
	case opDuration:
		return e.duration(dst, p, n)
	default: // opDate, opTime, opTimestamp, opLocalTimestamp
		return e.time(dst, p, n)
	}
}

func (e *Encoder) boolean(dst []byte, p int) ([]byte, int) {
	if e.src[p] == 't' {
		return append(dst, 1), e.literal(p, "true")
	}
	return append(dst, 0), e.literal(p, "false")
}

// literal returns the position behind word, which must stand at p.
func (e *Encoder) literal(p int, word string) int {
	end := p + len(word)
	if end > len(e.src) || string(e.src[p:end]) != word {
		e.failed = failure{code: failSyntax, off: p, reach: p}
		for i := 0; i < len(word) && p+i < len(e.src) && e.src[p+i] == word[i]; i++ {
			e.failed.off++
		}
		return -1
	}
	return end
}

func (e *Encoder) string(dst []byte, p int, n *node) ([]byte, int) {
	s, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	if n.checks {
		if code := n.rule.checkText(s); code != 0 {
			return e.fail(dst, code, p, end, n)
		}
	}
	dst = appendLong(dst, int64(len(s)))
	return append(dst, s...), end
}

func (e *Encoder) enum(dst []byte, p int, n *node) ([]byte, int) {
	s, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	i := e.prog.enums[n.sub].find(s)
	if i < 0 {
		return e.fail(dst, failSymbol, p, end, n)
	}
	return appendLong(dst, int64(i)), end
}

func (e *Encoder) integer(dst []byte, p int, n *node) ([]byte, int) {
	v, end, code := readInteger(e.src, p)
	if code != 0 {
		return e.fail(dst, code, p, end, n)
	}
	if v < n.lo || v > n.hi {
		return e.fail(dst, failRange, p, end, n)
	}
	return appendLong(dst, v), end
}

func (e *Encoder) double(dst []byte, p int, n *node) ([]byte, int) {
	v, end, code := readDouble(e.src, p)
	if code != 0 {
		return e.fail(dst, code, p, end, n)
	}
	if v < n.flo || v > n.fhi {
		return e.fail(dst, failRange, p, end, n)
	}
	return append64(dst, math.Float64bits(v)), end
}

func (e *Encoder) float(dst []byte, p int, n *node) ([]byte, int) {
	v, end, code := readFloat(e.src, p)
	if code != 0 {
		return e.fail(dst, code, p, end, n)
	}
	if float64(v) < n.flo || float64(v) > n.fhi {
		return e.fail(dst, failRange, p, end, n)
	}
	b := math.Float32bits(v)
	return append(dst, byte(b), byte(b>>8), byte(b>>16), byte(b>>24)), end
}

func append64(dst []byte, b uint64) []byte {
	return append(dst, byte(b), byte(b>>8), byte(b>>16), byte(b>>24), byte(b>>32), byte(b>>40), byte(b>>48), byte(b>>56))
}

// appendLong appends v as Avro's int and long: zigzag, then base 128.
func appendLong(dst []byte, v int64) []byte {
	u := uint64(v)<<1 ^ uint64(v>>63)
	if u < 0x80 {
		return append(dst, byte(u))
	}
	return appendVarint(dst, u)
}

func appendVarint(dst []byte, u uint64) []byte {
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}
