package fleet

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

func entries() []*deadletter.Entry {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	letter := func(id, typ, class, key string, state deadletter.State, holds ...deadletter.Hold) *deadletter.Entry {
		at = at.Add(time.Hour)
		return &deadletter.Entry{Letter: deadletter.Letter{ID: id, EventType: typ, Class: class, Key: key, State: state, Holds: holds, Commit: at.UnixMicro(), First: -1}}
	}
	return []*deadletter.Entry{
		letter("0/10/1-aa", "a", "schema", "k", deadletter.Dead, deadletter.Hold{Topic: "t", Key: "k"}),
		letter("0/10/12-bb", "a", "", "k", deadletter.Parked, deadletter.Hold{Topic: "t", Key: "k"}, deadletter.Hold{Topic: "u", Key: "other"}),
		letter("0/20/1-cc", "b", "size", "", deadletter.Dead, deadletter.Hold{Key: "agg"}),
	}
}

func TestLetterFilter(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name string
		f    LetterFilter
		want string
	}{
		{"all", LetterFilter{}, "aa bb cc"},
		{"type", LetterFilter{Types: []string{"b", "c"}}, "cc"},
		{"reason", LetterFilter{Reasons: []string{"schema", "size"}}, "aa cc"},
		{"state", LetterFilter{State: deadletter.Parked}, "bb"},
		{"key", LetterFilter{Keys: []string{"k"}}, "aa bb"},
		{"key of a second form", LetterFilter{Keys: []string{"other"}}, "bb"},
		{"aggregate", LetterFilter{Keys: []string{"agg"}}, "cc"},
		{"since", LetterFilter{Since: noon.Add(2 * time.Hour)}, "bb cc"},
		{"until", LetterFilter{Until: noon.Add(2 * time.Hour)}, "aa"},
		{"id", LetterFilter{IDs: []string{"0/10/1-"}}, "aa"},
		{"two ids and a type", LetterFilter{IDs: []string{"0/2", "0/10/12"}, Types: []string{"a"}}, "bb"},
	} {
		if err := tc.f.resolve(entries()); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		var got []string
		for _, e := range entries() {
			if tc.f.fits(e) {
				_, tail, _ := strings.Cut(e.ID, "-")
				got = append(got, tail)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
		if tc.f.Empty() != (tc.name == "all") {
			t.Errorf("%s: empty %v", tc.name, tc.f.Empty())
		}
	}
	f := LetterFilter{IDs: []string{"0/10/1"}} // of two letters
	if err := f.resolve(entries()); err == nil || !strings.Contains(err.Error(), "0/10/12-bb") {
		t.Errorf("%v", err)
	}
	f = LetterFilter{IDs: []string{"0/3"}}
	if err := f.resolve(entries()); event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), "dlq list") {
		t.Errorf("%v", err)
	}
	f = LetterFilter{IDs: []string{"0/10/1-aa"}}
	if err := f.resolve(entries()); err != nil || !slices.Equal(f.IDs, []string{"0/10/1-aa"}) {
		t.Errorf("%v, %v", f.IDs, err)
	}
}
