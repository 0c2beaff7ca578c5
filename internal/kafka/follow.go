package kafka

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// From is where reading begins in each partition. The zero value is the end
// that committed readers see now.
type From struct {
	Earliest bool
	Time     time.Time // not zero: the first record that is not older
	Offset   *int64    // not nil: this offset; negative: that many back from the end
}

// Following says what Follow reads.
type Following struct {
	Topics    []string // those that do not exist are left out
	Partition int32    // -1: all
	From      From
	// On is content to wait for more. Otherwise reading ends at the end that
	// committed readers see at its beginning.
	On bool
	// Begun, if set, is called when it is fixed where reading begins: what is
	// committed from then on is read.
	Begun func()

	lookEvery time.Duration // for tests; 0: lookEvery
}

// Read is one committed record. Its slices are the callee's.
type Read struct {
	Topic      string
	Partition  int32
	Offset     int64
	Time       time.Time // UTC
	Key, Value []byte    // nil: null
	Headers    []event.Header
}

// Follow gives each committed record of some topics to each, those of one
// partition in order, until each wants no more or ctx ends, whose error it then
// returns. It belongs to no consumer group and leaves no trace in Kafka.
//
// A broker that is away is waited for while Following.On; otherwise reading
// fails when nothing has moved for Settings.Patience. Topics and partitions that
// come meanwhile are read from their beginning; a topic that is deleted ends the
// reading.
func (c *Client) Follow(ctx context.Context, what Following, each func(*Read) (more bool, err error)) error {
	d, cfg := NewDrain(c.settings.followConfig(), c.log)
	consumer, err := ck.NewConsumer(cfg)
	if err != nil {
		return fmt.Errorf("make Kafka consumer: %w", err)
	}
	f := &follower{c: c, what: what, consumer: consumer, drained: d, events: make(chan ck.Event), at: map[place]*span{}, missing: map[string]bool{}}
	d.Start(f.events)
	defer f.close()
	if err := f.begin(ctx); err != nil {
		return err
	}
	if what.Begun != nil {
		what.Begun()
	}
	return f.run(ctx, each)
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// follower is one Follow.
type follower struct {
	c        *Client
	what     Following
	consumer *ck.Consumer
	drained  *Drain
	events   chan ck.Event   // never used; its close ends the drain
	at       map[place]*span // from: where it is; until: its end, unless what.On
	missing  map[string]bool // topics that were not there at the last look
	left     int             // partitions that are not at their end
	hint     string
	rec      Read
}

func (f *follower) close() {
	_ = f.consumer.Close() // no group, no commits: there is nothing it could fail to do
	close(f.events)
	f.drained.Wait()
}

// begin assigns every partition, each at its beginning.
func (f *follower) begin(ctx context.Context) error {
	topics, err := f.c.Topics(ctx, f.what.Topics...)
	if err != nil {
		return err
	}
	var spans []ck.TopicPartition
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		all := f.partitions(topics[name])
		if len(all) == 0 {
			continue
		}
		from, end, err := f.bounds(ctx, name, all)
		if err != nil {
			return err
		}
		for _, p := range all {
			s := &span{partition: p, from: from[p], until: end[p]}
			s.done = !f.what.On && s.from >= s.until
			f.at[place{name, p}] = s
			if s.done {
				continue
			}
			f.left++
			spans = append(spans, ck.TopicPartition{Topic: &name, Partition: p, Offset: ck.Offset(s.from)})
		}
	}
	return f.assign(spans)
}

// partitions are those of a topic that are asked for and not read yet.
func (f *follower) partitions(t Topic) []int32 {
	var out []int32
	for p := range int32(t.Partitions) {
		if _, known := f.at[place{t.Name, p}]; !known && (f.what.Partition < 0 || f.what.Partition == p) {
			out = append(out, p)
		}
	}
	return out
}

func (f *follower) assign(spans []ck.TopicPartition) error {
	if len(spans) == 0 {
		return nil
	}
	if err := f.consumer.IncrementalAssign(spans); err != nil {
		return f.c.classify(err, "read topics", "")
	}
	return nil
}

// bounds are where reading a topic begins, and the end that committed readers
// see: what is under a transaction that is open now comes later.
func (f *follower) bounds(ctx context.Context, topic string, all []int32) (from, end map[int32]int64, err error) {
	const level = ck.IsolationLevelReadCommitted
	low, err := f.c.offsets(ctx, topic, ck.EarliestOffsetSpec, level, all...)
	if err != nil {
		return nil, nil, err
	}
	if end, err = f.c.offsets(ctx, topic, ck.LatestOffsetSpec, level, all...); err != nil {
		return nil, nil, err
	}
	switch at := f.what.From; {
	case at.Earliest:
		return low, end, nil
	case !at.Time.IsZero():
		if from, err = f.c.offsets(ctx, topic, ck.NewOffsetSpecForTimestamp(max(at.Time.UnixMilli(), 0)), level, all...); err != nil {
			return nil, nil, err
		}
		for p := range from {
			if from[p] < 0 { // no record is as young as that
				from[p] = end[p]
			}
		}
		return from, end, nil
	case at.Offset != nil:
		from = make(map[int32]int64, len(all))
		for _, p := range all {
			offset := *at.Offset
			if offset < 0 {
				offset += end[p]
			}
			from[p] = min(max(offset, low[p]), end[p])
		}
		return from, end, nil
	}
	return maps.Clone(end), end, nil
}

// lookEvery is how often new topics and partitions are looked for.
const lookEvery = 10 * time.Second

func (f *follower) run(ctx context.Context, each func(*Read) (bool, error)) error {
	patience := f.c.settings.Patience()
	moved, looked := time.Now(), time.Now()
	every := cmp.Or(f.what.lookEvery, lookEvery)
	for f.what.On || f.left > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch ev := f.consumer.Poll(int(pollSlice.Milliseconds())).(type) {
		case nil:
			if !f.what.On && time.Since(moved) > patience {
				return f.stuck(patience)
			}
		case *ck.Message:
			moved = time.Now()
			if more, err := f.message(ev, each); err != nil || !more {
				return err
			}
		case ck.PartitionEOF:
			f.reached(f.at[place{*ev.Topic, ev.Partition}], int64(ev.Offset))
		case ck.Error:
			if endsReading(ev) && (!f.what.On || !passing(ev)) {
				return f.c.classify(ev, "read topics", "")
			}
			f.hint = ev.Error()
		}
		if f.what.On && time.Since(looked) > every {
			if err := f.look(ctx); err != nil {
				return err
			}
			looked = time.Now()
		}
	}
	return nil
}

// passing are errors that a cluster also answers while it starts again: whether
// a topic is gone for good is seen at the next look.
func passing(e ck.Error) bool {
	switch e.Code() {
	case ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic, ck.ErrUnknownPartition:
		return true
	}
	return false
}

// look begins to read partitions that came since, and ends the reading when a
// topic that was read is gone in two looks. What Kafka does not tell now it
// tells the next time.
func (f *follower) look(ctx context.Context) error {
	topics, err := f.c.Topics(ctx, f.what.Topics...)
	if err != nil {
		f.c.log.Debug("looking for new partitions failed, trying again later", "err", err)
		return nil
	}
	var spans []ck.TopicPartition
	for name, t := range topics {
		if !t.Exists && f.reads(name) {
			if f.missing[name] {
				return refuse("leave it out, or start again when it is back", "topic %q was deleted, or this user may not see it any more", name)
			}
			f.missing[name] = true
			continue
		}
		delete(f.missing, name)
		for _, p := range f.partitions(t) {
			f.at[place{name, p}] = &span{partition: p}
			spans = append(spans, ck.TopicPartition{Topic: &name, Partition: p, Offset: 0})
		}
	}
	return f.assign(spans)
}

func (f *follower) reads(topic string) bool {
	for p := range f.at {
		if p.topic == topic {
			return true
		}
	}
	return false
}

func (f *follower) message(m *ck.Message, each func(*Read) (bool, error)) (more bool, err error) {
	topic := *m.TopicPartition.Topic
	if m.TopicPartition.Error != nil {
		return false, f.c.classify(m.TopicPartition.Error, "read "+topic, topic)
	}
	s, offset := f.at[place{topic, m.TopicPartition.Partition}], int64(m.TopicPartition.Offset)
	if s == nil || s.done || offset < s.from {
		return true, nil
	}
	if f.what.On || offset < s.until {
		f.rec = Read{Topic: topic, Partition: m.TopicPartition.Partition, Offset: offset, Time: m.Timestamp.UTC(), Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			f.rec.Headers = append(f.rec.Headers, event.Header{Key: h.Key, Value: h.Value})
		}
		if more, err = each(&f.rec); err != nil || !more {
			return more, err
		}
	}
	f.reached(s, offset+1)
	return true, nil
}

// reached notes that everything of a partition before an offset was seen.
func (f *follower) reached(s *span, offset int64) {
	if s == nil || s.done || offset <= s.from && offset < s.until {
		return
	}
	s.from = max(s.from, offset)
	if !f.what.On && s.from >= s.until {
		s.done = true
		f.left--
	}
}

// stuck explains a reading that does not come to its end.
func (f *follower) stuck(patience time.Duration) error {
	fault := &event.Fault{Verdict: event.Restart, What: fmt.Sprintf("for %s nothing came from Kafka, and %d partitions are not at their end", patience, f.left),
		Do: "kafka-topics.sh --bootstrap-server " + f.c.settings.bootstrap + " --describe --unavailable-partitions"}
	if f.hint != "" {
		fault.Err = fmt.Errorf("the client last reported: %s", f.hint)
	}
	return fault
}
