package tail

import (
	"errors"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func want(t *testing.T, s string) Want {
	t.Helper()
	w, err := ParseWant(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestFilter(t *testing.T) {
	t.Parallel()
	full := sample()
	bare := &Record{Topic: "t", Value: []byte(`{"event_id":"e-2","event_type":"essay.created"}`)}
	bare.Headers = []event.Header{{Key: "tenant", Value: []byte("a=b")}}
	for name, tc := range map[string]struct {
		f    Filter
		full bool // takes the record with headers
		bare bool // takes the record that says who it is in its value only
	}{
		"nothing asked":   {Filter{}, true, true},
		"type":            {Filter{Types: []string{"essay.state.changed"}}, true, false},
		"type pattern":    {Filter{Types: []string{"x", "essay.*"}}, true, true},
		"type in value":   {Filter{Types: []string{"*.created"}}, false, true},
		"key":             {Filter{Keys: []string{"essay-2", "essay-1"}}, true, false},
		"empty key":       {Filter{Keys: []string{""}}, false, false},
		"id":              {Filter{IDs: []string{"e-1"}}, true, false},
		"id in value":     {Filter{IDs: []string{"e-2"}}, false, true},
		"header":          {Filter{Headers: []Want{want(t, "twice=b"), want(t, "event_id")}}, true, false},
		"header value":    {Filter{Headers: []Want{want(t, "tenant=a=b")}}, false, true},
		"header, another": {Filter{Headers: []Want{want(t, "event_id=e-9")}}, false, false},
		"both":            {Filter{Keys: []string{"essay-1"}, Types: []string{"no"}}, false, false},
	} {
		if err := tc.f.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range []*Record{full, bare} {
			takes := tc.full
			if r == bare {
				takes = tc.bare
			}
			decoded := func() *Value {
				if r == full {
					t.Errorf("%s: a value was decoded although the headers say all", name)
				}
				return NewDecoder(nil).Decode(t.Context(), r)
			}
			if got := tc.f.Takes(r, decoded); got != takes {
				t.Errorf("%s: takes %v, want %v: %+v", name, got, takes, r)
			}
		}
	}
	if err := (&Filter{Types: []string{"[a"}}).Check(); err == nil {
		t.Error("a broken pattern is fine")
	}
	if _, err := ParseWant("=x"); err == nil {
		t.Error("a header without a name is fine")
	}
}

func TestParseFrom(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	moment := func(s string) (time.Time, error) {
		if s == "2026-05-01" {
			return day, nil
		}
		return time.Time{}, errors.New("no time")
	}
	for s, ok := range map[string]func(From) bool{
		"latest":     func(f From) bool { return f == From{} },
		"earliest":   func(f From) bool { return f.Earliest },
		"0":          func(f From) bool { return f.Offset != nil && *f.Offset == 0 },
		"-10":        func(f From) bool { return *f.Offset == -10 },
		"2026-05-01": func(f From) bool { return f.Time.Equal(day) },
	} {
		if f, err := ParseFrom(s, moment); err != nil || !ok(f) {
			t.Errorf("%s: %+v, %v", s, f, err)
		}
	}
	for _, s := range []string{"", "soon", "1e3"} {
		if f, err := ParseFrom(s, moment); err == nil {
			t.Errorf("%q: %+v", s, f)
		}
	}
}
