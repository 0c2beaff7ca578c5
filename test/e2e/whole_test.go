package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// wholeContract sends all three types to one partition, as they are.
const wholeContract = `unknown_event: stop
events:
  - {type: essay.state.changed, topic: TOPIC, key: [aggregate_id], encoding: json, topic_class: lane}
  - {type: spellcheck.phase.completed, topic: TOPIC, key: [aggregate_id], encoding: json, topic_class: lane}
  - {type: assessment.result.published, topic: TOPIC, key: [aggregate_id], encoding: json, topic_class: lane}
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`

// A read_committed consumer never sees a part of a Postgres transaction: at
// every last stable offset the broker gave while the load ran, the records below
// it hold each transaction wholly or not at all. One partition: across several
// Kafka promises nothing at an instant, because markers arrive one by one.
//
// The batch limit is a little over the largest transaction, so that batches are
// full all the time and would cut transactions if anything did.
func TestOnlyWholeTransactions(t *testing.T) {
	n := newLane(t, with(func(c *rig.Config) {
		c.Contract = wholeContract
		c.Extra = "batch: {events: 15}\n"
	}))
	r := n.start()
	ctx, cancel := context.WithCancel(n.ctx(2 * time.Minute))
	defer cancel()
	seen := watchStable(ctx, n, 2*time.Millisecond)

	var writers sync.WaitGroup
	for _, name := range []string{"a", "bb", "ccc", "dddd"} {
		s := &rig.Service{Name: name, Truth: n.truth, Keys: 4, MaxTx: 12, Rollback: 5, Seed: uint64(len(name))}
		writers.Go(func() {
			if err := s.Write(ctx, n.db, 500, nil); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	reader := n.reader(n.topic)
	n.check(reader.Read(ctx, func(got int) bool { return got >= n.truth.Committed() }))
	cancel()
	stable := <-seen
	n.stopped(r, 0)

	all := n.tape(n.topic)
	if len(all.records) != n.truth.Committed() || all.aborts > 0 {
		t.Fatalf("%d records, %d aborted batches; %d events were committed", len(all.records), all.aborts, n.truth.Committed())
	}
	whole := boundaries(t, all.records)
	inside := len(all.records) - len(whole)
	t.Logf("%d records, %d Kafka transactions, %d last stable offsets seen; %d offsets lie within a transaction of Postgres",
		len(all.records), all.commits, len(stable), inside)
	if inside < len(all.records)/2 || len(stable) < 20 {
		t.Fatal("the load does not show anything: too few transactions of several rows, or too few offsets seen")
	}
	for _, end := range stable {
		below, _ := slices.BinarySearchFunc(all.records, end, func(r *kgo.Record, end int64) int { return int(r.Offset - end) })
		if below > 0 && !whole[below] {
			t.Errorf("at last stable offset %d (%d records below it) a transaction was visible in part", end, below)
		}
	}
}

// watchStable asks for the last stable offset again and again until ctx is done,
// and then gives the different ones it saw.
func watchStable(ctx context.Context, n *lane, every time.Duration) <-chan []int64 {
	n.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(n.kafka.Bootstrap()))
	n.check(err)
	out := make(chan []int64, 1)
	go func() {
		defer c.Close()
		tick := time.NewTicker(every)
		defer tick.Stop()
		var seen []int64
		for {
			select {
			case <-ctx.Done():
				out <- slices.Compact(seen)
				return
			case <-tick.C:
			}
			ends, err := endOffsets(ctx, c, n.topic, true)
			if err == nil {
				seen = append(seen, ends[0])
			} else if ctx.Err() == nil {
				n.Errorf("ask for the last stable offset: %v", err)
			}
		}
	}()
	return out
}

// boundaries are the numbers of records after which no transaction of Postgres
// is begun and not complete.
func boundaries(t *testing.T, records []*kgo.Record) map[int]bool {
	t.Helper()
	whole, left := map[int]bool{}, map[string]int{} // events that are still to come, by transaction
	for i, r := range records {
		var v struct {
			Metadata struct {
				Tx string
				Of int `json:",string"`
			}
		}
		if err := json.Unmarshal(r.Value, &v); err != nil || v.Metadata.Of == 0 {
			t.Fatalf("record %d: %v: %s", i, err, r.Value)
		}
		tx := v.Metadata.Tx
		if _, begun := left[tx]; !begun {
			left[tx] = v.Metadata.Of
		}
		if left[tx]--; left[tx] == 0 {
			delete(left, tx)
		}
		if len(left) == 0 {
			whole[i+1] = true
		}
	}
	if len(left) > 0 {
		t.Errorf("%d transactions arrived in part: %v", len(left), left)
	}
	return whole
}
