package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Span is a range of offsets of one partition that is to be read: from From to
// Until, which is not part of it.
type Span struct {
	Topic       string
	Partition   int32
	From, Until int64
	// Cut: records before From were deleted, and From is the first there is.
	Cut bool
}

// Spans asks for what there is of some topics from a time on (zero: from the
// beginning) to the end they have now. The end is the read_uncommitted one: a
// scan is over only when a read_committed reader has passed it, so that what
// was committed before the question is never missed. Topics that do not exist
// have no spans.
func (c *Client) Spans(ctx context.Context, since time.Time, topics map[string]Topic) ([]Span, error) {
	var spans []Span
	for name, t := range topics {
		if !t.Exists {
			continue
		}
		all := make([]int32, t.Partitions)
		for p := range all {
			all[p] = int32(p)
		}
		const level = ck.IsolationLevelReadUncommitted
		low, err := c.offsets(ctx, name, ck.EarliestOffsetSpec, level, all...)
		if err != nil {
			return nil, err
		}
		from := low
		if !since.IsZero() {
			if from, err = c.offsets(ctx, name, ck.NewOffsetSpecForTimestamp(max(since.UnixMilli(), 0)), level, all...); err != nil {
				return nil, err
			}
		}
		end, err := c.offsets(ctx, name, ck.LatestOffsetSpec, level, all...)
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			s := Span{Topic: name, Partition: p, From: from[p], Until: end[p]}
			if s.From < 0 { // no record is as young as that
				s.From = s.Until
			}
			s.Cut = s.From == low[p] && low[p] > 0
			spans = append(spans, s)
		}
	}
	slices.SortFunc(spans, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return spans, nil
}

// Scanned is one committed record of a scan. Its slices are the callee's.
type Scanned struct {
	Span    int // index of its Span
	Offset  int64
	Time    int64 // milliseconds since the Unix epoch
	Key     []byte
	Value   []byte // nil: a tombstone
	headers []ck.Header
}

// Header is the value of the first header with a name.
func (s *Scanned) Header(name string) ([]byte, bool) {
	for i := range s.headers {
		if s.headers[i].Key == name {
			return s.headers[i].Value, true
		}
	}
	return nil, false
}

// Scan reads spans of different partitions to their ends and gives each
// committed record to each, those of one partition in order. It ends with an
// error when nothing has moved for Settings.Patience: the broker is gone, or an
// open transaction holds back what is behind it.
func (c *Client) Scan(ctx context.Context, spans []Span, each func(*Scanned) error) error {
	s, err := c.newScanner()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.assign(spans); err != nil {
		return err
	}
	return s.run(ctx, each)
}

// ReadAt reads single records: those at From of some spans, of which several
// may be of one partition. Span is the index in places. A record that is not
// there any more is left out.
func (c *Client) ReadAt(ctx context.Context, places []Span, each func(*Scanned) error) error {
	s, err := c.newScanner()
	if err != nil {
		return err
	}
	defer s.close()
	type partition struct {
		topic string
		n     int32
	}
	for done := 0; done < len(places); { // rounds of one record of each partition
		var spans []Span
		var of []int // spans → places
		in := map[partition]bool{}
		for i := done; i < len(places); i++ {
			p := places[i]
			if in[partition{p.Topic, p.Partition}] {
				break
			}
			in[partition{p.Topic, p.Partition}] = true
			p.Until = p.From + 1
			spans, of = append(spans, p), append(of, i)
		}
		done += len(spans)
		if err := s.assign(spans); err != nil {
			return err
		}
		err := s.run(ctx, func(r *Scanned) error {
			r.Span = of[r.Span]
			return each(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scanner is one scan.
type scanner struct {
	c        *Client
	spans    []Span
	at       map[string][]int // topic → partition → index of its span, -1: none
	pos      []int64          // by span: everything before it was seen
	left     int
	consumer *ck.Consumer
	drained  *Drain
	events   chan ck.Event // never used; its close ends the drain
	hint     string
	rec      Scanned
	lastName string // the topic of the last record
	lastAt   []int
}

func (c *Client) newScanner() (*scanner, error) {
	d, cfg := NewDrain(c.settings.scanConfig(), c.log)
	consumer, err := ck.NewConsumer(cfg)
	if err != nil {
		return nil, fmt.Errorf("make Kafka consumer: %w", err)
	}
	s := &scanner{c: c, consumer: consumer, drained: d, events: make(chan ck.Event)}
	d.Start(s.events)
	return s, nil
}

// assign begins to read spans of different partitions, in place of those before.
func (s *scanner) assign(spans []Span) error {
	var assign []ck.TopicPartition
	s.spans, s.at, s.pos, s.left = spans, map[string][]int{}, make([]int64, len(spans)), 0
	s.lastName, s.lastAt = "", nil
	for i := range s.spans {
		sp := &s.spans[i]
		s.pos[i] = sp.From
		if sp.From >= sp.Until {
			continue
		}
		s.left++
		assign = append(assign, ck.TopicPartition{Topic: &sp.Topic, Partition: sp.Partition, Offset: ck.Offset(sp.From)})
		for int(sp.Partition) >= len(s.at[sp.Topic]) {
			s.at[sp.Topic] = append(s.at[sp.Topic], -1)
		}
		s.at[sp.Topic][sp.Partition] = i
	}
	if s.left == 0 {
		return nil
	}
	err := s.consumer.Assign(assign)
	if err == nil { // a partition that was paused stays so over Assign
		err = s.consumer.Resume(assign)
	}
	if err != nil {
		return s.c.classify(err, "read topics", "")
	}
	return nil
}

func (s *scanner) close() {
	_ = s.consumer.Close() // no group, no commits: there is nothing it could fail to do
	close(s.events)
	s.drained.Wait()
}

// looksAround is how many records pass between two looks at the context.
const looksAround = 1024

func (s *scanner) run(ctx context.Context, each func(*Scanned) error) error {
	patience := s.c.settings.Patience()
	moved := time.Now()
	for n := 0; s.left > 0; n++ {
		ev := s.consumer.Poll(int(pollSlice.Milliseconds()))
		if ev == nil || n%looksAround == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		switch ev := ev.(type) {
		case nil:
			if time.Since(moved) > patience {
				return s.stuck(patience)
			}
		case *ck.Message:
			if err := s.message(ev, each); err != nil {
				return err
			}
			if n%looksAround == 0 {
				moved = time.Now()
			}
		case ck.PartitionEOF:
			before := s.left
			if err := s.reached(s.span(*ev.Topic, ev.Partition), int64(ev.Offset)); err != nil {
				return err
			}
			if s.left < before {
				moved = time.Now()
			}
		case ck.Error:
			if endsReading(ev) {
				return s.c.classify(ev, "read topics", "")
			}
			s.hint = ev.Error()
		}
	}
	return nil
}

// span is the index of a partition's span, -1: none.
func (s *scanner) span(topic string, partition int32) int {
	if topic != s.lastName || s.lastAt == nil {
		s.lastName, s.lastAt = topic, s.at[topic]
	}
	if int(partition) >= len(s.lastAt) {
		return -1
	}
	return s.lastAt[partition]
}

func (s *scanner) message(m *ck.Message, each func(*Scanned) error) error {
	topic := *m.TopicPartition.Topic
	if m.TopicPartition.Error != nil {
		return s.c.classify(m.TopicPartition.Error, "read "+topic, topic)
	}
	i, off := s.span(topic, m.TopicPartition.Partition), int64(m.TopicPartition.Offset)
	if i < 0 || off < s.pos[i] || s.pos[i] >= s.spans[i].Until {
		return nil
	}
	if off < s.spans[i].Until {
		s.rec = Scanned{Span: i, Offset: off, Time: m.Timestamp.UnixMilli(), Key: m.Key, Value: m.Value, headers: m.Headers}
		if err := each(&s.rec); err != nil {
			return err
		}
	}
	return s.reached(i, off+1)
}

// reached notes that everything of a span before an offset was seen: of an end
// of the partition that is the last stable offset, and below the end we look
// for it comes again when the transaction that holds it ends.
func (s *scanner) reached(i int, off int64) error {
	if i < 0 || off <= s.pos[i] || s.pos[i] >= s.spans[i].Until {
		return nil
	}
	if s.pos[i] = off; off < s.spans[i].Until {
		return nil
	}
	s.left--
	sp := &s.spans[i]
	// What comes after the end would take memory and time for nothing.
	if err := s.consumer.Pause([]ck.TopicPartition{{Topic: &sp.Topic, Partition: sp.Partition}}); err != nil {
		return s.c.classify(err, "read "+sp.Topic, sp.Topic)
	}
	return nil
}

// stuck explains a scan that does not come to its end.
func (s *scanner) stuck(patience time.Duration) error {
	f := &event.Fault{Verdict: event.Restart, What: "reading the topics did not come to its end"}
	for i := range s.spans {
		if sp := &s.spans[i]; s.pos[i] < sp.Until {
			f.What = fmt.Sprintf("topic %q, partition %d is readable up to offset %d of %d, and for %s nothing has moved: an open transaction holds the rest back, or Kafka does not answer",
				sp.Topic, sp.Partition, s.pos[i], sp.Until, patience)
			f.Do = fmt.Sprintf("kafka-transactions.sh --bootstrap-server %s find-hanging --topic %s --partition %d", s.c.settings.bootstrap, sp.Topic, sp.Partition)
			break
		}
	}
	if s.hint != "" {
		f.Err = fmt.Errorf("the client last reported: %s", s.hint)
	}
	return f
}
