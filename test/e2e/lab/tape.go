package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Tape is everything a read_committed consumer sees of a topic up to its end.
type Tape struct {
	Records         []*kgo.Record // of partition 0 first, each in order
	Commits, Aborts int           // markers
	// perTx are the records of each committed transaction by producer, for one
	// partition: the relay's two producers take turns, and the marker of one
	// may be written behind the first records of the other.
	PerTx map[int64][]int
	open  map[int64]int // records since the producer's last marker
}

// Tape reads a topic to the end it has when the call begins. Aborted records
// are not in it, their markers are counted.
func (l *Lab) Tape(topic string) *Tape {
	l.Helper()
	ctx := l.Ctx(time.Minute)
	ends := l.Offsets(ctx, topic, false)
	from := map[int32]kgo.Offset{}
	for p := range ends {
		from[p] = kgo.NewOffset().At(0)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(l.Kafka.Bootstrap()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	l.Check(err)
	defer c.Close()
	maps.DeleteFunc(ends, func(_ int32, end int64) bool { return end == 0 })
	t := &Tape{PerTx: map[int64][]int{}, open: map[int64]int{}}
	for len(ends) > 0 {
		f := c.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), f.Err()); err != nil {
			l.Fatalf("read %s to its end %v: %v", topic, ends, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			t.note(l, r)
			if end, left := ends[r.Partition]; left && r.Offset >= end-1 {
				delete(ends, r.Partition)
			}
		})
	}
	slices.SortStableFunc(t.Records, func(a, b *kgo.Record) int { return int(a.Partition) - int(b.Partition) })
	return t
}

func (t *Tape) note(l *Lab, r *kgo.Record) {
	if !r.Attrs.IsControl() {
		t.Records = append(t.Records, r)
		t.open[r.ProducerID]++
		return
	}
	var k kmsg.ControlRecordKey
	l.Check(k.ReadFrom(r.Key))
	switch k.Type {
	case kmsg.ControlRecordKeyTypeCommit:
		t.Commits++
		t.PerTx[r.ProducerID] = append(t.PerTx[r.ProducerID], t.open[r.ProducerID])
	case kmsg.ControlRecordKeyTypeAbort:
		t.Aborts++
	}
	t.open[r.ProducerID] = 0
}

// IDs are the ids of the events, in the order of the records.
func (t *Tape) IDs() []string {
	ids := make([]string, len(t.Records))
	for i, r := range t.Records {
		ids[i] = Header(r, "event_id")
	}
	return ids
}

// Header is the value of a record's header, "" without one.
func Header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// Offsets asks for the end of each partition: the last stable offset, or, not
// committed, the end of the log.
func (l *Lab) Offsets(ctx context.Context, topic string, committed bool) map[int32]int64 {
	l.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.Kafka.Bootstrap()))
	l.Check(err)
	defer c.Close()
	ends, err := EndOffsets(ctx, c, topic, committed)
	l.Check(err)
	return ends
}

// EndOffsets are the ends of a topic's partitions, for readers of committed records or of all.
func EndOffsets(ctx context.Context, c *kgo.Client, topic string, committed bool) (map[int32]int64, error) {
	meta := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = &topic
	meta.Topics = append(meta.Topics, mt)
	about, err := meta.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	ask := kmsg.NewPtrListOffsetsRequest()
	if committed {
		ask.IsolationLevel = 1
	}
	at := kmsg.NewListOffsetsRequestTopic()
	at.Topic = topic
	for _, p := range about.Topics[0].Partitions {
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Partition, lp.Timestamp = p.Partition, -1
		at.Partitions = append(at.Partitions, lp)
	}
	ask.Topics = append(ask.Topics, at)
	ends := map[int32]int64{}
	for _, shard := range c.RequestSharded(ctx, ask) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					return nil, fmt.Errorf("offsets of %s/%d: error %d", topic, p.Partition, p.ErrorCode)
				}
				ends[p.Partition] = p.Offset
			}
		}
	}
	return ends, nil
}
