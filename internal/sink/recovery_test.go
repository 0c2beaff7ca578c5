package sink

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestReadBehindAnotherPipelinesOpenTransaction(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := bench{t: t, bootstrap: k.Bootstrap(), cp: k.Topic(t, 1, map[string]string{"cleanup.policy": "compact"})}
	topic := k.Topic(t, 1, nil)
	mine, other := b.sink("mine", nil), b.sink("other", nil)
	start(t, mine)
	start(t, other)
	if err := mine.Commit(t.Context(), batch(topic, "a", 1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := other.open1(t.Context(), batch(topic, "b", 1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := mine.Commit(t.Context(), batch(topic, "c", 1, 20)); err != nil {
		t.Fatal(err) // committed, and yet invisible
	}
	next := b.sink("mine", nil)
	if saved, err := next.Look(t.Context()); err != nil || saved.Checkpoint().Last.Commit != 10 {
		t.Fatalf("look: %+v, %v", saved, err)
	}
	if err := next.Fence(t.Context()); err != nil {
		t.Fatal(err)
	}
	// With the fence, and without it: both wait for what they could miss.
	read := make(chan event.Saved, 2)
	for _, last := range []func(context.Context) (event.Saved, error){next.Read, b.sink("mine", nil).Settled} {
		go func() {
			saved, err := last(t.Context())
			if err != nil {
				t.Error(err)
			}
			read <- saved
		}()
	}
	select {
	case saved := <-read:
		t.Fatalf("read past an open transaction: %+v", saved)
	case <-time.After(300 * time.Millisecond):
	}
	if _, err := other.producers[0].commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range cap(read) {
		if saved := <-read; saved.Checkpoint().Last.Commit != 20 {
			t.Errorf("read %+v", saved)
		}
	}
}

func TestRowsThatATopicDoesNotTake(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	ctx := t.Context()
	topic := k.Topic(t, 1, nil)
	compacted := k.Topic(t, 1, map[string]string{"cleanup.policy": "compact"})
	reg := prometheus.NewRegistry()
	s := b.sink("p", func(o *Options) { o.Topics, o.Registerer = []string{topic}, reg }, "message.max.bytes", "2000000")
	start(t, s)
	// refused checks that the batch leaves no trace and that the sink recovers.
	refused := func(name string, bad *event.Batch, v event.Verdict, words ...string) {
		t.Helper()
		mixed := batch(topic, "bad", 5, 50)
		mixed.Records = append(mixed.Records, bad.Records...)
		err := s.Commit(ctx, mixed)
		wantVerdict(t, err, v, words...)
		s.Close()
		start(t, s)
		if err := s.Commit(ctx, batch(topic, "good-"+name, 2, 60)); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
	refused("missing", batch("no-such-topic", "x", 1, 1), event.Refuse, "event_id x-0", `"no-such-topic"`, "cdc-relay topics apply")

	large := batch(topic, "large", 1, 1)
	large.Records[0].Value = make([]byte, 1_100_000)
	refused("large", large, event.Stop, "event_id large-0", "1048588", topic)

	huge := batch(k.Topic(t, 1, map[string]string{"max.message.bytes": "5000000"}), "huge", 1, 1)
	huge.Records[0].Value = make([]byte, 2_100_000)
	refused("huge", huge, event.Stop, "event_id huge-0", "message.max.bytes")

	keyless := batch(compacted, "keyless", 1, 1)
	keyless.Records[0].Key = nil
	refused("keyless", keyless, event.Stop, "event_id keyless-0", "has no key", compacted)

	refused("checkpoint", batch(b.cp, "overwrite", 1, 1), event.Stop, "event_id overwrite-0", "taken for a checkpoint")
	refused("name", batch("not a name!", "odd", 1, 1), event.Refuse, "event_id odd-0", "not a name!", "cdc-relay topics apply")
	refused("empty", batch("", "empty", 1, 1), event.Stop, "event_id empty-0", "has no topic")

	good := 0
	for _, r := range b.committed(topic) {
		if !strings.HasPrefix(string(r.Value), "good") {
			t.Errorf("visible: %.20s", r.Value)
		}
		good++
	}
	if good != 14 {
		t.Errorf("%d good records, want 14", good)
	}
	if n := testutil.ToFloat64(s.metrics.events); n != 14 {
		t.Errorf("cdc_relay_events_total = %v", n)
	}
	if n := testutil.ToFloat64(s.metrics.commits); n != 7 {
		t.Errorf("cdc_relay_kafka_commits_total = %v", n)
	}
	if n := testutil.ToFloat64(s.metrics.errors.WithLabelValues("10")); n != 1 {
		t.Errorf("errors with code 10: %v, want that of message.max.bytes", n)
	}
	if n, err := testutil.GatherAndCount(reg, "cdc_relay_end_to_end_seconds"); err != nil || n != 1 {
		t.Errorf("end to end: %d, %v", n, err)
	}
}

// A broker holds whole batches against max.message.bytes, and the client
// library never splits one.
func TestBatchesFitTheSmallestTopic(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	ctx := t.Context()
	small := k.Topic(t, 1, map[string]string{"max.message.bytes": "20000"})
	s := b.sink("p", nil, "compression.type", "none")
	start(t, s)
	wide := func() *event.Batch {
		wide := batch(small, "w", 200, 10)
		for i := range wide.Records {
			wide.Records[i].Value = make([]byte, 1000)
		}
		return wide
	}
	// A topic chosen by a row: known too late for these producers.
	wantVerdict(t, s.Commit(ctx, wide()), event.Restart, small, "smaller")
	s.Close()
	start(t, s)
	if err := s.Commit(ctx, wide()); err != nil {
		t.Fatal(err)
	}
	// The limit is lowered under our feet: once the recovery path, which sees
	// the new limit, and then the row is named.
	alter(t, b.bootstrap, small, "max.message.bytes", "700")
	var err error
	for range 200 { // the broker hears of it from the controller a moment later
		if err = s.Commit(ctx, wide()); err != nil {
			break
		}
	}
	wantVerdict(t, err, event.Restart, "does not take a record")
	s.Close()
	start(t, s)
	wantVerdict(t, s.Commit(ctx, wide()), event.Stop, "event_id w-0", "(700)")
}

func alter(t *testing.T, bootstrap, topic, name, value string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value = name, &value
	res.Configs = append(res.Configs, c)
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil || resp.Resources[0].ErrorCode != 0 {
		t.Fatalf("alter %s: %+v, %v", topic, resp, err)
	}
}

// More than the client's queue holds at once goes through all the same.
func TestFullQueueIsWaitedFor(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	s := b.sink("p", nil, "queue.buffering.max.messages", "10")
	start(t, s)
	if err := s.Commit(t.Context(), batch(topic, "b0", 200, 1)); err != nil {
		t.Fatal(err)
	}
	if n := len(b.committed(topic)); n != 200 {
		t.Errorf("%d records, want 200", n)
	}
}

func TestATopicIsDeletedUnderOurFeet(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil) + "-short"
	if err := k.CreateTopic(t.Context(), topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	s := b.sink("p", func(o *Options) { o.Topics = []string{topic} }, "transaction.timeout.ms", "6000")
	start(t, s)
	if err := s.Commit(t.Context(), batch(topic, "b0", 1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := k.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), batch(topic, "b1", 1, 2)); err == nil {
		t.Fatal("committed to a topic that is gone")
	}
	s.Close()
	_, err := restart(t.Context(), s)
	wantVerdict(t, err, event.Refuse, topic, "cdc-relay topics apply")
}

// These do to a broker what no other test would like; one after the other.
func TestOnABrokerOfOurOwn(t *testing.T) {
	t.Parallel()
	k := stack.NewBroker(t, stack.BrokerSetting("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200"))
	t.Run("OwnTransactionTimesOut", func(t *testing.T) { ownTransactionTimesOut(t, k) })
	t.Run("FrozenBrokerHoldsNobody", func(t *testing.T) { frozenBrokerHoldsNobody(t, k) })
	t.Run("BrokerIsKilledUnderCommits", func(t *testing.T) { brokerIsKilledUnderCommits(t, k) })
}

// An own transaction that outlives its timeout looks exactly like a fence.
func ownTransactionTimesOut(t *testing.T, k *stack.Kafka) {
	t.Helper()
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	// Long enough for the records to be delivered on a busy machine.
	s := b.sink("p", nil, "transaction.timeout.ms", "5000")
	start(t, s)
	if err := s.open1(t.Context(), batch(topic, "late", 3, 5)); err != nil {
		t.Fatal(err)
	}
	// Another pipeline's read is over when the broker has aborted ours.
	if n := len(b.committed(topic)); n != 0 {
		t.Fatalf("%d records", n)
	}
	_, err := s.producers[0].commit(t.Context())
	wantVerdict(t, s.uncommitted(t.Context(), s.producers[0], err), event.Fenced, s.id(0), "our own transaction timed out")
	s.Close()
	start(t, s)
	if err := s.Commit(t.Context(), batch(topic, "b0", 3, 5)); err != nil {
		t.Fatal(err)
	}
}

// The broker dies and comes back under a sink that gives a commit up sooner than
// that, and knows only the one recovery path: every batch is there once, in order.
func brokerIsKilledUnderCommits(t *testing.T, k *stack.Kafka) {
	t.Helper()
	b := newBench(t, k)
	topic := k.Topic(t, 2, nil)
	s := b.sink("p", nil, "transaction.timeout.ms", "2000")
	start(t, s)
	const batches, per = 80, 20
	crashes := map[int]bool{30: true}
	done := make(chan error, len(crashes))
	for next := 1; next <= batches; {
		if crashes[next] {
			delete(crashes, next)
			go func() {
				err := k.Kill()
				if err == nil {
					err = k.Start()
				}
				done <- err
			}()
		}
		err := s.Commit(t.Context(), batch(topic, fmt.Sprintf("b%d", next), per, event.LSN(next)))
		if err == nil {
			next++
			continue
		}
		t.Logf("batch %d: %v", next, err)
		if v := event.VerdictOf(err); v != event.Restart && v != event.Fenced {
			t.Fatalf("verdict %d: %v", v, err)
		}
		saved := recover1(t, s)
		next = int(saved.Checkpoint().Last.Commit) + 1
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	last := map[string]string{}
	records := b.committed(topic)
	for _, r := range records {
		if !after(string(r.Value), last[string(r.Key)]) {
			t.Fatalf("key %s: %s after %s", r.Key, r.Value, last[string(r.Key)])
		}
		last[string(r.Key)] = string(r.Value)
	}
	if len(records) != batches*per {
		t.Errorf("%d records, want %d", len(records), batches*per)
	}
}

// recover1 takes the recovery path until it succeeds.
func recover1(t *testing.T, s *Sink) event.Saved {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		s.Close()
		saved, err := restart(ctx, s)
		if err == nil {
			return saved
		}
		t.Logf("start: %v", err)
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func frozenBrokerHoldsNobody(t *testing.T, k *stack.Kafka) {
	t.Helper()
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	s := b.sink("p", nil)
	start(t, s)
	if err := s.Commit(t.Context(), batch(topic, "b0", 1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := k.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := s.Commit(ctx, batch(topic, "b1", 100, 2))
	wantVerdict(t, err, event.Restart, "no answer in time from Kafka at "+b.bootstrap)
	s.Close()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("giving up took %s", took)
	}
	look, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.Look(look); event.VerdictOf(err) != event.Restart || err == nil {
		t.Errorf("look: %v", err)
	}
	if err := k.Resume(); err != nil {
		t.Fatal(err)
	}
	saved := recover1(t, s)
	if last := saved.Checkpoint().Last.Commit; last != 1 {
		t.Errorf("the commit nobody sent is at %d", last)
	}
}

// Not parallel: it looks at every goroutine there is.
func TestCloseLeavesNothingBehind(t *testing.T) {
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	before := goleak.IgnoreCurrent()
	s := b.sink("p", nil)
	start(t, s)
	if err := s.open1(t.Context(), batch(topic, "open", 10, 1)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	goleak.VerifyNone(t, before)
}
