package sink

import (
	"context"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// learnLetters takes the dead letter topic out of all and judges it. nil: there
// is none, and none is needed. One that is there is judged although no event can
// become a letter any more: what lies in it still holds keys.
func (s *Sink) learnLetters(all map[string]kafka.Topic) (*kafka.Topic, []kafka.Concern, error) {
	name := s.opt.DeadLetters
	if name == "" {
		return nil, nil, nil
	}
	t := all[name]
	t.Name = name
	delete(all, name)
	if !t.Exists && !s.opt.LettersNeeded {
		return nil, nil, nil
	}
	concerns, err := kafka.CheckDeadLetters(t)
	return &t, concerns, err
}

// Letters gives each the committed records of the dead letter topic from an
// offset on to the read_uncommitted end of now, in order, and returns that end.
// Called after the fence it has authority: what this pipeline had open is aborted
// or seen, and what a redrive has open is waited for. Without a dead letter topic
// there are none. It needs a Look before.
func (s *Sink) Letters(ctx context.Context, from int64, each func(*kafka.Scanned) error) (next int64, err error) {
	t := s.topics[s.opt.DeadLetters]
	if t == nil {
		return from, nil
	}
	spans, err := s.client.Spans(ctx, time.Time{}, map[string]kafka.Topic{t.Name: *t})
	if err != nil {
		return from, err
	}
	if spans[0].From = max(spans[0].From, from); spans[0].From >= spans[0].Until {
		return max(from, spans[0].Until), nil
	}
	return spans[0].Until, s.scan(ctx, spans[0], each)
}

// scan reads letters with one consumer, made at the first call.
func (s *Sink) scan(ctx context.Context, span kafka.Span, each func(*kafka.Scanned) error) (err error) {
	if s.scanner == nil {
		if s.scanner, err = s.client.NewScanner(); err != nil {
			return err
		}
	}
	return s.scanner.Scan(ctx, []kafka.Span{span}, each)
}

// LettersAt gives each the records of the dead letter topic within some spans of
// offsets that lie apart, in order. It needs a Look before.
func (s *Sink) LettersAt(ctx context.Context, spans [][2]int64, each func(*kafka.Scanned) error) error {
	for _, at := range spans {
		span := kafka.Span{Topic: s.opt.DeadLetters, From: at[0], Until: at[1]}
		if err := s.scan(ctx, span, each); err != nil {
			return err
		}
	}
	return nil
}

// closeScanner ends the reading of letters.
func (s *Sink) closeScanner() {
	if s.scanner != nil {
		s.scanner.Close()
		s.scanner = nil
	}
}
