package flow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

const (
	hugeRows = 200_000
	hugeRSS  = 150 << 20
	hugeKill = 60_000 // rows seen when the relay is killed
)

// hugeInsert writes hugeRows rows by one statement; the key counts them.
const hugeInsert = `insert into cdc_relay.outbox (aggregate_type, aggregate_id, event_type, payload)
select 'essay', n::text, 'essay.state.changed', format('{"event_id":"%s","event_type":"essay.state.changed","event_timestamp":1700000000000000,
"schema_version":1,"source_service":"huge","correlation_id":"%s","metadata":{"seq":"%s"},"data":{"entity_ref":"essay:%s","essay_id":"%s","batch_id":"batch-7",
"previous_state":"spellchecked_success","new_state":"cj_assessment_success","state_version":%s,"changed_at":1700000000000000,"reason":null}}',
gen_random_uuid(), gen_random_uuid(), n, n, n, n)::json from generate_series(1, $1::int) n`

// One transaction of 200 000 rows streams through in bounded memory. A relay
// that is killed in the middle of it goes on behind the row it came to: the rest
// of the same transaction, each row once, in order, and then what comes after.
func TestHugeTransaction(t *testing.T) {
	n := lab.NewLane(t, lab.OwnPostgres())
	r := n.Start()
	before := n.Saved()
	memory := watchMemory(t, r)
	insert := make(chan error, 1)
	go func() {
		_, err := n.DB.Exec(n.Ctx(3*time.Minute), hugeInsert, hugeRows)
		insert <- err
	}()

	c := newCounter(n)
	n.Check(c.read(n.Ctx(3*time.Minute), hugeKill))
	r.Kill()
	n.Check(<-insert)
	half := n.Saved()
	first := memory()
	if half.Last == nil || half.Last.Ord < hugeKill || half.Last.Ord >= hugeRows || half.Safe > half.Last.Commit || half.Safe < before.Safe {
		t.Fatalf("killed in the middle, the checkpoint is %+v (last %+v); want an ordinal in the middle and safe_lsn where the transaction is still ahead", half, half.Last)
	}

	r = n.Start()
	memory = watchMemory(t, r)
	n.Publish(1)
	n.Check(c.read(n.Ctx(3*time.Minute), hugeRows+1))
	second := memory()
	n.Stopped(r, 0)
	end := n.Saved()
	if end.Events != hugeRows+1 || end.Last.Commit <= half.Last.Commit || end.Safe <= half.Last.Commit {
		t.Errorf("at the end the checkpoint is %+v (last %+v)", end, end.Last)
	}
	// Behind the last record is the end of its transaction, and that of the one
	// before if it was written late: a commit returns before its markers are there.
	if log := n.Offsets(n.Ctx(time.Minute), n.Topic, false)[0]; log-1 != c.end && log-2 != c.end {
		t.Errorf("the log goes on to %d after the last record at %d", log, c.end-1)
	}
	t.Logf("killed at row %d; at most %d MB and, after the restart, %d MB resident", half.Last.Ord, first>>20, second>>20)
	if max(first, second) > hugeRSS {
		t.Errorf("resident memory went over %d MB", hugeRSS>>20)
	}
}

// counter reads a topic without keeping it and demands that keys count up.
type counter struct {
	c   *kgo.Client
	n   int
	end int64 // offset after the last record
	bad error
}

func newCounter(n *lab.Lane) *counter {
	n.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(n.Kafka.Bootstrap()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{n.Topic: {0: kgo.NewOffset().At(0)}}))
	n.Check(err)
	n.Cleanup(c.Close)
	return &counter{c: c}
}

func (c *counter) read(ctx context.Context, until int) error {
	for c.n < until && c.bad == nil {
		f := c.c.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), f.Err()); err != nil {
			return fmt.Errorf("after %d records: %w", c.n, err)
		}
		f.EachRecord(c.see)
	}
	return c.bad
}

// see takes the next record; the one after the huge transaction is another's.
func (c *counter) see(r *kgo.Record) {
	c.n++
	c.end = r.Offset + 1
	if want := strconv.Itoa(c.n); c.n <= hugeRows && string(r.Key) != want && c.bad == nil {
		c.bad = fmt.Errorf("record %d has the key %s: a row is missing, doubled or out of order", c.n, r.Key)
	}
	if c.n > hugeRows+1 && c.bad == nil {
		c.bad = fmt.Errorf("one record too many: %s at offset %d", r.Key, r.Offset)
	}
}

// watchMemory samples the relay's peak of resident memory until the returned
// function is called or the relay ends; the system keeps the peak between. Only
// Linux tells; elsewhere it is 0.
func watchMemory(t *testing.T, r *rig.Relay) (peak func() int64) {
	t.Helper()
	stop, out := make(chan struct{}), make(chan int64, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for {
			if hwm, err := highWater(r.PID()); err == nil {
				most = max(most, hwm)
			}
			select {
			case <-tick.C:
				continue
			case <-stop:
			case <-r.Done():
			}
			out <- most
			return
		}
	}()
	return func() int64 {
		select {
		case <-stop:
		default:
			close(stop)
		}
		most := <-out
		if most == 0 && runtime.GOOS == "linux" {
			t.Error("the relay's peak of resident memory was not seen")
		}
		return most
	}
}

// highWater is VmHWM of a process in bytes.
func highWater(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmHWM")
}
