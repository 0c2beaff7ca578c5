package transform

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// unknownLabel is the event_type of events that follow the defaults: their
// types come from rows, so they are no labels.
const unknownLabel = "(unknown)"

type metrics struct {
	missing   *prometheus.CounterVec
	missingBy *prometheus.CounterVec
	fell      *prometheus.CounterVec
	over      *prometheus.CounterVec
	bytes     *prometheus.HistogramVec
	claimed   *prometheus.CounterVec
	ignored   prometheus.Counter
}

// newMetrics makes the metrics of the package or, when another transformer of
// the process made them already on reg, shares those. Nil reg: they go nowhere.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	labels := []string{"service", "event_type"}
	m := &metrics{
		missing: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kafka_event_headers_missing_total",
			Help: "Events of which at least one standard header was given neither by the row's headers nor by a mapped column.",
		}, labels),
		missingBy: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_event_header_missing_total",
			Help: "Standard headers that had to be derived or left out, by name.",
		}, append(labels[:2:2], "header")),
		fell: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_partition_key_fallthrough_total",
			Help: "Events whose key rule gave nothing, or nothing but its last fallback.",
		}, labels),
		over: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_event_over_target_total",
			Help: "Records of more than 100 KB of key, value and headers.",
		}, labels),
		bytes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kafka_event_bytes",
			Help:    "Bytes of key, value and headers of a record.",
			Buckets: prometheus.ExponentialBuckets(128, 2, 14), // to 1 MiB
		}, labels),
		claimed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_event_claimed_total",
			Help: "Records whose value (payload) or some of whose fields (fields) went into object storage.",
		}, append(labels[:2:2], "part")),
		ignored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cdc_relay_logical_messages_ignored_total",
			Help: "Logical messages with a prefix that is not the relay's.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var errs [7]error
	m.missing, errs[0] = register(reg, m.missing)
	m.missingBy, errs[1] = register(reg, m.missingBy)
	m.fell, errs[2] = register(reg, m.fell)
	m.over, errs[3] = register(reg, m.over)
	m.bytes, errs[4] = register(reg, m.bytes)
	m.ignored, errs[5] = register(reg, m.ignored)
	m.claimed, errs[6] = register(reg, m.claimed)
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

// ruleMetrics are the metrics of one rule, with their labels.
type ruleMetrics struct {
	missing   prometheus.Counter
	missingBy [standards]prometheus.Counter
	fell      prometheus.Counter
	over      prometheus.Counter
	bytes     prometheus.Observer

	claimedPayload, claimedFields prometheus.Counter // nil: no form of the rule claims anything
}

func (r *ruleMetrics) claim(payload bool) {
	if payload {
		r.claimedPayload.Inc()
	} else {
		r.claimedFields.Inc()
	}
}

// claims makes the metrics of a rule that claims something.
func (m *metrics) claims(r *ruleMetrics, service, eventType string) {
	if eventType == "" {
		eventType = unknownLabel
	}
	r.claimedPayload = m.claimed.WithLabelValues(service, eventType, "payload")
	r.claimedFields = m.claimed.WithLabelValues(service, eventType, "fields")
}

func (m *metrics) rule(service, eventType string) ruleMetrics {
	if eventType == "" {
		eventType = unknownLabel
	}
	out := ruleMetrics{
		missing: m.missing.WithLabelValues(service, eventType),
		fell:    m.fell.WithLabelValues(service, eventType),
		over:    m.over.WithLabelValues(service, eventType),
		bytes:   m.bytes.WithLabelValues(service, eventType),
	}
	for s := range standards {
		out.missingBy[s] = m.missingBy.WithLabelValues(service, eventType, standardNames[s])
	}
	return out
}
