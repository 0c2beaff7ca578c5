package flow

import (
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

// SIGTERM in the middle of the load: what is in flight is committed, nothing is
// aborted, the slot stands where the checkpoint does, and the next relay goes on
// from there.
func TestStopUnderLoad(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Start()
	tell, writing := keepWriting(n)
	reader := n.Reader(n.Topic)
	for range 3 {
		seen := len(reader.All)
		n.Check(reader.Read(n.Ctx(time.Minute), func(got int) bool { return got > seen+100 }))
		n.Stopped(r, 0)
		line, err := r.WaitLog(n.Ctx(time.Second), "msg=stopped ")
		n.Check(err)
		saved := n.Saved()
		if at := n.Confirmed(); at != saved.Safe {
			t.Errorf("the slot confirmed %s, the checkpoint is safe up to %s; the relay said: %s", at, saved.Safe, line)
		}
		if end := n.Tape(n.Topic); end.Aborts > 0 || uint64(len(end.Records)) != saved.Events {
			t.Errorf("%d records and %d aborted batches in the topic; the checkpoint counts %d events", len(end.Records), end.Aborts, saved.Events)
		}
		r = n.Start()
	}
	tell()
	writing.Wait()
	n.Arrived(reader)
	n.Finished(r)
}

// A relay that is told to stop before it streams, or twice, stops.
func TestStopEarly(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Launch("run")
	_, err := r.Addr(n.Ctx(time.Minute))
	n.Check(err)
	n.Stopped(r, 0)
	r = n.Start()
	n.Publish(1)
	n.Arrived(n.Reader(n.Topic))
	n.Finished(r)
}
