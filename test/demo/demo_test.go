package main

import (
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

func TestPretty(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 60)
	in := `{"b":1.50,"a":{"k":"<é>"},"data":{"p":"` + long + `","q":"` + long + `","r":null},"list":[{"` + long + `":1},{"` + long + `":[]}]}`
	want := `{
      "b": 1.50,
      "a": {"k": "<é>"},
      "data": {
        "p": "` + long + `",
        "q": "` + long + `", "r": null
      },
      "list": [
        {"` + long + `": 1},
        {"` + long + `": []}
      ]
    }`
	got, err := pretty([]byte(in), 4)
	if err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	for line := range strings.Lines(got) {
		if len(line) > width+2 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if _, err := pretty([]byte(`{"a":`), 0); err == nil {
		t.Error("half a value was laid out")
	}
}

// A record belongs to the outage if it was on its way at any moment of it.
func TestSummaryTakesTheOutageApart(t *testing.T) {
	t.Parallel()
	zero := time.Unix(1_700_000_000, 0)
	at := func(s int) time.Time { return zero.Add(time.Duration(s) * time.Second) }
	d := &demo{screen: newScreen(&strings.Builder{}, false, false), truth: rig.NewTruth()}
	var f flow
	f.begin(d)
	f.shown["t"] = true
	var records []rig.Record
	saw := func(commit, seen int) {
		r := rig.Record{Time: at(commit), Seen: at(seen), Headers: map[string]string{"event_type": "t"}}
		records = append(records, r)
		f.saw(t.Context(), &r)
	}
	saw(0, 1)        // steady
	saw(9, 20)       // waited out the outage
	f.killed(at(10)) // between the two above
	saw(12, 20)      // written while there was no relay
	f.streamsAgain(at(15))
	saw(16, 21) // the first that was written after the restart: caught up
	saw(22, 23) // steady again
	s := f.summary(records)
	if len(s.all) != 5 || len(s.steady) != 2 || s.steady.at(100) != time.Second || s.all.at(100) != 11*time.Second || s.outage != 5*time.Second {
		t.Errorf("all %v, steady %v, outage %s", s.all, s.steady, s.outage)
	}
}
