package sink

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

type metrics struct {
	commits  prometheus.Counter
	aborts   prometheus.Counter
	inDoubt  prometheus.Counter
	seconds  prometheus.Histogram
	endTxn   prometheus.Histogram
	events   prometheus.Counter
	bytes    prometheus.Counter
	perBatch prometheus.Histogram
	perBytes prometheus.Histogram
	errors   *prometheus.CounterVec
	turn     prometheus.Gauge
	endToEnd prometheus.Histogram
}

// latencies are histogram bounds in seconds: 1 ms to about a minute.
var latencies = []float64{.001, .0025, .005, .01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 30, 60}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}))
	}
	return &metrics{
		commits: counter("cdc_relay_kafka_commits_total", "Kafka transactions with a batch that were committed."),
		aborts:  counter("cdc_relay_kafka_aborts_total", "Kafka transactions that were given up and aborted."),
		inDoubt: counter("cdc_relay_commits_in_doubt_total", "Commits that succeeded but may have been asked for twice, so that the pipeline was started again from its checkpoint."),
		seconds: histogram("cdc_relay_kafka_commit_seconds", "From the begin of a Kafka transaction to the acknowledgment of its commit.", latencies),
		endTxn: histogram("cdc_relay_kafka_end_txn_seconds", "From asking for a commit to its answer. From 0.8 s on it may have been asked for twice.",
			slices.Sorted(slices.Values(append(slices.Clone(latencies), kafka.AskedOnce.Seconds())))),
		events:   counter("cdc_relay_events_total", "Records committed to Kafka, without checkpoints."),
		bytes:    counter("cdc_relay_event_bytes_total", "Bytes of keys, values and header values committed to Kafka."),
		perBatch: histogram("cdc_relay_batch_events", "Records in a committed batch.", prometheus.ExponentialBuckets(1, 2, 15)),
		perBytes: histogram("cdc_relay_batch_bytes", "Bytes of keys, values and header values in a committed batch.", prometheus.ExponentialBuckets(1024, 4, 9)),
		errors: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cdc_relay_kafka_errors_total",
			Help: "Errors that ended a Kafka transaction, by the client library's code."}, []string{"code"})),
		turn: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: "cdc_relay_kafka_transactional_id",
			Help: "Number of the transactional id of the last transaction; they take turns."})),
		endToEnd: histogram("cdc_relay_end_to_end_seconds", "From the commit in Postgres to the commit in Kafka, once per record.", latencies),
	}
}

// register adds c to reg; what is there already (the same pipeline made anew)
// is used on.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if old, ok := there.ExistingCollector.(C); ok {
				return old
			}
		}
	}
	return c
}

func (m *metrics) begin() time.Time { return time.Now() }

// committed counts a batch. Every record is observed, so that quantiles are
// those of events, not of batches: a batch of thousands counts as many.
func (m *metrics) committed(begin time.Time, b *event.Batch) {
	now := time.Now()
	m.commits.Inc()
	m.seconds.Observe(now.Sub(begin).Seconds())
	m.events.Add(float64(len(b.Records)))
	bytes := float64(b.Bytes - b.BlobBytes())
	m.bytes.Add(bytes)
	m.perBatch.Observe(float64(len(b.Records)))
	m.perBytes.Observe(bytes)
	at := now.UnixMicro()
	for i := range b.Records {
		if t := b.Records[i].Time; t != 0 {
			m.endToEnd.Observe(float64(at-t) / 1e6)
		}
	}
}

// failed counts an error by its code; 0 is none of the library's.
func (m *metrics) failed(err error) {
	code := 0
	if e, ok := kafka.AsError(err); ok {
		code = int(e.Code())
	}
	m.errors.WithLabelValues(strconv.Itoa(code)).Inc()
}
