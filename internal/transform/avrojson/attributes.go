package avrojson

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

// attrs are the constraint attributes and the encoding that stand on a field or
// on a type object.
type attrs struct {
	bounds   []bound
	pattern  *pattern
	minLen   int // -1: none
	maxLen   int
	encoding string
	names    []string // those given, in a fixed order
}

var boundNames = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}

// maxDigits bounds exponents of numbers in a schema that are made exact.
const maxDigits = 5000

func readAttrs(m map[string]any, path string) (attrs, error) {
	a := attrs{minLen: -1, maxLen: -1}
	for _, name := range boundNames {
		raw, ok := m[name]
		if !ok {
			continue
		}
		num, ok := raw.(json.Number)
		n, _, _ := readNumber([]byte(num), 0)
		if !ok || n.exp > maxDigits || n.exp < -maxDigits {
			return a, schemaError(path, "%s is %s; write a number", name, compact(raw))
		}
		v, _ := new(big.Rat).SetString(string(num))
		a.bounds = append(a.bounds, bound{name, string(num), v})
		a.names = append(a.names, name)
	}
	if raw, ok := m["pattern"]; ok {
		text, ok := raw.(string)
		if !ok {
			return a, schemaError(path, "pattern is %s; write a regular expression as a string", compact(raw))
		}
		p, err := newPattern(text)
		if err != nil {
			return a, schemaError(path, "pattern %q: %w; write it in RE2 syntax", text, err)
		}
		a.pattern = p
		a.names = append(a.names, "pattern")
	}
	for i, to := range []*int{&a.minLen, &a.maxLen} {
		name := []string{"minLength", "maxLength"}[i]
		raw, ok := m[name]
		if !ok {
			continue
		}
		if *to, ok = count(raw, 1<<31-1); !ok {
			return a, schemaError(path, "%s is %s; write a whole number, 0 or more", name, compact(raw))
		}
		a.names = append(a.names, name)
	}
	if a.minLen >= 0 && a.maxLen >= 0 && a.minLen > a.maxLen {
		return a, schemaError(path, "minLength %d is over maxLength %d; no value has both", a.minLen, a.maxLen)
	}
	return a, a.readEncoding(m, path)
}

func (a *attrs) readEncoding(m map[string]any, path string) error {
	raw, ok := m["encoding"]
	if !ok {
		return nil
	}
	text, _ := raw.(string)
	if text != "base64" && text != "hex" {
		return schemaError(path, `encoding is %s; write "base64" or "hex", or leave it out for code points`, compact(raw))
	}
	a.encoding = text
	a.names = append(a.names, "encoding")
	return nil
}

// fits reports that the attribute makes sense for t.
func (t *typ) fits(name string) bool {
	switch name {
	case "pattern":
		return t.kind == "string"
	case "minLength", "maxLength":
		return t.kind == "string" || t.kind == "bytes" && t.logical == "" || t.kind == "array" || t.kind == "map"
	case "encoding":
		return (t.kind == "bytes" || t.kind == "fixed") && t.logical == ""
	default:
		return slices.Contains([]kind{"int", "long", "float", "double"}, t.kind) || t.logical == "decimal"
	}
}

// with returns t with attributes more; for a union each goes to the branches it
// fits.
func (t *typ) with(a attrs, path string) (*typ, error) {
	if len(a.names) == 0 {
		return t, nil
	}
	if t.kind != "union" {
		return t.withAll(a, path)
	}
	for _, name := range a.names {
		if !slices.ContainsFunc(t.branches, func(b *typ) bool { return b.fits(name) }) {
			return nil, schemaError(path, "%s makes no sense for any branch of %s; remove it", name, t.text())
		}
	}
	u := *t
	u.branches = slices.Clone(t.branches)
	for i, b := range u.branches {
		some := a.only(b.fits)
		if len(some.names) == 0 {
			continue
		}
		var err error
		if u.branches[i], err = b.withAll(some, path); err != nil {
			return nil, err
		}
	}
	return &u, nil
}

func (t *typ) withAll(a attrs, path string) (*typ, error) {
	for _, name := range a.names {
		if !t.fits(name) {
			return nil, schemaError(path, "%s makes no sense for %s; remove it", name, t.text())
		}
		if slices.Contains(t.attrs.names, name) {
			return nil, schemaError(path, "%s is given on the field and on its type; keep one", name)
		}
	}
	n := *t
	n.attrs = t.attrs.and(a)
	if n.attrs.minLen >= 0 && n.attrs.maxLen >= 0 && n.attrs.minLen > n.attrs.maxLen {
		return nil, schemaError(path, "minLength %d is over maxLength %d; no value has both", n.attrs.minLen, n.attrs.maxLen)
	}
	return &n, nil
}

// only keeps the attributes whose names keep accepts.
func (a attrs) only(keep func(string) bool) attrs {
	some := attrs{minLen: -1, maxLen: -1}
	for _, name := range a.names {
		if !keep(name) {
			continue
		}
		some.names = append(some.names, name)
		switch name {
		case "pattern":
			some.pattern = a.pattern
		case "minLength":
			some.minLen = a.minLen
		case "maxLength":
			some.maxLen = a.maxLen
		case "encoding":
			some.encoding = a.encoding
		default:
			i := slices.IndexFunc(a.bounds, func(b bound) bool { return b.name == name })
			some.bounds = append(some.bounds, a.bounds[i])
		}
	}
	return some
}

// and merges two sets without a name in common.
func (a attrs) and(b attrs) attrs {
	if len(a.names) == 0 {
		return b
	}
	n := attrs{
		bounds: slices.Concat(a.bounds, b.bounds), pattern: a.pattern, minLen: max(a.minLen, b.minLen),
		maxLen: max(a.maxLen, b.maxLen), encoding: a.encoding + b.encoding, names: slices.Concat(a.names, b.names),
	}
	if n.pattern == nil {
		n.pattern = b.pattern
	}
	return n
}

// text names t for messages.
func (t *typ) text() string {
	if t.kind == "union" {
		var names []string
		for _, b := range t.branches {
			names = append(names, b.name)
		}
		return "[" + strings.Join(names, ", ") + "]"
	}
	if t.logical != "" {
		return t.logical
	}
	return t.name
}

// logicalBases are the logical types we know and what each may stand on.
var logicalBases = map[string][]kind{
	"decimal": {"bytes", "fixed"}, "uuid": {"string", "fixed"}, "duration": {"fixed"}, "date": {"int"},
	"time-millis": {"int"}, "time-micros": {"long"},
	"timestamp-millis": {"long"}, "timestamp-micros": {"long"}, "timestamp-nanos": {"long"},
	"local-timestamp-millis": {"long"}, "local-timestamp-micros": {"long"}, "local-timestamp-nanos": {"long"},
}

// maxPrecision is that of Postgres' numeric, where declared.
const maxPrecision = 1000

// withLogical returns t with the logical type of the type object m. An unknown
// one is ignored, as the specification demands.
func (t *typ) withLogical(m map[string]any, path string) (*typ, error) {
	name, _ := m["logicalType"].(string)
	bases, known := logicalBases[name]
	if !known {
		return t, nil
	}
	if !slices.Contains(bases, t.kind) {
		return nil, schemaError(path, "logicalType %s cannot stand on %s, only on %v; change the type or remove it", name, t.name, bases)
	}
	n := *t
	n.logical = name
	switch {
	case name == "uuid" && t.kind == "fixed" && t.size != 16:
		return nil, schemaError(path, "logicalType uuid needs a fixed of size 16, this one has %d", t.size)
	case name == "duration" && t.size != 12:
		return nil, schemaError(path, "logicalType duration needs a fixed of size 12, this one has %d", t.size)
	case name != "decimal":
		return &n, nil
	}
	var ok bool
	if n.precision, ok = count(m["precision"], maxPrecision); !ok || n.precision == 0 {
		return nil, schemaError(path, "the decimal's precision is %s; write a number from 1 to %d", compact(m["precision"]), maxPrecision)
	}
	if raw, given := m["scale"]; given {
		if n.scale, ok = count(raw, int64(n.precision)); !ok {
			return nil, schemaError(path, "the decimal's scale is %s; write a number from 0 to its precision, %d", compact(raw), n.precision)
		}
	}
	if t.kind == "fixed" && largest(n.precision).BitLen() > 8*t.size-1 {
		return nil, schemaError(path, "a fixed of size %d cannot hold %d digits; make it larger or the precision smaller", t.size, n.precision)
	}
	return &n, nil
}

// largest is the largest number of so many decimal digits.
func largest(digits int) *big.Int {
	v := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
	return v.Sub(v, big.NewInt(1))
}
