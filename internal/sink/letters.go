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
	if from = max(from, spans[0].From); from >= spans[0].Until {
		return from, nil
	}
	if s.letters == nil {
		if s.letters, err = s.client.NewFollower(t.Name); err != nil {
			return from, err
		}
	}
	return spans[0].Until, s.letters.Read(ctx, from, spans[0].Until, each)
}

// LettersAgain gives each the records of the dead letter topic from an offset to
// another once more, beside Letters, which goes on from where it is. It needs a
// Look before.
func (s *Sink) LettersAgain(ctx context.Context, from, until int64, each func(*kafka.Scanned) error) error {
	again, err := s.client.NewFollower(s.opt.DeadLetters)
	if err != nil {
		return err
	}
	defer again.Close()
	return again.Read(ctx, from, until, each)
}
