package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/tail"
)

// TailRequest says which events Tail shows.
type TailRequest struct {
	Pipelines []string // whose topics; none: all
	Topics    []string // instead of those of the contracts
	Partition int32    // -1: all
	From      tail.From
	Follow    bool // until ctx is done
	Limit     int  // of events shown; 0: none
	Filter    tail.Filter
	Show      func(*tail.Record, *tail.Value) error
	Note      func(string) // told what is not an error, but worth to know
}

// Tail shows committed events as they come, or those there are. It changes
// nothing, joins no consumer group, and may run beside anything. An end of ctx
// is the end, not an error.
func (f *Fleet) Tail(ctx context.Context, req TailRequest) error {
	client, err := kafka.Open(f.settings, f.Log)
	if err != nil {
		return err
	}
	defer client.Close()
	topics, err := f.tailTopics(ctx, client, &req)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	find, done, err := f.finder()
	if err != nil {
		return err
	}
	defer done()
	t := &tailing{TailRequest: req, ctx: ctx, decoder: tail.NewDecoder(find)}
	what := kafka.Following{Topics: topics, Partition: req.Partition, From: kafka.From(req.From), On: req.Follow}
	if req.Follow {
		what.Begun = func() { req.Note(fmt.Sprintf("following %d topics, Ctrl-C ends it", len(topics))) }
	}
	err = client.Follow(ctx, what, t.each)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tailing is one Tail.
type tailing struct {
	TailRequest
	ctx     context.Context
	decoder *tail.Decoder
	n       int
}

func (t *tailing) each(k *kafka.Read) (more bool, err error) {
	r := &tail.Record{Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, Time: k.Time, Key: k.Key, Value: k.Value, Headers: k.Headers}
	var v *tail.Value
	decoded := func() *tail.Value {
		if v == nil {
			v = t.decoder.Decode(t.ctx, r)
		}
		return v
	}
	if !t.Filter.Takes(r, decoded) {
		return true, nil
	}
	decoded()
	if t.ctx.Err() != nil { // the registry was not waited for
		return false, nil
	}
	if err := t.Show(r, v); err != nil {
		return false, fmt.Errorf("print: %w", err)
	}
	t.n++
	return t.Limit == 0 || t.n < t.Limit, nil
}

// tailTopics are the topics that are asked for, else those the contracts of the
// pipelines name. That one of them is missing is noted, that all are is an
// error.
func (f *Fleet) tailTopics(ctx context.Context, client *kafka.Client, req *TailRequest) ([]string, error) {
	names := map[string]bool{}
	for _, t := range req.Topics {
		names[t] = true
	}
	chosen, err := f.choose(req.Pipelines)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		for _, p := range chosen {
			for _, t := range p.Contract.Topics() {
				names[t.Name] = true
			}
		}
	}
	all := slices.Sorted(maps.Keys(names))
	if len(all) == 0 {
		return nil, &UsageError{"the contracts name no topic; say which with --topic"}
	}
	topics, err := client.Topics(ctx, all...)
	if err != nil {
		return nil, err
	}
	var missing []string
	partitions := 0
	for _, name := range all {
		t := topics[name]
		if !t.Exists {
			missing = append(missing, strconv.Quote(name))
		}
		partitions = max(partitions, t.Partitions)
	}
	switch {
	case len(missing) == len(all):
		return nil, event.Refusef("cdc-relay topics apply, or correct --topic", "Kafka has no topic %s, or this user may not see it", strings.Join(missing, ", "))
	case int(req.Partition) >= partitions:
		return nil, &UsageError{fmt.Sprintf("--partition %d: the topics have at most %d partitions, counted from 0", req.Partition, partitions)}
	case len(missing) > 0:
		req.Note("not there (yet), or not to be seen by this user: topic " + strings.Join(missing, ", "))
	}
	return all, nil
}

// finder finds schemas by their ids; nil: no registry is configured.
func (f *Fleet) finder() (find func(context.Context, int) (tail.Schema, error), done func(), err error) {
	if f.Config.Registry.URL == "" {
		return nil, func() {}, nil
	}
	ids, done := f.ids, func() {}
	if ids == nil { // no contract needs it, but a topic may
		if ids, err = newRegistry(f.Options); err != nil {
			return nil, nil, err
		}
		done = ids.Close
	}
	return func(ctx context.Context, id int) (tail.Schema, error) {
		s, err := ids.ByID(ctx, id)
		return tail.Schema{Type: s.Type, Text: s.Text, Needs: s.Needs}, err
	}, done, nil
}
