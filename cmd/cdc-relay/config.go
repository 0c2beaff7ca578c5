package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/internal/schema"
)

func (a *app) config() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Write, check or show the configuration"}
	var origins bool
	show := &cobra.Command{
		Use: "show", Short: "Print everything that is in force, secrets redacted", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			return cfg.Show(a.out, origins)
		},
	}
	show.Flags().BoolVar(&origins, "origins", true, "say where each value comes from")
	c.AddCommand(show, a.configInit(), a.configValidate())
	return c
}

func (a *app) configInit() *cobra.Command {
	return &cobra.Command{
		Use: "init [FILE]", Short: "Write a commented configuration to start from (FILE, or standard output)", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return config.Init(a.out)
			}
			w, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return event.Refusef("cdc-relay config init ANOTHER_NAME", "%s exists and is left as it is", args[0])
			}
			if err != nil {
				return err
			}
			if err := errors.Join(config.Init(w), w.Close()); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "wrote %s\n  next: edit it, then cdc-relay config validate -c %s\n", args[0], args[0])
			return nil
		},
	}
}

func (a *app) configValidate() *cobra.Command {
	return &cobra.Command{
		Use: "validate", Short: "Check configuration, contracts and schemas without connecting anywhere", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			if err := f.CheckSchemas(); err != nil {
				return &fleet.UsageError{What: err.Error()}
			}
			for _, p := range f.Config.Pipelines() {
				fmt.Fprintf(a.out, "pipeline %s: database %s, table %s, slot %s, publication %s, %d event types\n",
					p.Name, p.Database, p.Table, p.Slot, p.Publication, len(p.Contract.Rules()))
			}
			for _, m := range f.Misnamed() {
				fmt.Fprintln(a.out, "warning:", m)
			}
			conflicts, err := f.SchemaConflicts(schema.Backward)
			if err != nil {
				return &fleet.UsageError{What: err.Error()}
			}
			for _, c := range conflicts {
				fmt.Fprintln(a.out, "warning:", c)
			}
			fmt.Fprintln(a.out, "the configuration is valid; cdc-relay doctor checks what it points at")
			return nil
		},
	}
}
