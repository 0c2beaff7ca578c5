package e2e

import (
	"testing"
	"time"
)

// SIGTERM in the middle of the load: what is in flight is committed, nothing is
// aborted, the slot stands where the checkpoint does, and the next relay goes on
// from there.
func TestStopUnderLoad(t *testing.T) {
	n := newLane(t)
	r := n.start()
	tell, writing := n.keepWriting()
	reader := n.reader(n.topic)
	for range 3 {
		seen := len(reader.All)
		n.check(reader.Read(n.ctx(time.Minute), func(got int) bool { return got > seen+100 }))
		n.stopped(r, 0)
		line, err := r.WaitLog(n.ctx(time.Second), "msg=stopped ")
		n.check(err)
		saved := n.saved()
		if at := n.confirmed(); at != saved.Safe {
			t.Errorf("the slot confirmed %s, the checkpoint is safe up to %s; the relay said: %s", at, saved.Safe, line)
		}
		if end := n.tape(n.topic); end.aborts > 0 || uint64(len(end.records)) != saved.Events {
			t.Errorf("%d records and %d aborted batches in the topic; the checkpoint counts %d events", len(end.records), end.aborts, saved.Events)
		}
		r = n.start()
	}
	tell()
	writing.Wait()
	n.arrived(reader)
	n.finished(r)
}

// A relay that is told to stop before it streams, or twice, stops.
func TestStopEarly(t *testing.T) {
	n := newLane(t)
	r := n.launch("run")
	_, err := r.Addr(n.ctx(time.Minute))
	n.check(err)
	n.stopped(r, 0)
	r = n.start()
	n.publish(1)
	n.arrived(n.reader(n.topic))
	n.finished(r)
}
