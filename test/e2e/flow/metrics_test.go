package flow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// metricsRows in one transaction take the relay a while.
const metricsRows = 20_000

// What /metrics says is what happened: counts to the last event and byte, and
// times and positions that are possible.
func TestMetricsTellWhatHappened(t *testing.T) {
	n := lab.NewLane(t)
	begun := time.Now()
	r := n.Start()
	n.Publish(10)
	tx := n.Begin()
	a, b := tx.Event(), tx.Event()
	tx.Commit()
	n.Committed(a, b)
	n.Arrived(n.Reader(n.Topic))
	n.Until("all events are counted", func() bool { return n.Metric(r, "cdc_relay_events_total") == float64(len(n.Want)) })

	bytes := 0.0
	records := n.Tape(n.Topic)
	for _, rec := range records.Records {
		bytes += float64(len(rec.Key) + len(rec.Value))
		for _, h := range rec.Headers {
			bytes += float64(len(h.Value))
		}
	}
	commits, took := float64(records.Commits), time.Since(begun).Seconds()
	metrics(n, r, map[string][2]float64{ // least, most
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
	exactly(n.Lab, r,
		fmt.Sprintf(`kafka_event_headers_missing_total{event_type="essay.state.changed",service=%q} 12`, lab.DatabaseName(n.URL)),     // no row gives trace_id
		fmt.Sprintf(`partition_key_resolution_seconds_count{event_type="essay.state.changed",service=%q} 1`, lab.DatabaseName(n.URL)), // one in 64
		fmt.Sprintf(`event_header_serialization_seconds_count{event_type="essay.state.changed",service=%q} 1`, lab.DatabaseName(n.URL)))
	positions(n, r)

	// While a large transaction goes through, its age is the lag.
	most := 0.0
	insert := make(chan error, 1)
	go func() {
		_, err := n.DB.Exec(n.Ctx(time.Minute), hugeInsert, metricsRows)
		insert <- err
	}()
	n.Until("a large transaction has gone through", func() bool {
		most = max(most, n.Metric(r, "cdc_relay_lag_seconds"))
		return n.Metric(r, "cdc_relay_events_total") == metricsRows+12
	})
	n.Check(<-insert)
	if most <= 0 || most > time.Since(begun).Seconds() {
		t.Errorf("the lag was at most %v s while %d rows of one transaction went through", most, metricsRows)
	}
	n.Until("the lag is over", func() bool { return n.Metric(r, "cdc_relay_lag_seconds") == 0 })
	n.Stopped(r, 0)
}

// exactly demands series of /metrics with exactly these labels and values.
func exactly(l *lab.Lab, r *rig.Relay, series ...string) {
	l.Helper()
	body, _ := get(l, r, "/metrics")
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
func positions(n *lab.Lane, r *rig.Relay) {
	n.Helper()
	n.Until("the checkpoint is at what Kafka says", func() bool {
		return n.Metric(r, "cdc_relay_checkpoint_lsn") == float64(n.Saved().Safe)
	})
	// The slot's position and the end of the log are looked up every 10 s.
	slot, end, checkpoint := n.Metric(r, "cdc_relay_slot_confirmed_flush_lsn"), n.Metric(r, "cdc_relay_server_flush_lsn"), n.Metric(r, "cdc_relay_checkpoint_lsn")
	lag := n.Metric(r, "cdc_relay_lag_bytes")
	if slot <= 0 || slot > float64(n.Confirmed()) || end < slot || slot > checkpoint {
		n.Errorf("slot %v, end of the log %v, checkpoint %v; the slot stands at %d", slot, end, checkpoint, n.Confirmed())
	}
	if lag < 0 || lag > float64(n.LSN("select pg_current_wal_flush_lsn()::text")) {
		n.Errorf("lag of %v bytes", lag)
	}
}

func metrics(n *lab.Lane, r *rig.Relay, want map[string][2]float64) {
	n.Helper()
	for name, bounds := range want {
		if v := n.Metric(r, name); v < bounds[0] || v > bounds[1] {
			n.Errorf("%s is %v, want %v to %v", name, v, bounds[0], bounds[1])
		}
	}
}
