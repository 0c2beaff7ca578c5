package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/outbox"
)

// holdPartition opens a transaction of another producer on the partition our
// checkpoint is on. end ends it, once.
func (l *lab) holdPartition() (end func(commit bool) error, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, recoverWithin)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.seeds()...), kgo.TransactionalID("other-"+l.name), kgo.TransactionTimeout(45*time.Second),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	if err := c.BeginTransaction(); err != nil {
		return nil, err
	}
	r := &kgo.Record{Topic: checkpoints, Partition: l.watch.lastMark().Partition, Key: []byte("other/" + l.name), Value: []byte(`{"v":1}`)}
	if err := c.ProduceSync(ctx, r).FirstErr(); err != nil {
		return nil, fmt.Errorf("hold the partition of the checkpoint: %w", err)
	}
	var once sync.Once
	return func(commit bool) (err error) {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), recoverWithin)
			defer cancel()
			err = c.EndTransaction(ctx, kgo.TransactionEndTry(commit))
			c.Close()
		})
		return err
	}, nil
}

// idsGone waits until the broker knows neither of the pipeline's transactional
// ids any more.
func (l *lab) idsGone(ctx context.Context) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(l.seeds()...))
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		gone := 0
		for i := range 2 {
			req := kmsg.NewPtrDescribeTransactionsRequest()
			req.TransactionalIDs = []string{l.key() + "/" + strconv.Itoa(i)}
			for _, shard := range c.RequestSharded(ctx, req) {
				if shard.Err != nil {
					return shard.Err
				}
				for _, t := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
					if errors.Is(kerr.ErrorForCode(t.ErrorCode), kerr.TransactionalIDNotFound) {
						gone++
					}
				}
			}
		}
		if gone == 2 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the broker still knows the transactional ids: %w", ctx.Err())
		}
	}
}

// topicLimit sets max.message.bytes of the topics.
func (l *lab) topicLimit(bytes string) error {
	ctx, cancel := context.WithTimeout(l.ctx, recoverWithin)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.seeds()...))
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, t := range l.topics() {
		res := kmsg.NewIncrementalAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, t
		conf := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		conf.Name, conf.Value = "max.message.bytes", &bytes
		res.Configs = append(res.Configs, conf)
		req.Resources = append(req.Resources, res)
	}
	resp, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return fmt.Errorf("set max.message.bytes of %s: %w", r.ResourceName, err)
		}
	}
	return l.limitSeen(ctx, c, bytes)
}

// limitSeen waits until the broker itself answers with the limit: it hears of a
// changed topic a moment later.
func (l *lab) limitSeen(ctx context.Context, c *kgo.Client, bytes string) error {
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.ConfigNames = kmsg.ConfigResourceTypeTopic, l.topics()[0], []string{"max.message.bytes"}
	req.Resources = append(req.Resources, res)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := req.RequestWith(ctx, c)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(resp.Resources, func(r kmsg.DescribeConfigsResponseResource) bool {
			return len(r.Configs) == 1 && r.Configs[0].Value != nil && *r.Configs[0].Value == bytes
		}) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("max.message.bytes %s is not in force: %w", bytes, ctx.Err())
		}
	}
}

// publishAll commits the events in one transaction.
func (l *lab) publishAll(events ...outbox.Event) error {
	conn, err := pgx.Connect(l.ctx, l.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(l.ctx)) // nothing is lost with it
	return pgx.BeginFunc(l.ctx, conn, func(tx pgx.Tx) error { return outbox.Publish(l.ctx, tx, events...) })
}

// keepaliveThenCommit leaves a writer's transaction open, has another session
// commit, waits until the slot has confirmed the end of the log, kills the
// relay, lets the writer commit, and starts a relay. exact says whether the
// commit is at exactly the position that was confirmed.
func (l *lab) keepaliveThenCommit(r *relay) (next *relay, exact bool, err error) {
	conn, err := pgx.Connect(l.ctx, l.url)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close(context.WithoutCancel(l.ctx)) // nothing is lost with it
	tx, err := conn.Begin(l.ctx)
	if err != nil {
		return nil, false, err
	}
	e := newEvent("hot-0", "essay.state.changed", 0)
	if err := outbox.Publish(l.ctx, tx, e); err != nil {
		return nil, false, err
	}
	if err := l.sql("insert into noise values (1)"); err != nil {
		return nil, false, err
	}
	var confirmed string
	if err := l.watch.until(recoverWithin, "the slot has confirmed the end of the log", func() bool {
		at, err := l.ask("select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1 and confirmed_flush_lsn = pg_current_wal_insert_lsn()", l.slot)
		confirmed = at
		return err == nil
	}); err != nil {
		return nil, false, err
	}
	r.kill()
	if err := tx.Commit(l.ctx); err != nil {
		return nil, false, err
	}
	if next, err = l.run(); err != nil {
		return nil, false, err
	}
	if err := l.arrived(e.ID.String()); err != nil {
		return nil, false, err
	}
	safe, err := event.ParseLSN(confirmed)
	mark := l.watch.lastMark()
	last := mark.Checkpoint().Last.Commit
	return next, last == safe, err
}
