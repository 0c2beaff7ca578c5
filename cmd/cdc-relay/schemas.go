package main

import (
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/internal/schema"
)

func (a *app) schemas() *cobra.Command {
	c := &cobra.Command{Use: "schemas", Short: "Lint, check, compare and register the Avro schemas; write the reference of the events"}
	c.AddCommand(a.schemasLint(), a.schemasCheck(), a.schemasRegister(), a.schemasDiff(), a.schemasDocs())
	return c
}

func (a *app) schemasLint() *cobra.Command {
	var set []string
	var rules bool
	c := &cobra.Command{
		Use: "lint [DIR]", Short: "Judge the schema files, by file, place and rule; connects nowhere", Args: cobra.MaximumNArgs(1),
		Long: `lint judges the *.avsc files of the configuration's schema folder, or of DIR
(then it needs no configuration). Each finding says file, line, place, rule and how
to mend it. Severities are changed by lint: in the configuration and by --rule.
Exit codes: 0 no errors (there may be warnings), 1 errors.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if rules {
				return a.printRules()
			}
			found, err := a.lint(args, set)
			if err != nil {
				return err
			}
			if err := a.printFindings(found); err != nil {
				return err
			}
			errs, _ := countFindings(found)
			if errs > 0 {
				return fmt.Errorf("%s in the schema files", plural(errs, "error", "errors"))
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&set, "rule", nil, "NAME=off|warn|error, over the configuration; repeatable")
	c.Flags().BoolVar(&rules, "rules", false, "list the rules and do nothing else")
	return c
}

func (a *app) lint(args, set []string) ([]schema.Finding, error) {
	severity := map[string]schema.Severity{}
	for _, s := range set {
		rule, value, _ := strings.Cut(s, "=")
		if err := schema.CheckSeverity(rule, value); err != nil {
			return nil, &fleet.UsageError{What: "--rule " + s + ": " + err.Error()}
		}
		severity[rule] = schema.Severity(value)
	}
	if len(args) > 0 {
		return fleet.LintFolder(args[0], severity, nil)
	}
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	all := map[string]schema.Severity{}
	for rule, value := range cfg.Lint {
		all[rule] = schema.Severity(value)
	}
	maps.Copy(all, severity)
	return (&fleet.Fleet{Options: fleet.Options{Config: cfg}}).LintSchemas(all)
}

func countFindings(found []schema.Finding) (errs, warnings int) {
	for _, f := range found {
		if f.Severity == schema.Error {
			errs++
		} else {
			warnings++
		}
	}
	return errs, warnings
}

func (a *app) printFindings(found []schema.Finding) error {
	errs, warnings := countFindings(found)
	if a.output == "json" {
		return a.json(struct {
			Errors   int              `json:"errors"`
			Warnings int              `json:"warnings"`
			Findings []schema.Finding `json:"findings"`
		}{errs, warnings, append([]schema.Finding{}, found...)})
	}
	for _, f := range found {
		fmt.Fprintln(a.out, f)
	}
	fmt.Fprintf(a.out, "%s, %s\n", plural(errs, "error", "errors"), plural(warnings, "warning", "warnings"))
	return nil
}

func (a *app) printRules() error {
	if a.output == "json" {
		type rule struct {
			Name     string          `json:"rule"`
			Severity schema.Severity `json:"severity"`
			Fixed    bool            `json:"fixed"`
			What     string          `json:"what"`
		}
		var out []rule
		for _, r := range schema.Rules {
			out = append(out, rule{r.Name, r.Severity, r.Fixed, r.What})
		}
		return a.json(out)
	}
	var rows [][]any
	for _, r := range schema.Rules {
		severity := string(r.Severity)
		if r.Fixed {
			severity += " (fixed)"
		}
		rows = append(rows, []any{r.Name, severity, r.What})
	}
	return a.table("RULE SEVERITY WHAT", rows)
}

func (a *app) schemasCheck() *cobra.Command {
	var offline bool
	var level string
	c := &cobra.Command{
		Use: "check", Short: "Check whether the registry takes the schemas, with a reason per field; changes nothing", Args: cobra.NoArgs,
		Long: `check asks the registry of every schema of the contract, under the name its
subject has, whether it is there or may follow what is there at the subject's
compatibility level. The registry's verdict counts; the reasons per field are
worked out here. With --offline it asks nobody and compares the versions that lie
in the schema folder, at --level.
Exit codes: 0 all can be used or registered, 3 one cannot, 1 the registry cannot
be reached.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			if offline {
				return a.checkOffline(f, level)
			}
			checks, err := f.CheckSubjects(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.printChecks(checks); err != nil {
				return err
			}
			return fleet.Refused(checks, "mend them as it says above, or the level of the subject in the registry")
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "compare the files with each other and ask no registry")
	c.Flags().StringVar(&level, "level", string(schema.Backward), "compatibility level for --offline")
	return c
}

func (a *app) checkOffline(f *fleet.Fleet, level string) error {
	l, err := schema.ParseLevel(level)
	if err != nil {
		return &fleet.UsageError{What: "--level: " + err.Error()}
	}
	found, err := f.SchemaConflicts(l)
	if err != nil {
		return err
	}
	if a.output == "json" {
		err = a.json(append([]schema.Conflict{}, found...))
	} else {
		for _, c := range found {
			fmt.Fprintln(a.out, c.Head())
			a.printReasons(c.Reasons)
		}
		if len(found) == 0 {
			fmt.Fprintf(a.out, "every version can follow the one before it at the level %s\n", l)
		}
	}
	if err == nil && len(found) > 0 {
		return event.Refusef("make the later schema compatible, or give each record a subject of its own: subject_name: record",
			"%s cannot be under one subject at the level %s", plural(len(found), "pair of schemas", "pairs of schemas"), l)
	}
	return err
}

func (a *app) printChecks(checks []fleet.SchemaCheck) error {
	if a.output == "json" {
		return a.json(checks)
	}
	var rows [][]any
	for _, c := range checks {
		rows = append(rows, []any{c.Subject, c.Schema, c.Level, c.State, positive(c.Version), positive(c.ID)})
	}
	if err := a.table("SUBJECT SCHEMA LEVEL STATE VERSION ID", rows); err != nil {
		return err
	}
	for _, c := range checks {
		if !c.Bad() {
			for _, r := range c.Warnings {
				fmt.Fprintf(a.out, "\nwarning: %s under %s: the registry takes it, but %s (%s): %s\n      next: %s\n", c.Schema, c.Subject, r.Path, r.Rule, r.What, r.Do)
			}
			continue
		}
		fmt.Fprintf(a.out, "\n%s cannot be registered under %s", c.Schema, c.Subject)
		if c.Against != "" {
			fmt.Fprintf(a.out, " (level %s): it does not fit %s", c.Level, c.Against)
		}
		fmt.Fprintln(a.out)
		a.printReasons(c.Reasons)
		if c.Registry != "" {
			fmt.Fprintf(a.out, "  the registry says: %s\n", c.Registry)
		}
	}
	return nil
}

func (a *app) printReasons(reasons []schema.Reason) {
	for _, r := range reasons {
		fmt.Fprintf(a.out, "  %s (%s): %s\n      next: %s\n", r.Path, r.Rule, r.What, r.Do)
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// positive is n, or nothing for 0.
func positive(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (a *app) schemasRegister() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "register", Short: "Register the schemas that are not in the registry; may be repeated", Args: cobra.NoArgs,
		Long: `register checks all schemas of the contract as check does, and registers those
that are not there. When one is incompatible it says which and registers none.
Exit codes: 0 all are there, 3 one is refused.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			states, err := f.RegisterSchemas(cmd.Context(), dry)
			if len(states) > 0 {
				if perr := a.printStates(states); perr != nil {
					return perr
				}
			}
			return err
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be registered, and change nothing")
	return c
}

func (a *app) printStates(states []fleet.SchemaState) error {
	if a.output == "json" {
		return a.json(states)
	}
	var rows [][]any
	for _, s := range states {
		rows = append(rows, []any{s.Subject, s.Schema, s.State, positive(s.Version), positive(s.ID)})
	}
	return a.table("SUBJECT SCHEMA STATE VERSION ID", rows)
}

func (a *app) schemasDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff", Short: "Show what differs between the files and what the registry has", Args: cobra.NoArgs,
		Long: `diff compares every schema of the contract with the version its subject has:
fields added (+), removed (-) and changed (~), docs too.
Exit codes: 0 the registry has every schema as it is, 5 something differs or is
not there.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			diffs, err := f.DiffSchemas(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.printDiffs(diffs); err != nil {
				return err
			}
			n := 0
			for _, d := range diffs {
				if d.State != fleet.DiffSame {
					n++
				}
			}
			if n > 0 {
				return &fleet.DiffersError{N: n, Of: len(diffs)}
			}
			return nil
		},
	}
}

func (a *app) printDiffs(diffs []fleet.SchemaDiff) error {
	if a.output == "json" {
		return a.json(diffs)
	}
	for _, d := range diffs {
		switch d.State {
		case fleet.DiffSame:
			fmt.Fprintf(a.out, "%s: %s is version %d\n", d.Subject, d.Schema, d.Version)
		case fleet.DiffAbsent:
			fmt.Fprintf(a.out, "%s: %s is not registered, and the subject has no version\n", d.Subject, d.Schema)
		case fleet.DiffRewritten:
			fmt.Fprintf(a.out, "%s: %s says the same as version %d in other words (the order of fields or attributes, or references)\n", d.Subject, d.Schema, d.Version)
		case fleet.DiffDocs:
			fmt.Fprintf(a.out, "%s: %s differs from version %d in its documentation only\n", d.Subject, d.Schema, d.Version)
		default:
			fmt.Fprintf(a.out, "%s: %s differs from version %d\n", d.Subject, d.Schema, d.Version)
		}
		for _, c := range d.Changes {
			fmt.Fprintf(a.out, "  %s\n", c)
		}
	}
	return nil
}

func (a *app) schemasDocs() *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Write the reference of all events as Markdown to standard output; connects nowhere", Args: cobra.NoArgs,
		Long: `docs writes, from the contracts and schemas, what each event is: topic, key,
encoding, subject, versions, fields with types and constraints, and an example that
is valid (testdata/NAMEVn.json in the schema folder if there is one, else made up).`,
		Example: "  cdc-relay schemas docs > docs/events.md",
		RunE: func(*cobra.Command, []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			return f.SchemaDocs(a.out)
		},
	}
}
