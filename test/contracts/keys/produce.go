package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/sink"
)

// perBatch is how many keys go into one Kafka transaction.
const perBatch = 1000

// produced lets the relay's sink produce each key to a topic of each size, in
// transactions as always, and returns where a committed reader finds them.
func produced(ctx context.Context, e Env, keys [][]byte) ([][]int32, error) {
	topics := make([]string, len(Partitions))
	for i, n := range Partitions {
		topics[i] = fmt.Sprintf("%s.keys.%d", e.Prefix, n)
	}
	if err := produce(ctx, e, topics, keys); err != nil {
		return nil, err
	}
	return consume(ctx, e.Bootstrap, topics, len(keys))
}

func produce(ctx context.Context, e Env, topics []string, keys [][]byte) (err error) {
	settings, err := kafka.NewSettings(map[string]string{"bootstrap.servers": e.Bootstrap})
	if err != nil {
		return err
	}
	if err := create(ctx, e, settings, topics); err != nil {
		return err
	}
	s := sink.New(sink.Options{Name: e.Prefix, Pipeline: "keys", Settings: settings, CheckpointTopic: e.Prefix + ".checkpoints", Topics: topics})
	defer s.Close()
	if _, err := s.Look(ctx); err != nil {
		return err
	}
	if err := s.Fence(ctx); err != nil {
		return err
	}
	saved, err := s.Read(ctx)
	if err != nil {
		return err
	}
	s.Resume(saved)
	b := event.NewBatch(event.NewPool(64 << 20))
	for from := 0; from < len(keys); from += perBatch {
		b.Reset()
		for i := from; i < min(from+perBatch, len(keys)); i++ {
			for t := range topics {
				b.Records = append(b.Records, event.Record{Topic: &topics[t], Key: keys[i], Value: []byte(strconv.Itoa(i))})
			}
		}
		if err := s.Commit(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func create(ctx context.Context, e Env, settings *kafka.Settings, topics []string) error {
	c, err := kafka.Open(settings, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer c.Close()
	specs := []kafka.NewTopic{kafka.CheckpointSpec(e.Prefix+".checkpoints", 0)}
	for i, n := range Partitions {
		specs = append(specs, kafka.NewTopic{Name: topics[i], Partitions: n})
	}
	_, err = c.CreateTopics(ctx, specs...)
	return err
}

// consume reads the number that is each record's value and notes its partition.
func consume(ctx context.Context, bootstrap string, topics []string, n int) ([][]int32, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	number := map[string]int{}
	for i, t := range topics {
		number[t] = i
	}
	found := make([][]int32, n)
	for i := range found {
		found[i] = make([]int32, len(topics))
		for t := range topics {
			found[i][t] = -1
		}
	}
	for left := n * len(topics); left > 0; {
		f := c.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), f.Err()); err != nil {
			return nil, fmt.Errorf("%d records are missing: %w", left, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			i, bad := strconv.Atoi(string(r.Value))
			if bad != nil || i >= n || found[i][number[r.Topic]] >= 0 {
				err = errors.Join(err, fmt.Errorf("%s/%d@%d: an unexpected record %q", r.Topic, r.Partition, r.Offset, r.Value))
				return
			}
			found[i][number[r.Topic]] = r.Partition
			left--
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
