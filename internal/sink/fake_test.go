package sink

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// These are answers a real broker cannot be made to give when a test wants them.

func newFake(t *testing.T) (*kfake.Cluster, bench) {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	if err := fake.CreateTopic("cp", 5, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	return fake, bench{t: t, bootstrap: strings.Join(fake.ListenAddrs(), ","), cp: "cp"}
}

// endTxn answers the next EndTxn requests with codes, one each, then leaves
// them to the fake.
func endTxn(fake *kfake.Cluster, codes ...*kerr.Error) *atomic.Int32 {
	var n atomic.Int32
	fake.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		i := int(n.Add(1)) - 1
		if i >= len(codes) {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.Version = req.GetVersion()
		resp.ErrorCode = codes[i].Code
		return resp, nil, true
	})
	return &n
}

func TestCommitIsRepeatedWhileTheCoordinatorMoves(t *testing.T) {
	t.Parallel()
	fake, b := newFake(t)
	s := b.sink("p", nil)
	start(t, s)
	n := endTxn(fake, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.CoordinatorNotAvailable)
	if err := s.Commit(t.Context(), batch("events", "b0", 10, 1)); err != nil {
		t.Fatal(err)
	}
	if n.Load() < 5 {
		t.Errorf("%d EndTxn requests, want the four refused and one more", n.Load())
	}
	if got := len(b.committed("events")); got != 10 {
		t.Errorf("%d records, want 10", got)
	}
	if s.Doubt() == nil {
		t.Error("a commit that was asked for five times is not in doubt")
	}
}

func TestVerdictsOfACommit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code    *kerr.Error
		verdict event.Verdict
		want    string
	}{
		{kerr.InvalidProducerEpoch, event.Fenced, "taken over"},
		{kerr.ProducerFenced, event.Fenced, "taken over"},
		{kerr.InvalidProducerIDMapping, event.Restart, "commit transaction"},
		{kerr.InvalidTxnState, event.Restart, "commit transaction"},
		{kerr.TransactionalIDAuthorizationFailed, event.Refuse, `transactional id "cp/p/0"`},
		{kerr.UnknownServerError, event.Restart, "commit transaction"},
	} {
		t.Run(tc.code.Message, func(t *testing.T) {
			t.Parallel()
			fake, b := newFake(t)
			s := b.sink("p", nil)
			start(t, s)
			endTxn(fake, tc.code)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			wantVerdict(t, s.Commit(ctx, batch("events", "b0", 3, 1)), tc.verdict, tc.want)
			wantVerdict(t, s.Commit(ctx, batch("events", "b1", 3, 2)), event.Restart, "not open")
		})
	}
}

// What a topic refuses while running is tried once more, after the start has
// looked at it, and then never again.
func TestATopicRefusesTwice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code   *kerr.Error
		first  event.Verdict
		second event.Verdict
	}{
		{kerr.MessageTooLarge, event.Restart, event.Stop},
		{kerr.InvalidRecord, event.Restart, event.Stop},
		{kerr.TopicAuthorizationFailed, event.Refuse, event.Refuse},
	} {
		t.Run(tc.code.Message, func(t *testing.T) {
			t.Parallel()
			fake, b := newFake(t)
			s := b.sink("p", func(o *Options) { o.Topics = []string{"events"} })
			start(t, s)
			refusing(fake, tc.code)
			for _, want := range []event.Verdict{tc.first, tc.second} {
				wantVerdict(t, s.Commit(t.Context(), batch("events", "b0", 3, 1)), want, "next: ")
				s.Close()
				start(t, s)
			}
		})
	}
}

// refusing answers every produce to the topic events with code.
func refusing(fake *kfake.Cluster, code *kerr.Error) {
	fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		resp.Version = r.Version
		for _, t := range r.Topics {
			if t.Topic == "cp" {
				return nil, nil, false
			}
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

func TestSinkIsUselessUntilStarted(t *testing.T) {
	t.Parallel()
	_, b := newFake(t)
	s := b.sink("p", nil)
	b0 := batch("events", "b0", 1, 1)
	wantVerdict(t, s.Commit(t.Context(), b0), event.Restart, "not open")
	wantVerdict(t, s.Save(t.Context(), event.Saved{}), event.Restart, "not open")
	if _, err := s.Read(t.Context()); err == nil {
		t.Error("a read without a fence")
	}
	start(t, s)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	wantVerdict(t, s.Commit(canceled, b0), event.Restart, "")
	wantVerdict(t, s.Commit(t.Context(), b0), event.Restart, "not open")
}
