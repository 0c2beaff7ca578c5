package sink

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// BenchmarkCommit commits batches of 2 000 records of 1 KB with 6 headers to
// 12 partitions of a real broker. cpu-µs/msg is the whole client process,
// librdkafka's threads included.
func BenchmarkCommit(b *testing.B) {
	k := stack.NewBroker(b, stack.Benchmark())
	for _, size := range []int{100, 1000, 2000, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) { benchmarkCommit(b, k, size) })
	}
}

func benchmarkCommit(b *testing.B, k *stack.Kafka, size int) {
	on := newBench(b, k)
	topic := k.Topic(b, 12, nil)
	s := on.sink("p", func(o *Options) { o.Topics = []string{topic} })
	start(b, s)
	full := batchOf(topic, size)
	for range 100_000 / size { // the broker's compiler is warm, the topic known
		if err := s.Commit(b.Context(), full); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	cpu, begin := usage(b), time.Now()
	n := 0
	for b.Loop() {
		full.End.Events += uint64(size)
		if err := s.Commit(b.Context(), full); err != nil {
			b.Fatal(err)
		}
		n += size
	}
	b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "msg/s")
	b.ReportMetric(float64((usage(b)-cpu).Microseconds())/float64(n), "cpu-µs/msg")
}

// BenchmarkEndTxn measures how long the answer to an EndTxn takes: transactions of
// five records and a checkpoint, one every 4 ms, as at 1 000 events a second. The
// larger kafka.AskedOnce is beside it, the fewer ordinary commits are taken for
// asked twice (docs/adr/0020). Run it with -benchtime 60s; beside other load too.
func BenchmarkEndTxn(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("brokers=%d", n), func(b *testing.B) { benchmarkEndTxn(b, stack.NewBroker(b, stack.Benchmark(), stack.Brokers(n))) })
	}
}

func benchmarkEndTxn(b *testing.B, k *stack.Kafka) {
	on := newBench(b, k)
	topic := k.Topic(b, 6, nil)
	s := on.sink("p", func(o *Options) { o.Topics = []string{topic} })
	start(b, s)
	few := batchOf(topic, 5)
	var all []time.Duration
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		p := s.producers[len(all)%len(s.producers)]
		if err := p.begin(); err != nil {
			b.Fatal(err)
		}
		if err := s.produce(b.Context(), p, few.Records, []byte("{}")); err != nil {
			b.Fatal(err)
		}
		within, err := p.commit(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, within)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.99, 0.999, 1} {
		b.ReportMetric(float64(all[int(q*float64(len(all)-1))].Microseconds())/1000, fmt.Sprintf("ms-p%g", q*100))
	}
	doubts, _ := slices.BinarySearch(all, kafka.AskedOnce)
	b.ReportMetric(float64(len(all)-doubts), "in-doubt")
}

// batchOf makes n records of 1 KB, half of it random text, with six headers.
func batchOf(topic string, n int) *event.Batch {
	b := event.NewBatch(pool)
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"event_id", "event_type", "schema_version", "occurred_at", "trace_id", "correlation_id"}
	for i := range n {
		value := b.Buf(1024)
		for len(value) < 1024 {
			value = fmt.Appendf(value, `{"normalized_score":%d,"essay":"`, random.Uint64())
		}
		value = b.Keep(value[:1024])
		hs := b.HeaderBuf(len(names))
		for _, name := range names {
			hs = append(hs, event.Header{Key: name, Value: b.Keep(fmt.Appendf(b.Buf(36), "%036d", random.Uint64()))})
		}
		b.Records = append(b.Records, event.Record{Topic: &topic, Key: b.Keep(fmt.Appendf(b.Buf(20), "key-%d", i%500)), Value: value,
			Headers: b.KeepHeaders(hs), Time: time.Now().UnixMicro()})
	}
	b.End = event.Checkpoint{Last: event.Position{Commit: 1, Ord: 1}, Safe: 2, Time: time.Now().UnixMicro()}
	return b
}

func usage(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
