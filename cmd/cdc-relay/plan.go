package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

func (a *app) plan() *cobra.Command {
	return &cobra.Command{
		Use: "plan", Short: "Print everything a start would make, or needs made before; changes nothing", Args: cobra.NoArgs,
		Long: `plan asks Postgres, Kafka and the registry and prints on one page what lies
between this configuration and a relay that runs: migrations, topics, schemas to
register, publication and slot, and what no command of this program mends. It
changes nothing and may run beside a relay. Exit codes: 0 nothing to do, 5 there
are changes, 3 a start would be refused whatever is changed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			o, err := f.Plan(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				err = a.json(o)
			} else {
				_, err = fmt.Fprint(a.out, outlook(&o))
			}
			if err != nil {
				return err
			}
			return looked(&o)
		},
	}
}

// looked is the exit code of a plan.
func looked(o *fleet.Outlook) error {
	if n := len(o.Blocked); n > 0 {
		return event.Refusef("mend what is in the way, as it says there; cdc-relay doctor shows everything that was looked at",
			"a start would be refused, or fail, whatever is changed: %s", o.Blocked[0].What)
	}
	if err := planned(&o.Topics); err != nil && len(o.Topics.Unknown()) > 0 {
		return err
	}
	if n := o.Changes(); n > 0 {
		return &fleet.ChangesError{N: n, Next: strings.Join(o.Next(), "; ")}
	}
	return nil
}

// outlook is the page for people.
func outlook(o *fleet.Outlook) string {
	var b strings.Builder
	scope := ""
	for _, s := range o.Steps {
		if s.Scope != scope {
			scope = s.Scope
			fmt.Fprintf(&b, "%s\n", title(s))
		}
		fmt.Fprintf(&b, "  + %s %s\n", s.Kind, s.Name)
	}
	if len(o.Topics.Topics) > 0 { // else Kafka could not be asked
		b.WriteString("topics\n")
		for line := range strings.Lines(o.Topics.Text()) {
			b.WriteString("  " + line)
		}
	}
	for _, c := range o.Conflicts {
		fmt.Fprintf(&b, "warning: %s\n", c)
	}
	if len(o.Blocked) > 0 {
		b.WriteString("in the way\n")
	}
	for _, f := range o.Blocked {
		fmt.Fprintf(&b, "  ! %s, %s: %s\n      next: %s\n", f.Scope, f.Check, f.What, f.Do)
	}
	return b.String()
}

func title(s fleet.Step) string {
	if s.Kind == "schema" {
		return "registry"
	}
	return "pipeline " + s.Scope
}
