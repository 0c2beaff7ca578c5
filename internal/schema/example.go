package schema

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
)

// Valid says why a document is not of a schema, as a relay would.
func Valid(text string, document []byte) error {
	prog, err := avrojson.Compile(text)
	if err != nil {
		return err
	}
	_, err = prog.NewEncoder().Append(nil, document)
	return err
}

// Example makes up a document of a complete schema, indented, with every field.
// known gives the values of top-level fields by name (nil: none), which are used
// where they are valid. The result is checked; the error says which field it
// cannot make up.
func Example(text string, known map[string]string) ([]byte, error) {
	t, err := Parse(text)
	if err != nil {
		return nil, err
	}
	m := &maker{known: known}
	var b bytes.Buffer
	if err := m.write(&b, t, nil, "", 0); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	if err := Valid(text, out.Bytes()); err != nil {
		return nil, fmt.Errorf("no example can be made up: %w", err)
	}
	return out.Bytes(), nil
}

// maxExample bounds an example; records that hold each other twice over and over
// would fill the memory.
const maxExample = 1 << 20

type maker struct {
	known map[string]string
	stack []*Type
}

func (m *maker) inside(t *Type) bool {
	for _, s := range m.stack {
		if s == t {
			return true
		}
	}
	return false
}

// write writes a value of t; attrs are those of the field it is in.
func (m *maker) write(b *bytes.Buffer, t *Type, attrs []Attr, name string, depth int) error {
	limits := limitsOf(append(attrs[:len(attrs):len(attrs)], t.Attrs...))
	switch t.Kind {
	case "record":
		return m.record(b, t, depth)
	case "union":
		return m.union(b, t, attrs, name, depth)
	case "array", "map":
		return m.container(b, t, limits, name, depth)
	case "enum":
		if len(t.Symbols) == 0 {
			return fmt.Errorf("enum %s has no symbols", t.Name)
		}
		b.WriteString(quote(t.Symbols[0]))
	case "null":
		b.WriteString("null")
	case "boolean":
		b.WriteString("true")
	case "int", "long", "float", "double":
		b.WriteString(numeral(t, limits))
	default:
		s, err := characters(t, limits, name)
		if err != nil {
			return fmt.Errorf("no example can be made up for %s: %w", name, err)
		}
		b.WriteString(s)
	}
	return nil
}

func (m *maker) record(b *bytes.Buffer, t *Type, depth int) error {
	if b.Len() > maxExample {
		return fmt.Errorf("record %s makes the example larger than %d bytes", t.Name, maxExample)
	}
	if m.inside(t) {
		return fmt.Errorf("record %s holds itself and no value ends it", t.Name)
	}
	m.stack = append(m.stack, t)
	defer func() { m.stack = m.stack[:len(m.stack)-1] }()
	b.WriteByte('{')
	for i, f := range t.Fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(f.Name) + ":")
		if v, ok := m.known[f.Name]; ok && depth == 0 {
			b.WriteString(v)
			continue
		}
		if err := m.write(b, f.Type, f.Attrs, f.Name, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// union takes the first branch that is not null and no record in the making.
func (m *maker) union(b *bytes.Buffer, t *Type, attrs []Attr, name string, depth int) error {
	for _, branch := range t.Branches {
		if branch.Kind == "null" || m.inside(branch) {
			continue
		}
		var try bytes.Buffer
		if err := m.write(&try, branch, fitting(attrs, branch), name, depth); err == nil {
			b.Write(try.Bytes())
			return nil
		}
	}
	b.WriteString("null")
	return nil
}

// fitting are the attributes of a field that hold for one branch of its union.
func fitting(attrs []Attr, t *Type) []Attr {
	var out []Attr
	for _, a := range attrs {
		if fitsSome(a.Name, resolved{kind: t.Kind, logical: t.Logical}) {
			out = append(out, a)
		}
	}
	return out
}

func (m *maker) container(b *bytes.Buffer, t *Type, l limits, name string, depth int) error {
	open, end := byte('['), byte(']')
	if t.Kind == "map" {
		open, end = '{', '}'
	}
	count := max(l.minLen, 1)
	if l.maxLen >= 0 {
		count = min(count, l.maxLen)
	}
	if m.inside(t.Items) {
		count = max(l.minLen, 0)
	}
	b.WriteByte(open)
	for i := range count {
		if i > 0 {
			b.WriteByte(',')
		}
		if t.Kind == "map" {
			fmt.Fprintf(b, "\"key%d\":", i+1)
		}
		if err := m.write(b, t.Items, nil, strings.TrimSuffix(name, "s"), depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(end)
	return nil
}

// limits are the constraints of one value.
type limits struct {
	low, high         *big.Rat // nil: none
	lowOpen, highOpen bool     // the bound itself is out
	pattern, encoding string
	minLen, maxLen    int // maxLen -1: none
}

func limitsOf(attrs []Attr) limits {
	l := limits{maxLen: -1}
	for _, a := range attrs {
		n, isNumber := new(big.Rat).SetString(a.Value)
		whole, _ := strconv.Atoi(a.Value)
		var s string
		_ = json.Unmarshal([]byte(a.Value), &s) // of another kind: it stays empty
		switch a.Name {
		case "minimum", "exclusiveMinimum":
			if isNumber && (l.low == nil || n.Cmp(l.low) > 0) {
				l.low, l.lowOpen = n, a.Name == "exclusiveMinimum"
			}
		case "maximum", "exclusiveMaximum":
			if isNumber && (l.high == nil || n.Cmp(l.high) < 0) {
				l.high, l.highOpen = n, a.Name == "exclusiveMaximum"
			}
		case "pattern":
			l.pattern = s
		case "encoding":
			l.encoding = s
		case "minLength":
			l.minLen = whole
		case "maxLength":
			l.maxLen = whole
		}
	}
	return l
}

// within moves a wish into the limits, in steps of one unit.
func (l limits) within(wish, unit *big.Rat) *big.Rat {
	v := new(big.Rat).Set(wish)
	if l.low != nil && v.Cmp(l.low) < 0 || l.lowOpen && v.Cmp(l.low) == 0 {
		v = ceil(l.low, unit)
		if l.lowOpen && v.Cmp(l.low) == 0 {
			v.Add(v, unit)
		}
	}
	if l.high != nil && v.Cmp(l.high) > 0 || l.highOpen && v.Cmp(l.high) == 0 {
		v = ceil(l.high, unit)
		for v.Cmp(l.high) > 0 || l.highOpen && v.Cmp(l.high) == 0 {
			v.Sub(v, unit)
		}
	}
	return v
}

// ceil is the smallest multiple of unit that is not below v.
func ceil(v, unit *big.Rat) *big.Rat {
	q := new(big.Rat).Quo(v, unit)
	n := new(big.Int).Quo(q.Num(), q.Denom())
	r := new(big.Rat).SetInt(n)
	if r.Cmp(q) < 0 {
		r.Add(r, big.NewRat(1, 1))
	}
	return r.Mul(r, unit)
}

func numeral(t *Type, l limits) string {
	switch t.Logical {
	case "date", "time-millis", "time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos",
		"local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos":
		if l.low == nil && l.high == nil {
			return quote(moment(t.Logical))
		}
	}
	if t.Kind == "int" || t.Kind == "long" {
		return l.within(big.NewRat(1, 1), big.NewRat(1, 1)).Num().String()
	}
	wish, unit := big.NewRat(1, 2), big.NewRat(1, 100)
	if l.low != nil && l.high != nil {
		wish = new(big.Rat).Add(l.low, l.high)
		wish.Quo(wish, big.NewRat(2, 1))
		unit = big.NewRat(1, 1_000_000)
	}
	f, _ := l.within(wish, unit).Float64()
	if math.Trunc(f) == f && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func moment(logical string) string {
	switch {
	case logical == "date":
		return "2026-01-31"
	case strings.HasPrefix(logical, "time-"):
		return "10:15:30"
	case strings.HasPrefix(logical, "local-"):
		return "2026-01-31T10:15:30"
	}
	return "2026-01-31T10:15:30Z"
}

// characters makes up what is written as a JSON string: string, bytes, fixed.
func characters(t *Type, l limits, name string) (string, error) {
	switch {
	case t.Logical == "uuid":
		return quote("6f1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"), nil
	case t.Logical == "duration":
		return quote("P1DT2H30M"), nil
	case t.Logical == "decimal":
		unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil))
		wish := big.NewRat(1, 1)
		if t.Precision == t.Scale {
			wish = new(big.Rat).Set(unit)
		}
		return quote(l.within(wish, unit).FloatString(t.Scale)), nil
	case t.Kind == "string":
		return sentence(l, name)
	}
	size := max(l.minLen, 1)
	if t.Kind == "fixed" {
		size = t.Size
	}
	if l.maxLen >= 0 {
		size = min(size, l.maxLen)
	}
	switch l.encoding {
	case "hex":
		return quote(strings.Repeat("0a", size)), nil
	case "base64":
		return quote(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("a"), size))), nil
	}
	return quote(strings.Repeat("a", size)), nil
}

func sentence(l limits, name string) (string, error) {
	if l.pattern != "" {
		s, ok := matching(l.pattern, l.minLen, l.maxLen)
		if !ok {
			return "", fmt.Errorf("no text was found that matches %s", l.pattern)
		}
		return quote(s), nil
	}
	s := wordFor(name)
	for utf8.RuneCountInString(s) < l.minLen {
		s += s
	}
	if l.maxLen >= 0 && utf8.RuneCountInString(s) > l.maxLen {
		s = string([]rune(s)[:max(l.maxLen, l.minLen)])
	}
	return quote(s), nil
}

// wordFor is a text that suits a field's name.
func wordFor(name string) string {
	switch {
	case name == "":
		return "text"
	case strings.HasSuffix(name, "_id"):
		return strings.ReplaceAll(strings.TrimSuffix(name, "_id"), "_", "-") + "-1"
	case strings.HasSuffix(name, "_uri") || name == "uri":
		return "s3://bucket/" + strings.ReplaceAll(strings.TrimSuffix(name, "_uri"), "_", "-")
	}
	return strings.ReplaceAll(name, "_", " ")
}
