package fleet

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// sinceSlack is how much earlier than its row a record may be: the column may
// hold the time of another clock than Postgres'.
const sinceSlack = time.Minute

// spans asks what is to be read of some topics.
func (a *auditor) spans(ctx context.Context, names []string) ([]kafka.Span, error) {
	topics, err := a.client.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	return a.client.Spans(ctx, a.from(), topics)
}

func (a *auditor) from() time.Time {
	if a.req.Since.IsZero() {
		return time.Time{}
	}
	return a.req.Since.Add(-sinceSlack)
}

// readRecords reads the topics and learns what was deleted from them.
func (a *auditor) readRecords(ctx context.Context, names []string, facts *audit.Facts) error {
	slices.Sort(names)
	topics, err := a.client.Topics(ctx, slices.Compact(names)...)
	if err != nil {
		return err
	}
	spans, err := a.client.Spans(ctx, a.from(), topics)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		t := topics[name]
		if !t.Exists {
			a.report.AbsentTopics = append(a.report.AbsentTopics, name)
			continue
		}
		facts.Topics[name] = audit.TopicFacts{Partitions: t.Partitions, Compacted: t.Compacted(), From: make([]int64, t.Partitions)}
	}
	return a.scan(ctx, spans, facts)
}

// scan gives every record of the spans to the comparison.
func (a *auditor) scan(ctx context.Context, spans []kafka.Span, facts *audit.Facts) error {
	numbers, total := make([]uint16, len(spans)), int64(0)
	for i, s := range spans {
		var err error
		if numbers[i], err = a.cmp.Topic(s.Topic); err != nil {
			return err
		}
		total += s.Until - s.From
		if s.Cut { // until its first record is seen
			facts.Topics[s.Topic].From[s.Partition] = 1<<63 - 1
		}
	}
	return a.client.Scan(ctx, spans, func(s *kafka.Scanned) error {
		if a.report.KafkaRecords++; a.report.KafkaRecords%4096 == 0 {
			a.req.Progress("records read", a.report.KafkaRecords, total)
		}
		sp := &spans[s.Span]
		if from := &facts.Topics[sp.Topic].From[sp.Partition]; *from == 1<<63-1 {
			// A record that was deleted may be of the same millisecond, or of a
			// commit that was overtaken.
			*from = (s.Time+1)*1000 + a.req.Tolerance.Microseconds()
		}
		id := identity(s.Header)
		if len(id) == 0 {
			a.report.Unidentified++
			return nil
		}
		r := audit.Record{Key: audit.KeyOf(s.Key), Offset: s.Offset, Time: s.Time, Partition: sp.Partition, Topic: numbers[s.Span]}
		r.ID, r.Hashed = audit.IDOf(id)
		if _, ok := s.Header(event.ReplayHeader); ok {
			r.Mark = audit.Replayed
		} else if _, ok := s.Header(event.RepairHeader); ok {
			r.Mark = audit.Repaired
		} else if _, ok := s.Header(event.RedriveHeader); ok {
			r.Mark = audit.Redriven
		}
		return a.cmp.AddRecord(&r)
	})
}

// Headers counts the standard headers of a pipeline's topics by event type.
func (f *Fleet) Headers(ctx context.Context, req AuditRequest) ([]audit.HeaderCount, error) {
	p, err := f.one(req.Pipeline)
	if err != nil {
		return nil, err
	}
	counts, err := f.unit(p).headers(ctx, req)
	return counts, err
}

func (u *unit) headers(ctx context.Context, req AuditRequest) ([]audit.HeaderCount, error) {
	client, err := kafka.Open(u.settings, u.log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	topics, err := client.Topics(ctx, u.topicNames()...)
	if err != nil {
		return nil, err
	}
	spans, err := client.Spans(ctx, req.Since, topics)
	if err != nil {
		return nil, err
	}
	var total, done int64
	for _, s := range spans {
		total += s.Until - s.From
	}
	counts := audit.NewHeaders()
	err = client.Scan(ctx, spans, func(s *kafka.Scanned) error {
		if done++; done%4096 == 0 && req.Progress != nil {
			req.Progress("records read", done, total)
		}
		if at := time.UnixMilli(s.Time); (req.Since.IsZero() || !at.Before(req.Since)) && (req.Until.IsZero() || at.Before(req.Until)) {
			counts.Add(s.Header)
		}
		return nil
	})
	return counts.Counts(), err
}
