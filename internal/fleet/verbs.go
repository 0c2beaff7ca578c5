package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/replay"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/sink"
	"github.com/cdc-relay/cdc-relay/internal/transform"
	"github.com/cdc-relay/cdc-relay/migrations"
)

// The one-shot commands. Each works on one pipeline, found by name ("" when
// there is only one), and leaves nothing behind.

// Checkpoints reads the checkpoint of every pipeline named (all: none), without
// fencing anyone. One that has none is in the answer with Exists false.
func (f *Fleet) Checkpoints(ctx context.Context, names []string) (map[string]event.Saved, error) {
	chosen, err := f.choose(names)
	if err != nil {
		return nil, err
	}
	out := map[string]event.Saved{}
	for _, p := range chosen {
		saved, err := f.checkpoint(ctx, p)
		if err != nil {
			return nil, named(p.Name, err)
		}
		out[p.Name] = saved
	}
	return out, nil
}

// checkpoint reads one pipeline's checkpoint and fences nobody.
func (f *Fleet) checkpoint(ctx context.Context, p config.Pipeline) (event.Saved, error) {
	s := sink.New(sink.Options{
		Name: f.Config.Name, Pipeline: p.Name, Settings: f.settings, CheckpointTopic: f.Config.CheckpointTopic,
		RelayVersion: f.Version, Logger: f.Log.With("pipeline", p.Name),
	})
	defer s.Close()
	return s.Look(ctx)
}

// Slots lists every slot of the servers the pipelines read, once each.
func (f *Fleet) Slots(ctx context.Context) ([]replication.SlotInfo, error) {
	var all []replication.SlotInfo
	seen := map[string]bool{}
	for _, p := range f.Config.Pipelines() {
		src := replication.New(f.unit(p).source())
		facts, err := src.Look(ctx)
		var slots []replication.SlotInfo
		if err == nil && !seen[facts.SystemID] {
			slots, err = src.ListSlots(ctx)
		}
		err = errors.Join(err, src.Close(ctx))
		if err != nil {
			return nil, named(p.Name, err)
		}
		seen[facts.SystemID] = true
		all = append(all, slots...)
	}
	return all, nil
}

// Anchor keeps a copy of the pipeline's slot at its present position, for a
// later replay. It returns the slot's name and where it stands.
func (f *Fleet) Anchor(ctx context.Context, pipeline, name string) (string, event.LSN, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return "", 0, err
	}
	slot, err := replay.AnchorSlot(p.Slot, name)
	if err != nil {
		return "", 0, &UsageError{err.Error()}
	}
	src := replication.New(f.unit(p).source())
	defer func() { _ = src.Close(context.WithoutCancel(ctx)) }() // what counts was done or failed
	slots, err := src.ListSlots(ctx)
	if err != nil {
		return "", 0, named(p.Name, err)
	}
	if i := slices.IndexFunc(slots, func(s replication.SlotInfo) bool { return s.Name == slot }); i >= 0 {
		return "", 0, event.Refusef("cdc-relay slots anchor ANOTHER_NAME, or take this one away first: cdc-relay slots anchor "+name+" --drop",
			"pipeline %s has an anchor %q already (slot %s, at %s)", p.Name, name, slot, slots[i].ConfirmedFlush)
	}
	at, err := src.CopySlot(ctx, p.Slot, slot, false)
	return slot, at, err
}

// Unanchor drops an anchor, so that Postgres may forget the log it kept.
func (f *Fleet) Unanchor(ctx context.Context, pipeline, name string) (string, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return "", err
	}
	slot, err := replay.AnchorSlot(p.Slot, name)
	if err != nil {
		return "", &UsageError{err.Error()}
	}
	if f.streamed(slot) {
		return "", &UsageError{slot + " is no anchor: it is the slot of a pipeline"}
	}
	src := replication.New(f.unit(p).source())
	defer func() { _ = src.Close(context.WithoutCancel(ctx)) }() // what counts was done or failed
	slots, err := src.ListSlots(ctx)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(slots, func(s replication.SlotInfo) bool { return s.Name == slot }) {
		return "", event.Refusef("cdc-relay slots list", "pipeline %s has no anchor %q (slot %s)", p.Name, name, slot)
	}
	return slot, src.DropSlot(ctx, slot)
}

// Adopt makes the existing slot the pipeline's, at its position; with acceptGap
// also in the place of a checkpoint before that.
func (f *Fleet) Adopt(ctx context.Context, pipeline string, acceptGap bool) (event.Saved, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return event.Saved{}, err
	}
	return f.unit(p).pipeline(role{}).Adopt(ctx, acceptGap)
}

// Recreate makes a new slot for the pipeline; what lies between is given up.
// foreign takes the place of a checkpoint of another cluster, database or slot.
func (f *Fleet) Recreate(ctx context.Context, pipeline string, foreign bool) (relay.Gap, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return relay.Gap{}, err
	}
	return f.unit(p).pipeline(role{foreign: foreign}).Recreate(ctx, foreign)
}

// Rebase moves the pipeline's checkpoint to where it can go on after a change of
// the server that accept names.
func (f *Fleet) Rebase(ctx context.Context, pipeline string, accept relay.Accept) (relay.Rebased, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return relay.Rebased{}, err
	}
	done, err := f.unit(p).pipeline(role{}).Rebase(ctx, accept)
	if err != nil {
		return done, named(p.Name, err)
	}
	return done, nil
}

// former is the sink of another name, whose checkpoint goes over to the sink to.
type former struct {
	*sink.Sink
	to *sink.Sink
}

func (f former) Hand(ctx context.Context, saved event.Saved) error { return f.MoveTo(ctx, f.to, saved) }

// Rename moves the checkpoint of NAME/PIPELINE, which a configuration had
// before, to the pipeline.
func (f *Fleet) Rename(ctx context.Context, from, pipeline string) (event.Saved, config.Pipeline, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return event.Saved{}, p, err
	}
	name, was, ok := strings.Cut(from, "/")
	switch {
	case !ok || name == "" || was == "":
		return event.Saved{}, p, &UsageError{fmt.Sprintf("%q: write the former NAME/PIPELINE, as in essays/essays; cdc-relay checkpoint show with the former configuration prints the pipelines", from)}
	case from == f.Config.Name+"/"+p.Name:
		return event.Saved{}, p, &UsageError{from + " is what the pipeline is called now: nothing to rename"}
	}
	if err := f.unit(p).leavesLetters(ctx, name, was); err != nil {
		return event.Saved{}, p, named(p.Name, err)
	}
	live := f.unit(p).pipeline(role{})
	old := sink.New(sink.Options{
		Name: name, Pipeline: was, Settings: f.settings, CheckpointTopic: f.Config.CheckpointTopic,
		RelayVersion: f.Version, Logger: f.Log.With("pipeline", from),
	})
	saved, err := live.Rename(ctx, former{old, live.Sink.(*sink.Sink)}, from)
	if err != nil {
		return saved, p, named(p.Name, err)
	}
	return saved, p, nil
}

// Migration is what Migrate did, or would do, in one database.
type Migration struct {
	Pipeline config.Pipeline
	Result   migrations.Result
	Err      error
}

// Migrate applies (or, with dry, lists) the migrations of every pipeline named
// that reads the native table.
func (f *Fleet) Migrate(ctx context.Context, names []string, dry bool) ([]Migration, error) {
	chosen, err := f.choose(names)
	if err != nil {
		return nil, err
	}
	var out []Migration
	for _, p := range chosen {
		if !native(p) {
			continue
		}
		m := Migration{Pipeline: p}
		if dry {
			m.Result.Steps, m.Err = migrations.Plan(ctx, p.URL)
		} else {
			m.Result, m.Err = migrations.Up(ctx, p.URL)
		}
		out = append(out, m)
	}
	return out, nil
}

// Owner names the pipeline a slot belongs to, or the anchor it is; "" for a
// stranger's.
func (f *Fleet) Owner(slot string) string {
	for _, p := range f.Config.Pipelines() {
		if slot == p.Slot {
			return p.Name
		}
		if name, ok := replay.AnchorName(p.Slot, slot); ok {
			return p.Name + " anchor " + name
		}
	}
	return ""
}

// CheckSchemas compiles every schema the contracts name, without a registry.
func (f *Fleet) CheckSchemas() error {
	var errs []error
	for _, p := range f.Config.Pipelines() {
		u := f.unit(p)
		known := schemaIDs{}
		wants, err := u.wants()
		if err == nil {
			for _, w := range wants {
				known.add(w, 1) // any: nothing is framed with it
			}
			_, err = transform.Compile(u.compile(known, "", ""))
		}
		if err != nil {
			errs = append(errs, named(p.Name, err))
		}
	}
	return errors.Join(errs...)
}
