package fleet

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/sink"
	"github.com/cdc-relay/cdc-relay/internal/topics"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// wantedLetters is the dead letter topic of the pipeline, if any event may go
// there.
func (u *unit) wantedLetters() []topics.Want {
	if !u.cfg.Contract.DeadLetters() {
		return nil
	}
	s := kafka.DeadLetterSpec(u.cfg.DeadLetterTopic, u.replicas(0))
	return []topics.Want{{Name: s.Name, Role: topics.Letters, Partitions: s.Partitions, Replicas: s.Replicas, Config: s.Config, Pipelines: []string{u.cfg.Name}}}
}

// deadLetters are those of a transformer that publishes. It has them although no
// event of the contract may become one: the topic may hold keys from before.
func (u *unit) deadLetters() *transform.DeadLetters {
	d := u.Config.DeadLetters
	return &transform.DeadLetters{Topic: u.cfg.DeadLetterTopic, RelayVersion: u.Version, Limit: d.Limit(), MaxHeld: d.MaxHeld}
}

// leavesLetters refuses a former name of the pipeline whose dead letter topic it
// would leave with letters in it: the keys they hold would be free.
func (u *unit) leavesLetters(ctx context.Context, name, was string) error {
	former := config.DefaultDeadLetterTopic(name, was)
	if former == u.cfg.DeadLetterTopic {
		return nil
	}
	own := u.cfg.DeadLetterTopic
	u.cfg.DeadLetterTopic = former
	index, exists, err := u.readLetters(ctx, nil)
	if err != nil {
		return fmt.Errorf("look whether dead letters are left: %w", err)
	}
	if !exists || index.Len() == 0 {
		return nil
	}
	return event.Refusef(fmt.Sprintf("write dead_letters: {topic: %s} (dead_letter_topic under databases), or redrive or discard them with the former configuration; then this command again", former),
		"dead letter topic %s of %s/%s holds %d letters, and the pipeline reads %s now: the keys they hold would be free", former, name, was, index.Len(), own)
}

// transforming gives the live pipeline its transformer, and the transformer what
// is held, at each start.
func (u *unit) transforming(ctx context.Context, live *relay.Pipeline, system string) error {
	t, err := u.transformer(ctx, system, "", u.reg)
	if err != nil {
		return err
	}
	letters := live.Sink.(*sink.Sink)
	live.Transformer = t
	live.Recall = func(ctx context.Context) error {
		recall := deadletter.Recall{Database: u.cfg.Database}
		var headers []event.Header
		_, err := letters.Letters(ctx, 0, func(s *kafka.Scanned) error {
			headers = s.Headers(headers[:0])
			return recall.Add(s.Key, s.Value == nil, headers, s.Offset)
		})
		if err != nil {
			return err
		}
		held := recall.Held()
		t.Hold(held, recall.Share())
		if held.Len() > 0 {
			u.log.Warn("dead letters hold keys: events with these keys are parked behind them", "keys", held.Len(), "letters", recall.Letters(),
				"topic", u.cfg.DeadLetterTopic, "next", "cdc-relay dlq list --pipeline "+u.cfg.Name)
		}
		return nil
	}
	return nil
}

// deadLetterFacts are those of every pipeline, for doctor.
func (f *Fleet) deadLetterFacts(ctx context.Context, client *kafka.Client) ([]doctor.DeadLetters, error) {
	var all []doctor.DeadLetters
	for _, p := range f.Config.Pipelines() {
		topics, err := client.Topics(ctx, p.DeadLetterTopic)
		if err != nil {
			return nil, err
		}
		t := topics[p.DeadLetterTopic]
		t.Name = p.DeadLetterTopic
		d := doctor.DeadLetters{Pipeline: p.Name, Topic: doctor.KafkaTopic(t), Needed: p.Contract.DeadLetters()}
		if t.Exists && t.Partitions == 1 {
			var list *Letters
			if list, d.Err = f.DeadLetters(ctx, p.Name, LetterFilter{}, false, 1); d.Err == nil {
				d.Dead, d.Parked, d.HeldKeys = list.Dead, list.Parked, list.HeldKeys
				for _, l := range list.Letters {
					d.Oldest = l.CommitTime
				}
			}
		}
		all = append(all, d)
	}
	return all, nil
}
