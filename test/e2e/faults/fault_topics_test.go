package faults

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// What a topic, or a stranger in Kafka, does to a relay that is at work.

// A topic that is deleted under a relay is looked for once more, and then
// refused by name; what was committed with its rows comes when it is back.
func TestTopicDeletedWhileRunning(t *testing.T) {
	l := lab.New(t, lab.Property("transaction.timeout.ms", "3000"))
	r := l.Start()
	topics := rig.Topics(l.ID)
	before := l.Truth
	l.Writes("a", 40)
	reader := l.Reader()
	l.Delivered(reader, 40, time.Minute)
	l.Exact(reader, time.Minute)
	topic := topics[2]
	l.Check(l.Kafka.DeleteTopic(l.Ctx(time.Minute), topic))
	l.Truth = rig.NewTruth()
	l.Writes("bb", 40)
	l.Gone(r, 3, 40*time.Second, `Kafka has no topic "`+topic+`"`, "cdc-relay topics apply")

	l.Command("topics", "apply").Exits(0).Says(topic)
	r = l.Start()
	fresh(l, before)
	l.Stops(r)
}

// fresh demands that all of the lab's truth arrives once; records of the truth
// before are left out.
func fresh(l *lab.Lab, before *rig.Truth) {
	l.Helper()
	reader := l.Reader()
	count := func() (ours []rig.Record) {
		for _, rec := range reader.All {
			if !before.Has(rec.Headers["event_id"]) {
				ours = append(ours, rec)
			}
		}
		return ours
	}
	l.Check(reader.Read(l.Ctx(time.Minute), func(int) bool { return len(count()) >= l.Truth.Committed() }))
	l.Check(reader.Settle(l.Ctx(time.Minute), time.Second))
	dec, err := rig.NewDecoder(l.SR.URL())
	l.Check(err)
	report, err := rig.Check(l.Ctx(time.Minute), l.Truth, count(), dec)
	l.Check(err)
	if !report.Exact() {
		l.Errorf("not exactly once: %s", report)
	}
}

// A limit that is lowered under a relay stops it at the record that does not
// fit any more, with its name; nothing is skipped, and with the limit raised it
// goes on.
func TestTopicLimitLoweredWhileRunning(t *testing.T) {
	l := lab.New(t, lab.Property("transaction.timeout.ms", "3000"))
	r := l.Start()
	l.Writes("a", 40)
	l.Delivered(l.Reader(), 40, time.Minute)
	topic := rig.Topics(l.ID)[2]
	limit(l, topic, "400")
	l.Writes("bb", 40)
	l.Gone(r, 1, 40*time.Second, `for topic "`+topic+`" takes`, "more than the topic's max.message.bytes (400)", "event_id")
	l.Gone(l.Launch("run"), 1, 40*time.Second, "more than the topic's max.message.bytes (400)")
	limit(l, topic, "100000")
	r = l.Start()
	l.Settled(time.Minute)
	l.Stops(r)
}

// limit sets max.message.bytes of a topic.
func limit(l *lab.Lab, topic, bytes string) {
	l.Helper()
	l.Alter(topic, "max.message.bytes", bytes)
}

// A stranger that uses the transactional ids of a pipeline fences it. Once is
// recovered from. Again and again, while the slot is ours, is for a person:
// exit code 4.
func TestFencedAgainAndAgain(t *testing.T) {
	l := lab.New(t)
	r := l.Start()
	w := l.Traffic("a", 10*time.Millisecond)
	l.Wrote(30)
	c := l.Client()
	fence(l, l.Ctx(time.Minute), c)
	l.Soon(30*time.Second, "the recovery path", func() bool { return l.Restarts(r) > 0 })
	l.Check(r.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))
	l.Wrote(30)
	l.Delivered(l.Reader(), 60, time.Minute)

	ctx, cancel := context.WithCancel(l.Ctx(time.Minute))
	stranger := make(chan struct{})
	go func() {
		defer close(stranger)
		for ctx.Err() == nil {
			fence(l, ctx, c)
		}
	}()
	code, err := r.Exit(l.Ctx(45 * time.Second))
	cancel()
	<-stranger
	l.Check(err)
	if code != 4 || !lab.Said(r, "fenced 3 times in a row without a commit between, while holding the slot") || !lab.Said(r, "find the other relay with the same `name`") {
		t.Errorf("exit code %d, want 4 and the reason:\n%s", code, r.Log())
	}
	w.End()
	r = l.Start()
	l.Settled(time.Minute)
	l.Stops(r)
}

// fence does what another producer with the lab's transactional ids would.
func fence(l *lab.Lab, ctx context.Context, c *kgo.Client) {
	for i := range 2 {
		id := fmt.Sprintf("%s/%s/%d", l.ID, lab.DatabaseName(l.URL), i)
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = &id, 10000, -1, -1
		resp, err := req.RequestWith(ctx, c)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		// The coordinator is busy with what this very request interrupts.
		if err != nil && ctx.Err() == nil && !errors.Is(err, kerr.ConcurrentTransactions) && !errors.Is(err, kerr.ProducerFenced) {
			l.Errorf("fence %s: %v", id, err)
		}
	}
}
