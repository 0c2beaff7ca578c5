package sink

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// These pin what the rule about a commit that may have been asked for twice rests
// on, with the vendored client library and a real broker.

// lateSink is a sink that has committed a batch on each of its ids.
func lateSink(t *testing.T, k *stack.Kafka, b bench, properties ...string) (s *Sink, topic string) {
	t.Helper()
	topic = k.Topic(t, 3, nil)
	s = b.sink("p", func(o *Options) { o.Topics = []string{topic} }, properties...)
	start(t, s)
	for i := range 2 {
		if err := s.Commit(t.Context(), batch(topic, "before", 5, event.LSN(10+i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Doubt(); err != nil {
		t.Fatalf("an ordinary commit: %v", err)
	}
	return s, topic
}

// TestDoubt shares one broker, whose requests its parts count: one after the other.
func TestDoubt(t *testing.T) {
	t.Parallel()
	k := stack.NewBroker(t, stack.Proxied())
	b := newBench(t, k)
	b.bootstrap = k.ProxiedBootstrap()
	proxy := k.Proxies()[0]
	t.Run("the connection drops", func(t *testing.T) { askedTwice(t, k, b, proxy.Cut, 0) })
	t.Run("the request times out", func(t *testing.T) {
		askedTwice(t, k, b, func() {}, time.Second, "socket.timeout.ms", "1000")
	})
	t.Run("the flush is slow", func(t *testing.T) { slowFlush(t, k, b) })
	// Version 2 of transactions gives each an epoch of its own (KIP-890), and a
	// late request none but its own to hit: EndTxn from version 5 on.
	if v := proxy.Version(fault.EndTxn); v < 0 || v >= 5 {
		t.Errorf("EndTxn of version %d: with transaction version 2 the rule about commits in doubt can go (docs/adr/0020)", v)
	}
}

// The library asks again for a commit it got no answer to, whatever kept the
// answer, and never sooner than AskedOnce after it noticed. Such a commit counts,
// is in doubt, and the sink begins nothing until it is started again.
//
// lose is what keeps the answer, and sooner than which the library does not notice.
func askedTwice(t *testing.T, k *stack.Kafka, b bench, lose func(), sooner time.Duration, properties ...string) {
	b.t, b.cp = t, k.Topic(t, 5, map[string]string{"cleanup.policy": "compact"})
	proxy := k.Proxies()[0]
	s, topic := lateSink(t, k, b, properties...)
	log := &lines{}
	s.log = slog.New(slog.NewTextHandler(log, nil))
	asked, release := proxy.HoldRequest(fault.EndTxn, 1)
	again, goOn := proxy.HoldRequest(fault.EndTxn, 2)
	ended := make(chan error, 1)
	go func() { ended <- s.Commit(t.Context(), batch(topic, "twice", 5, 20)) }()
	<-asked
	begin := time.Now()
	lose()
	<-again
	if took := time.Since(begin); took < sooner+kafka.AskedOnce {
		t.Errorf("asked again after %s, sooner than %s: the client library has changed, and the rule about commits in doubt does not hold", took, sooner+kafka.AskedOnce)
	}
	goOn()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	doubt := s.Doubt()
	wantVerdict(t, doubt, event.Restart, "asked for twice")
	for what, err := range map[string]error{
		"the next commit":     s.Commit(t.Context(), batch(topic, "after", 5, 30)),
		"the next checkpoint": s.Save(t.Context(), event.Saved{}),
	} {
		if !errors.Is(err, doubt) {
			t.Errorf("%s: %v, want %v", what, err, doubt)
		}
	}
	if n, said := testutil.ToFloat64(s.metrics.inDoubt), log.count("may have been asked for twice"); n != 1 || said != 1 {
		t.Errorf("counted %v times, said %d times", n, said)
	}
	// The fence makes the elder request worthless, wherever it is.
	start(t, s)
	release()
	if err := s.Commit(t.Context(), batch(topic, "after", 5, 30)); err != nil || s.Doubt() != nil {
		t.Errorf("after a start: %v, in doubt: %v", err, s.Doubt())
	}
	if n := len(b.committed(topic)); n != 20 {
		t.Errorf("%d records, want 20", n)
	}
}

// A flush that takes longer than a call of the library is not counted: it is
// before the commit is asked for.
func slowFlush(t *testing.T, k *stack.Kafka, b bench) {
	b.t, b.cp = t, k.Topic(t, 5, map[string]string{"cleanup.policy": "compact"})
	s, topic := lateSink(t, k, b)
	held, release := k.Proxies()[0].HoldRequest(fault.Produce, 1)
	ended := make(chan error, 1)
	go func() { ended <- s.Commit(t.Context(), batch(topic, "slow", 5, 20)) }()
	<-held
	<-time.After(kafka.AskedOnce + slice) // how long it takes is the subject
	release()
	if err := <-ended; err != nil || s.Doubt() != nil {
		t.Errorf("%v, in doubt: %v", err, s.Doubt())
	}
}
