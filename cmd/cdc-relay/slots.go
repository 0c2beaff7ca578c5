package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

func (a *app) slots() *cobra.Command {
	c := &cobra.Command{Use: "slots", Short: "List, keep, take over or replace replication slots"}
	c.AddCommand(a.slotsList(), a.slotsAnchor(), a.slotsAdopt(), a.slotsRecreate())
	return c
}

// slotJSON is one slot as `slots list -o json` prints it.
type slotJSON struct {
	Slot           string    `json:"slot"`
	Database       string    `json:"database"`
	Plugin         string    `json:"plugin"`
	Pipeline       string    `json:"pipeline"`   // "" a stranger's; "x anchor y" an anchor of x
	ActivePID      int       `json:"active_pid"` // 0: nobody streams from it
	ConfirmedFlush event.LSN `json:"confirmed_flush_lsn"`
	RestartLSN     event.LSN `json:"restart_lsn"`
	Retained       int64     `json:"retained_bytes"`
	WALStatus      string    `json:"wal_status"`
	Invalid        string    `json:"invalid"` // why it is; "" sound
	Temporary      bool      `json:"temporary"`
	Failover       bool      `json:"failover"`
	Synced         bool      `json:"synced"`
}

func (a *app) slotsList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the slots of the servers, with what each keeps", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			slots, err := f.Slots(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				out := make([]slotJSON, len(slots))
				for i, s := range slots {
					out[i] = slotJSON{s.Name, s.Database, s.Plugin, f.Owner(s.Name), s.ActivePID, s.ConfirmedFlush, s.RestartLSN, s.Retained, s.WALStatus, s.Invalid, s.Temporary, s.Failover, s.Synced}
				}
				return a.json(out)
			}
			var rows [][]any
			for _, s := range slots {
				active := ""
				if s.ActivePID != 0 {
					active = fmt.Sprint(s.ActivePID)
				}
				rows = append(rows, []any{s.Name, s.Database, s.Plugin, f.Owner(s.Name), active, s.ConfirmedFlush, s.RestartLSN, s.Retained, s.WALStatus, s.Invalid})
			}
			return a.table("SLOT DATABASE PLUGIN PIPELINE ACTIVE_PID CONFIRMED_FLUSH RESTART_LSN RETAINED_BYTES WAL INVALID", rows)
		},
	}
}

func (a *app) slotsAnchor() *cobra.Command {
	var pipeline string
	var drop bool
	c := &cobra.Command{
		Use: "anchor NAME", Short: "Keep the log from the slot's present position, for a later run --from-lsn",
		Long: `anchor copies the pipeline's slot at its present position. Nobody streams from
the copy, so Postgres keeps the log from there on: watch the disk, and take it
away with --drop when it is not needed any more.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			if drop {
				slot, err := f.Unanchor(cmd.Context(), pipeline, args[0])
				if err == nil {
					fmt.Fprintf(a.out, "dropped anchor %s (slot %s)\n", args[0], slot)
				}
				return err
			}
			slot, at, err := f.Anchor(cmd.Context(), pipeline, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "anchor %s keeps the log from %s on (slot %s)\n  later: cdc-relay run --from-lsn %s\n", args[0], at, slot, at)
			return nil
		},
	}
	c.Flags().StringVar(&pipeline, "pipeline", "", "the pipeline, where there are several")
	c.Flags().BoolVar(&drop, "drop", false, "drop the anchor instead")
	return c
}

func (a *app) slotsAdopt() *cobra.Command {
	var pipeline string
	var accept bool
	c := &cobra.Command{
		Use: "adopt", Short: "Make an existing slot the pipeline's, at its position", Args: cobra.NoArgs,
		Long: `adopt commits a first checkpoint at the position of a slot that exists without
one: the slot of another tool, or one whose checkpoint topic was lost. Events the
slot still holds are published; whether some of them were published before, only
you can know.

With --accept-gap it does so in the place of a checkpoint before that position:
what lies between is not published by this relay.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			s, err := f.Adopt(cmd.Context(), pipeline, accept)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "slot %s is the pipeline's, from %s on\n  next: cdc-relay run\n", s.Slot, s.Safe)
			return nil
		},
	}
	c.Flags().StringVar(&pipeline, "pipeline", "", "the pipeline, where there are several")
	c.Flags().BoolVar(&accept, "accept-gap", false, "take the place of an older checkpoint; what lies between is not published")
	return c
}

func (a *app) slotsRecreate() *cobra.Command {
	var pipeline string
	var accept, foreign bool
	c := &cobra.Command{
		Use: "recreate --accept-gap", Short: "Make a new slot for a pipeline whose slot is lost; what lies between is not published", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !accept {
				return &fleet.UsageError{What: "a new slot begins now: what was committed since the last checkpoint is not published\n  next: cdc-relay checkpoint show names that position; then cdc-relay slots recreate --accept-gap"}
			}
			f, err := a.fleet()
			if err != nil {
				return err
			}
			gap, err := f.Recreate(cmd.Context(), pipeline, foreign)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "the new slot begins at %s; what was committed between %s and there is not published", gap.To, gap.From)
			if gap.Since != "" {
				fmt.Fprintf(a.out, " (the last published row was committed at %s)", gap.Since)
			}
			fmt.Fprintln(a.out, "\n  next: cdc-relay run; when it has caught up, cdc-relay repair --dry-run shows the rows between that are still in the outbox table")
			return nil
		},
	}
	c.Flags().StringVar(&pipeline, "pipeline", "", "the pipeline, where there are several")
	c.Flags().BoolVar(&foreign, "accept-foreign", false, "take the place of a checkpoint of another Postgres or Kafka cluster, database or slot")
	c.Flags().BoolVar(&accept, "accept-gap", false, "accept that what lies between is not published")
	return c
}
