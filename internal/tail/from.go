package tail

import (
	"fmt"
	"strconv"
	"time"
)

// From is where reading begins in each partition. The zero value is the end.
type From struct {
	Earliest bool
	Time     time.Time // not zero: the first record that is not older
	Offset   *int64    // not nil: this offset; negative: that many back from the end
}

// ParseFrom reads earliest, latest, an offset (negative: back from the end) or,
// by moment, a time.
func ParseFrom(s string, moment func(string) (time.Time, error)) (From, error) {
	switch s {
	case "latest":
		return From{}, nil
	case "earliest":
		return From{Earliest: true}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return From{Offset: &n}, nil
	}
	t, err := moment(s)
	if err != nil || t.IsZero() {
		return From{}, fmt.Errorf("%q: write earliest, latest, an offset (-10: the last ten offsets of each partition), a time such as 2026-05-01T12:00:00Z, or 24h for a day ago", s)
	}
	return From{Time: t}, nil
}
