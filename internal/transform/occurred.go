package transform

import (
	"bytes"
	"errors"
	"time"
)

// rfc3339Micros is how the header occurred_at is written: always six digits, so
// that texts sort as times do.
const rfc3339Micros = "2006-01-02T15:04:05.000000Z"

// appendMicros appends at, which is in UTC, as rfc3339Micros has it: AppendFormat
// reads its layout anew each time.
func appendMicros(dst []byte, at time.Time) []byte {
	year, month, day := at.Date()
	if year < 0 || year > 9999 {
		return at.AppendFormat(dst, rfc3339Micros) // a commit by a clock gone mad
	}
	hour, minute, second := at.Clock()
	dst = append(appendDigits(dst, year, 4), '-')
	dst = append(appendDigits(dst, int(month), 2), '-')
	dst = append(appendDigits(dst, day, 2), 'T')
	dst = append(appendDigits(dst, hour, 2), ':')
	dst = append(appendDigits(dst, minute, 2), ':')
	dst = append(appendDigits(dst, second, 2), '.')
	return append(appendDigits(dst, at.Nanosecond()/1000, 6), 'Z')
}

// appendDigits appends n in width decimal digits.
func appendDigits(dst []byte, n, width int) []byte {
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

var errTimestamp = errors.New("want a timestamp as Postgres writes it (2006-01-02 15:04:05.123456+02), RFC 3339, or seconds, milliseconds or microseconds since 1970, between the years 1 and 9999")

// parseTimestamp reads the text form of timestamptz under DateStyle ISO with
// any offset (+02, +05:30, -03:30:15) and any number of digits of fraction, or
// RFC 3339, or the time since 1970-01-01 as a number (parseEpoch). Without an
// offset it is UTC. Digits beyond nanoseconds are dropped. Neither infinity nor
// a year RFC 3339 cannot write is a time.
func parseTimestamp(b []byte) (time.Time, error) {
	if t, ok := parseEpoch(b); ok {
		return t, nil
	}
	p := timeText{rest: b}
	year, month, day := p.digits(4, '-'), p.digits(2, '-'), p.digits(2, 0)
	var hour, minute, second, nanos, offset int
	if len(p.rest) > 0 && !p.bad {
		if !p.skip(' ') && !p.skip('T') && !p.skip('t') {
			return time.Time{}, errTimestamp
		}
		hour, minute, second = p.digits(2, ':'), p.digits(2, ':'), p.digits(2, 0)
		nanos = p.fraction()
		offset = p.offset()
	}
	if p.bad || len(p.rest) > 0 || year < 1 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, errTimestamp
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day {
		return time.Time{}, errTimestamp // 31 April
	}
	if t = t.Add(-time.Duration(offset) * time.Second); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, errTimestamp
	}
	return t, nil
}

// parseEpoch reads the time since 1970-01-01 UTC as a decimal number: ten digits
// are seconds, with or without a fraction, thirteen milliseconds, sixteen
// microseconds. That covers the years 2001 to 2286, and no date looks like it.
func parseEpoch(b []byte) (time.Time, bool) {
	whole, fraction, point := bytes.Cut(b, []byte("."))
	n := int64(0)
	for _, c := range whole {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		n = n*10 + int64(c-'0') // of at most sixteen digits, by the cases below
		if n > 1e17 {
			return time.Time{}, false
		}
	}
	p := timeText{rest: b[len(whole):]}
	nanos := p.fraction()
	if p.bad || len(p.rest) > 0 || point && (len(whole) != 10 || len(fraction) == 0) {
		return time.Time{}, false
	}
	switch len(whole) {
	case 10:
		return time.Unix(n, int64(nanos)).UTC(), true
	case 13:
		return time.UnixMilli(n).UTC(), true
	case 16:
		return time.UnixMicro(n).UTC(), true
	}
	return time.Time{}, false
}

// timeText reads fixed fields; bad sticks.
type timeText struct {
	rest []byte
	bad  bool
}

func (p *timeText) skip(c byte) bool {
	if len(p.rest) > 0 && p.rest[0] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

// digits reads n digits and the character after (0: none).
func (p *timeText) digits(n int, after byte) int {
	if len(p.rest) < n {
		p.bad = true
		return 0
	}
	v := 0
	for _, c := range p.rest[:n] {
		if c < '0' || c > '9' {
			p.bad = true
			return 0
		}
		v = v*10 + int(c-'0')
	}
	p.rest = p.rest[n:]
	if after != 0 && !p.skip(after) {
		p.bad = true
	}
	return v
}

// fraction reads ".123456" as nanoseconds.
func (p *timeText) fraction() int {
	if !p.skip('.') {
		return 0
	}
	v, unit, n := 0, 100_000_000, 0
	for len(p.rest) > 0 && p.rest[0] >= '0' && p.rest[0] <= '9' {
		v += int(p.rest[0]-'0') * unit
		unit /= 10
		n++
		p.rest = p.rest[1:]
	}
	p.bad = p.bad || n == 0
	return v
}

// offset reads Z, ±HH, ±HHMM, ±HH:MM or ±HH:MM:SS in seconds east of UTC.
func (p *timeText) offset() int {
	if len(p.rest) == 0 || p.skip('Z') || p.skip('z') {
		return 0
	}
	sign := 1
	if p.skip('-') {
		sign = -1
	} else if !p.skip('+') {
		p.bad = true
		return 0
	}
	var minute, second int
	hour := p.digits(2, 0)
	if p.skip(':') || len(p.rest) == 2 {
		minute = p.digits(2, 0)
	}
	if p.skip(':') {
		second = p.digits(2, 0)
	}
	p.bad = p.bad || hour > 23 || minute > 59 || second > 59
	return sign * (hour*3600 + minute*60 + second)
}
