package contract

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

var (
	sizeForm  = regexp.MustCompile(`^(\d+)\s*([A-Za-z]*)$`)
	sizeUnits = map[string]int64{"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "kb": 1e3, "mb": 1e6, "gb": 1e9}
)

// ParseSize reads a number of bytes: a whole number with a unit, B, KiB, MiB,
// GiB, TiB (powers of 1024), KB, MB, GB (powers of 1000); without a unit it is
// bytes.
func ParseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, fmt.Errorf("%q is not a size; write a whole number and a unit, such as 8MiB", s)
	}
	unit, ok := sizeUnits[strings.ToLower(m[2])]
	if !ok {
		return 0, fmt.Errorf("%q has the unknown unit %q; write B, KiB, MiB or GiB, such as 8MiB", s, m[2])
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is too large for a size; write for example 1GiB", s)
	}
	return n * unit, nil
}
