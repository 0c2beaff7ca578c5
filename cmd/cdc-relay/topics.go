package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) topics() *cobra.Command {
	c := &cobra.Command{Use: "topics", Short: "Create the topics of the contract"}
	c.AddCommand(&cobra.Command{
		Use: "apply", Short: "Create the topics that do not exist, with their class's settings; alters none", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			created, specs, err := f.ApplyTopics(cmd.Context())
			var rows [][]any
			for _, s := range specs {
				state := "exists"
				if slices.Contains(created, s.Name) {
					state = "created"
				} else if err != nil {
					state = "not created"
				}
				rows = append(rows, []any{s.Name, s.Partitions, state})
			}
			if terr := a.table("TOPIC PARTITIONS STATE", rows); terr != nil {
				return terr
			}
			if err != nil {
				return fmt.Errorf("create topics: %w", err)
			}
			return nil
		},
	})
	return c
}
