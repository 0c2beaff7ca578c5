package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

func (a *app) doctor() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check everything a start depends on: Postgres, Kafka, the registry, the claim check's bucket", Args: cobra.NoArgs,
		Long: `doctor asks Postgres, Kafka and the schema registry for everything a start
depends on and judges it with the same guards, each finding with the command that
mends it. It changes nothing (but writes one small object, always the same, into
the claim check's bucket, if one is configured) and may run beside a relay. Exit code 3: a start now
would be refused, or fail.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			exit, err := doctor.Print(a.out, f.Doctor(cmd.Context()), a.output == "json")
			if err == nil && exit != doctor.ExitSound {
				return &event.Fault{Verdict: event.Refuse, What: "not everything is as a start needs it", Err: errors.New("see the findings that failed")}
			}
			return err
		},
	}
}
