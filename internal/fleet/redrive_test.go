package fleet

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// What comes of a replay's letter is a copy, and says so; what comes of another
// letter does not.
func TestCopiesOfAReplayAreMarked(t *testing.T) {
	t.Parallel()
	own := []event.Header{{Key: "event_id", Value: []byte("e")}, {Key: event.RedriveHeader, Value: []byte("redrive-1")}}
	for id, want := range map[string]string{"0/1/2-00000000": "", "0/1/2-00000000@0-1": "0-1"} {
		l := deadletter.Letter{ID: id}
		records := []event.Record{{Headers: own}, {Headers: own[:1]}}
		markReplay(records, l.Replay())
		for i := range records {
			got, _ := headersOf(&records[i])(event.ReplayHeader)
			if e, _ := headersOf(&records[i])("event_id"); string(got) != want || string(e) != "e" {
				t.Errorf("%s: record %d has %q", id, i, records[i].Headers)
			}
		}
	}
	if len(own) != 2 || own[1].Key != event.RedriveHeader {
		t.Errorf("the headers of the batch were written: %q", own)
	}
}

// A redrive begins again when Kafka was away for a moment.
func TestRedriveOpensAgain(t *testing.T) {
	t.Parallel()
	f := example(t, "minimal")
	r := &redriver{unit: f.unit(f.Config.Pipelines()[0])}
	for range 3 {
		r.open()
		if r.live == nil {
			t.Fatal("no sink")
		}
		r.close()
	}
}
