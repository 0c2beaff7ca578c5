package flow

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
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
	n := lab.NewLane(t, lab.With(func(c *rig.Config) {
		c.Contract = wholeContract
		c.Extra = "batch: {events: 15}\n"
	}))
	r := n.Start()
	ctx, cancel := context.WithCancel(n.Ctx(2 * time.Minute))
	defer cancel()
	seen := watchStable(ctx, n, 2*time.Millisecond)

	var writers sync.WaitGroup
	for _, name := range []string{"a", "bb", "ccc", "dddd"} {
		s := &rig.Service{Name: name, Truth: n.Truth, Keys: 4, MaxTx: 12, Rollback: 5, Seed: uint64(len(name))}
		writers.Go(func() {
			if err := s.Write(ctx, n.DB, 500, nil); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	reader := n.Reader(n.Topic)
	n.Check(reader.Read(ctx, func(got int) bool { return got >= n.Truth.Committed() }))
	cancel()
	stable := <-seen
	n.Stopped(r, 0)

	all := n.Tape(n.Topic)
	if len(all.Records) != n.Truth.Committed() || all.Aborts > 0 {
		t.Fatalf("%d records, %d aborted batches; %d events were committed", len(all.Records), all.Aborts, n.Truth.Committed())
	}
	whole := boundaries(t, all.Records)
	inside := len(all.Records) - len(whole)
	t.Logf("%d records, %d Kafka transactions, %d last stable offsets seen; %d offsets lie within a transaction of Postgres",
		len(all.Records), all.Commits, len(stable), inside)
	if inside < len(all.Records)/2 || len(stable) < 20 {
		t.Fatal("the load does not show anything: too few transactions of several rows, or too few offsets seen")
	}
	for _, end := range stable {
		below, _ := slices.BinarySearchFunc(all.Records, end, func(r *kgo.Record, end int64) int { return int(r.Offset - end) })
		if below > 0 && !whole[below] {
			t.Errorf("at last stable offset %d (%d records below it) a transaction was visible in part", end, below)
		}
	}
}

// watchStable asks for the last stable offset again and again until ctx is done,
// and then gives the different ones it saw.
func watchStable(ctx context.Context, n *lab.Lane, every time.Duration) <-chan []int64 {
	n.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(n.Kafka.Bootstrap()))
	n.Check(err)
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
			ends, err := lab.EndOffsets(ctx, c, n.Topic, true)
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
