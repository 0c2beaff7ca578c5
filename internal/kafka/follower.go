package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Follower reads one partition forward, as far as it is asked to, and goes on
// from there when it is asked again: the library takes up to a second to read a
// partition from another offset that it was reading already. It belongs to one
// goroutine. Close it.
type Follower struct {
	s     *scanner
	topic string
	at    int64       // everything before it was seen; -1: not reading yet
	ahead *ck.Message // was read and lies beyond what was asked for
}

// NewFollower makes a Follower of the first partition of a topic. Brokers are reached
// at the first Read.
func (c *Client) NewFollower(topic string) (*Follower, error) {
	s, err := c.newScanner()
	if err != nil {
		return nil, err
	}
	return &Follower{s: s, topic: topic, at: -1}, nil
}

// Close ends the consumer. It takes up to 100 ms, which nothing waits for but the
// client's Close.
func (f *Follower) Close() { f.s.c.readers.Go(f.s.close) }

// readOver is how many offsets are rather read over than jumped.
const readOver = 50_000

// Read gives each the committed records from an offset to another, which is not
// part of it, in order. Like Scan it is over only when a read_committed reader has
// passed the end, and fails when nothing has moved for Settings.Patience.
func (f *Follower) Read(ctx context.Context, from, until int64, each func(*Scanned) error) error {
	if f.at < 0 || from < f.at || from-f.at > readOver {
		f.ahead, f.at = nil, from
		if err := f.s.consumer.Assign([]ck.TopicPartition{{Topic: &f.topic, Partition: 0, Offset: ck.Offset(from)}}); err != nil {
			return f.s.c.classify(err, "read "+f.topic, f.topic)
		}
	}
	moved := time.Now()
	for n := 0; f.at < until; n++ {
		if n%looksAround == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		before := f.at
		if err := f.step(ctx, from, until, each); err != nil {
			return err
		}
		if f.at > before {
			moved = time.Now()
		} else if time.Since(moved) > f.s.c.settings.Patience() {
			return f.stuck(until)
		}
	}
	return nil
}

// step takes one event.
func (f *Follower) step(ctx context.Context, from, until int64, each func(*Scanned) error) error {
	var ev ck.Event
	if f.ahead != nil {
		ev, f.ahead = f.ahead, nil
	} else {
		ev = f.s.consumer.Poll(int(pollSlice.Milliseconds()))
	}
	switch ev := ev.(type) {
	case nil:
		return ctx.Err()
	case *ck.Message:
		if ev.TopicPartition.Error != nil {
			return f.s.c.classify(ev.TopicPartition.Error, "read "+f.topic, f.topic)
		}
		off := int64(ev.TopicPartition.Offset)
		if off >= until {
			f.ahead, f.at = ev, until
			return nil
		}
		if off < f.at { // of before a jump
			return nil
		}
		f.at = off + 1
		if off < from {
			return nil
		}
		f.s.rec = Scanned{Offset: off, Time: ev.Timestamp.UnixMilli(), Key: ev.Key, Value: ev.Value, headers: ev.Headers}
		return each(&f.s.rec)
	case ck.PartitionEOF:
		// The last stable offset: below the end it comes again when the
		// transaction that holds it ends.
		f.at = max(f.at, int64(ev.Offset))
	case ck.Error:
		if endsReading(ev) {
			return f.s.c.classify(ev, "read "+f.topic, f.topic)
		}
		f.s.hint = ev.Error()
	}
	return nil
}

func (f *Follower) stuck(until int64) error {
	fault := &event.Fault{
		What: fmt.Sprintf("topic %q is readable up to offset %d of %d, and for %s nothing has moved: an open transaction holds the rest back, or Kafka does not answer",
			f.topic, f.at, until, f.s.c.settings.Patience()),
		Do: fmt.Sprintf("kafka-transactions.sh --bootstrap-server %s find-hanging --topic %s --partition 0", f.s.c.settings.bootstrap, f.topic),
	}
	if f.s.hint != "" {
		fault.Err = errors.New("the client last reported: " + f.s.hint)
	}
	return fault
}

// Headers appends the headers of the record to dst.
func (s *Scanned) Headers(dst []event.Header) []event.Header {
	for i := range s.headers {
		dst = append(dst, event.Header(s.headers[i]))
	}
	return dst
}
