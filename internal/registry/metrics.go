package registry

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cdc_relay_registry_requests_total",
			Help: "Requests to the schema registry, by answer: ok, refused (4xx), failed (5xx), unreachable.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "cdc_relay_registry_request_seconds",
			Help:    "Time of one request to the schema registry.",
			Buckets: []float64{.005, .025, .1, .5, 2, 10},
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds)
	}
	return m
}
