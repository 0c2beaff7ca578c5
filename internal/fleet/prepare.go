package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
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
		return u.prepareTopics(ctx)
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

// schemaIDs are the schemas of a contract with their ids in the registry, by
// name and version.
type schemaIDs map[string]map[int]transform.Schema

func (k schemaIDs) add(w registry.Want, id int) {
	if k[w.Name] == nil {
		k[w.Name] = map[int]transform.Schema{}
	}
	k[w.Name][w.Version] = transform.Schema{ID: id, Text: w.Self()}
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
	o.Registerer, o.Shared = reg, u.Registerer
	o.DeadLetters = u.deadLetters()
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
		Reserved: u.reserved(),
		Schemas: func(name string, version int) (transform.Schema, bool) {
			s, ok := known[name][version]
			return s, ok
		},
	}
	if u.claims != nil {
		o.ClaimBase = u.claims.Base()
	}
	if u.schemas != nil {
		o.Versions = u.schemas.Versions
	}
	return o
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
