package avrojson

import (
	"fmt"
	"math"
	"math/big"
	"unicode/utf8"
)

// rule is what the constraint attributes of a place demand. Ranges are checked
// by node.lo to fhi and decimal.lo and hi; here they are for messages.
type rule struct {
	bounds  []bound
	pattern *pattern
	minLen  int // -1: none
	maxLen  int
}

// bound is one of the four range attributes.
type bound struct {
	name  string
	text  string
	value *big.Rat
}

// breaks is how a value breaks the bound; said is the relation to print.
func (b *bound) breaks(v *big.Rat) (said string, broken bool) {
	c := v.Cmp(b.value)
	switch b.name {
	case "minimum":
		return "<", c < 0
	case "maximum":
		return ">", c > 0
	case "exclusiveMinimum":
		return "<=", c <= 0
	default:
		return ">=", c >= 0
	}
}

// checkText checks pattern and lengths of the content of a string.
func (r *rule) checkText(s []byte) failCode {
	if r.minLen >= 0 || r.maxLen >= 0 {
		if code := r.checkCount(utf8.RuneCount(s)); code != 0 {
			return code
		}
	}
	if r.pattern != nil && !r.pattern.match(s) {
		return failPattern
	}
	return 0
}

// checkCount checks the length of bytes, arrays and maps.
func (r *rule) checkCount(n int) failCode {
	switch {
	case n < r.minLen:
		return failShort
	case r.maxLen >= 0 && n > r.maxLen:
		return failLong
	}
	return 0
}

// rangeRule is the text for a number or a string at the beginning of src that
// is out of range of n.
func (n *node) rangeRule(src []byte) string {
	if n.rule != nil && shapes[src[0]] == shapeNumber {
		if text := n.rule.boundRule(src, n.op); text != "" {
			return text
		}
	}
	switch n.op {
	case opInteger:
		if n.name == "int" {
			return "is outside of int (-2147483648 to 2147483647)"
		}
		return "is outside of long (-9223372036854775808 to 9223372036854775807)"
	case opFloat, opDouble:
		return "is too large for a " + n.name
	case opTime:
		return "is not a time of day"
	}
	if n.rule != nil && len(n.rule.bounds) > 0 {
		text := "is outside of"
		for i, b := range n.rule.bounds {
			if i > 0 {
				text += ","
			}
			text += " " + b.name + " " + b.text
		}
		return text
	}
	return "is outside of " + n.name + "'s range"
}

// boundRule names the first bound the number at the beginning of src breaks. It
// compares what is encoded: floats are rounded first, as the range check does.
func (r *rule) boundRule(src []byte, o op) string {
	var v *big.Rat
	switch o {
	case opFloat:
		f, _, code := readFloat(src, 0)
		if code != 0 {
			return ""
		}
		v = new(big.Rat).SetFloat64(float64(f))
	case opDouble:
		f, _, code := readDouble(src, 0)
		if code != 0 {
			return ""
		}
		v = new(big.Rat).SetFloat64(f)
	default:
		num, end, _ := readNumber(src, 0)
		if num.exp > maxDigits || num.exp < -maxDigits {
			return ""
		}
		v, _ = new(big.Rat).SetString(string(src[:end]))
	}
	for i := range r.bounds {
		b := r.bounds[i]
		b.value = roundBound(b.value, o)
		if said, broken := b.breaks(v); broken {
			return fmt.Sprintf("%s %s %s", said, b.name, b.text)
		}
	}
	return ""
}

// roundBound is the bound as the type holds it.
func roundBound(v *big.Rat, o op) *big.Rat {
	switch o {
	case opFloat:
		f, _ := v.Float32()
		if !math.IsInf(float64(f), 0) {
			return new(big.Rat).SetFloat64(float64(f))
		}
	case opDouble:
		if f, _ := v.Float64(); !math.IsInf(f, 0) {
			return new(big.Rat).SetFloat64(f)
		}
	}
	return v
}

// integerRange narrows lo to hi to the integers the bounds allow; scale is the
// power of ten the value is multiplied with (decimals). A nil end is open.
func integerRange(bounds []bound, lo, hi *big.Int, scale int) (*big.Int, *big.Int) {
	factor := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	for _, b := range bounds {
		v := new(big.Rat).Mul(b.value, factor)
		// Div rounds down, since denominators are positive.
		floor := new(big.Int).Div(v.Num(), v.Denom())
		one := big.NewInt(1)
		switch b.name {
		case "minimum":
			if !v.IsInt() {
				floor.Add(floor, one)
			}
			lo = maxInt(lo, floor)
		case "exclusiveMinimum":
			lo = maxInt(lo, floor.Add(floor, one))
		case "maximum":
			hi = minInt(hi, floor)
		case "exclusiveMaximum":
			if v.IsInt() {
				floor.Sub(floor, one)
			}
			hi = minInt(hi, floor)
		}
	}
	return lo, hi
}

func maxInt(a, b *big.Int) *big.Int {
	if a != nil && a.Cmp(b) >= 0 {
		return a
	}
	return b
}

func minInt(a, b *big.Int) *big.Int {
	if a != nil && a.Cmp(b) <= 0 {
		return a
	}
	return b
}

// floatRange is the closed range of floats the bounds allow: an exclusive bound
// is the next float.
func floatRange(bounds []bound, single bool) (lo, hi float64) {
	lo, hi = -math.MaxFloat64, math.MaxFloat64
	if single {
		lo, hi = -math.MaxFloat32, math.MaxFloat32
	}
	for _, b := range bounds {
		v, _ := b.value.Float64()
		step := func(to float64) float64 { return math.Nextafter(v, to) }
		if single {
			f, _ := b.value.Float32()
			v = float64(f)
			step = func(to float64) float64 { return float64(math.Nextafter32(f, float32(to))) }
		}
		switch b.name {
		case "minimum":
			lo = max(lo, v)
		case "exclusiveMinimum":
			lo = max(lo, step(math.Inf(1)))
		case "maximum":
			hi = min(hi, v)
		default:
			hi = min(hi, step(math.Inf(-1)))
		}
	}
	return lo, hi
}
