package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/replay"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/sink"
)

// How long a pipeline whose surroundings are not ready waits before it asks
// again; it doubles up to the most.
const (
	prepareFirst = 500 * time.Millisecond
	prepareMost  = 15 * time.Second
	observeEvery = 30 * time.Second
)

// unit is one pipeline and, before it, a replay of part of its log.
type unit struct {
	*Fleet
	cfg config.Pipeline
	log *slog.Logger
	reg prometheus.Registerer // with the label pipeline
}

func (f *Fleet) unit(p config.Pipeline) *unit {
	return &unit{
		Fleet: f, cfg: p, log: f.Log.With("pipeline", p.Name),
		reg: prometheus.WrapRegistererWith(prometheus.Labels{"pipeline": p.Name}, f.Registerer),
	}
}

// run prepares the surroundings, replays what was asked for, and relays.
func (u *unit) run(ctx context.Context, live *relay.Pipeline, again *replay.Request) error {
	u.Status.Add(u.cfg.Name, live.Checkpoint)
	system, err := u.ready(ctx, live.Source)
	if err == nil && again != nil {
		err = u.replay(ctx, live, *again, system)
	}
	if err == nil {
		err = u.transforming(ctx, live, system)
	}
	if err == nil {
		err = u.claimed(ctx, live, u.reg)
	}
	if ctx.Err() != nil {
		u.Status.Set(u.cfg.Name, relay.Stopped, nil)
		return nil
	}
	if err != nil {
		u.Status.Set(u.cfg.Name, relay.Failed, err)
		return err
	}
	return live.Run(ctx)
}

// observe goes on looking at the server of a pipeline that cannot go on, so
// that the metrics show the log it keeps, which grows.
func (u *unit) observe(ctx context.Context, m *relay.Metrics) {
	src := replication.New(u.source())
	defer func() { _ = src.Close(context.WithoutCancel(ctx)) }() // nothing is streamed
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		if facts, err := src.Look(ctx); err == nil {
			m.Facts(facts)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// role is what a pipeline is made for: to publish (relay, or replay a range), or
// for a one-shot command that moves its checkpoint (the zero role), if need be
// to the place of a foreign one.
type role struct {
	relay   bool
	plan    *replay.Plan
	foreign bool
}

// publishes: only then do the settings of the topics matter. A command that
// mends a slot is not held up by a retention.
func (r role) publishes() bool { return r.relay || r.plan != nil }

// pipeline makes a pipeline of the unit. The one of a replay reads the same
// stream from a temporary copy of an anchor, under a checkpoint key and
// transactional ids of its own. The Transformer is not set yet.
func (u *unit) pipeline(r role) *relay.Pipeline {
	name, reg, log := u.cfg.Name, u.reg, u.log
	opts := u.source()
	var span *relay.Range
	if r.plan != nil {
		name = u.replayName(r.plan.ID)
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"pipeline": name}, u.Registerer)
		log = u.Log.With("pipeline", name)
		opts.Slot, opts.CopyOf = r.plan.Slot, r.plan.Anchor
		span = &relay.Range{ID: r.plan.ID, From: r.plan.From, To: r.plan.To}
	}
	opts.Logger, opts.Registerer = log, reg
	c := u.Config
	guard := doctor.Guard{Pipeline: u.cfg.Name, Slot: opts.Slot, Publication: opts.Publication, Options: opts.Fingerprint(), Replay: span != nil}
	snk := sink.New(sink.Options{
		Name: c.Name, Pipeline: name, Settings: u.settings, CheckpointTopic: c.CheckpointTopic, AcceptCluster: r.foreign,
		Topics: u.topicNames(), Judge: u.judge(r), RelayVersion: u.Version, Logger: log, Registerer: reg,
		DeadLetters: u.cfg.DeadLetterTopic, LettersNeeded: u.cfg.Contract.DeadLetters(),
	})
	return &relay.Pipeline{
		Name:     name,
		Identity: event.Saved{Database: u.cfg.Database, Slot: opts.Slot, Options: opts.Fingerprint()},
		Source:   replication.New(opts), Sink: snk, Range: span,
		Guards: relay.Guards{Foreign: guard.Foreign, Start: guard.Start, Running: guard.Running, Adopt: guard.Adopt},
		Limits: relay.Limits{
			Events: c.Batch.Events, Bytes: int(c.Batch.Bytes),
			IdleAfter: c.IdleCheckpoint.Interval, IdleBytes: event.LSN(c.IdleCheckpoint.Bytes),
		},
		SenderTimeout: c.Postgres.SenderTimeout,
		Pool:          u.pool, Log: log, Metrics: relay.NewMetrics(reg),
		OnState: func(s relay.State, err error) { u.Status.Set(u.cfg.Name, s, err) },
	}
}

// replayName is the name of the pipeline that publishes a range again.
func (u *unit) replayName(id string) string { return u.cfg.Name + "/replay/" + id }

func (u *unit) source() replication.Options {
	pg := u.Config.Postgres
	return replication.Options{
		URL: u.cfg.URL, ApplicationName: "cdc-relay " + u.cfg.Key, Slot: u.cfg.Slot, Publication: u.cfg.Publication,
		Tables: []string{u.cfg.Table}, MessagePrefix: pg.MessagePrefix,
		SenderTimeout: pg.SenderTimeout, Failover: pg.Failover, Logger: u.log,
	}
}
