package relay

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Metrics are one pipeline's. Register them with a registerer that carries the
// pipeline label.
type Metrics struct {
	restarts                 prometheus.Counter
	checkpoint, slot, server prometheus.Gauge
	retained                 prometheus.Gauge
	oldest                   atomic.Int64 // commit time of the oldest row not in Kafka, µs; 0: none
	checkpointAt, serverAt   atomic.Uint64
}

// NewMetrics registers the metrics of one pipeline.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		restarts:   counter("cdc_relay_restarts_total", "Times the pipeline started again from its checkpoint after a failure."),
		checkpoint: gauge("cdc_relay_checkpoint_lsn", "Log sequence number of the last checkpoint committed to Kafka (safe_lsn)."),
		slot:       gauge("cdc_relay_slot_confirmed_flush_lsn", "confirmed_flush_lsn of the replication slot, as Postgres reports it."),
		server:     gauge("cdc_relay_server_flush_lsn", "Flushed end of the server's write-ahead log, as last looked up."),
		retained:   gauge("cdc_relay_slot_retained_bytes", "Write-ahead log the slot keeps the server from removing."),
	}
	lagBytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cdc_relay_lag_bytes",
		Help: "Write-ahead log between the server's flushed end, as last looked up, and the checkpoint."}, m.bytesBehind)
	lagSeconds := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cdc_relay_lag_seconds",
		Help: "Age of the oldest event that was received and is not in Kafka yet; 0 when there is none."}, m.secondsBehind)
	reg.MustRegister(m.restarts, m.checkpoint, m.slot, m.server, m.retained, lagBytes, lagSeconds)
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

// Facts notes what was seen of the server, beside a stream or without one.
func (m *Metrics) Facts(f event.Facts) {
	m.server.Set(float64(f.Flush))
	m.serverAt.Store(uint64(f.Flush))
	if f.Slot.Exists {
		m.slot.Set(float64(f.Slot.ConfirmedFlush))
		m.retained.Set(float64(f.Flush - min(f.Slot.RestartLSN, f.Flush)))
	}
}

// over says that there is nothing left to do: a replay has come to its end.
func (m *Metrics) over() {
	m.oldest.Store(0)
	m.checkpointAt.Store(m.serverAt.Load())
	m.retained.Set(0)
}

func (m *Metrics) at(safe event.LSN) {
	m.checkpoint.Set(float64(safe))
	m.checkpointAt.Store(uint64(safe))
}

func (m *Metrics) bytesBehind() float64 {
	server, at := m.serverAt.Load(), m.checkpointAt.Load()
	return float64(server - min(at, server))
}

func (m *Metrics) secondsBehind() float64 {
	t := m.oldest.Load()
	if t == 0 {
		return 0
	}
	return max(time.Since(time.UnixMicro(t)).Seconds(), 0)
}
