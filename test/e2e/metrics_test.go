package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// metricsRows in one transaction take the relay a while.
const metricsRows = 20_000

// What /metrics says is what happened: counts to the last event and byte, and
// times and positions that are possible.
func TestMetricsTellWhatHappened(t *testing.T) {
	n := newLane(t)
	begun := time.Now()
	r := n.start()
	n.publish(10)
	tx := n.begin()
	a, b := tx.event(), tx.event()
	tx.commit()
	n.committed(a, b)
	n.arrived(n.reader(n.topic))
	n.until("all events are counted", func() bool { return n.metric(r, "cdc_relay_events_total") == float64(len(n.want)) })

	bytes := 0.0
	records := n.tape(n.topic)
	for _, rec := range records.records {
		bytes += float64(len(rec.Key) + len(rec.Value))
		for _, h := range rec.Headers {
			bytes += float64(len(h.Value))
		}
	}
	commits, took := float64(records.commits), time.Since(begun).Seconds()
	n.metrics(r, map[string][2]float64{ // least, most
		"cdc_relay_event_bytes_total":               {bytes, bytes},
		"cdc_relay_kafka_commits_total":             {commits, commits},
		"cdc_relay_kafka_aborts_total":              {0, 0},
		"cdc_relay_batch_events_count":              {commits, commits},
		"cdc_relay_batch_events_sum":                {12, 12},
		"cdc_relay_batch_bytes_sum":                 {bytes, bytes},
		"cdc_relay_kafka_commit_seconds_count":      {commits, commits},
		"cdc_relay_kafka_commit_seconds_sum":        {commits * 0.0002, took},
		"cdc_relay_end_to_end_seconds_count":        {12, 12},
		"cdc_relay_end_to_end_seconds_sum":          {12 * 0.0002, 12 * took},
		"cdc_relay_lag_seconds":                     {0, 0},
		"cdc_relay_restarts_total":                  {0, 0},
		"cdc_relay_replication_rows_total":          {12, 12},
		"kafka_event_bytes_count":                   {12, 12},
		"cdc_relay_partition_key_fallthrough_total": {0, 0},
	})
	n.exactly(r,
		fmt.Sprintf(`kafka_event_headers_missing_total{event_type="essay.state.changed",service=%q} 12`, databaseName(n.url)),     // no row gives trace_id
		fmt.Sprintf(`partition_key_resolution_seconds_count{event_type="essay.state.changed",service=%q} 1`, databaseName(n.url)), // one in 64
		fmt.Sprintf(`event_header_serialization_seconds_count{event_type="essay.state.changed",service=%q} 1`, databaseName(n.url)))
	n.positions(r)

	// While a large transaction goes through, its age is the lag.
	most := 0.0
	insert := make(chan error, 1)
	go func() {
		_, err := n.db.Exec(n.ctx(time.Minute), hugeInsert, metricsRows)
		insert <- err
	}()
	n.until("a large transaction has gone through", func() bool {
		most = max(most, n.metric(r, "cdc_relay_lag_seconds"))
		return n.metric(r, "cdc_relay_events_total") == metricsRows+12
	})
	n.check(<-insert)
	if most <= 0 || most > time.Since(begun).Seconds() {
		t.Errorf("the lag was at most %v s while %d rows of one transaction went through", most, metricsRows)
	}
	n.until("the lag is over", func() bool { return n.metric(r, "cdc_relay_lag_seconds") == 0 })
	n.stopped(r, 0)
}

// exactly demands series of /metrics with exactly these labels and values.
func (l *lab) exactly(r *rig.Relay, series ...string) {
	l.Helper()
	body, _ := l.get(r, "/metrics")
	for _, s := range series {
		if !strings.Contains("\n"+string(body), "\n"+s+"\n") {
			name, _, _ := strings.Cut(s, "{")
			var like []string
			for line := range strings.Lines(string(body)) {
				if strings.HasPrefix(line, name) {
					like = append(like, line)
				}
			}
			l.Errorf("/metrics has no line\n%s\nbut\n%s", s, strings.Join(like, ""))
		}
	}
}

// positions compares checkpoint, slot and lag with Kafka's and Postgres' word.
func (n *lane) positions(r *rig.Relay) {
	n.Helper()
	n.until("the checkpoint is at what Kafka says", func() bool {
		return n.metric(r, "cdc_relay_checkpoint_lsn") == float64(n.saved().Safe)
	})
	// The slot's position and the end of the log are looked up every 10 s.
	slot, end, checkpoint := n.metric(r, "cdc_relay_slot_confirmed_flush_lsn"), n.metric(r, "cdc_relay_server_flush_lsn"), n.metric(r, "cdc_relay_checkpoint_lsn")
	lag := n.metric(r, "cdc_relay_lag_bytes")
	if slot <= 0 || slot > float64(n.confirmed()) || end < slot || slot > checkpoint {
		n.Errorf("slot %v, end of the log %v, checkpoint %v; the slot stands at %d", slot, end, checkpoint, n.confirmed())
	}
	if lag < 0 || lag > float64(n.lsn("select pg_current_wal_flush_lsn()::text")) {
		n.Errorf("lag of %v bytes", lag)
	}
}

func (n *lane) metric(r *rig.Relay, name string) float64 {
	n.Helper()
	v, err := r.Metric(n.ctx(time.Minute), name, fmt.Sprintf(`pipeline=%q`, databaseName(n.url)))
	n.check(err)
	return v
}

func (n *lane) metrics(r *rig.Relay, want map[string][2]float64) {
	n.Helper()
	for name, bounds := range want {
		if v := n.metric(r, name); v < bounds[0] || v > bounds[1] {
			n.Errorf("%s is %v, want %v to %v", name, v, bounds[0], bounds[1])
		}
	}
}
