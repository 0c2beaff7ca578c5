package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

// counter is the ground truth of a run: events are numbered from 0 in commit
// order, and a key's events stay in one partition.
type counter struct {
	seen []bool
	last [keys]int // number of the last event of a key, plus one
	n    int
}

func newCounter(events int) *counter { return &counter{seen: make([]bool, events)} }

// add takes one record and says what is wrong with it.
func (c *counter) add(r *kgo.Record) error {
	n, err := c.once(r)
	if err != nil {
		return err
	}
	if c.last[n%keys] > n+1 {
		return fmt.Errorf("event %d came after event %d of the same key", n, c.last[n%keys]-1)
	}
	c.last[n%keys] = n + 1
	return nil
}

// once demands that the event was written and is new. Events of several writers
// have no order that their numbers tell.
func (c *counter) once(r *kgo.Record) (int, error) {
	id, err := uuid.Parse(header(r, "event_id"))
	if err != nil {
		return 0, fmt.Errorf("record at %d/%d: event_id: %w", r.Partition, r.Offset, err)
	}
	n := eventNumber(id)
	if n >= len(c.seen) || id != eventID(n) {
		return n, fmt.Errorf("event %s was never written", id)
	}
	if c.seen[n] {
		return n, fmt.Errorf("event %d (%s) arrived twice", n, id)
	}
	c.seen[n] = true
	c.n++
	return n, nil
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func newConsumer(bootstrap, topic string) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
}

// verify reads the topic as a read_committed consumer, demands every event
// exactly once and in the order of its key, and returns when the broker wrote
// each, sorted.
func (b *bench) verify(ctx context.Context, topic string, events int) ([]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c, err := newConsumer(b.stack.Kafka().Bootstrap(), topic)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	count := newCounter(events)
	var times []time.Time
	for count.n < events {
		f := c.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			return nil, fmt.Errorf("NOT exactly once? %d of %d events arrived: %w", count.n, events, err)
		}
		var wrong error
		f.EachRecord(func(r *kgo.Record) {
			if err := count.add(r); err != nil && wrong == nil {
				wrong = err
			}
			times = append(times, r.Timestamp)
		})
		if wrong != nil {
			return nil, fmt.Errorf("NOT exactly once: %w", wrong)
		}
	}
	if err := quiet(ctx, c); err != nil {
		return nil, err
	}
	slices.SortFunc(times, time.Time.Compare)
	return times, nil
}

// quiet demands that nothing more comes for a while.
func quiet(ctx context.Context, c *kgo.Client) error {
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for wait.Err() == nil {
		if n := c.PollFetches(wait).NumRecords(); n > 0 {
			return fmt.Errorf("NOT exactly once: %d records more than were written", n)
		}
	}
	return ctx.Err()
}
