package event

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log of one Postgres timeline.
// Zero is "no position" (InvalidXLogRecPtr).
type LSN uint64

// ParseLSN reads the form Postgres prints: two hexadecimal halves, "16/B3748".
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("LSN %q: want two hexadecimal numbers with a slash between, as in 16/B3748", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: the part before the slash is not a 32-bit hexadecimal number", s)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: the part after the slash is not a 32-bit hexadecimal number", s)
	}
	return LSN(h<<32 | l), nil
}

// String prints the LSN as Postgres does up to 18. From 19 on the server pads the
// half behind the slash to eight digits: compare values, not texts.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// MarshalText implements encoding.TextMarshaler.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LSN) UnmarshalText(b []byte) error {
	v, err := ParseLSN(string(b))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// Position is the place of one row in the stream: the commit LSN of its
// transaction and its ordinal among all changes the server sent between BEGIN
// and COMMIT, counted from 1 before any filter of ours. The ordinal is stable
// across reconnects as long as the stream options are the same.
//
// The zero Position is before every row.
type Position struct {
	Commit LSN
	Ord    uint64
}

// After reports whether p comes after q in the stream.
func (p Position) After(q Position) bool {
	return p.Commit > q.Commit || p.Commit == q.Commit && p.Ord > q.Ord
}

// AfterAll is an ordinal no row has: with it a Position comes after every row of
// its transaction.
const AfterAll = math.MaxUint64

func (p Position) String() string { return fmt.Sprintf("%s#%d", p.Commit, p.Ord) }
