package fleet

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/replay"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/sink"
)

// replay publishes the range once more, unless it was done before, and returns
// when it is in Kafka.
func (u *unit) replay(ctx context.Context, live *relay.Pipeline, req replay.Request, system string) error {
	done, plan := false, replay.Plan{}
	err := u.persist(ctx, func() (err error) {
		if done, err = u.replayed(ctx, req); err == nil && !done {
			plan, err = u.plan(ctx, live, req)
		}
		return err
	})
	if err != nil {
		return err
	}
	if done {
		u.log.Info("this range was replayed before; going on with the live stream", "replay", req.ID())
		return nil
	}
	p := u.pipeline(role{plan: &plan})
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"pipeline": p.Name}, u.Registerer)
	if p.Transformer, err = u.transformer(ctx, system, plan.ID, reg); err != nil {
		return err
	}
	if err := u.claimed(ctx, p, reg); err != nil {
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
	if err != nil {
		return false, fmt.Errorf("look at the checkpoint of the replay: %w", err)
	}
	return saved.State == event.StateDone, nil
}

// plan chooses anchor and end. The live checkpoint is judged first: the replay's
// own key says nothing yet about whose topics these are.
func (u *unit) plan(ctx context.Context, live *relay.Pipeline, req replay.Request) (replay.Plan, error) {
	defer live.Sink.Close()
	facts, err := live.Source.Look(ctx)
	if err != nil {
		return replay.Plan{}, fmt.Errorf("look at postgres: %w", err)
	}
	saved, err := live.Sink.Look(ctx)
	if err != nil {
		return replay.Plan{}, fmt.Errorf("look at the checkpoint: %w", err)
	}
	if err := live.Guards.Foreign(saved, facts); err != nil {
		return replay.Plan{}, err
	}
	infos, err := live.Source.(*replication.Source).ListSlots(ctx)
	if err != nil {
		return replay.Plan{}, err
	}
	return replay.Make(req, u.cfg.Slot, saved, u.anchors(infos))
}

// anchors are the slots of the unit's database that no pipeline streams from.
func (u *unit) anchors(infos []replication.SlotInfo) []event.Slot {
	var slots []event.Slot
	for _, s := range infos {
		if s.Database == u.cfg.Database && !u.streamed(s.Name) {
			slots = append(slots, s.Slot)
		}
	}
	return slots
}

// streamed reports whether a pipeline of the configuration streams from slot.
func (f *Fleet) streamed(slot string) bool {
	return slices.ContainsFunc(f.Config.Pipelines(), func(p config.Pipeline) bool { return p.Slot == slot })
}
