package avrojson

import (
	"math"
	"math/big"
	"strings"
)

// Compile reads an Avro schema (one JSON text, named types defined before their
// first use) and makes the Program that encodes JSON with it. Errors name the
// place in the schema and what to change.
func Compile(schema string) (*Program, error) {
	t, err := readSchema(schema)
	if err != nil {
		return nil, err
	}
	c := &compiler{p: &Program{}, nodes: map[*typ]int32{}, defaults: defaults{}}
	if c.p.root, err = c.node(t, t.place()); err != nil {
		return nil, err
	}
	return c.p, nil
}

func (t *typ) place() string {
	if t.kind == "record" {
		return t.name
	}
	return "$"
}

type compiler struct {
	p        *Program
	nodes    map[*typ]int32 // done, or being done: records may be recursive
	defaults defaults
}

// node emits t and returns its index.
func (c *compiler) node(t *typ, path string) (int32, error) {
	if i, ok := c.nodes[t]; ok {
		return i, nil
	}
	i := int32(len(c.p.nodes))
	c.nodes[t] = i
	c.p.nodes = append(c.p.nodes, node{name: t.name, rule: t.attrs.rule()})
	n := node{name: t.name, rule: t.attrs.rule(), what: "a " + t.name}
	n.checks = n.rule != nil && (n.rule.pattern != nil || n.rule.minLen >= 0 || n.rule.maxLen >= 0)
	var err error
	switch t.kind {
	case "array", "map":
		err = c.container(&n, t, path)
	case "record":
		err = c.record(&n, t)
	case "union":
		err = c.union(&n, t, path)
	default:
		err = c.scalar(&n, t, path)
	}
	c.p.nodes[i] = n
	return i, err
}

func (a *attrs) rule() *rule {
	if len(a.names) == 0 {
		return nil
	}
	return &rule{bounds: a.bounds, pattern: a.pattern, minLen: a.minLen, maxLen: a.maxLen}
}

func (c *compiler) container(n *node, t *typ, path string) error {
	n.op, n.accept, n.what = opArray, shapeArray, "an array"
	mark := "[]"
	if t.kind == "map" {
		n.op, n.accept, n.what = opMap, shapeObject, "a map (a JSON object)"
		mark = "{}"
	}
	var err error
	n.sub, err = c.node(t.items, path+mark)
	return err
}

func (c *compiler) record(n *node, t *typ) error {
	n.op, n.accept, n.what = opRecord, shapeObject, "a "+t.name+" (a JSON object)"
	n.sub = int32(len(c.p.records))
	rec := record{name: t.name, succ: c.p.succs, fields: make([]field, len(t.fields))}
	if len(t.fields) >= math.MaxUint16 {
		return schemaError(t.name, "a record of %d fields; split it into records of fewer than 65535", len(t.fields))
	}
	c.p.succs += len(t.fields) + 1
	list := make([]string, len(t.fields))
	for i := range t.fields {
		list[i] = t.fields[i].name
	}
	rec.index = newNames(list)
	c.p.records = append(c.p.records, rec) // fields is shared with what follows
	for i := range t.fields {
		f := &t.fields[i]
		sub, err := c.node(f.typ, f.path)
		if err != nil {
			return err
		}
		def, err := c.defaults.of(f)
		if err != nil {
			return err
		}
		rec.fields[i] = field{key: f.name + `"`, node: sub, def: def, opt: f.hasDef}
	}
	return nil
}

func (c *compiler) union(n *node, t *typ, path string) error {
	u := union{text: t.text()}
	null := -1
	for i, b := range t.branches {
		sub, err := c.node(b, path)
		if err != nil {
			return err
		}
		u.branches = append(u.branches, sub)
		n.accept |= c.p.nodes[sub].accept
		switch b.kind {
		case "null":
			null = i
		case "record":
			n.accept |= shapeObject // it may be in the making
		}
	}
	n.op = opUnion
	if null >= 0 && len(t.branches) == 2 {
		n.op, u.null = opNullable, int32(null)
	}
	if null < 0 || len(t.branches) > 1 {
		n.accept |= shapeObject // a wrapper
	}
	n.sub = int32(len(c.p.unions))
	c.p.unions = append(c.p.unions, u)
	return nil
}

// scalar emits everything that holds no other type.
func (c *compiler) scalar(n *node, t *typ, path string) error {
	switch t.kind {
	case "null":
		n.op, n.accept, n.what = opNull, shapeNull, "null"
	case "boolean":
		n.op, n.accept = opBoolean, shapeBoolean
	case "int", "long":
		return c.integer(n, t, path)
	case "float", "double":
		n.op, n.accept = opDouble, shapeNumber
		if t.kind == "float" {
			n.op = opFloat
		}
		if n.flo, n.fhi = floatRange(t.attrs.bounds, t.kind == "float"); n.flo > n.fhi {
			return t.unsatisfiable(path)
		}
	case "enum":
		n.op, n.accept = opEnum, shapeString
		n.sub = int32(len(c.p.enums))
		c.p.enums = append(c.p.enums, newNames(t.symbols))
	case "string":
		n.op, n.accept = opString, shapeString
		if t.logical == "uuid" {
			n.op, n.what = opUUID, "a UUID (8-4-4-4-12 hexadecimal digits)"
		}
	default:
		return c.binary(n, t, path)
	}
	return nil
}

func (t *typ) unsatisfiable(path string) error {
	return schemaError(path, "no %s meets %v; widen them", t.text(), t.attrs.names)
}

// binary emits bytes and fixed and what stands on them.
func (c *compiler) binary(n *node, t *typ, path string) error {
	n.op, n.accept, n.size = opBytes, shapeString, -1
	if t.kind == "fixed" {
		n.op, n.size = opFixed, int32(t.size)
	}
	switch t.attrs.encoding {
	case "base64":
		n.form = formBase64
	case "hex":
		n.form = formHex
	}
	switch t.logical {
	case "uuid":
		n.op, n.what = opUUIDFixed, "a UUID (8-4-4-4-12 hexadecimal digits)"
	case "duration":
		n.op, n.what = opDuration, "an ISO 8601 duration (as P1Y2M3DT4H5M6.789S)"
	case "decimal":
		n.op, n.accept, n.what = opDecimal, shapeString|shapeNumber, "a decimal number"
		d := decimal{precision: t.precision, scale: t.scale}
		lo, hi := integerRange(t.attrs.bounds, nil, nil, t.scale)
		if !satisfiable(lo, hi, largest(t.precision)) {
			return t.unsatisfiable(path)
		}
		d.lo, d.hi = newUnscaled(lo), newUnscaled(hi)
		n.sub = int32(len(c.p.decimals))
		c.p.decimals = append(c.p.decimals, d)
	}
	return nil
}

// satisfiable reports that an integer from -limit to limit is from lo to hi.
func satisfiable(lo, hi, limit *big.Int) bool {
	return maxInt(lo, new(big.Int).Neg(limit)).Cmp(minInt(hi, limit)) <= 0
}

func newUnscaled(v *big.Int) *unscaled {
	if v == nil {
		return nil
	}
	u := &unscaled{neg: v.Sign() < 0}
	for rest := new(big.Int).Abs(v); rest.Sign() > 0; rest.Rsh(rest, 64) {
		u.limbs = append(u.limbs, new(big.Int).And(rest, new(big.Int).SetUint64(math.MaxUint64)).Uint64())
	}
	return u
}

// integer emits int, long and the logical types on them.
func (c *compiler) integer(n *node, t *typ, path string) error {
	n.op, n.accept = opInteger, shapeNumber
	lo, hi := big.NewInt(math.MinInt64), big.NewInt(math.MaxInt64)
	if t.kind == "int" {
		n.what = "an int"
		lo, hi = big.NewInt(math.MinInt32), big.NewInt(math.MaxInt32)
	}
	if t.logical != "" {
		n.accept |= shapeString
	}
	switch t.logical {
	case "date":
		n.op, n.what = opDate, "a date (YYYY-MM-DD or days since 1970)"
	case "time-millis", "time-micros":
		n.op, n.what = opTime, "a time of day (HH:MM:SS.fff or an integer)"
	case "timestamp-millis", "timestamp-micros", "timestamp-nanos":
		n.op, n.what = opTimestamp, "a timestamp (RFC 3339 with an offset, or an integer)"
	case "local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos":
		n.op, n.what = opLocalTimestamp, "a local timestamp (YYYY-MM-DDTHH:MM:SS.fff without an offset, or an integer)"
	}
	n.unit = unitOf(t.logical)
	if n.op == opTime {
		lo, hi = big.NewInt(0), big.NewInt(86400*n.unit-1)
	}
	if lo, hi = integerRange(t.attrs.bounds, lo, hi, 0); lo.Cmp(hi) > 0 {
		return t.unsatisfiable(path)
	}
	n.lo, n.hi = lo.Int64(), hi.Int64()
	return nil
}

// unitOf is how many units of a logical time are in a second.
func unitOf(logical string) int64 {
	switch {
	case strings.HasSuffix(logical, "-millis"):
		return 1e3
	case strings.HasSuffix(logical, "-micros"):
		return 1e6
	case strings.HasSuffix(logical, "-nanos"):
		return 1e9
	}
	return 1
}
