package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) checkpoint() *cobra.Command {
	c := &cobra.Command{Use: "checkpoint", Short: "Look at the checkpoints in Kafka"}
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
				last := "none"
				if s.Last != nil {
					last = s.Checkpoint().Last.String()
				}
				rows = append(rows, []any{name, s.State, s.Safe, last, s.CommitTime, s.Events, s.Slot, s.Version})
			}
			return a.table("PIPELINE STATE SAFE_LSN LAST COMMIT_TIME EVENTS SLOT WRITTEN_BY", rows)
		},
	}
	show.Flags().StringSliceVar(&pipelines, "pipeline", nil, "only these pipelines")
	c.AddCommand(show)
	return c
}
