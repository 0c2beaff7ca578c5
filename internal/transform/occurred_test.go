package transform

import (
	"math/rand/v2"
	"regexp"
	"testing"
	"time"
)

func TestParseTimestamp(t *testing.T) {
	t.Parallel()
	cases := []struct{ in, want string }{
		{"2024-05-01 12:34:56+00", "2024-05-01T12:34:56.000000Z"},
		{"2024-05-01 12:34:56.1+02", "2024-05-01T10:34:56.100000Z"},
		{"2024-05-01 12:34:56.123456+05:30", "2024-05-01T07:04:56.123456Z"},
		{"1890-01-01 00:00:00-03:30:52", "1890-01-01T03:30:52.000000Z"},
		{"2024-12-31 23:30:00-01", "2025-01-01T00:30:00.000000Z"},
		{"2024-02-29 00:00:00", "2024-02-29T00:00:00.000000Z"},
		{"2024-05-01T12:34:56Z", "2024-05-01T12:34:56.000000Z"},
		{"2024-05-01t12:34:56.987654321z", "2024-05-01T12:34:56.987654Z"},
		{"2024-05-01T12:34:56.12345678901234567890+0200", "2024-05-01T10:34:56.123456Z"},
		{"2024-05-01", "2024-05-01T00:00:00.000000Z"},
		{"infinity", ""},
		{"-infinity", ""},
		{"", ""},
		{"0044-03-15 10:00:00+00 BC", ""},
		{"12024-05-01 00:00:00+00", ""},
		{"2023-02-29 00:00:00+00", ""},
		{"2024-13-01 00:00:00+00", ""},
		{"2024-00-01 00:00:00+00", ""},
		{"2024-05-00 00:00:00+00", ""},
		{"2024-05-01 24:00:00+00", ""},
		{"2024-05-01 00:60:00+00", ""},
		{"2024-05-01 00:00:60+00", ""},
		{"2024-05-01 00:00:00.+00", ""},
		{"2024-05-01 00:00:00 +00", ""},
		{"2024-05-01 00:00:00+0", ""},
		{"2024-05-01 00:00+00", ""},
		{"0001-01-01 00:00:00+01", ""},
		{"9999-12-31 23:00:00-02", ""},
		{"05/01/2024 12:00:00 UTC", ""},
		{"1714559696", "2024-05-01T10:34:56.000000Z"},
		{"1714559696.25", "2024-05-01T10:34:56.250000Z"},
		{"1714559696250", "2024-05-01T10:34:56.250000Z"},
		{"1714559696250001", "2024-05-01T10:34:56.250001Z"},
		{"171455969", ""},
		{"17145596962500019", ""},
		{"99999999999999999999999999", ""},
		{"1714559696.", ""},
		{"1714559696.1x", ""},
		{"1714559696250.5", ""},
		{"2024-05-01 00:00:00+24", ""},
		{"2024-05-01 00:00:00+01:60", ""},
	}
	for _, tc := range cases {
		at, err := parseTimestamp([]byte(tc.in))
		got := ""
		if err == nil {
			got = at.Format(rfc3339Micros)
		}
		if got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestAppendMicros(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	times := []time.Time{{}, time.UnixMicro(0), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(12024, 1, 2, 3, 4, 5, 6000, time.UTC)}
	for range 1000 {
		times = append(times, time.Unix(random.Int64N(253402300800+62135596800)-62135596800, random.Int64N(1e9)))
	}
	for _, at := range times {
		if got, want := string(appendMicros(nil, at.UTC())), at.UTC().Format(rfc3339Micros); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func FuzzTimestamp(f *testing.F) {
	strict := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)
	f.Add("2024-05-01T12:34:56.123456+05:30")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTimestamp([]byte(s))
		if !strict.MatchString(s) {
			return // time.Parse is laxer, and we read more forms
		}
		want, werr := time.Parse(time.RFC3339Nano, s)
		if werr != nil || want.UTC().Year() < 1 || want.UTC().Year() > 9999 || want.Year() < 1 {
			return // no time at all, or none we can write
		}
		if err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	})
}
