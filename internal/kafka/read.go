package kafka

import (
	"context"
	"fmt"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// firstWindow is how many offsets before the end are read first; each further
// window is twice as long. A pipeline's transaction takes two offsets (record
// and marker), so one window is the rule.
const firstWindow = 2048

// Query asks for the last record with a key.
type Query struct {
	Topic, Key string
	// Visible is content with the last record that committed readers see now:
	// enough to know whose checkpoint it is, not enough to start from. Only
	// when nothing is visible does it wait like a read with authority.
	Visible bool
}

// Found is the record with the highest offset among those with the key. A
// tombstone is a record that does not exist.
type Found struct {
	Exists    bool
	Value     []byte
	Partition int32
	Offset    int64

	seen bool // a record or a tombstone
}

// ReadLast reads the last committed record with q.Key, backwards from the end
// in doubling windows.
//
// The end is the read_uncommitted end offset, asked now; the read is over only
// when a read_committed reader has passed it, so that a record under an open
// transaction is never missed. The watermark a read_committed reader is told is
// the last stable offset, which a transaction of another pipeline on the same
// partition may hold below our record: the read waits for it, at most
// Settings.Patience (longer than the broker leaves a dead transaction open).
// Positions are compared, never offsets of records: markers and aborted records
// take offsets, compaction leaves holes.
//
// Before "none" is believed, every partition is looked at: the number of
// partitions may have been altered, which moves the key.
func (c *Client) ReadLast(ctx context.Context, q Query) (Found, error) {
	ctx, cancel := context.WithTimeout(ctx, c.settings.Patience())
	defer cancel()
	topics, err := c.Topics(ctx, q.Topic)
	if err != nil {
		return Found{}, err
	}
	if !topics[q.Topic].Exists {
		return Found{}, refuse("cdc-relay topics apply", "Kafka has no checkpoint topic %q", q.Topic)
	}
	r, err := c.newReader(q, topics[q.Topic].Partitions)
	if err != nil {
		return Found{}, err
	}
	defer c.readers.Go(r.close) // takes up to 100 ms, and nothing waits for it but Close
	return r.last(ctx)
}

// reader is one read of the checkpoint topic.
type reader struct {
	c          *Client
	q          Query
	partitions int
	home       int32 // the key's partition
	consumer   *ck.Consumer
	drained    *Drain
	events     chan ck.Event // never used; its close ends the drain
	hint       string
}

func (c *Client) newReader(q Query, partitions int) (*reader, error) {
	d, cfg := NewDrain(c.settings.readerConfig(), c.log)
	consumer, err := ck.NewConsumer(cfg)
	if err != nil {
		return nil, fmt.Errorf("make Kafka consumer: %w", err)
	}
	r := &reader{c: c, q: q, partitions: partitions, home: Partition([]byte(q.Key), partitions),
		consumer: consumer, drained: d, events: make(chan ck.Event)}
	d.Start(r.events)
	return r, nil
}

func (r *reader) close() {
	_ = r.consumer.Close() // no group, no commits: there is nothing it could fail to do
	close(r.events)
	r.drained.Wait()
}

func (r *reader) last(ctx context.Context) (Found, error) {
	if r.q.Visible {
		f, err := r.atHome(ctx, ck.IsolationLevelReadCommitted)
		if err != nil || f.seen {
			return f, err
		}
	}
	f, err := r.atHome(ctx, ck.IsolationLevelReadUncommitted)
	if err != nil || f.seen {
		return f, err
	}
	return r.elsewhere(ctx)
}

// atHome reads the key's own partition backwards from its end.
func (r *reader) atHome(ctx context.Context, end ck.IsolationLevel) (Found, error) {
	low, err := r.offsets(ctx, ck.EarliestOffsetSpec, ck.IsolationLevelReadUncommitted, r.home)
	if err != nil {
		return Found{}, err
	}
	high, err := r.offsets(ctx, ck.LatestOffsetSpec, end, r.home)
	if err != nil {
		return Found{}, err
	}
	until := high[r.home]
	for length := int64(firstWindow); until > low[r.home]; length *= 2 {
		from := max(low[r.home], until-length)
		f, err := r.scan(ctx, []span{{partition: r.home, from: from, until: until}})
		if err != nil {
			return Found{}, err
		}
		if f[r.home].seen {
			return f[r.home], nil
		}
		until = from
	}
	return Found{}, nil
}

// elsewhere reads all other partitions, whole.
func (r *reader) elsewhere(ctx context.Context) (Found, error) {
	var others []int32
	for p := range int32(r.partitions) {
		if p != r.home {
			others = append(others, p)
		}
	}
	if len(others) == 0 {
		return Found{}, nil
	}
	low, err := r.offsets(ctx, ck.EarliestOffsetSpec, ck.IsolationLevelReadUncommitted, others...)
	if err != nil {
		return Found{}, err
	}
	high, err := r.offsets(ctx, ck.LatestOffsetSpec, ck.IsolationLevelReadUncommitted, others...)
	if err != nil {
		return Found{}, err
	}
	var spans []span
	for _, p := range others {
		if low[p] < high[p] {
			spans = append(spans, span{partition: p, from: low[p], until: high[p]})
		}
	}
	found, err := r.scan(ctx, spans)
	if err != nil {
		return Found{}, err
	}
	return r.only(found)
}

// only is the one record found off the key's partition. Two of them mean that
// the number of partitions was altered twice; offsets of two partitions cannot
// be compared, so nobody but the operator can say which is later.
func (r *reader) only(found map[int32]Found) (Found, error) {
	var one Found
	for _, f := range found {
		switch {
		case !f.Exists: // a tombstone off the key's partition says nothing
		case one.Exists:
			return Found{}, refuse(fmt.Sprintf("delete the older of the two with a tombstone (key %q), or read both: kafka-console-consumer.sh --topic %s --partition … --property print.key=true", r.q.Key, r.q.Topic),
				"the checkpoint of %q is on partitions %d and %d of topic %q, and neither is the key's (%d): the number of partitions was altered more than once",
				r.q.Key, one.Partition, f.Partition, r.q.Topic, r.home)
		default:
			one = f
		}
	}
	return one, nil
}

// span is a range of offsets of one partition: from included, until not.
type span struct {
	partition   int32
	from, until int64
	done        bool
}

// scan reads spans to their ends and returns the last record with the key per
// partition.
func (r *reader) scan(ctx context.Context, spans []span) (map[int32]Found, error) {
	found := make(map[int32]Found, len(spans))
	at := make(map[int32]*span, len(spans))
	assign := make([]ck.TopicPartition, len(spans))
	for i := range spans {
		at[spans[i].partition] = &spans[i]
		assign[i] = ck.TopicPartition{Topic: &r.q.Topic, Partition: spans[i].partition, Offset: ck.Offset(spans[i].from)}
	}
	if len(spans) == 0 {
		return found, nil
	}
	if err := r.consumer.Assign(assign); err != nil {
		return nil, r.c.classify(err, "read "+r.q.Topic, r.q.Topic)
	}
	for left := len(spans); left > 0; {
		if err := ctx.Err(); err != nil {
			return nil, r.stuck(spans, err)
		}
		done, err := r.step(at, found)
		if err != nil {
			return nil, err
		}
		if done {
			left--
		}
	}
	return found, nil
}

// pollSlice is how long a poll may keep us from noticing the end of ctx.
const pollSlice = 100 * time.Millisecond

// step takes one event and reports whether it ended a span.
func (r *reader) step(at map[int32]*span, found map[int32]Found) (done bool, err error) {
	switch ev := r.consumer.Poll(int(pollSlice.Milliseconds())).(type) {
	case *ck.Message:
		if ev.TopicPartition.Error != nil {
			return false, r.c.classify(ev.TopicPartition.Error, "read "+r.q.Topic, r.q.Topic)
		}
		p, off := ev.TopicPartition.Partition, int64(ev.TopicPartition.Offset)
		s := at[p]
		if s == nil || s.done || off < s.from {
			return false, nil
		}
		if off < s.until && string(ev.Key) == r.q.Key {
			found[p] = Found{Exists: ev.Value != nil, Value: ev.Value, Partition: p, Offset: off, seen: true}
		}
		s.from = off + 1
		s.done = s.from >= s.until
		return s.done, nil
	case ck.PartitionEOF:
		s := at[ev.Partition]
		if s == nil || s.done || int64(ev.Offset) < s.from {
			return false, nil
		}
		// Under read_committed this is the last stable offset. Below the end we
		// look for, it will come again when the transaction that holds it ends.
		s.from = int64(ev.Offset)
		s.done = s.from >= s.until
		return s.done, nil
	case ck.Error:
		return false, r.reported(ev)
	}
	return false, nil
}

// reported judges what the consumer says besides records: most of it (a lost
// connection, no right to the group we do not use) heals or does not matter.
func (r *reader) reported(e ck.Error) error {
	switch {
	case endsReading(e):
		return r.c.classify(e, "read "+r.q.Topic, r.q.Topic)
	case e.Code() == ck.ErrGroupAuthorizationFailed:
	default:
		r.hint = e.Error()
	}
	return nil
}

// endsReading reports whether a consumer that says e cannot go on.
func endsReading(e ck.Error) bool {
	switch e.Code() {
	case ck.ErrTopicAuthorizationFailed, ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic, ck.ErrUnknownPartition, ck.ErrAutoOffsetReset:
		return true
	}
	return e.IsFatal()
}

// stuck explains a read that did not reach its end.
func (r *reader) stuck(spans []span, cause error) error {
	f := &event.Fault{Verdict: event.Restart, Err: cause}
	for _, s := range spans {
		if s.done {
			continue
		}
		f.What = fmt.Sprintf("read the checkpoint of %q: topic %q, partition %d is readable up to offset %d of %d: an open transaction holds the rest back, or Kafka does not answer",
			r.q.Key, r.q.Topic, s.partition, s.from, s.until)
		f.Do = fmt.Sprintf("kafka-transactions.sh --bootstrap-server %s find-hanging --topic %s --partition %d", r.c.settings.bootstrap, r.q.Topic, s.partition)
		break
	}
	if r.hint != "" {
		f.Err = fmt.Errorf("%w (the client last reported: %s)", cause, r.hint)
	}
	return f
}

// offsets asks for one offset of each partition.
func (r *reader) offsets(ctx context.Context, spec ck.OffsetSpec, level ck.IsolationLevel, partitions ...int32) (map[int32]int64, error) {
	return r.c.offsets(ctx, r.q.Topic, spec, level, partitions...)
}

// offsets asks for one offset of each partition, again while leaders move.
func (c *Client) offsets(ctx context.Context, topic string, spec ck.OffsetSpec, level ck.IsolationLevel, partitions ...int32) (map[int32]int64, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	for {
		out, err := c.ask(ctx, topic, spec, level, partitions)
		if err == nil {
			return out, nil
		}
		if e, ok := AsError(err); !ok || !moving(e.Code()) || pause(ctx) != nil {
			return nil, c.classify(err, "ask for the offsets of "+topic, topic)
		}
	}
}

// moving are the answers of a partition between two leaders, or just made.
func moving(code ck.ErrorCode) bool {
	switch code {
	case ck.ErrNotLeaderForPartition, ck.ErrLeaderNotAvailable, ck.ErrReplicaNotAvailable, ck.ErrFencedLeaderEpoch,
		ck.ErrUnknownLeaderEpoch, ck.ErrOffsetNotAvailable, ck.ErrTransport:
		return true
	}
	return false
}

func (c *Client) ask(ctx context.Context, topic string, spec ck.OffsetSpec, level ck.IsolationLevel, partitions []int32) (map[int32]int64, error) {
	ask := make(map[ck.TopicPartition]ck.OffsetSpec, len(partitions))
	for _, p := range partitions {
		ask[ck.TopicPartition{Topic: &topic, Partition: p}] = spec
	}
	res, err := c.admin.ListOffsets(ctx, ask, ck.SetAdminIsolationLevel(level), requestTimeout(ctx))
	if err != nil {
		return nil, err
	}
	out := make(map[int32]int64, len(partitions))
	for tp, info := range res.ResultInfos {
		if info.Error.Code() != ck.ErrNoError {
			return nil, fmt.Errorf("partition %d: %w", tp.Partition, info.Error)
		}
		out[tp.Partition] = int64(info.Offset)
	}
	if len(out) != len(partitions) {
		return nil, fmt.Errorf("%d partitions asked, %d answered", len(partitions), len(out))
	}
	return out, nil
}

// pause waits a moment between two questions.
func pause(ctx context.Context) error {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
