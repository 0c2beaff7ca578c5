package avrojson

import (
	"encoding/binary"
	"math"
)

// time encodes date, time-*, timestamp-* and local-timestamp-*: a string in
// their format or the integer itself.
func (e *Encoder) time(dst []byte, p int, n *node) ([]byte, int) {
	if e.src[p] != '"' {
		return e.integer(dst, p, n)
	}
	s, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	var v int64
	var code failCode
	switch n.op {
	case opDate:
		var ok bool
		if v, ok = parseDate(s); !ok || len(s) != 10 {
			code = failFormat
		}
	case opTime:
		sec, frac, rest := parseClock(s, n.unit)
		if v = sec*n.unit + frac; len(rest) != 0 || sec < 0 {
			code = failFormat
		}
	default:
		v, code = parseTimestamp(s, n.unit, n.op == opTimestamp)
	}
	if code == 0 && (v < n.lo || v > n.hi) {
		code = failRange
	}
	if code != 0 {
		return e.fail(dst, code, p, end, n)
	}
	return appendLong(dst, v), end
}

// two reads two decimal digits; the result is over 99 if they are none.
func two(s []byte, i int) int {
	a, b := s[i]-'0', s[i+1]-'0'
	if a > 9 || b > 9 {
		return 1000
	}
	return int(a)*10 + int(b)
}

var monthDays = [13]uint8{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// parseDate reads YYYY-MM-DD at the beginning of s: days since 1970-01-01 in
// the proleptic Gregorian calendar.
func parseDate(s []byte) (int64, bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	century, year, month, day := two(s, 0), two(s, 2), two(s, 5), two(s, 8)
	if century > 99 || year > 99 || month < 1 || month > 12 || day < 1 {
		return 0, false
	}
	y := century*100 + year
	last := int(monthDays[month])
	if month == 2 && y%4 == 0 && (y%100 != 0 || y%400 == 0) {
		last = 29
	}
	if day > last {
		return 0, false
	}
	// Years begin in March, so that the leap day is the last of its year.
	if month <= 2 {
		y--
		month += 12
	}
	y += 400 // keep divisions from going below zero; taken off again below
	days := 365*y + y/4 - y/100 + y/400 + (153*(month-3)+2)/5 + day - 1
	return int64(days - 719468 - 146097), true
}

// parseClock reads HH:MM:SS and a fraction at the beginning of s: seconds,
// fraction in units, and what is left. Seconds are -1 if there is none.
func parseClock(s []byte, unit int64) (sec, frac int64, rest []byte) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return -1, 0, nil
	}
	h, m, c := two(s, 0), two(s, 3), two(s, 6)
	if h > 23 || m > 59 || c > 59 {
		return -1, 0, nil
	}
	sec = int64(h*3600 + m*60 + c)
	s = s[8:]
	if len(s) == 0 || s[0] != '.' {
		return sec, 0, s
	}
	i := 1
	for ; i < len(s) && s[i]-'0' < 10; i++ {
		if unit >= 10 { // finer digits are cut off
			unit /= 10
			frac = frac*10 + int64(s[i]-'0')
		}
	}
	if i == 1 {
		return -1, 0, nil
	}
	return sec, frac * unit, s[i:]
}

// parseTimestamp reads a date, a separator, a clock and, if zoned, an offset.
func parseTimestamp(s []byte, unit int64, zoned bool) (int64, failCode) {
	days, ok := parseDate(s)
	if !ok || len(s) < 19 || s[10]|0x20 != 't' && s[10] != ' ' {
		return 0, failFormat
	}
	sec, frac, rest := parseClock(s[11:], unit)
	if sec < 0 {
		return 0, failFormat
	}
	sec += days * 86400
	if zoned {
		off, ok := parseOffset(rest)
		if !ok {
			return 0, failFormat
		}
		sec -= off
	} else if len(rest) != 0 {
		return 0, failFormat
	}
	if sec < 0 && frac > 0 { // so that the product below does not overflow first
		sec++
		frac -= unit
	}
	if sec > math.MaxInt64/unit || sec < math.MinInt64/unit {
		return 0, failRange
	}
	v := sec * unit
	if sum := v + frac; frac >= 0 && sum >= v || frac < 0 && sum < v {
		return sum, 0
	}
	return 0, failRange
}

// parseOffset reads Z or ±HH:MM, all of s.
func parseOffset(s []byte) (int64, bool) {
	if len(s) == 1 && s[0]|0x20 == 'z' {
		return 0, true
	}
	if len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	h, m := two(s, 1), two(s, 4)
	if h > 23 || m > 59 {
		return 0, false
	}
	off := int64(h*3600 + m*60)
	if s[0] == '-' {
		off = -off
	}
	return off, true
}

// duration encodes an ISO 8601 duration as months, days and milliseconds, each
// a little-endian unsigned 32-bit number.
func (e *Encoder) duration(dst []byte, p int, n *node) ([]byte, int) {
	s, end := e.readString(p)
	if end < 0 {
		return dst, -1
	}
	v, code := parseDuration(s)
	if code != 0 {
		return e.fail(dst, code, p, end, n)
	}
	for _, u := range v {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(u))
	}
	return dst, end
}

// durationUnits in the order they may come: letter, whether behind the T, which
// number it adds to and how much.
var durationUnits = [...]struct {
	letter byte
	clock  bool
	part   int
	times  uint64
}{
	{'Y', false, 0, 12},
	{'M', false, 0, 1},
	{'W', false, 1, 7},
	{'D', false, 1, 1},
	{'H', true, 2, 3_600_000},
	{'M', true, 2, 60_000},
	{'S', true, 2, 1000},
}

func parseDuration(s []byte) (v [3]uint64, code failCode) {
	if len(s) < 3 || s[0] != 'P' {
		return v, failFormat
	}
	i, unit, clock := 1, 0, false
	for i < len(s) {
		if s[i] == 'T' && !clock {
			clock = true
			i++
		}
		num, millis, next := durationNumber(s, i)
		if next < 0 {
			return v, failFormat
		}
		for unit < len(durationUnits) && (durationUnits[unit].letter != s[next] || durationUnits[unit].clock != clock) {
			unit++
		}
		if unit == len(durationUnits) || millis >= 0 && s[next] != 'S' {
			return v, failFormat
		}
		u := &durationUnits[unit]
		v[u.part] += num*u.times + uint64(max(millis, 0))
		if v[u.part] > math.MaxUint32 {
			return v, failRange
		}
		unit++
		i = next + 1
	}
	return v, 0
}

// durationNumber reads digits at i, up to 10 of them, and a fraction of up to
// three (-1: none; zeros may follow). next is where the letter stands.
func durationNumber(s []byte, i int) (num uint64, millis int, next int) {
	first := i
	for ; i < len(s) && s[i]-'0' < 10; i++ {
		num = min(num*10+uint64(s[i]-'0'), math.MaxUint32+1)
	}
	if i == first || i == len(s) {
		return 0, 0, -1
	}
	if s[i] != '.' {
		return num, -1, i
	}
	i++
	first = i
	for scale := 100; i < len(s) && s[i]-'0' < 10; i++ {
		if scale == 0 && s[i] != '0' {
			return 0, 0, -1
		}
		millis += int(s[i]-'0') * scale
		scale /= 10
	}
	if i == first || i == len(s) {
		return 0, 0, -1
	}
	return num, millis, i
}
