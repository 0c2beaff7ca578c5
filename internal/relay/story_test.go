package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// TestStories runs testdata/*.txt: a person's way to say what happens and what
// the topic then holds. Commands:
//
//	new events=N lag=N     an empty world
//	tx at=LSN rows=N       a transaction that commits at LSN
//	keepalive at=LSN       a keepalive with this WAL end
//	step [n=N]             the relay reads one message, or waits
//	commit / abort         the outcome of the commit in flight
//	crash [committed]      the process dies
//	run                    to the end
//
// Each answers with the state it leads to.
func TestStories(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				var events, lag int
				d.ScanArgs(t, "events", &events)
				d.ScanArgs(t, "lag", &lag)
				w = newWorld(Limits{Events: events, Bytes: 1 << 20, IdleAfter: time.Second, IdleBytes: 1}, lag, nil)
				return ""
			}
			w.tell(t, d)
			return w.picture()
		})
	})
}

func (w *world) tell(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	var at, n int
	switch d.Cmd {
	case "tx":
		d.ScanArgs(t, "at", &at)
		d.ScanArgs(t, "rows", &n)
		w.log = transaction(w.log, event.LSN(at), n)
	case "keepalive":
		d.ScanArgs(t, "at", &at)
		w.log = keepalive(w.log, event.LSN(at))
	case "step":
		n = 1
		d.MaybeScanArgs(t, "n", &n)
		for range n {
			w.step()
		}
	case "commit":
		w.outcome(true)
	case "abort": // the one recovery path
		w.restart()
	case "crash":
		w.crash(d.HasArg("committed"))
	case "run":
		w.run()
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
	w.watch()
}

func (w *world) picture() string {
	var b strings.Builder
	fmt.Fprintf(&b, "topic  %s\n", strings.Join(w.topic, " "))
	last := "none"
	if w.saved.Last != (event.Position{}) {
		last = name(w.saved.Last)
	}
	fmt.Fprintf(&b, "saved  last %s, safe %d\nslot   %d\n", last, w.saved.Safe, w.slot)
	if w.flying != nil {
		fmt.Fprintf(&b, "flying %s → safe %d\n", strings.Join(w.flying.rows, " "), w.flying.end.Safe)
	}
	if w.batch != nil {
		fmt.Fprintf(&b, "batch  %s\n", strings.Join(w.batch, " "))
	}
	for _, p := range w.problems {
		fmt.Fprintf(&b, "PROBLEM %s\n", p)
	}
	return b.String()
}
