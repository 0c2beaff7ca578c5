package sink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// learn asks about the checkpoint topic and the topics of the contract, refuses
// what cannot work, and keeps their limits, and what there is to warn of for the
// fence.
func (s *Sink) learn(ctx context.Context) error {
	names := append([]string{s.opt.CheckpointTopic}, s.opt.Topics...)
	for name := range s.tight {
		names = append(names, name)
	}
	if s.opt.DeadLetters != "" {
		names = append(names, s.opt.DeadLetters)
	}
	all, err := s.client.Topics(ctx, names...)
	if err != nil {
		return err
	}
	cp := all[s.opt.CheckpointTopic]
	cp.Name = s.opt.CheckpointTopic
	concerns, err := kafka.CheckCheckpoint(cp)
	if err != nil {
		return err
	}
	delete(all, s.opt.CheckpointTopic)
	letters, more, err := s.learnLetters(all)
	if err != nil {
		return err
	}
	concerns = append(concerns, more...)
	for name := range s.tight {
		if !all[name].Exists {
			delete(all, name) // chosen by a row; the next row that chooses it says so
		}
	}
	more, err = kafka.CheckTopics(all)
	s.concerns = append(concerns, more...)
	if err != nil {
		return err
	}
	if s.opt.Judge != nil {
		more, err = s.opt.Judge(all)
		s.concerns = append(s.concerns, more...)
		if err != nil {
			return err
		}
	}
	s.partition = kafka.Partition([]byte(s.key), cp.Partitions)
	s.topics = make(map[string]*kafka.Topic, len(all))
	for name, t := range all {
		s.topics[name] = &t
	}
	if letters != nil {
		s.topics[letters.Name] = letters
	}
	return nil
}

// warn says each concern once for each topic, and one line for all topics that
// share it.
func (s *Sink) warn(concerns []kafka.Concern) {
	topics := map[string][]string{}
	for _, c := range concerns {
		if !s.warned[c] {
			s.warned[c] = true
			topics[c.What] = append(topics[c.What], c.Topic)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(topics)) {
		s.log.Warn(what, "topics", strings.Join(topics[what], ", "))
	}
}

// batchSize is batch.size of the producers: a broker holds whole batches, not
// records, against max.message.bytes, and the library never splits one.
func (s *Sink) batchSize() int {
	n := s.opt.Settings.BatchSize()
	for _, t := range s.topics {
		n = min(n, t.MaxMessageBytes)
	}
	return n
}

// admit looks at every record before the transaction begins: is its topic
// there, does it take the record? A broker's no would come late, for the whole
// transaction, and without naming the record.
func (s *Sink) admit(ctx context.Context, records []event.Record) error {
	if err := s.ready(); err != nil {
		return err
	}
	var name *string
	var t *kafka.Topic
	for i := range records {
		r := &records[i]
		if r.Topic == nil || *r.Topic == "" {
			return stop("give the event's rule in the contract a topic", "%s has no topic", named(r))
		}
		if r.Topic != name { // interned: most neighbours share the pointer
			var err error
			if t, err = s.topic(ctx, r); err != nil {
				return err
			}
			name = r.Topic
		}
		// Of a topic whose configuration we may not read the broker decides.
		if n := kafka.Size(r); n > t.MaxMessageBytes && t.Config != nil {
			return stop("raise max.message.bytes of the topic, or make the event smaller at its source",
				"%s takes %d bytes, more than the topic's max.message.bytes (%d)", named(r), n, t.MaxMessageBytes)
		}
		if r.Key == nil && t.Compacted() {
			return stop("give the event's rule in the contract a key that resolves, or the topic cleanup.policy=delete",
				"%s has no key, which a compacted topic does not take", named(r))
		}
	}
	return nil
}

// topic returns what is known about r's topic; one that no contract named is
// looked up now.
func (s *Sink) topic(ctx context.Context, r *event.Record) (*kafka.Topic, error) {
	if t, ok := s.topics[*r.Topic]; ok {
		return t, nil
	}
	if *r.Topic == s.opt.CheckpointTopic {
		return nil, stop("give the event another topic", "%s would be taken for a checkpoint: that is the relay's own topic", named(r))
	}
	found, err := s.client.Topics(ctx, *r.Topic)
	if err != nil {
		return nil, err
	}
	t := found[*r.Topic]
	t.Name = *r.Topic
	concerns, err := kafka.CheckTopics(map[string]kafka.Topic{t.Name: t})
	if err != nil {
		return nil, &event.Fault{Verdict: event.VerdictOf(err), What: named(r) + " cannot be written", Err: err}
	}
	s.warn(concerns)
	if t.MaxMessageBytes < s.batchSize() {
		s.tight[t.Name] = true
		return nil, &event.Fault{
			What: fmt.Sprintf("topic %q takes batches of %d bytes only, the producers make them up to %d: starting again with smaller ones", t.Name, t.MaxMessageBytes, s.batchSize()),
		}
	}
	s.topics[t.Name] = &t
	return &t, nil
}
