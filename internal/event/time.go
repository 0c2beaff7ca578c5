package event

import "time"

// formatTime prints microseconds since the Unix epoch as RFC 3339 in UTC, with
// six digits of fraction, so that it reads back to the same value. Zero is "not
// known", and nothing: a position between two rows has no commit time.
func formatTime(us int64) string {
	if us == 0 {
		return ""
	}
	return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func parseTime(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0
	}
	return t.UnixMicro()
}
