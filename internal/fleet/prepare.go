package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/transform"
	"github.com/cdc-relay/cdc-relay/migrations"
)

// ready waits until the surroundings are there, and makes what an environment
// that may create is lacking. It returns the server's system id.
func (u *unit) ready(ctx context.Context, src relay.Source) (system string, err error) {
	err = u.persist(ctx, func() error {
		facts, err := src.Look(ctx)
		if err != nil {
			return fmt.Errorf("look at postgres: %w", err)
		}
		system = facts.SystemID
		if !u.Config.Environment.MayCreate() || facts.InRecovery {
			return nil
		}
		if err := u.migrate(ctx); err != nil {
			return err
		}
		return u.createTopics(ctx)
	})
	return system, err
}

// persist repeats do until it succeeds or a person has to act.
func (u *unit) persist(ctx context.Context, do func() error) error {
	wait := prepareFirst
	for {
		err := do()
		if v := event.VerdictOf(err); err == nil || ctx.Err() != nil || v == event.Refuse || v == event.Stop {
			return err
		}
		u.log.Warn("not ready to start, trying again", "after", wait, "err", err)
		u.Status.Set(u.cfg.Name, relay.Starting, err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		wait = min(2*wait, prepareMost)
	}
}

func (u *unit) migrate(ctx context.Context) error {
	if !native(u.cfg) {
		return nil
	}
	res, err := migrations.Up(ctx, u.cfg.URL)
	for _, n := range res.Notices {
		u.log.Warn("migrate", "notice", n)
	}
	for _, s := range res.Steps {
		u.log.Info("migrated", "database", u.cfg.Database, "version", s.Version, "file", s.Name)
	}
	if err != nil {
		return fmt.Errorf("migrate database %s: %w", u.cfg.Database, err)
	}
	return nil
}

// native reports whether the pipeline reads the table the migrations make; any
// other is somebody else's.
func native(p config.Pipeline) bool {
	return p.Mapping.Preset != contract.PresetDebezium && p.Table == "cdc_relay.outbox"
}

func (u *unit) createTopics(ctx context.Context) error {
	client, err := kafka.Open(u.settings, u.log)
	if err != nil {
		return err
	}
	defer client.Close()
	created, err := client.CreateTopics(ctx, append(u.topicSpecs(), u.checkpointSpec())...)
	for _, t := range created {
		u.log.Info("topic created", "topic", t)
	}
	return err
}

func (f *Fleet) checkpointSpec() kafka.NewTopic {
	return kafka.CheckpointSpec(f.Config.CheckpointTopic, f.replicas(0))
}

// replicas is what a topic is created with: its own number, else the
// configured one, else (0) the brokers' default.
func (f *Fleet) replicas(own int) int {
	if own > 0 {
		return own
	}
	return max(f.Config.Topics.ReplicationFactor, 0)
}

// topicSpecs are the topics the pipeline's contract names, as they would be
// created.
func (u *unit) topicSpecs() []kafka.NewTopic {
	var specs []kafka.NewTopic
	for _, t := range u.cfg.Contract.Topics() {
		spec := kafka.NewTopic{Name: t.Name, Partitions: defaultPartitions, Replicas: u.replicas(0)}
		if class, ok := u.cfg.Contract.Class(t.Class); ok {
			spec.Partitions, spec.Replicas, spec.Config = class.Partitions, u.replicas(class.ReplicationFactor), class.Config
		}
		specs = append(specs, spec)
	}
	return specs
}

// defaultPartitions is for a topic without a class.
const defaultPartitions = 12

func (u *unit) topicNames() []string {
	var names []string
	for _, t := range u.cfg.Contract.Topics() {
		names = append(names, t.Name)
	}
	return names
}

// schemaIDs are the schemas of a contract with their ids in the registry, by
// name and version.
type schemaIDs map[string]map[int]transform.Schema

func (k schemaIDs) add(w registry.Want, id int) {
	if k[w.Name] == nil {
		k[w.Name] = map[int]transform.Schema{}
	}
	k[w.Name][w.Version] = transform.Schema{ID: id, Text: w.Schema}
}

// transformer resolves the schema ids and compiles the contract with them.
// Without the registry nothing can be framed, so it is waited for; afterwards
// it is not needed any more.
func (u *unit) transformer(ctx context.Context, system, replayID string, reg prometheus.Registerer) (*transform.Transformer, error) {
	known := schemaIDs{}
	if err := u.persist(ctx, func() error { return u.resolve(ctx, known) }); err != nil {
		return nil, err
	}
	o := u.compile(known, system, replayID)
	o.Registerer = reg
	t, err := transform.Compile(o)
	if err != nil {
		return nil, &event.Fault{Verdict: event.Refuse, What: "the contract cannot be compiled", Do: "cdc-relay config validate", Err: err}
	}
	return t, nil
}

func (u *unit) compile(known schemaIDs, system, replayID string) transform.Options {
	o := transform.Options{
		Contract: u.cfg.Contract, Mapping: u.cfg.Mapping, Service: u.cfg.Service, Database: u.cfg.Database,
		SystemID: system, ReplayID: replayID, Logger: u.log,
		MessagePrefix: u.Config.Postgres.MessagePrefix, MaxBytes: int(u.Config.MaxEventBytes),
		Schemas: func(name string, version int) (transform.Schema, bool) {
			s, ok := known[name][version]
			return s, ok
		},
	}
	if u.schemas != nil {
		o.Versions = u.schemas.Versions
	}
	return o
}

// wants are the schemas the contract names.
func (u *unit) wants() ([]registry.Want, error) {
	var wants []registry.Want
	for _, s := range u.cfg.Contract.Subjects() {
		versions := u.schemas.Versions(s.Schema)
		if len(versions) == 0 {
			return nil, &event.Fault{Verdict: event.Refuse, What: fmt.Sprintf("topic %s", s.Topic), Err: u.schemas.Missing(s.Schema, 1),
				Do: "add the file to " + u.Config.Schemas + ", or mend `schema` in the contract"}
		}
		for _, v := range versions {
			text, _ := u.schemas.Schema(s.Schema, v)
			wants = append(wants, registry.Want{Subject: s.Name, Name: s.Schema, Version: v, Schema: text})
		}
	}
	return wants, nil
}

// resolve asks the registry for the id of every schema of the contract.
func (u *unit) resolve(ctx context.Context, known schemaIDs) error {
	wants, err := u.wants()
	if err != nil || len(wants) == 0 {
		return err
	}
	ids, err := u.ids.Resolve(ctx, wants, u.Config.Environment.MayCreate())
	if err != nil {
		return err
	}
	for i, w := range wants {
		known.add(w, ids[i])
	}
	return nil
}
