package letters

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// hold serves the line of one process of a binary with crash points: it is held
// at the nth passing of a point. The path it connects to is in the variable
// returned; at is closed when it holds.
func hold(l *lab.Lab, point crash.Name, n int) (env string, at <-chan struct{}) {
	l.Helper()
	dir, err := os.MkdirTemp("", "trap") // a socket's path has to be short
	l.Check(err)
	l.Cleanup(func() { os.RemoveAll(dir) })
	trap, err := net.Listen("unix", filepath.Join(dir, "s"))
	l.Check(err)
	l.Cleanup(func() { trap.Close() })
	held := make(chan struct{})
	go func() {
		conn, err := trap.Accept()
		if err != nil {
			return // the test is over
		}
		fmt.Fprintf(conn, "arm %s %d\nready\n", point, n)
		for s := bufio.NewScanner(conn); s.Scan(); {
			if strings.HasPrefix(s.Text(), "at ") {
				close(held)
				return
			}
		}
	}()
	return "CDC_RELAY_CRASH=" + filepath.Join(dir, "s"), held
}

// A repair is killed at every arrow of its second transaction (and at its
// fence), one after the other, and then run to its end: every event of the gap
// is there once, in order.
func TestRepairKilledAtEveryArrow(t *testing.T) {
	n := lab.NewLane(t, lab.With(often), lab.With(func(c *rig.Config) { c.Extra += "batch: {events: 5}\n" }))
	points, err := rig.Held(n.Ctx(5 * time.Minute))
	n.Check(err)
	r := n.Start()
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	gap := gap(n, 30, 5)
	r = n.Start()
	n.Publish(2)

	for _, c := range []struct {
		at crash.Name
		n  int
	}{{crash.FenceFirst, 1}, {crash.TxnBegun, 2}, {crash.TxnProduced, 8}, {crash.TxnRecords, 2}, {crash.TxnCheckpoint, 2}, {crash.TxnCommitted, 2}} {
		env, at := hold(n.Lab, c.at, c.n)
		p, err := rig.Start(points, []string{env}, nil, "-c", n.Config, "repair", "--yes")
		n.Check(err)
		select {
		case <-at:
		case <-p.Done():
			t.Fatalf("the repair ended before it reached %s: %v\n%s", c.at, p.Wait(), p.Log())
		case <-n.Ctx(time.Minute).Done():
			p.Kill()
			t.Fatalf("the repair did not reach %s:\n%s", c.at, p.Log())
		}
		p.Kill()
	}
	done := repairs(n.Lab, 0, "--yes")
	// One transaction each of the five that were killed in their second, and the
	// second of the one that was killed behind its commit.
	if !done.Healed || done.Produced != int64(len(gap)-5*5-5) {
		done.Before, done.After = nil, nil
		t.Errorf("the last repair: %+v", done)
	}
	n.Publish(2)
	n.Delivered(n.Reader(n.Topic), len(n.Want)+len(gap), time.Minute)
	healed(n, n.Tape(n.Topic), gap)
	n.Stopped(r, 0)
}
