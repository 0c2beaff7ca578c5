package claim

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Metrics are those of one pipeline's uploads.
type Metrics struct {
	objects  *prometheus.CounterVec
	bytes    prometheus.Counter
	seconds  prometheus.Histogram
	failures *prometheus.CounterVec
}

// NewMetrics makes the metrics on reg, or shares those that are on it already.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		objects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_claim_objects_total",
			Help: "Objects of the claim check that were stored, or found to be present.",
		}, []string{"result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cdc_relay_claim_stored_bytes_total",
			Help: "Bytes of the objects that were stored.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "cdc_relay_claim_upload_seconds",
			Help:    "Time to store one object.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14), // to 16 s
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_claim_failures_total",
			Help: "Batches whose objects could not be stored, by reason.",
		}, []string{"reason"}),
	}
	var errs [4]error
	m.objects, errs[0] = register(reg, m.objects)
	m.bytes, errs[1] = register(reg, m.bytes)
	m.seconds, errs[2] = register(reg, m.seconds)
	m.failures, errs[3] = register(reg, m.failures)
	for _, r := range []string{"stored", "present"} {
		m.objects.WithLabelValues(r)
	}
	for _, r := range []string{"timeout", "refused", "unavailable"} {
		m.failures.WithLabelValues(r)
	}
	return m, errors.Join(errs[:]...)
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	if are, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := are.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

func (m *Metrics) stored(b *event.Blob, begun time.Time) {
	m.objects.WithLabelValues("stored").Inc()
	m.bytes.Add(float64(len(b.Data)))
	m.seconds.Observe(time.Since(begun).Seconds())
}

func (m *Metrics) present() { m.objects.WithLabelValues("present").Inc() }

func (m *Metrics) failed(err error) {
	reason := "unavailable"
	switch {
	case event.VerdictOf(err) == event.Refuse:
		reason = "refused"
	case errors.Is(err, context.DeadlineExceeded):
		reason = "timeout"
	}
	m.failures.WithLabelValues(reason).Inc()
}
