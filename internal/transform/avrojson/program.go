package avrojson

// op says what a node does. Dispatch is one dense switch, a jump table.
type op uint8

const (
	opNull op = iota
	opBoolean
	opInteger // int and long; node.lo and hi are the range
	opFloat
	opDouble
	opString
	opBytes
	opFixed
	opEnum
	opArray
	opMap
	opRecord
	opNullable // a union of null and one other type
	opUnion
	opDecimal
	opUUID
	opUUIDFixed
	opDate
	opTime
	opTimestamp
	opLocalTimestamp
	opDuration
)

// shape is a set of the kinds of JSON value a node can accept.
type shape uint8

const (
	shapeNull shape = 1 << iota
	shapeBoolean
	shapeNumber
	shapeString
	shapeArray
	shapeObject
)

// shapes maps the first byte of a value to its kind; 0: no value starts so.
var shapes = [256]shape{
	'n': shapeNull, 't': shapeBoolean, 'f': shapeBoolean, '"': shapeString, '[': shapeArray, '{': shapeObject,
	'-': shapeNumber, '0': shapeNumber, '1': shapeNumber, '2': shapeNumber, '3': shapeNumber, '4': shapeNumber,
	'5': shapeNumber, '6': shapeNumber, '7': shapeNumber, '8': shapeNumber, '9': shapeNumber,
}

// textForm is how bytes are written in a JSON string.
type textForm uint8

const (
	formCodePoints textForm = iota
	formBase64
	formHex
)

// node is one type of the schema at one place (constraints differ by place).
type node struct {
	op     op
	accept shape
	form   textForm
	checks bool  // rule has a pattern or a length
	sub    int32 // items or values: index of a node; else of a record, enum, union or decimal
	size   int32 // fixed: bytes; decimal: bytes of the fixed, -1 for bytes
	unit   int64 // times: units per second
	lo, hi int64 // integers: the range accepted, constraints included
	flo    float64
	fhi    float64 // float and double: likewise
	rule   *rule   // constraints, for checks and for messages; nil: none
	name   string  // type name as a union wrapper has it
	what   string  // for messages: "an int"
}

// Program is a compiled schema. It is immutable and safe for concurrent use.
type Program struct {
	root     int32
	nodes    []node
	records  []record
	enums    []names
	unions   []union
	decimals []decimal
	succs    int // length of Encoder.succ
}

type record struct {
	name   string
	fields []field
	index  names
	succ   int // where its part of Encoder.succ begins
}

type field struct {
	key  string // name and the closing quote, as it stands in the text
	node int32
	def  []byte // encoded default; meaningful if opt
	opt  bool
}

type union struct {
	branches []int32
	null     int32 // opNullable: index of the null branch
	text     string
}

// names finds a name's index. Linear probing, at most half full.
type names struct {
	list  []string
	slots []int32 // index + 1
	mask  uint32
}

func newNames(list []string) names {
	size := 4
	for size < 2*len(list) {
		size *= 2
	}
	t := names{list: list, slots: make([]int32, size), mask: uint32(size - 1)}
	for i, name := range list {
		h := hashName([]byte(name)) & t.mask
		for t.slots[h] != 0 {
			h = (h + 1) & t.mask
		}
		t.slots[h] = int32(i + 1)
	}
	return t
}

// find returns the index of key or -1.
func (t *names) find(key []byte) int {
	for h := hashName(key) & t.mask; ; h = (h + 1) & t.mask {
		i := t.slots[h]
		if i == 0 {
			return -1
		}
		if t.list[i-1] == string(key) {
			return int(i - 1)
		}
	}
}

// hashName mixes the length and up to 16 bytes from both ends; names that
// differ only between them share a slot and are told apart by comparing.
func hashName(k []byte) uint32 {
	n := len(k)
	var a, b uint64
	switch {
	case n >= 8:
		a, b = load64(k, 0), load64(k, n-8)
	case n >= 4:
		a, b = load32(k, 0), load32(k, n-4)
	case n > 0:
		a = uint64(k[0]) | uint64(k[n/2])<<8 | uint64(k[n-1])<<16
	}
	h := (a ^ b<<29 ^ b>>35 ^ uint64(n)) * 0x9E3779B97F4A7C15
	return uint32(h >> 40)
}

// NewEncoder returns an Encoder of p. It holds scratch memory: one per
// goroutine, kept and used again.
func (p *Program) NewEncoder() *Encoder {
	e := &Encoder{prog: p, nodes: p.nodes, succ: make([]uint16, p.succs)}
	for i := range p.records {
		r := &p.records[i]
		for f := range r.fields {
			e.succ[r.succ+f] = uint16(f)
		}
	}
	return e
}
