package matrix

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// moveCoordinator kills the broker that coordinates a transactional id, waits
// until another one does, starts it, and waits until it is the coordinator again:
// what is still on its way to it finds it in office, with the other one's
// decisions in its log.
func (l *lab) moveCoordinator(id string) error {
	ctx, cancel := context.WithTimeout(l.ctx, 2*recoverWithin)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.seeds()...))
	if err != nil {
		return err
	}
	defer c.Close()
	m := &coordinators{c: c, id: id}
	was, err := m.now(ctx)
	if err != nil {
		return err
	}
	if err := m.prefer(ctx, was); err != nil {
		return err
	}
	if err := l.w.Kafka.Kill(int(was)); err != nil {
		return err
	}
	if err := m.until(ctx, "another broker coordinates "+id, func(now int32) bool { return now != was }); err != nil {
		return err
	}
	if err := l.w.Kafka.Start(int(was)); err != nil {
		return err
	}
	return m.until(ctx, fmt.Sprintf("broker %d coordinates %s again", was, id), func(now int32) bool {
		if now != was {
			m.elect(ctx)
		}
		return now == was
	})
}

// coordinators asks and moves the coordinator of a transactional id. The cluster
// has one partition for all ids.
type coordinators struct {
	c  *kgo.Client
	id string
}

const states = "__transaction_state"

func (m *coordinators) now(ctx context.Context) (int32, error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorType = m.id, 1 // of transactions
	req.CoordinatorKeys = []string{m.id}
	resp, err := req.RequestWith(ctx, m.c)
	if err != nil {
		return 0, err
	}
	if len(resp.Coordinators) == 1 {
		return resp.Coordinators[0].NodeID, kerr.ErrorForCode(resp.Coordinators[0].ErrorCode)
	}
	return resp.NodeID, kerr.ErrorForCode(resp.ErrorCode)
}

// until asks again and again; a cluster in which brokers come and go has no
// answer at times.
func (m *coordinators) until(ctx context.Context, what string, ok func(now int32) bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := m.now(ctx)
		if err == nil && ok(now) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s (now broker %d, %w)", what, now, err)
		}
	}
}

// prefer makes a broker the one that leads when it is there.
func (m *coordinators) prefer(ctx context.Context, broker int32) error {
	replicas := []int32{broker}
	for id := int32(1); id <= 3; id++ {
		if id != broker {
			replicas = append(replicas, id)
		}
	}
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	t, p := kmsg.NewAlterPartitionAssignmentsRequestTopic(), kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Replicas = replicas
	t.Topic, t.Partitions = states, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, m.c)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("let broker %d lead %s: %w", broker, t.Topic, err)
			}
		}
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// elect asks for the preferred leader; one that is not there yet is asked for again.
func (m *coordinators) elect(ctx context.Context) {
	req := kmsg.NewPtrElectLeadersRequest()
	t := kmsg.NewElectLeadersRequestTopic()
	t.Topic, t.Partitions = states, []int32{0}
	req.Topics = append(req.Topics, t)
	_, _ = req.RequestWith(ctx, m.c) // whether it helped is seen
}

// decided waits until the broker has no commit or abort of a transactional id
// under way: every marker is written.
func (l *lab) decided(ctx context.Context, id string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(l.seeds()...))
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for state := ""; ; {
		for _, shard := range c.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return shard.Err
			}
			for _, t := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
				state = t.State
			}
		}
		if state != "" && !strings.HasPrefix(state, "Prepare") {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the transaction of %s stays in state %q: %w", id, state, ctx.Err())
		}
	}
}
