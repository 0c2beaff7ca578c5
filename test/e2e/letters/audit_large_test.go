package letters

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// largeEvents is how many events TestAuditLarge compares, if not this many:
// `make audit-10m` sets it to ten million.
const (
	largeVariable = "CDC_RELAY_AUDIT_EVENTS"
	largeDefault  = 30_000
	largeRSS      = 300 << 20 // what the process may take at most
)

const largeContract = `unknown_event: stop
events:
  - {type: large.event, topic: TOPIC, key: [aggregate_id], encoding: json, topic_class: large}
topic_classes:
  large: {partitions: 12, cleanup.policy: delete, retention.ms: -1}
`

// large is a table and a topic of n events that were made without a relay.
type large struct {
	*lab.Lab
	n     int
	topic string
	start time.Time
	// By number of the event, a bit of everything.
	lost, doubled, late map[int]bool
}

// Planted losses, duplicates and disorder are found among n events, exactly
// those, in bounded memory.
func TestAuditLarge(t *testing.T) {
	n := largeDefault
	if s := os.Getenv(largeVariable); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	g := &large{n: n, start: time.Now().Add(-24 * time.Hour).Truncate(time.Millisecond), lost: map[int]bool{}, doubled: map[int]bool{}, late: map[int]bool{}}
	setups := []lab.Setup{lab.With(often), lab.With(func(c *rig.Config) {
		g.topic = c.Name + ".large"
		c.Contract = strings.ReplaceAll(largeContract, "TOPIC", g.topic)
	})}
	if n > largeDefault { // the shared servers are not for that much
		setups = append(setups, lab.OwnBroker(), lab.OwnPostgres(stack.Setting("max_wal_size", "8GB"), stack.Setting("maintenance_work_mem", "256MB")))
	}
	g.Lab = lab.New(t, setups...)
	g.plant()
	g.fillTable()
	// The slot is made after the rows, so the relay brings none of them; its
	// checkpoint says that they are past.
	r := g.Start()
	g.fillTopic()

	rep, seconds, used := g.measure()
	peak := used.Peak
	g.judge(rep)
	t.Logf("%d events: %.1f s, of which %.1f s of processor; peak RSS %.0f MB (%d rows, %d records; %d missing, %d duplicate, %d out of order)",
		n, seconds, used.CPU.Seconds(), float64(peak)/(1<<20), rep.TableRows, rep.KafkaRecords, rep.Missing, rep.Duplicate, rep.OutOfOrder)
	if peak > largeRSS {
		t.Errorf("peak RSS %d MB, want at most %d MB", peak>>20, largeRSS>>20)
	}
	g.Stops(r)
}

// id is the event id of number i, as the table makes it too.
func (g *large) id(i int) string {
	return uuid.UUID(md5.Sum(strconv.AppendInt(nil, int64(i), 10))).String()
}

func (g *large) keys() int { return max(g.n/10, 1) }

// plant chooses what goes wrong, all over the range.
func (g *large) plant() {
	for i := range 10 {
		g.lost[i*(g.n/10)+g.n/31] = true
	}
	for i := range 5 {
		g.doubled[i*(g.n/5)+g.n/17] = true
	}
	for i := range 3 {
		g.late[g.n/2+i*(g.n/7)+3] = true // its key was there before
	}
}

// fillTable inserts the rows, a millisecond apart.
func (g *large) fillTable() {
	g.Helper()
	ctx := g.Ctx(30 * time.Minute)
	run := func(sql string, args ...any) {
		g.Helper()
		if _, err := g.DB.Exec(ctx, sql, args...); err != nil {
			g.Fatalf("%s: %v", sql, err)
		}
	}
	run("alter table cdc_relay.outbox drop constraint outbox_pkey") // random inserts into an index take longer than all the rest
	const piece = 500_000
	for from := 0; from < g.n; from += piece {
		run(`insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, payload, created_at, occurred_at)
			select md5(i::text)::uuid, 'large', 'k' || i % $3, 'large.event', ('{"n":' || i || '}')::json, c, c
			from (select i, $4::timestamptz + i * interval '1 millisecond' as c from generate_series($1::int, $2::int) i) g`,
			from, min(from+piece, g.n)-1, g.keys(), g.start)
	}
	run("alter table cdc_relay.outbox add primary key (id)")
	run("analyze cdc_relay.outbox")
}

// fillTopic produces what a relay would have, but for what was planted.
func (g *large) fillTopic() {
	g.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(g.Kafka.Bootstrap()), kgo.DefaultProduceTopic(g.topic), kgo.ProducerLinger(20*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.MaxBufferedRecords(50_000), kgo.MaxProduceRequestsInflightPerBroker(1))
	g.Check(err)
	defer c.Close()
	ctx := g.Ctx(30 * time.Minute)
	var failed atomic.Pointer[error]
	produce := func(i int, at time.Time) {
		id := g.id(i)
		c.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "k%d", i%g.keys()), Value: fmt.Appendf(nil, `{"n":%d}`, i), Timestamp: at, Headers: []kgo.RecordHeader{
			{Key: "event_id", Value: []byte(id)}, {Key: "event_type", Value: []byte("large.event")}, {Key: "schema_version", Value: []byte("1")},
			{Key: "occurred_at", Value: []byte("2026-05-01T00:00:00.000000Z")}, {Key: "content_type", Value: []byte("application/json")},
			{Key: "trace_id", Value: []byte(id)}, {Key: "correlation_id", Value: []byte(id)},
		}}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	for i := range g.n {
		at := g.start.Add(time.Duration(i)*time.Millisecond + 2*time.Millisecond)
		switch {
		case g.lost[i]:
			continue
		case g.late[i]:
			at = at.Add(-20 * time.Hour)
		}
		produce(i, at)
		if g.doubled[i] {
			produce(i, at)
		}
	}
	g.Check(c.Flush(ctx))
	if err := failed.Load(); err != nil {
		g.Fatal(*err)
	}
}

// measure runs the audit as a user does and looks at its memory all along.
func (g *large) measure() (rep audit.Report, seconds float64, used rig.Usage) {
	g.Helper()
	ctx := g.Ctx(30 * time.Minute)
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, lab.Binary, "-c", g.Config, "audit", "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	g.Check(cmd.Start())
	done, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if u, err := rig.UsageOf(cmd.Process.Pid); err == nil { // the system's own high-water mark
				used = u
			}
			select {
			case <-tick.C:
			case <-done.Done():
				return
			}
		}
	}()
	err := cmd.Wait()
	stop()
	<-watched
	if _, ended := errors.AsType[*exec.ExitError](err); !ended || cmd.ProcessState.ExitCode() != 3 {
		g.Fatalf("audit: %v, want exit code 3\n%s", err, errs.String())
	}
	g.Check(json.Unmarshal(out.Bytes(), &rep))
	return rep, time.Since(began).Seconds(), used
}

// judge demands what was planted and nothing else.
func (g *large) judge(rep audit.Report) {
	g.Helper()
	if rep.TableRows != int64(g.n) || rep.ExpectedRecords != int64(g.n) || rep.KafkaRecords != int64(g.n-len(g.lost)+len(g.doubled)) ||
		rep.Unknown+rep.NotRelayedYet+rep.Removed+rep.Unencodable+rep.Unidentified != 0 {
		rep.Details = nil
		g.Errorf("%+v", rep)
	}
	for k, planted := range map[audit.Kind]map[int]bool{audit.Missing: g.lost, audit.Duplicate: g.doubled, audit.OutOfOrder: g.late} {
		var want []string
		for i := range planted {
			want = append(want, g.id(i))
		}
		slices.Sort(want)
		var got []string
		for _, d := range rep.Details {
			if d.Kind == k && k == audit.OutOfOrder {
				got = append(got, d.Records[0].EventID)
			} else if d.Kind == k {
				got = append(got, d.EventID)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			g.Errorf("%s: %v, want %v", k, got, want)
		}
	}
	if rep.Missing != int64(len(g.lost)) || rep.Duplicate != int64(len(g.doubled)) || rep.OutOfOrder != int64(len(g.late)) {
		g.Errorf("counts: %d missing, %d duplicate, %d out of order", rep.Missing, rep.Duplicate, rep.OutOfOrder)
	}
}
