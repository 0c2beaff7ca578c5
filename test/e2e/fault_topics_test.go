package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// What a topic, or a stranger in Kafka, does to a relay that is at work.

// A topic that is deleted under a relay is looked for once more, and then
// refused by name; what was committed with its rows comes when it is back.
func TestTopicDeletedWhileRunning(t *testing.T) {
	l := newLab(t, property("transaction.timeout.ms", "3000"))
	r := l.start()
	topics := rig.Topics(l.name)
	before := l.truth
	l.writes("a", 40)
	reader := l.reader()
	l.delivered(reader, 40, time.Minute)
	l.exact(reader, time.Minute)
	topic := topics[2]
	l.check(l.kafka.DeleteTopic(l.ctx(time.Minute), topic))
	l.truth = rig.NewTruth()
	l.writes("bb", 40)
	l.gone(r, 3, 40*time.Second, `Kafka has no topic "`+topic+`"`, "cdc-relay topics apply")

	l.run("topics", "apply").exits(0).says(topic)
	r = l.start()
	l.fresh(before)
	l.stops(r)
}

// fresh demands that all of the lab's truth arrives once; records of the truth
// before are left out.
func (l *lab) fresh(before *rig.Truth) {
	l.Helper()
	reader := l.reader()
	count := func() (ours []rig.Record) {
		for _, rec := range reader.All {
			if !before.Has(rec.Headers["event_id"]) {
				ours = append(ours, rec)
			}
		}
		return ours
	}
	l.check(reader.Read(l.ctx(time.Minute), func(int) bool { return len(count()) >= l.truth.Committed() }))
	l.check(reader.Settle(l.ctx(time.Minute), time.Second))
	dec, err := rig.NewDecoder(l.sr.URL())
	l.check(err)
	report, err := rig.Check(l.ctx(time.Minute), l.truth, count(), dec)
	l.check(err)
	if !report.Exact() {
		l.Errorf("not exactly once: %s", report)
	}
}

// A limit that is lowered under a relay stops it at the record that does not
// fit any more, with its name; nothing is skipped, and with the limit raised it
// goes on.
func TestTopicLimitLoweredWhileRunning(t *testing.T) {
	l := newLab(t, property("transaction.timeout.ms", "3000"))
	r := l.start()
	l.writes("a", 40)
	l.delivered(l.reader(), 40, time.Minute)
	topic := rig.Topics(l.name)[2]
	l.limit(topic, "400")
	l.writes("bb", 40)
	l.gone(r, 1, 40*time.Second, `for topic "`+topic+`" takes`, "more than the topic's max.message.bytes (400)", "event_id")
	l.gone(l.launch("run"), 1, 40*time.Second, "more than the topic's max.message.bytes (400)")
	l.limit(topic, "100000")
	r = l.start()
	l.settled(time.Minute)
	l.stops(r)
}

// limit sets max.message.bytes of a topic.
func (l *lab) limit(topic, bytes string) {
	l.Helper()
	l.alter(topic, "max.message.bytes", bytes)
}

// A stranger that uses the transactional ids of a pipeline fences it. Once is
// recovered from. Again and again, while the slot is ours, is for a person:
// exit code 4.
func TestFencedAgainAndAgain(t *testing.T) {
	l := newLab(t)
	r := l.start()
	w := l.traffic("a", 10*time.Millisecond)
	l.wrote(30)
	c := l.kgo()
	l.fence(l.ctx(time.Minute), c)
	l.soon(30*time.Second, "the recovery path", func() bool { return l.restarts(r) > 0 })
	l.check(r.State(l.ctx(30*time.Second), l.pipeline(), "RUNNING"))
	l.wrote(30)
	l.delivered(l.reader(), 60, time.Minute)

	ctx, cancel := context.WithCancel(l.ctx(time.Minute))
	stranger := make(chan struct{})
	go func() {
		defer close(stranger)
		for ctx.Err() == nil {
			l.fence(ctx, c)
		}
	}()
	code, err := r.Exit(l.ctx(45 * time.Second))
	cancel()
	<-stranger
	l.check(err)
	if code != 4 || !said(r, "fenced 3 times in a row without a commit between, while holding the slot") || !said(r, "find the other relay with the same `name`") {
		t.Errorf("exit code %d, want 4 and the reason:\n%s", code, r.Log())
	}
	w.end()
	r = l.start()
	l.settled(time.Minute)
	l.stops(r)
}

// fence does what another producer with the lab's transactional ids would.
func (l *lab) fence(ctx context.Context, c *kgo.Client) {
	for i := range 2 {
		id := fmt.Sprintf("%s/%s/%d", l.name, databaseName(l.url), i)
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
