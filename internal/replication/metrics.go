package replication

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	transactions prometheus.Counter
	rows         prometheus.Counter
	skipped      [outcomes]prometheus.Counter
	keepalives   prometheus.Counter
	statuses     prometheus.Counter
	probes       prometheus.Counter
	relations    prometheus.Counter
	received     prometheus.Gauge
	confirmed    prometheus.Gauge
}

// newMetrics registers the metrics with reg, or uses those a Source before this
// one registered there. A Registerer that serves several pipelines should add a
// label (prometheus.WrapRegistererWith).
func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	m := &metrics{
		transactions: counter("cdc_relay_replication_transactions_total", "Transactions read from the replication stream, empty ones too."),
		rows:         counter("cdc_relay_replication_rows_total", "Inserts and logical messages handed on."),
		keepalives:   counter("cdc_relay_replication_keepalives_total", "Keepalives of the server."),
		statuses:     counter("cdc_relay_replication_statuses_total", "Statuses sent to the server."),
		probes:       counter("cdc_relay_replication_silence_probes_total", "Times the stream was silent so long that the server was asked for our walsender."),
		relations:    counter("cdc_relay_replication_relation_changes_total", "Changes of the shape or the name of a table that is read."),
		received:     gauge("cdc_relay_replication_received_lsn", "Write-ahead log position read up to, in bytes."),
		confirmed:    gauge("cdc_relay_replication_confirmed_lsn", "Write-ahead log position last confirmed to the server, in bytes."),
	}
	skipped := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cdc_relay_replication_skipped_total",
		Help: "Changes read and not handed on, by why: update, delete, truncate, a foreign table, a logical message of another prefix, a non-transactional one.",
	}, []string{"reason"}))
	for o, reason := range map[outcome]string{
		skippedUpdate: "update", skippedDelete: "delete", skippedTruncate: "truncate", skippedForeign: "foreign_table",
		skippedMessage: "foreign_message", skippedLoose: "non_transactional_message",
	} {
		m.skipped[o] = skipped.WithLabelValues(reason)
	}
	return m
}

// register returns c, or what reg holds under c's name already.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if held, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if same, ok := held.ExistingCollector.(C); ok {
			return same
		}
	}
	return c
}
