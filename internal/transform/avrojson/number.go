package avrojson

import (
	"math"
	"math/bits"
	"strconv"
	"unsafe"
)

// number is a JSON number as read: ±mant × 10^exp. If cut is set, digits other
// than zero behind the first 19 are not in mant.
type number struct {
	neg  bool
	cut  bool
	mant uint64
	exp  int
}

// maxExp caps exponents; a document is too short to make up for so many digits.
const maxExp = 1 << 40

// readNumber reads the number at p and returns the position behind it; ok is
// false if there is none, then the position is where it went wrong.
func readNumber(src []byte, p int) (n number, end int, ok bool) {
	if p < len(src) && src[p] == '-' {
		n.neg = true
		p++
	}
	digits := 0 // in mant
	first := p
	for ; p < len(src) && src[p]-'0' < 10; p++ {
		digits = n.digit(src[p]-'0', digits)
		if digits > 19 {
			n.exp++
		}
	}
	if p == first || src[first] == '0' && p > first+1 {
		return n, min(p, first+1), false
	}
	if p < len(src) && src[p] == '.' {
		p++
		for first = p; p < len(src) && src[p]-'0' < 10; p++ {
			if digits = n.digit(src[p]-'0', digits); digits <= 19 {
				n.exp--
			}
		}
		if p == first {
			return n, p, false
		}
	}
	if p < len(src) && src[p]|0x20 == 'e' {
		var x int
		if x, p, ok = readExponent(src, p+1); !ok {
			return n, p, false
		}
		n.exp += x
	}
	return n, p, true
}

// digit adds a digit to mant while there is room. It returns how many digits
// there were from the first that is not zero; 20 and more do not count.
func (n *number) digit(d byte, digits int) int {
	switch {
	case digits < 19:
		n.mant = n.mant*10 + uint64(d)
		if n.mant == 0 {
			return 0
		}
	case d != 0:
		n.cut = true
	}
	return digits + 1
}

func readExponent(src []byte, p int) (x, end int, ok bool) {
	neg := false
	if p < len(src) && (src[p] == '+' || src[p] == '-') {
		neg = src[p] == '-'
		p++
	}
	first := p
	for ; p < len(src) && src[p]-'0' < 10; p++ {
		x = min(x*10+int(src[p]-'0'), maxExp)
	}
	if neg {
		x = -x
	}
	return x, p, p > first
}

// readInteger reads a number that is an integer and fits an int64.
func readInteger(src []byte, p int) (int64, int, failCode) {
	q := p
	neg := src[q] == '-'
	if neg {
		q++
	}
	var v int64
	first := q
	for ; q < len(src) && src[q]-'0' < 10; q++ {
		v = v*10 + int64(src[q]-'0')
	}
	// Up to 18 digits cannot overflow; what is rarer than they are is read again.
	if q == first || q-first > 18 || src[first] == '0' && q > first+1 ||
		q < len(src) && (src[q] == '.' || src[q]|0x20 == 'e') {
		return readIntegerSlow(src, p)
	}
	if neg {
		v = -v
	}
	return v, q, 0
}

func readIntegerSlow(src []byte, p int) (int64, int, failCode) {
	n, end, ok := readNumber(src, p)
	if !ok {
		return 0, end, failSyntax
	}
	v, code := n.integer()
	return v, end, code
}

// integer is the value of n if that is an integer in the range of int64.
func (n *number) integer() (int64, failCode) {
	u, exp := n.mant, n.exp
	if u == 0 {
		return 0, 0
	}
	if n.cut { // at least 20 digits from first to last that is not zero
		if exp >= 0 {
			return 0, failRange
		}
		return 0, failFraction
	}
	for ; exp < 0; exp++ {
		if u%10 != 0 {
			return 0, failFraction
		}
		u /= 10
	}
	for ; exp > 0; exp-- {
		hi, lo := bits.Mul64(u, 10)
		if hi != 0 {
			return 0, failRange
		}
		u = lo
	}
	if n.neg {
		if u > 1<<63 {
			return 0, failRange
		}
		return -int64(u), 0
	}
	if u > math.MaxInt64 {
		return 0, failRange
	}
	return int64(u), 0
}

// tens are the powers of ten a float64 holds exactly.
var tens = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// readDouble reads a number, correctly rounded.
func readDouble(src []byte, p int) (float64, int, failCode) {
	n, end, ok := readNumber(src, p)
	if !ok {
		return 0, end, failSyntax
	}
	// Both operands are exact, so the one operation rounds correctly.
	if n.mant < 1<<53 && !n.cut && n.exp >= -22 && n.exp <= 22 {
		v := float64(n.mant)
		if n.neg {
			v = -v
		}
		if n.exp < 0 {
			return v / tens[-n.exp], end, 0
		}
		return v * tens[n.exp], end, 0
	}
	v, err := strconv.ParseFloat(view(src[p:end]), 64)
	if err != nil {
		return 0, end, failRange
	}
	return v, end, 0
}

// readFloat reads a number, correctly rounded from the decimal to a float32.
func readFloat(src []byte, p int) (float32, int, failCode) {
	n, end, ok := readNumber(src, p)
	if !ok {
		return 0, end, failSyntax
	}
	if n.mant < 1<<24 && !n.cut && n.exp >= -10 && n.exp <= 10 {
		v := float32(n.mant)
		if n.neg {
			v = -v
		}
		if n.exp < 0 {
			return v / float32(tens[-n.exp]), end, 0
		}
		return v * float32(tens[n.exp]), end, 0
	}
	v, err := strconv.ParseFloat(view(src[p:end]), 32)
	if err != nil {
		return 0, end, failRange
	}
	return float32(v), end, 0
}

// view is b as a string that must not outlive it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
