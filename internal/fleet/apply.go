package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/topics"
)

// Applied is what ApplyTopics did to one topic.
type Applied struct {
	topics.Topic
	Created bool
	Made    []topics.Change // of an existing topic
	Held    []topics.Change // that need a flag which was not given
	Err     error
}

// State is the outcome in a word or two.
func (a *Applied) State() string {
	switch {
	case a.Err != nil && !a.Exists:
		return "not created"
	case a.Err != nil:
		return "failed"
	case a.Created:
		return "created"
	case len(a.Held) > 0:
		return "held back"
	case len(a.Made) > 0:
		return "altered"
	case a.Unknown != "":
		return "unknown"
	}
	return "exists"
}

// applier makes the changes of a plan. Two may be at work at once: what the
// other one has done already is no error, and the end is compared with what was
// wanted.
type applier struct {
	client  *kafka.Client
	wants   []topics.Want
	accept  []topics.Flag
	atStart bool // of a pipeline: the relay's own topics are created and never altered
	did     func(topic string, c topics.Change)
}

// apply creates, then alters, then reads back. The order within a topic is
// settings first, all in one request, so that no policy is ever in force with
// another's retention.
func (a *applier) apply(ctx context.Context) ([]Applied, error) {
	plan, err := compareTopics(ctx, a.client, a.wants)
	if err != nil {
		return nil, err
	}
	created, err := a.create(ctx, &plan)
	out := make([]Applied, len(plan.Topics))
	if err == nil && missing(&plan) {
		plan, err = compareTopics(ctx, a.client, a.wants) // another process may have made one otherwise
	}
	errs := []error{err}
	for i := range plan.Topics {
		t := &plan.Topics[i]
		out[i] = Applied{Topic: *t, Created: slices.Contains(created, t.Name)}
		if err != nil {
			if !t.Exists && !out[i].Created {
				out[i].Err = err
			}
			continue
		}
		if out[i].Err = a.alter(ctx, &out[i]); out[i].Err != nil {
			errs = append(errs, out[i].Err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return out, err
	}
	return out, a.verify(ctx, out)
}

func missing(p *topics.Plan) bool {
	return slices.ContainsFunc(p.Topics, func(t topics.Topic) bool { return !t.Exists })
}

// create makes the topics that do not exist, each as it is wanted.
func (a *applier) create(ctx context.Context, p *topics.Plan) ([]string, error) {
	var specs []kafka.NewTopic
	plans := map[string]topics.Change{}
	for i := range p.Topics {
		t := &p.Topics[i]
		if len(t.Changes) == 1 && t.Changes[0].Kind == topics.Create {
			specs = append(specs, kafka.NewTopic{Name: t.Name, Partitions: t.Partitions, Replicas: t.Replicas, Config: t.Config})
			plans[t.Name] = t.Changes[0]
		}
	}
	created, err := a.client.CreateTopics(ctx, specs...)
	for _, name := range created {
		a.did(name, plans[name])
	}
	return created, err
}

// alter makes the changes of one topic that nothing forbids.
func (a *applier) alter(ctx context.Context, t *Applied) error {
	settings, partitions := map[string]string{}, 0
	var made []topics.Change
	for _, c := range t.Changes {
		switch {
		case a.atStart && t.Role != topics.Events:
		case c.Needs != "" && !slices.Contains(a.accept, c.Needs):
			t.Held = append(t.Held, c)
		case c.Kind == topics.Config:
			settings[c.Setting] = c.To
			made = append(made, c)
		case c.Kind == topics.Partitions:
			partitions = t.Partitions
			made = append(made, c)
		}
	}
	if len(settings) > 0 {
		if err := a.client.AlterConfig(ctx, t.Name, settings); err != nil {
			return err
		}
	}
	for _, c := range made {
		if c.Kind == topics.Partitions {
			if err := a.client.AddPartitions(ctx, t.Name, partitions); err != nil {
				return err
			}
		}
		t.Made = append(t.Made, c)
		a.did(t.Name, c)
	}
	return nil
}

// verify reads back until every change that was made is there.
func (a *applier) verify(ctx context.Context, done []Applied) error {
	var touched []topics.Want
	made := map[string][]topics.Change{}
	for i := range done {
		if len(done[i].Made) > 0 || done[i].Created {
			touched = append(touched, done[i].Want)
			made[done[i].Name] = done[i].Made
		}
	}
	if len(touched) == 0 {
		return nil
	}
	var open []string
	err := a.client.Await(ctx, namesOf(touched), func(all map[string]kafka.Topic) bool {
		open = open[:0]
		plan := comparison(touched, all)
		for i := range plan.Topics {
			t := &plan.Topics[i]
			for _, c := range t.Changes {
				if c.Kind == topics.Create || slices.ContainsFunc(made[t.Name], func(m topics.Change) bool { return m.Kind == c.Kind && m.Setting == c.Setting }) {
					open = append(open, fmt.Sprintf("topic %q: %s", t.Name, c))
				}
			}
		}
		return len(open) == 0
	})
	if err != nil && len(open) > 0 {
		return &event.Fault{What: fmt.Sprintf("Kafka took the changes, and these are still open: %v", open), Err: err,
			Do: "cdc-relay topics plan; if another relay or tool has another opinion on the topic, let one of them have it"}
	}
	return err
}
