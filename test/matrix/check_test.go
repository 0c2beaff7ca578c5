package matrix

import (
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// good is the evidence of a sound run: transactions of one to four rows, all
// but the last one in one Kafka transaction each.
func good() *Evidence {
	e := &Evidence{Limit: 100}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	mark := func(state string, last event.Position, safe event.LSN) {
		s := event.Saved{V: 1, State: state, SystemID: "7"}
		e.Marks = append(e.Marks, Mark{Saved: s.At(event.Checkpoint{Last: last, Safe: safe}), At: begin.Add(time.Duration(len(e.Marks)) * time.Second)})
	}
	mark(event.StateCreating, event.Position{}, 50)
	mark(event.StateStreaming, event.Position{}, 90)
	offset := map[int32]int64{}
	for tx := range 6 {
		commit := event.LSN(100 + 100*tx)
		for i := range tx%4 + 1 {
			r := Row{ID: fmt.Sprintf("e%d-%d", tx, i), Commit: commit, End: commit + 30, Ord: i + 1, Of: tx%4 + 1}
			p := int32(i % 2)
			e.Rows = append(e.Rows, r)
			e.Records = append(e.Records, Seen{ID: r.ID, Topic: "t", Partition: p, Offset: offset[p], Key: fmt.Sprintf("k%d", p), Txn: fmt.Sprintf("7/0#%d", tx)})
			offset[p]++
		}
		mark(event.StateStreaming, event.Position{Commit: commit, Ord: uint64(tx%4 + 1)}, commit+30)
		e.Samples = append(e.Samples, Sample{At: e.Marks[len(e.Marks)-1].At.Add(time.Millisecond), Flushed: commit + 30})
	}
	return e
}

// The checker is fed with what it is there to find.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		break_ func(*Evidence)
		want   Verdict
	}{
		{"nothing", func(*Evidence) {}, Verdict{}},
		{"a lost event", func(e *Evidence) { e.Records = append(e.Records[:3:3], e.Records[4:]...) }, Verdict{Lost: 1}},
		{"a doubled event", func(e *Evidence) {
			twice := e.Records[5]
			twice.Offset = 99
			e.Records = append(e.Records, twice)
		}, Verdict{Doubled: 1}},
		{"two events in the wrong order", func(e *Evidence) {
			// e1-0 and e2-0 have the same key.
			e.Records[1].ID, e.Records[3].ID = e.Records[3].ID, e.Records[1].ID
			e.Records[1].Txn, e.Records[3].Txn = e.Records[3].Txn, e.Records[1].Txn
		}, Verdict{Reordered: 1}},
		{"rows of one transaction in the wrong order", func(e *Evidence) {
			// e2-0 and e2-2 have the same key.
			e.Records[3].ID, e.Records[5].ID = e.Records[5].ID, e.Records[3].ID
		}, Verdict{Reordered: 1}},
		{"half a transaction, cut between two partitions", func(e *Evidence) {
			e.Marks[5].Last.Ord, e.Marks[5].Safe = 2, 330
		}, Verdict{Partial: 1}},
		{"half a transaction, cut in a partition", func(e *Evidence) { e.Records[5].Txn = "7/0#later" }, Verdict{Partial: 1}},
		{"half a transaction that never came to its end", func(e *Evidence) {
			e.Records = e.Records[:8]
			e.Rows = e.Rows[:10]
			e.Marks = e.Marks[:6]
			e.Marks[5].Last.Ord, e.Marks[5].Safe = 2, 330
			e.Samples = nil
		}, Verdict{Lost: 2, Partial: 1}},
		{"a large transaction may be cut", func(e *Evidence) { e.Limit = 3; e.Marks[5].Last.Ord, e.Marks[5].Safe = 2, 330 }, Verdict{}},
		{"an event nobody committed", func(e *Evidence) {
			e.Records = append(e.Records, Seen{ID: "rolled back", Topic: "t", Offset: 99})
		}, Verdict{Phantoms: 1}},
		{"acknowledged before it was committed", func(e *Evidence) {
			e.Samples[2].At = e.Samples[2].At.Add(-2 * time.Second)
		}, Verdict{AckAhead: 1}},
		{"acknowledged and never committed", func(e *Evidence) { e.Samples[5].Flushed = 5000 }, Verdict{AckAhead: 1}},
		{"rows of a gap that was given up", func(e *Evidence) {
			// A new slot at 600: the row at 500 is neither published nor lost.
			e.Marks[6].Saved = event.Saved{V: 1, State: event.StateCreating, SystemID: "7", Safe: 560}
			e.Marks[7].Saved = event.Saved{V: 1, State: event.StateStreaming, SystemID: "7", Safe: 640}
			e.Records = e.Records[:10]
			e.Samples = nil
		}, Verdict{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := good()
			c.break_(e)
			got := Check(e)
			got.Events, got.Samples = 0, 0
			complaints := got.Complaints
			got.Complaints = nil
			if fmt.Sprint(*got) != fmt.Sprint(c.want) {
				t.Errorf("found %v\nwant  %v\n%v", got, &c.want, complaints)
			}
		})
	}
}
