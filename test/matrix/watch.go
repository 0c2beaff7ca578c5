package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// watch is what a cell looks on with: a read_committed consumer of the events
// and the checkpoints, and a sampler of the slot. It goes past the proxies.
type watch struct {
	l      *lab
	client *kgo.Client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	url     string        // of the database that is sampled
	more    chan struct{} // closed and replaced when something came
	records []Seen
	have    map[string]bool // event ids
	marks   []Mark
	samples []Sample
	commits map[string]int // markers per topic, partition and producer
	at      map[topicPartition]int64
}

type topicPartition struct {
	topic     string
	partition int32
}

// sampleEvery is how often the slot is looked at.
const sampleEvery = 20 * time.Millisecond

func (l *lab) watchAll() (*watch, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(l.seeds()...), kgo.ConsumeTopics(append(l.topics(), checkpoints)...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(250*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(2*time.Second), kgo.UnknownTopicRetries(-1),
		kgo.RetryTimeout(5*time.Second), kgo.DialTimeout(2*time.Second))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(l.ctx)
	w := &watch{l: l, url: l.url, client: c, cancel: cancel, more: make(chan struct{}), have: map[string]bool{}, commits: map[string]int{}, at: map[topicPartition]int64{}}
	w.done.Go(func() { w.read(ctx) })
	w.done.Go(func() { w.sample(ctx) })
	return w, nil
}

func (w *watch) close() {
	w.cancel()
	w.done.Wait()
	w.client.Close()
}

func (w *watch) read(ctx context.Context) {
	for ctx.Err() == nil {
		f := w.client.PollFetches(ctx)
		now := time.Now()
		w.mu.Lock()
		f.EachRecord(func(r *kgo.Record) { w.note(r, now) })
		close(w.more)
		w.more = make(chan struct{})
		w.mu.Unlock()
	}
}

func (w *watch) note(r *kgo.Record, now time.Time) {
	tp := topicPartition{r.Topic, r.Partition}
	w.at[tp] = r.Offset + 1
	producer := fmt.Sprintf("%s/%d %d/%d", r.Topic, r.Partition, r.ProducerID, r.ProducerEpoch)
	switch {
	case r.Attrs.IsControl():
		var k kmsg.ControlRecordKey
		if k.ReadFrom(r.Key) == nil && k.Type == kmsg.ControlRecordKeyTypeCommit {
			w.commits[producer]++
		}
	case r.Topic == checkpoints:
		if string(r.Key) != w.l.key() || r.Value == nil {
			return
		}
		m := Mark{At: now}
		if json.Unmarshal(r.Value, &m.Saved) == nil {
			m.Offset, m.Partition = r.Offset, r.Partition
			w.marks = append(w.marks, m)
		}
	default:
		s := Seen{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key),
			Txn: fmt.Sprintf("%d/%d#%d", r.ProducerID, r.ProducerEpoch, w.commits[producer])}
		for _, h := range r.Headers {
			if h.Key == "event_id" {
				s.ID = string(h.Value)
			}
		}
		w.records = append(w.records, s)
		w.have[s.ID] = true
	}
}

// sample looks at the slot; a server that is down has none.
func (w *watch) sample(ctx context.Context) {
	var conn *pgx.Conn
	of := "" // the server of conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // the server may be gone
		}
	}()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		bound, cancel := context.WithTimeout(ctx, time.Second)
		w.mu.Lock()
		url := w.url
		w.mu.Unlock()
		if conn != nil && of != url { // the pipeline lives on another server now
			_ = conn.Close(bound) // of the server that was left
			conn = nil
		}
		if conn == nil || conn.IsClosed() {
			of = url
			conn, _ = pgx.Connect(bound, url) // tried again at the next tick
		}
		if conn != nil {
			w.sampled(bound, conn, of)
		}
		cancel()
	}
}

func (w *watch) sampled(ctx context.Context, conn *pgx.Conn, of string) {
	s := Sample{At: time.Now()}
	var text *string
	err := conn.QueryRow(ctx, "select max(confirmed_flush_lsn)::text from pg_replication_slots where slot_name = $1", w.l.slot).Scan(&text)
	if err != nil || text == nil {
		return
	}
	if s.Flushed, err = event.ParseLSN(*text); err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.url == of {
		w.samples = append(w.samples, s)
	}
}

// until waits for ok, which is asked under the lock whenever something came.
func (w *watch) until(within time.Duration, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(w.l.ctx, within)
	defer cancel()
	for {
		w.mu.Lock()
		done, more := ok(), w.more
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain until %s", within, what)
		}
	}
}

// arrived waits until every one of ids was read.
func (w *watch) arrived(within time.Duration, ids ...string) error {
	return w.until(within, fmt.Sprintf("%d events arrived", len(ids)), func() bool {
		for _, id := range ids {
			if !w.have[id] {
				return false
			}
		}
		return true
	})
}

// seen is how many records were read.
func (w *watch) seen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.records)
}

// lastMark is the last checkpoint that was seen; not Exists: none.
func (w *watch) lastMark() Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.marks) == 0 {
		return Mark{}
	}
	return w.marks[len(w.marks)-1]
}

// toTheEnd reads on until everything that is in the logs now was read: nothing
// writes any more, and no transaction is open.
func (w *watch) toTheEnd(within time.Duration) error {
	ctx, cancel := context.WithTimeout(w.l.ctx, within)
	defer cancel()
	ends, err := w.ends(ctx)
	if err != nil {
		return fmt.Errorf("ask for the ends of the topics: %w", err)
	}
	return w.until(within, "everything was read to its end", func() bool {
		for tp, end := range ends {
			if end > 0 && w.at[tp] < end {
				return false
			}
		}
		return true
	})
}

// leader is the number of the broker that leads a partition.
func (w *watch) leader(ctx context.Context, tp topicPartition) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &tp.topic
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, w.client)
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.Partition == tp.partition && p.Leader > 0 {
				return int(p.Leader), nil
			}
		}
	}
	return 0, fmt.Errorf("partition %d of %s has no leader", tp.partition, tp.topic)
}

func (w *watch) ends(ctx context.Context) (map[topicPartition]int64, error) {
	meta := kmsg.NewPtrMetadataRequest()
	for _, t := range w.l.topics() {
		mt := kmsg.NewMetadataRequestTopic()
		mt.Topic = &t
		meta.Topics = append(meta.Topics, mt)
	}
	about, err := meta.RequestWith(ctx, w.client)
	if err != nil {
		return nil, err
	}
	ask := kmsg.NewPtrListOffsetsRequest()
	for _, t := range about.Topics {
		at := kmsg.NewListOffsetsRequestTopic()
		at.Topic = *t.Topic
		for _, p := range t.Partitions {
			lp := kmsg.NewListOffsetsRequestTopicPartition()
			lp.Partition, lp.Timestamp = p.Partition, -1
			at.Partitions = append(at.Partitions, lp)
		}
		ask.Topics = append(ask.Topics, at)
	}
	ends := map[topicPartition]int64{}
	for _, shard := range w.client.RequestSharded(ctx, ask) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					return nil, errors.New("the leader of a partition is moving")
				}
				ends[topicPartition{t.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return ends, nil
}
