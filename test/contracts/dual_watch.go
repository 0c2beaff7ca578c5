package contracts

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// dualCheckpoints is the topic of the relay's checkpoints.
const dualCheckpoints = "cdc-relay.checkpoints"

// dualWatch is a read_committed consumer of both topics and the checkpoints, from
// the beginning and all along.
type dualWatch struct {
	client     *kgo.Client
	cancel     context.CancelFunc
	done       sync.WaitGroup
	name, key  string // of the relay; of its checkpoints
	thin, rich []dualRecord
	marks      []dualMark

	mu      sync.Mutex
	err     error
	more    chan struct{} // closed and replaced when something came
	commits map[string]int
	data    map[string]int // checkpoints with events, by producer
	events  int            // that the last checkpoint counts
	at      map[string]int64
}

func newDualWatch(ctx context.Context, bootstrap, name, pipeline string) (*dualWatch, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(name+".thin", name+".rich", dualCheckpoints),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(250*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(2*time.Second), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &dualWatch{client: c, cancel: cancel, name: name, key: name + "/" + pipeline, more: make(chan struct{}),
		commits: map[string]int{}, data: map[string]int{}, at: map[string]int64{}}
	w.done.Go(func() {
		for ctx.Err() == nil {
			f := c.PollFetches(ctx)
			w.mu.Lock()
			f.EachRecord(w.note)
			close(w.more)
			w.more = make(chan struct{})
			w.mu.Unlock()
		}
	})
	return w, nil
}

func (w *dualWatch) close() {
	w.cancel()
	w.done.Wait()
	w.client.Close()
}

func (w *dualWatch) note(r *kgo.Record) {
	w.at[r.Topic] = r.Offset + 1 // meant for the topics with one partition
	producer := fmt.Sprintf("%d/%d", r.ProducerID, r.ProducerEpoch)
	switch {
	case r.Attrs.IsControl():
		var k kmsg.ControlRecordKey
		if r.Topic != dualCheckpoints && k.ReadFrom(r.Key) == nil && k.Type == kmsg.ControlRecordKeyTypeCommit {
			w.commits[r.Topic+" "+producer]++
		}
	case r.Topic == dualCheckpoints:
		if string(r.Key) == w.key && r.Value != nil {
			w.mark(r, producer)
		}
	default:
		d := dualRecord{key: string(r.Key), offset: r.Offset, txn: dualTxn{producer, w.commits[r.Topic+" "+producer]}}
		for _, h := range r.Headers {
			if h.Key == "correlation_id" {
				d.pair = string(h.Value)
			}
		}
		if r.Topic == w.name+".thin" {
			w.thin = append(w.thin, d)
		} else {
			w.rich = append(w.rich, d)
		}
	}
}

// mark notes a checkpoint if it counts more events than the last: an idle one has
// nothing in the topics.
func (w *dualWatch) mark(r *kgo.Record, producer string) {
	var s event.Saved
	if err := json.Unmarshal(r.Value, &s); err != nil {
		w.err = fmt.Errorf("the checkpoint at offset %d: %w", r.Offset, err)
		return
	}
	if int(s.Events) == w.events {
		return
	}
	w.events = int(s.Events)
	w.marks = append(w.marks, dualMark{txn: dualTxn{producer, w.data[producer]}, events: w.events})
	w.data[producer]++
}

// wait waits for ok, which is asked under the lock whenever something came.
func (w *dualWatch) wait(ctx context.Context, what string, ok func() bool) error {
	for {
		w.mu.Lock()
		done, more, err := ok(), w.more, w.err
		w.mu.Unlock()
		if err != nil || done {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
}

// until waits until n records came.
func (w *dualWatch) until(ctx context.Context, n int) error {
	return w.wait(ctx, fmt.Sprintf("%d events arrived", n), func() bool { return len(w.thin)+len(w.rich) >= n })
}

// toTheEnd reads on to the ends the topics have now, when nothing writes any more,
// and until the checkpoints count what came.
func (w *dualWatch) toTheEnd(ctx context.Context) error {
	ends := map[string]int64{}
	ask := kmsg.NewPtrListOffsetsRequest()
	for _, topic := range []string{w.name + ".thin", w.name + ".rich"} {
		t := kmsg.NewListOffsetsRequestTopic()
		p := kmsg.NewListOffsetsRequestTopicPartition()
		t.Topic, p.Timestamp = topic, -1
		t.Partitions = append(t.Partitions, p)
		ask.Topics = append(ask.Topics, t)
	}
	for _, shard := range w.client.RequestSharded(ctx, ask) {
		if shard.Err != nil {
			return fmt.Errorf("ask for the ends of the topics: %w", shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			ends[t.Topic] = t.Partitions[0].Offset
		}
	}
	return w.wait(ctx, "everything was read to its end", func() bool {
		for topic, end := range ends {
			if w.at[topic] < end {
				return false
			}
		}
		return w.events >= len(w.thin)+len(w.rich)
	})
}
