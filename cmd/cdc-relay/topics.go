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
			var out []topic
			for _, s := range specs {
				state := "exists"
				if slices.Contains(created, s.Name) {
					state = "created"
				} else if err != nil {
					state = "not created"
				}
				out = append(out, topic{s.Name, s.Partitions, state})
			}
			if perr := a.printTopics(out); perr != nil {
				return perr
			}
			if err != nil {
				return fmt.Errorf("create topics: %w", err)
			}
			return nil
		},
	})
	return c
}

// topic is one topic as `topics apply` prints it. Partitions are those it would
// be created with.
type topic struct {
	Name       string `json:"topic"`
	Partitions int    `json:"partitions"`
	State      string `json:"state"` // created, exists, not created
}

func (a *app) printTopics(all []topic) error {
	if a.output == "json" {
		return a.json(all)
	}
	var rows [][]any
	for _, t := range all {
		rows = append(rows, []any{t.Name, t.Partitions, t.State})
	}
	return a.table("TOPIC PARTITIONS STATE", rows)
}
