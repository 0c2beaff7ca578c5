package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

func (a *app) migrate() *cobra.Command {
	var dry bool
	var pipelines []string
	var inbox string
	c := &cobra.Command{
		Use: "migrate", Short: "Create or update schema cdc_relay (outbox table, functions, roles) in every database that reads it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("inbox") {
				if len(pipelines) > 0 {
					return &fleet.UsageError{What: "--inbox is a database of its own and --pipeline one of the configuration: say one of them"}
				}
				return a.migrateInbox(cmd.Context(), inbox, dry)
			}
			f, err := a.fleet()
			if err != nil {
				return err
			}
			done, err := f.Migrate(cmd.Context(), pipelines, dry)
			if err != nil {
				return err
			}
			return a.migrated(done, dry)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "print the SQL that would run, and run nothing")
	c.Flags().StringSliceVar(&pipelines, "pipeline", nil, "only these pipelines")
	c.Flags().StringVar(&inbox, "inbox", "", "create or update the consumers' inbox (docs/consuming.md) in the database of this Postgres URL instead; needs no configuration")
	return c
}

func (a *app) migrated(done []fleet.Migration, dry bool) error {
	var errs []error
	for _, m := range done {
		if m.Err != nil {
			errs = append(errs, fmt.Errorf("database %s: %w", m.Pipeline.Database, m.Err))
			continue
		}
		for _, n := range m.Result.Notices {
			fmt.Fprintf(a.err, "database %s: %s\n", m.Pipeline.Database, n)
		}
		for _, s := range m.Result.Steps {
			if dry {
				fmt.Fprintf(a.out, "-- database %s: %s\n%s\n", m.Pipeline.Database, s.Name, s.SQL)
			} else {
				fmt.Fprintf(a.out, "database %s: applied %s\n", m.Pipeline.Database, s.Name)
			}
		}
		if len(m.Result.Steps) == 0 {
			fmt.Fprintf(a.out, "database %s: up to date\n", m.Pipeline.Database)
		}
	}
	if len(done) == 0 {
		fmt.Fprintln(a.out, "no database reads the native table: nothing to migrate")
	}
	return errors.Join(errs...)
}
