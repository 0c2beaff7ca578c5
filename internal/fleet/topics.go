package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/topics"
)

// defaultPartitions is for a topic without a class.
const defaultPartitions = 12

// wanted are the topics the pipeline's contract names, as their classes say.
func (u *unit) wanted() []topics.Want {
	var wants []topics.Want
	for _, t := range u.cfg.Contract.Topics() {
		w := topics.Want{Name: t.Name, Role: topics.Events, Partitions: defaultPartitions, Replicas: u.replicas(0), Pipelines: []string{u.cfg.Name}}
		if class, ok := u.cfg.Contract.Class(t.Class); ok {
			w.Class, w.Partitions, w.Replicas, w.Config = t.Class, class.Partitions, u.replicas(class.ReplicationFactor), class.Config
			w.Legacy = t.Legacy
		}
		wants = append(wants, w)
	}
	return wants
}

func (u *unit) topicNames() []string {
	var names []string
	for _, t := range u.cfg.Contract.Topics() {
		names = append(names, t.Name)
	}
	return names
}

// reserved are the relay's own topics. A row may name any topic, and what lies
// in these is not read as an event.
func (f *Fleet) reserved() []string {
	names := []string{f.Config.CheckpointTopic}
	for _, p := range f.Config.Pipelines() {
		names = append(names, p.DeadLetterTopic)
	}
	return names
}

func (f *Fleet) wantedCheckpoint() topics.Want {
	s := kafka.CheckpointSpec(f.Config.CheckpointTopic, f.replicas(0))
	return topics.Want{Name: s.Name, Role: topics.Checkpoint, Partitions: s.Partitions, Replicas: s.Replicas, Config: s.Config}
}

// replicas is what a topic is created with: its own number, else the
// configured one, else (0) the brokers' default.
func (f *Fleet) replicas(own int) int {
	if own > 0 {
		return own
	}
	return max(f.Config.Topics.ReplicationFactor, 0)
}

// wantedTopics are the topics of all pipelines, the checkpoint topic among them.
func (f *Fleet) wantedTopics() ([]topics.Want, error) {
	lists := [][]topics.Want{{f.wantedCheckpoint()}}
	for _, p := range f.Config.Pipelines() {
		u := f.unit(p)
		lists = append(lists, u.wanted(), u.wantedLetters())
	}
	wants, err := topics.Merge(lists...)
	if err != nil {
		return nil, &UsageError{err.Error()}
	}
	return wants, nil
}

// has is a topic of the cluster as the plan looks at it.
func has(t kafka.Topic) topics.Have {
	return topics.Have{
		Exists: t.Exists, Hidden: !t.Exists && t.Allowed != nil,
		Partitions: t.Partitions, Replicas: t.Replicas, Config: t.Config,
	}
}

// compareTopics asks the cluster and makes the plan of what is wanted.
func compareTopics(ctx context.Context, client *kafka.Client, wants []topics.Want) (topics.Plan, error) {
	all, err := client.Topics(ctx, namesOf(wants)...)
	if err != nil {
		return topics.Plan{}, err
	}
	return comparison(wants, all), nil
}

func comparison(wants []topics.Want, all map[string]kafka.Topic) topics.Plan {
	have := make(map[string]topics.Have, len(all))
	for name, t := range all {
		have[name] = has(t)
	}
	return topics.Compare(wants, have)
}

func namesOf(wants []topics.Want) []string {
	names := make([]string, len(wants))
	for i, w := range wants {
		names[i] = w.Name
	}
	return names
}

// Misnamed are the topics whose names break the naming rule of their contract,
// where that is a warning.
func (f *Fleet) Misnamed() []string {
	var all []string
	for _, p := range f.Config.Pipelines() {
		for _, m := range p.Contract.Misnamed() {
			if !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
	}
	return all
}

// PlanTopics compares the topics of all pipelines with the cluster's and changes
// nothing.
func (f *Fleet) PlanTopics(ctx context.Context) (topics.Plan, error) {
	wants, err := f.wantedTopics()
	if err != nil {
		return topics.Plan{}, err
	}
	client, err := kafka.Open(f.settings, f.Log)
	if err != nil {
		return topics.Plan{}, err
	}
	defer client.Close()
	plan, err := compareTopics(ctx, client, wants)
	if err != nil {
		return plan, err
	}
	plan.Misnamed = f.Misnamed()
	plan.Unnamed, err = f.unnamed(ctx, client, wants)
	return plan, err
}

// unnamed are the topics that begin as the naming rule says and are in no
// contract: those of other relays, and those that a contract named before.
func (f *Fleet) unnamed(ctx context.Context, client *kafka.Client, wants []topics.Want) ([]string, error) {
	named := append(namesOf(wants), f.reserved()...)
	var out []string
	asked := map[string]bool{}
	for _, p := range f.Config.Pipelines() {
		prefix := p.Contract.TopicPrefix()
		if prefix == "" || asked[prefix] {
			continue
		}
		asked[prefix] = true
		names, err := client.Names(ctx, prefix+".")
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if !slices.Contains(named, n) {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// judge is what a start does about topics that are not as their class says:
// refuse, or warn.
func (u *unit) judge(r role) func(map[string]kafka.Topic) ([]kafka.Concern, error) {
	if !r.publishes() {
		return nil
	}
	wants, refuse, limit := u.wanted(), u.Config.Topics.Refuses(), int(u.Config.MaxEventBytes)
	return func(all map[string]kafka.Topic) (concerns []kafka.Concern, err error) {
		var bad []string
		for _, w := range wants {
			for _, d := range topics.Drifts(w, has(all[w.Name]), limit) {
				if d.Grave && refuse {
					bad = append(bad, fmt.Sprintf("topic %q: %s", d.Topic, d.What))
					continue
				}
				concerns = append(concerns, kafka.Concern{Topic: d.Topic, What: d.What})
			}
		}
		if len(bad) == 0 {
			return concerns, nil
		}
		return concerns, event.Refusef(doctor.DriftMended, "topics are not as their class says: %s", strings.Join(bad, "; "))
	}
}

// prepareTopics makes the topics that are missing, and of those that exist what
// can be changed without harm. The relay's own topics are only created: one that
// is not as it should be may be somebody else's.
func (u *unit) prepareTopics(ctx context.Context) error {
	client, err := kafka.Open(u.settings, u.log)
	if err != nil {
		return err
	}
	defer client.Close()
	wants := append(u.wanted(), u.wantedCheckpoint())
	a := applier{client: client, wants: append(wants, u.wantedLetters()...), atStart: true}
	a.did = func(topic string, c topics.Change) {
		if c.Kind == topics.Create {
			u.log.Info("topic created", "topic", topic)
			return
		}
		u.log.Info("topic changed", "topic", topic, "change", c.String())
	}
	done, err := a.apply(ctx)
	for _, t := range done {
		for _, c := range t.Held {
			u.log.Warn("topic not changed, because that would do harm; next: cdc-relay topics plan", "topic", t.Name, "change", c.String())
		}
	}
	return err
}

// ApplyTopics makes the changes of PlanTopics: it creates and alters, never
// shrinks or deletes. A change that needs a flag which accept does not hold is
// held back. did is told each change as it is made. What was changed is read
// back.
func (f *Fleet) ApplyTopics(ctx context.Context, accept []topics.Flag, did func(topic string, c topics.Change)) ([]Applied, error) {
	wants, err := f.wantedTopics()
	if err != nil {
		return nil, err
	}
	client, err := kafka.Open(f.settings, f.Log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	a := applier{client: client, wants: wants, accept: accept, did: did}
	return a.apply(ctx)
}
