package avrojson

import (
	"math/bits"
)

// decimal are the parameters of a decimal type and its bounds as unscaled
// integers, constraints included.
type decimal struct {
	precision, scale int
	lo, hi           *unscaled // nil: none
}

// unscaled is a bound: sign and magnitude, least significant limb first,
// without leading zero limbs.
type unscaled struct {
	neg   bool
	limbs []uint64
}

// decimal encodes a number, or a string that holds one, as an unscaled integer.
func (e *Encoder) decimal(dst []byte, p int, n *node) ([]byte, int) {
	if e.src[p] != '"' {
		num, end, ok := readNumber(e.src, p)
		if !ok {
			return e.syntax(dst, end)
		}
		return e.appendDecimal(dst, p, end, n, &num, e.src[p:end])
	}
	text, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	num, last, ok := readNumber(text, 0)
	if !ok || last != len(text) {
		return e.fail(dst, failFormat, p, end, n)
	}
	return e.appendDecimal(dst, p, end, n, &num, text)
}

// unscale makes e.limbs the magnitude of num × 10^scale. text is the number.
func (e *Encoder) unscale(text []byte, num *number, d *decimal) failCode {
	e.limbs = e.limbs[:0]
	if num.mant == 0 {
		return 0
	}
	if !num.cut && num.exp+d.scale == 0 { // as written by whoever has the same scale
		e.limbs = append(e.limbs, num.mant)
		if decimalDigits(num.mant) > d.precision {
			return failPrecision
		}
		return 0
	}
	digits, zeros := countDigits(text)
	// num.exp belongs to the 19th digit or the last; we want that of the last
	// that is not zero.
	shift := num.exp + min(digits+zeros, 19) - digits + d.scale
	if shift < 0 {
		return failScale
	}
	if digits+shift > d.precision {
		return failPrecision
	}
	e.digits(text, digits)
	for ; shift >= 19; shift -= 19 {
		e.multiply(1e19, 0)
	}
	e.multiply(pow10(shift), 0)
	return 0
}

// countDigits counts the digits of the mantissa of text from the first to the
// last that is not zero, and the zeros behind that.
func countDigits(text []byte) (digits, zeros int) {
	for _, c := range text {
		switch {
		case c|0x20 == 'e':
			return digits, zeros
		case c == '0' && digits > 0:
			zeros++
		case c >= '1' && c <= '9':
			digits += zeros + 1
			zeros = 0
		}
	}
	return digits, zeros
}

// digits makes e.limbs the first n digits of text from the first that is not
// zero.
func (e *Encoder) digits(text []byte, n int) {
	var chunk uint64
	have := 0
	for _, c := range text {
		if n == 0 {
			break
		}
		if c-'0' > 9 || c == '0' && chunk == 0 && have == 0 && len(e.limbs) == 0 {
			continue
		}
		chunk = chunk*10 + uint64(c-'0')
		n--
		if have++; have == 19 {
			e.multiply(1e19, chunk)
			chunk, have = 0, 0
		}
	}
	if have > 0 {
		e.multiply(pow10(have), chunk)
	}
}

// multiply makes e.limbs e.limbs × by + add.
func (e *Encoder) multiply(by, add uint64) {
	for i, l := range e.limbs {
		hi, lo := bits.Mul64(l, by)
		lo, carry := bits.Add64(lo, add, 0)
		e.limbs[i], add = lo, hi+carry
	}
	if add != 0 {
		e.limbs = append(e.limbs, add)
	}
}

func pow10(n int) uint64 {
	v := uint64(1)
	for range n {
		v *= 10
	}
	return v
}

func decimalDigits(u uint64) int {
	n := 1
	for u >= 10 {
		u /= 10
		n++
	}
	return n
}

// appendDecimal appends num, written as text, unscaled: two's complement, most
// significant byte first, shortest for bytes, sign-extended for fixed.
func (e *Encoder) appendDecimal(dst []byte, p, end int, n *node, num *number, text []byte) ([]byte, int) {
	d := &e.prog.decimals[n.sub]
	if code := e.unscale(text, num, d); code != 0 {
		return e.fail(dst, code, p, end, n)
	}
	limbs := e.limbs
	neg := num.neg && len(limbs) > 0
	if d.lo != nil && d.lo.compare(neg, limbs) > 0 || d.hi != nil && d.hi.compare(neg, limbs) < 0 {
		return e.fail(dst, failRange, p, end, n)
	}
	size := negate(limbs, neg)
	var fill byte
	if neg {
		fill = 0xff
	}
	if n.size < 0 {
		dst = appendLong(dst, int64(size))
	} else {
		for range int(n.size) - size {
			dst = append(dst, fill)
		}
	}
	for i := size - 1; i >= 0; i-- {
		b := fill
		if i/8 < len(limbs) {
			b = byte(limbs[i/8] >> (i % 8 * 8))
		}
		dst = append(dst, b)
	}
	return dst, end
}

// negate turns the magnitude into two's complement if neg is set, and returns
// how many bytes that takes, sign included.
func negate(limbs []uint64, neg bool) int {
	if len(limbs) == 0 {
		return 1
	}
	if neg { // -m = ^(m-1): what takes room is m-1
		borrow := uint64(1)
		for i := range limbs {
			limbs[i], borrow = bits.Sub64(limbs[i], 0, borrow)
		}
	}
	width := 0
	for i := len(limbs) - 1; i >= 0; i-- {
		if limbs[i] != 0 {
			width = i*64 + bits.Len64(limbs[i])
			break
		}
	}
	if neg {
		for i := range limbs {
			limbs[i] = ^limbs[i]
		}
	}
	return width/8 + 1
}

// compare says how b stands to the number of that sign and magnitude.
func (b *unscaled) compare(neg bool, limbs []uint64) int {
	if b.neg != neg {
		if b.neg {
			return -1
		}
		return 1
	}
	c := compareLimbs(b.limbs, limbs)
	if neg {
		return -c
	}
	return c
}

func compareLimbs(a, b []uint64) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	for i := len(a) - 1; i >= 0; i-- {
		if a[i] < b[i] {
			return -1
		}
		if a[i] > b[i] {
			return 1
		}
	}
	return 0
}
