package fleet

import (
	"context"
	"fmt"
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
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// How long a pipeline whose surroundings are not ready waits before it asks
// again; it doubles up to the most.
const (
	prepareFirst = 500 * time.Millisecond
	prepareMost  = 15 * time.Second
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
func (u *unit) run(ctx context.Context, again *replay.Request) error {
	live := u.pipeline(role{})
	u.Status.Add(u.cfg.Name, live.Checkpoint)
	system, err := u.ready(ctx, live.Source)
	if err == nil && again != nil {
		err = u.replay(ctx, live, *again, system)
	}
	if err == nil {
		live.Transformer, err = u.transformer(ctx, system, "", u.reg)
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

// role is what a pipeline is made for: to relay (the zero role), to replay a
// range, or to take the place of a foreign checkpoint.
type role struct {
	plan    *replay.Plan
	foreign bool
}

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
		Topics: u.topicNames(), RelayVersion: u.Version, Logger: log, Registerer: reg,
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
		Pool: u.pool, Log: log, Metrics: relay.NewMetrics(reg),
		OnState: func(s relay.State, err error) { u.Status.Set(u.cfg.Name, s, err) },
	}
}

// replayName is the name of the pipeline that publishes a range again.
func (u *unit) replayName(id string) string { return u.cfg.Name + "/replay/" + id }

func (u *unit) source() replication.Options {
	pg := u.Config.Postgres
	return replication.Options{
		URL: u.cfg.URL, ApplicationName: "cdc-relay " + u.cfg.Key, Slot: u.cfg.Slot, Publication: u.cfg.Publication,
		Tables: []string{u.cfg.Table}, MessagePrefix: transform.DefaultMessagePrefix,
		SenderTimeout: pg.SenderTimeout, Failover: pg.Failover, Logger: u.log,
	}
}

// replay publishes the range once more, unless it was done before, and returns
// when it is in Kafka.
func (u *unit) replay(ctx context.Context, live *relay.Pipeline, req replay.Request, system string) error {
	done, err := u.replayed(ctx, req)
	if err != nil {
		return err
	}
	if done {
		u.log.Info("this range was replayed before; going on with the live stream", "replay", req.ID())
		return nil
	}
	plan, err := u.plan(ctx, live, req)
	if err != nil {
		return err
	}
	p := u.pipeline(role{plan: &plan})
	if p.Transformer, err = u.transformer(ctx, system, plan.ID, prometheus.WrapRegistererWith(prometheus.Labels{"pipeline": p.Name}, u.Registerer)); err != nil {
		return err
	}
	return p.Run(ctx)
}

// replayed asks Kafka whether the replay has come to its end. It is asked
// before anything else: the anchor of a replay that is done may be gone.
func (u *unit) replayed(ctx context.Context, req replay.Request) (bool, error) {
	s := sink.New(sink.Options{
		Name: u.Config.Name, Pipeline: u.replayName(req.ID()), Settings: u.settings,
		CheckpointTopic: u.Config.CheckpointTopic, RelayVersion: u.Version, Logger: u.log,
	})
	defer s.Close()
	saved, err := s.Look(ctx)
	return saved.State == event.StateDone, err
}

func (u *unit) plan(ctx context.Context, live *relay.Pipeline, req replay.Request) (replay.Plan, error) {
	defer live.Sink.Close()
	saved, err := live.Sink.Look(ctx)
	if err != nil {
		return replay.Plan{}, fmt.Errorf("look at the checkpoint: %w", err)
	}
	infos, err := live.Source.(*replication.Source).ListSlots(ctx)
	if err != nil {
		return replay.Plan{}, err
	}
	slots := make([]event.Slot, len(infos))
	for i := range infos {
		slots[i] = infos[i].Slot
	}
	return replay.Make(req, u.cfg.Slot, saved, slots)
}
