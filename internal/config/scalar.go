package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// Size is a number of bytes. Files write it as a whole number with a unit: B,
// KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB (powers of 1000); without a unit
// it is bytes.
type Size int64

// ParseSize reads the form Size describes.
func ParseSize(s string) (Size, error) {
	n, err := contract.ParseSize(s)
	return Size(n), err
}

// String is the shortest exact form ParseSize reads back.
func (s Size) String() string {
	for _, u := range []struct {
		bytes Size
		name  string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if s >= u.bytes && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// ParseDuration reads a duration with its unit: 500ms, 10s, 1m30s, 2h.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration; write a number and a unit (ms, s, m, h), such as 10s", s)
	}
	return d, nil
}

// formatDuration is time.Duration.String without the zero parts: 1m, not 1m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number; write digits only, such as 2000", s)
	}
	return n, nil
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false; write one of the two", s)
}
