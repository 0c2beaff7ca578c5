package rig

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// DeadLetters reads a dead letter topic as a read_committed consumer does, to the
// end it has now, and returns what its records come to. A topic that does not
// exist has none.
func DeadLetters(ctx context.Context, bootstrap, topic string) (*deadletter.Index, error) {
	x := deadletter.NewIndex()
	c, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	end, err := endOf(ctx, c, topic)
	if err != nil || end == 0 {
		return x, err
	}
	var bad error
	for at := int64(0); at < end-1 && bad == nil; {
		f := c.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), f.Err()); err != nil {
			return nil, fmt.Errorf("read %s up to %d: %w", topic, end, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			at = max(at, r.Offset)
			if r.Attrs.IsControl() || r.Offset >= end || bad != nil {
				return
			}
			hs := make([]event.Header, len(r.Headers))
			for i, h := range r.Headers {
				hs[i] = event.Header{Key: h.Key, Value: h.Value}
			}
			_, bad = x.Add(r.Key, r.Value, hs, r.Offset, r.Timestamp.UnixMilli())
		})
	}
	return x, bad
}

// endOf is the end of the log of partition 0; 0: there is no such topic.
func endOf(ctx context.Context, c *kgo.Client, topic string) (int64, error) {
	ask := kmsg.NewPtrListOffsetsRequest()
	at := kmsg.NewListOffsetsRequestTopic()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1
	at.Topic, at.Partitions = topic, append(at.Partitions, p)
	ask.Topics = append(ask.Topics, at)
	const unknownTopic = 3
	for _, shard := range c.RequestSharded(ctx, ask) {
		if shard.Err != nil {
			return 0, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			switch code := t.Partitions[0].ErrorCode; code {
			case 0:
				return t.Partitions[0].Offset, nil
			case unknownTopic:
				return 0, nil
			default:
				return 0, fmt.Errorf("offsets of %s: error %d", topic, code)
			}
		}
	}
	return 0, fmt.Errorf("offsets of %s: no answer", topic)
}
