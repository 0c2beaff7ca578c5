package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/internal/relay"
)

func (a *app) checkpoint() *cobra.Command {
	c := &cobra.Command{Use: "checkpoint", Short: "Look at the checkpoints in Kafka, or move one"}
	c.AddCommand(a.checkpointShow(), a.checkpointRebase(), a.checkpointRename())
	return c
}

func (a *app) checkpointShow() *cobra.Command {
	var pipelines []string
	show := &cobra.Command{
		Use: "show", Short: "Show where each pipeline stands; fences nobody", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			found, err := f.Checkpoints(cmd.Context(), pipelines)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(found)
			}
			var rows [][]any
			for _, name := range slices.Sorted(maps.Keys(found)) {
				s := found[name]
				if !s.Exists() {
					rows = append(rows, []any{name, "none", "", "", "", "", "", ""})
					continue
				}
				rows = append(rows, []any{name, s.State, s.Safe, last(s), s.CommitTime, s.Events, s.Slot, s.Version})
			}
			return a.table("PIPELINE STATE SAFE_LSN LAST COMMIT_TIME EVENTS SLOT WRITTEN_BY", rows)
		},
	}
	show.Flags().StringSliceVar(&pipelines, "pipeline", nil, "only these pipelines")
	return show
}

// last is the last row of a checkpoint as people read it. A position that a
// command put between two transactions has an ordinal no row has.
func last(s event.Saved) string {
	switch pos := s.Checkpoint().Last; {
	case s.Last == nil:
		return "none"
	case pos.Ord == event.AfterAll:
		return "before " + (pos.Commit + 1).String()
	default:
		return pos.String()
	}
}

// rebasedJSON is what `checkpoint rebase -o json` prints.
type rebasedJSON struct {
	Accepted relay.Accept `json:"accepted"`
	From     event.Saved  `json:"from"`
	To       event.Saved  `json:"to"`
	SlotMade bool         `json:"slot_made"`
}

func (a *app) checkpointRebase() *cobra.Command {
	var pipeline string
	flags := map[relay.Accept]*bool{relay.AcceptTimeline: new(bool), relay.AcceptNewCluster: new(bool), relay.AcceptPublication: new(bool)}
	c := &cobra.Command{
		Use: "rebase --accept-timeline | --accept-new-cluster | --accept-publication", Args: cobra.NoArgs,
		Short: "Move the checkpoint to where the pipeline can go on after a change that a guard refuses",
		Long: `rebase commits one checkpoint after a change of the server that a start refuses.
Say which change you accept; anything else that is wrong is still refused, and
nothing is written. The relay must be stopped. docs/failover.md is the runbook.

  --accept-timeline     a failover undid events that are published. They stay in
                        Kafka; what was committed on the new timeline is published.
  --accept-new-cluster  the database lives in another cluster now (dump and
                        restore, pg_upgrade, blue/green switch). The slot's
                        position there is taken; without a slot, one is made.
  --accept-publication  the publication or its table was changed. Rows that were
                        never sent meanwhile stay unpublished until they are
                        repaired.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accept, err := accepted(flags)
			if err != nil {
				return err
			}
			f, err := a.fleet()
			if err != nil {
				return err
			}
			done, err := f.Rebase(cmd.Context(), pipeline, accept)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(rebasedJSON{accept, done.From, done.To, done.Made})
			}
			a.rebased(accept, done)
			return nil
		},
	}
	c.Flags().StringVar(&pipeline, "pipeline", "", "the pipeline, where there are several")
	c.Flags().BoolVar(flags[relay.AcceptTimeline], "accept-timeline", false, "accept that a failover undid published events")
	c.Flags().BoolVar(flags[relay.AcceptNewCluster], "accept-new-cluster", false, "accept that the server is another cluster")
	c.Flags().BoolVar(flags[relay.AcceptPublication], "accept-publication", false, "accept the publication as it is now")
	return c
}

// accepted is the one change that was named.
func accepted(flags map[relay.Accept]*bool) (relay.Accept, error) {
	var named []relay.Accept
	for accept, set := range flags {
		if *set {
			named = append(named, accept)
		}
	}
	if len(named) == 1 {
		return named[0], nil
	}
	return "", &fleet.UsageError{What: "say exactly one of --accept-timeline, --accept-new-cluster, --accept-publication\n  next: cdc-relay doctor names what is refused"}
}

// rebased says what was done, and what comes next.
func (a *app) rebased(accept relay.Accept, d relay.Rebased) {
	next := "cdc-relay run"
	switch accept {
	case relay.AcceptTimeline:
		fmt.Fprintf(a.out, "timeline %d is accepted; it left timeline %d at %s\n", d.To.Timeline, d.From.Timeline, d.Switch)
		fmt.Fprintf(a.out, "  events of transactions that committed on timeline %d from there on stay in Kafka; their rows are gone\n", d.From.Timeline)
	case relay.AcceptNewCluster:
		fmt.Fprintf(a.out, "cluster %s is accepted in place of %s\n", d.To.SystemID, d.From.SystemID)
		slot := "the slot that was there"
		if d.Made {
			slot = "a new slot"
		}
		fmt.Fprintf(a.out, "  the pipeline goes on from %s, %s: what was committed here before is not published\n", d.To.Safe, slot)
	case relay.AcceptPublication:
		fmt.Fprintln(a.out, "the publication is accepted as it is now; the position stays")
		next = "cdc-relay run; when it has caught up, look for rows that were never sent: cdc-relay audit"
	}
	fmt.Fprintf(a.out, "  before: timeline %d, safe %s, last %s\n  now:    timeline %d, safe %s, last %s\n  next: %s\n",
		d.From.Timeline, d.From.Safe, last(d.From), d.To.Timeline, d.To.Safe, last(d.To), next)
}

func (a *app) checkpointRename() *cobra.Command {
	var pipeline string
	c := &cobra.Command{
		Use: "rename OLDNAME/OLDPIPELINE", Args: cobra.ExactArgs(1),
		Short: "Take over the checkpoint of the name the pipeline had in an earlier configuration",
		Long: `rename moves a checkpoint to the pipeline of this configuration, after its
` + "`name`" + ` or the name of the pipeline was changed. The slot stays: write the one the
checkpoint names (slot: …) for the pipeline. The relay must be stopped. Old and
new checkpoint are written in one transaction, so a crash leaves either the old
name or the new one, and the command may be run again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			saved, p, err := f.Rename(cmd.Context(), args[0], pipeline)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "the checkpoint of %s is that of %s/%s now: safe %s, last %s, %d events\n  %s has none any more: a relay that still has that name refuses to start\n  next: cdc-relay run\n",
				args[0], f.Config.Name, p.Name, saved.Safe, last(saved), saved.Events, args[0])
			return nil
		},
	}
	c.Flags().StringVar(&pipeline, "pipeline", "", "the pipeline, where there are several")
	return c
}
