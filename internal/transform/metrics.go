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
	keys      *prometheus.HistogramVec
	headers   *prometheus.HistogramVec
	missingBy *prometheus.CounterVec
	fell      *prometheus.CounterVec
	over      *prometheus.CounterVec
	bytes     *prometheus.HistogramVec
	claimed   *prometheus.CounterVec
	ignored   prometheus.Counter
	letters   *prometheus.CounterVec
	parked    *prometheus.CounterVec
	held      prometheus.Gauge
}

// newMetrics makes the metrics of the package or, when another transformer of
// the process made them already on reg, shares those. Those with service and
// event_type as their only labels go on shared. Nil reg: they go nowhere; nil
// shared: reg.
func newMetrics(reg, shared prometheus.Registerer) (*metrics, error) {
	labels := []string{"service", "event_type"}
	m := makeMetrics(labels)
	m.deadLetters(labels)
	if reg == nil {
		return m, nil
	}
	if shared == nil {
		shared = reg
	}
	var errs [12]error
	m.missing, errs[0] = register(shared, m.missing)
	m.keys, errs[9] = register(shared, m.keys)
	m.headers, errs[10] = register(shared, m.headers)
	m.missingBy, errs[1] = register(reg, m.missingBy)
	m.fell, errs[2] = register(reg, m.fell)
	m.over, errs[3] = register(reg, m.over)
	m.bytes, errs[4] = register(reg, m.bytes)
	m.ignored, errs[5] = register(reg, m.ignored)
	m.letters, errs[6] = register(reg, m.letters)
	m.parked, errs[7] = register(reg, m.parked)
	m.held, errs[8] = register(reg, m.held)
	m.claimed, errs[11] = register(reg, m.claimed)
	return m, errors.Join(errs[:]...)
}

func makeMetrics(labels []string) *metrics {
	return &metrics{
		missing: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kafka_event_headers_missing_total",
			Help: "Events of which at least one header was not given: a standard one neither by the row's headers nor by a mapped column, or one the contract adds by none of its sources.",
		}, labels),
		keys: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "partition_key_resolution_seconds",
			Help:    "Time to resolve the partition key of an event, for the first of its type and every 64th after it.",
			Buckets: prometheus.ExponentialBuckets(100e-9, 2, 14), // to 0.8 ms
		}, labels),
		headers: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "event_header_serialization_seconds",
			Help:    "Time to make the headers of an event, for the first of its type and every 64th after it.",
			Buckets: prometheus.ExponentialBuckets(100e-9, 2, 14),
		}, labels),
		missingBy: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_event_header_missing_total",
			Help: "Headers that had to be derived or left out, by name: standard ones, and those the contract adds.",
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
}

func (m *metrics) deadLetters(labels []string) {
	m.letters = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cdc_relay_dead_letters_total",
		Help: "Events that could not be published and were written to the dead letter topic, by the class of the reason.",
	}, append(labels[:2:2], "reason"))
	m.parked = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cdc_relay_parked_events_total",
		Help: "Events parked in the dead letter topic behind one with the same key.",
	}, labels)
	m.held = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cdc_relay_held_keys",
		Help: "Keys (of a topic each) whose events are parked until a dead letter is redriven or discarded.",
	})
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
	missing       prometheus.Counter
	missingBy     [standards]prometheus.Counter
	fell          prometheus.Counter
	over          prometheus.Counter
	bytes         prometheus.Observer
	keySeconds    prometheus.Observer
	headerSeconds prometheus.Observer

	claimedPayload, claimedFields prometheus.Counter // nil: no form of the rule claims anything
}

// additions gives each header that the contract adds the counter of its misses.
func (m *metrics) additions(service, eventType string, add []addition) {
	for i := range add {
		add[i].missing = m.missingBy.WithLabelValues(service, typeLabel(eventType), add[i].key)
	}
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
	r.claimedPayload = m.claimed.WithLabelValues(service, typeLabel(eventType), "payload")
	r.claimedFields = m.claimed.WithLabelValues(service, typeLabel(eventType), "fields")
}

// putAside makes the metrics of a rule whose events may become dead letters: a
// counter that comes into being with the first one has no increase to alert on.
func (m *metrics) putAside(service, eventType string, holds bool) {
	eventType = typeLabel(eventType)
	for _, class := range classes[stepPayload:] {
		m.letters.WithLabelValues(service, eventType, class)
	}
	if holds {
		m.parked.WithLabelValues(service, eventType)
	}
}

func typeLabel(eventType string) string {
	if eventType == "" {
		return unknownLabel
	}
	return eventType
}

func (m *metrics) rule(service, eventType string) ruleMetrics {
	eventType = typeLabel(eventType)
	out := ruleMetrics{
		keySeconds: m.keys.WithLabelValues(service, eventType), headerSeconds: m.headers.WithLabelValues(service, eventType),
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
