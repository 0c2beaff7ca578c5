package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

func (a *app) repair() *cobra.Command {
	var c compared
	var dry, yes bool
	cmd := &cobra.Command{
		Use: "repair --dry-run | --yes", Short: "Produce what an audit finds missing, and nothing else", Args: cobra.NoArgs,
		Long: `repair is for rows that no slot will bring any more: after a lost slot, an accepted
gap, a publication that lacked the table. It audits, and produces what is missing,
in order, exactly once, in transactions of its own, marked with the header
cdc_repair_id. The relay has to run, and to be past the rows: what is under way is
not missing. Interrupted, it is simply run again.

--dry-run shows what would be produced. Exit code 3: the relay is behind, or
something is missing still.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry == yes {
				return &fleet.UsageError{What: "repair produces records: look first with --dry-run, then say --yes\n  next: cdc-relay repair --dry-run"}
			}
			bar := a.progress()
			req, err := c.request(a.output, bar)
			if err != nil {
				return err
			}
			f, err := a.fleet()
			if err != nil {
				return err
			}
			r, err := f.Repair(cmd.Context(), req, dry)
			bar.done()
			if err != nil {
				return err
			}
			return a.repaired(r)
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would be produced, and produce nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "produce it")
	return cmd
}

// repaired prints what a repair did.
func (a *app) repaired(r *fleet.Repair) error {
	var err error
	if a.output == "json" {
		err = a.json(r)
	} else {
		a.repairText(r)
	}
	if err != nil || r.Healed || r.DryRun {
		return err
	}
	return event.Refusef("cdc-relay audit", "pipeline %s is not healed: %d missing, %d duplicate (%d before)",
		r.Pipeline, r.After.Missing, r.After.Duplicate, r.Before.Duplicate)
}

func (a *app) repairText(r *fleet.Repair) {
	b := r.Before
	fmt.Fprintf(a.out, "pipeline %s: %d rows in table %s, %d records missing in Kafka\n", r.Pipeline, b.TableRows, b.Table, b.Missing)
	for _, t := range slices.Sorted(maps.Keys(r.Topics)) {
		fmt.Fprintf(a.out, "%12d  topic %s\n", r.Topics[t], t)
	}
	shown := 0
	for i := range b.Details {
		if b.Details[i].Kind == audit.Missing {
			fmt.Fprintf(a.out, "  %s\n", b.Details[i].String())
			shown++
		}
	}
	if int64(shown) < b.Missing {
		fmt.Fprintf(a.out, "  … and %d more\n", b.Missing-int64(shown))
	}
	switch {
	case b.Missing == 0:
		fmt.Fprintln(a.out, "nothing to repair")
	case r.DryRun:
		if b.RelayBehind {
			fmt.Fprintf(a.out, "the relay is at %s, the rows reach to %s: it has to catch up before a repair\n", b.SafeLSN, b.SnapshotLSN)
		}
		fmt.Fprintf(a.out, "nothing was produced; order would be by %s\n  next: cdc-relay repair --yes\n", r.Order)
	default:
		fmt.Fprintf(a.out, "produced %d records (cdc_repair_id %s), in order of %s\n", r.Produced, r.ID, r.Order)
		if r.Healed {
			fmt.Fprintln(a.out, "healed: a second audit finds nothing missing")
		}
	}
}
