package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

func (a *app) dlq() *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "List, show, redrive or discard dead letters",
		Long: `Dead letters are events that could not be published and whose policy (on_error,
unknown_event) is not stop, and events parked behind one with the same key. They lie
in a topic of the pipeline until they are redriven or discarded. All of these
commands may run beside a relay. docs/dead-letters.md says more.`}
	c.AddCommand(a.dlqList(), a.dlqShow(), a.dlqRedrive(), a.dlqDiscard())
	return c
}

// picked are the flags that say which letters are meant.
type picked struct {
	pipeline     string
	filter       fleet.LetterFilter
	state        string
	since, until string
	all          bool
}

func (p *picked) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.pipeline, "pipeline", "", "the pipeline, where there are several")
	f.StringSliceVar(&p.filter.Types, "type", nil, "only letters of these event types")
	f.StringSliceVar(&p.filter.Reasons, "reason", nil, "only letters with these reasons, as dlq list has them: schema, schema_version, unknown_type, payload, headers, topic, key, size, row")
	f.StringArrayVar(&p.filter.Keys, "key", nil, "only letters with this key; repeatable")
	f.StringVar(&p.since, "since", "", "events committed from then on: 2026-05-01, 2026-05-01T12:00:00Z, or 24h for a day ago")
	f.StringVar(&p.until, "until", "", "events committed before then")
}

// read reads the flags; ids are the arguments.
func (p *picked) read(ids []string) error {
	now := time.Now()
	var err error
	if p.filter.Since, err = moment(p.since, now); err != nil {
		return &fleet.UsageError{What: "--since: " + err.Error()}
	}
	if p.filter.Until, err = moment(p.until, now); err != nil {
		return &fleet.UsageError{What: "--until: " + err.Error()}
	}
	p.filter.IDs = ids
	switch p.filter.State = deadletter.State(p.state); p.filter.State {
	case "", deadletter.Dead, deadletter.Parked:
	default:
		return &fleet.UsageError{What: fmt.Sprintf("--state %q: want dead or parked", p.state)}
	}
	return nil
}

// meant refuses a command that would change something without being told what.
func (p *picked) meant(verb string) error {
	if p.all && !p.filter.Empty() {
		return &fleet.UsageError{What: "--all and a filter contradict each other: leave one out"}
	}
	if !p.all && p.filter.Empty() {
		return &fleet.UsageError{What: fmt.Sprintf("say which letters: their ids, --type, --reason, --key, --since, --until, or --all\n  next: cdc-relay dlq list, then for example cdc-relay dlq %s --all", verb)}
	}
	return nil
}

func (a *app) dlqList() *cobra.Command {
	var p picked
	var resolved bool
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List dead letters in the order of the stream, with counts by reason and type", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return &fleet.UsageError{What: "--limit cannot be negative"}
			}
			if err := p.read(nil); err != nil {
				return err
			}
			f, err := a.fleet()
			if err != nil {
				return err
			}
			most := limit
			if a.output == "json" && !cmd.Flags().Changed("limit") {
				most = 0
			}
			list, err := f.DeadLetters(cmd.Context(), p.pipeline, p.filter, resolved, most)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(list)
			}
			return a.listed(list, resolved)
		},
	}
	p.flags(c)
	c.Flags().StringVar(&p.state, "state", "", "only dead or only parked ones")
	c.Flags().BoolVar(&resolved, "resolved", false, "those that were discarded, and those that were redriven of late (a week by default)")
	c.Flags().IntVar(&limit, "limit", 50, "how many are listed, 0 for all; the counts are of all. With -o json: all")
	return c
}

func (a *app) listed(l *fleet.Letters, resolved bool) error {
	if !l.Exists {
		fmt.Fprintf(a.out, "pipeline %s: no dead letters; topic %s does not exist\n", l.Pipeline, l.Topic)
		return nil
	}
	fmt.Fprintf(a.out, "pipeline %s: %d dead letters, %d events parked behind them, %d keys held; topic %s\n", l.Pipeline, l.Dead, l.Parked, l.HeldKeys, l.Topic)
	if len(l.Letters) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	var rows [][]any
	for _, c := range l.Counts {
		rows = append(rows, []any{c.Count, c.State, cmp.Or(c.EventType, "(none)"), c.Class, clip(c.Example, 100)})
	}
	if err := a.table("COUNT STATE EVENT_TYPE REASON EXAMPLE", rows); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	rows = nil
	for i := range l.Letters {
		e := &l.Letters[i]
		if resolved {
			rows = append(rows, []any{e.ID, e.State, e.EventType, e.RowID, e.ResolvedAt, e.ResolvedBy, e.Redrive})
			continue
		}
		rows = append(rows, []any{e.ID, e.State, e.EventType, clip(e.Key, 40), e.RowID, e.CommitTime, cmp.Or(e.Class, "behind "+e.Behind)})
	}
	head := "ID STATE EVENT_TYPE KEY ROW_ID COMMITTED REASON"
	if resolved {
		head = "ID STATE EVENT_TYPE ROW_ID RESOLVED_AT BY REDRIVE_ID"
	}
	if err := a.table(head, rows); err != nil {
		return err
	}
	if more := l.Fitting - len(l.Letters); more > 0 {
		fmt.Fprintf(a.out, "… and %d more (--limit)\n", more)
	}
	if !resolved {
		fmt.Fprintln(a.out, "  next: cdc-relay dlq show ID; when the cause is mended: cdc-relay dlq redrive --all --dry-run")
	}
	return nil
}

// clip is s as one line people can read in a table.
func clip(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func (a *app) dlqShow() *cobra.Command {
	var pipeline string
	c := &cobra.Command{
		Use: "show ID", Short: "Show one dead letter: its row, why it is one, and what to do", Args: cobra.ExactArgs(1),
		Long: "show prints a letter by its ID, or by the beginning of one that no other letter has.",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.fleet()
			if err != nil {
				return err
			}
			l, err := f.DeadLetter(cmd.Context(), pipeline, args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.json(struct {
					*fleet.ShownLetter
					Value json.RawMessage `json:"value,omitempty"`
				}{l, l.Value})
			}
			return a.shown(l)
		},
	}
	c.Flags().StringVar(&pipeline, "pipeline", "", "the pipeline, where there are several")
	return c
}

func (a *app) shown(l *fleet.ShownLetter) error {
	line := func(name string, v any) {
		if s := fmt.Sprint(v); s != "" && s != "0" && s != "[]" {
			fmt.Fprintf(a.out, "%-13s %s\n", name, s)
		}
	}
	line("id", l.ID)
	line("state", l.State)
	line("reason", l.Reason)
	line("path", l.Path)
	line("rule", l.Rule)
	line("behind", l.Behind)
	line("policy", l.Policy)
	line("event_type", l.EventType)
	line("event_id", l.EventID)
	line("key", l.Key)
	line("row", strings.TrimSpace(l.Table+" "+l.RowID))
	line("committed", fmt.Sprintf("%s at LSN %s#%d (xid %d)", l.CommitTime, l.LSN, l.Ordinal, l.XID))
	line("written", fmt.Sprintf("%s by relay %s, offset %d", l.Written, l.Relay, l.Offset))
	for _, h := range l.Holds {
		line("holds", h)
	}
	line("parked behind", l.Parked)
	if l.State.Open() {
		a.whatToDo(l)
	} else {
		line("resolved", fmt.Sprintf("%s by %s (%s)", l.ResolvedAt, l.ResolvedBy, l.Redrive))
	}
	if len(l.Value) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	var of struct{ Row, Message json.RawMessage }
	var text bytes.Buffer
	// Columns and members in the order of the row.
	if err := json.Unmarshal(l.Value, &of); err != nil || json.Indent(&text, append(of.Row, of.Message...), "", "  ") != nil {
		text.Reset()
		text.Write(l.Value)
	}
	fmt.Fprintln(a.out, text.String())
	return nil
}

func (a *app) whatToDo(l *fleet.ShownLetter) {
	switch {
	case l.State == deadletter.Parked:
		fmt.Fprintf(a.out, "  next: cdc-relay dlq show %s; when that one is redriven, this one is too\n", l.Behind)
	case l.Next != "":
		fmt.Fprintf(a.out, "  next: %s; then cdc-relay dlq redrive %s, or cdc-relay dlq discard %s\n", l.Next, l.ID, l.ID)
	default:
		fmt.Fprintf(a.out, "  next: cdc-relay dlq redrive %s\n", l.ID)
	}
}

func (a *app) dlqRedrive() *cobra.Command {
	var p picked
	var dry bool
	c := &cobra.Command{
		Use: "redrive [ID…] [--all]", Short: "Publish dead letters after all, exactly once and in key order",
		Long: `redrive turns letters into records by the contract and the schemas as they are now,
and publishes them with the header cdc_redrive_id. Record and resolution are one
Kafka transaction. A letter that still cannot be published stays, and with it what
is parked behind it. What is parked behind a letter that is redriven goes too.

Mend the cause first, and restart the relay with the mended contract: it would
write the same letters again. Interrupted, it is simply run again.

Exit code 1: some letters still cannot be published.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.read(args); err != nil {
				return err
			}
			if err := p.meant("redrive"); err != nil {
				return err
			}
			return a.resolves(cmd, fleet.RedriveRequest{Pipeline: p.pipeline, Filter: p.filter, DryRun: dry})
		},
	}
	p.flags(c)
	c.Flags().StringVar(&p.state, "state", "", "only dead or only parked ones")
	c.Flags().BoolVar(&p.all, "all", false, "all of them")
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be published and what would fail, and publish nothing")
	return c
}

func (a *app) dlqDiscard() *cobra.Command {
	var p picked
	var yes bool
	c := &cobra.Command{
		Use: "discard [ID…] [--all] --yes", Short: "Give dead letters up: they are never published",
		Long: `discard resolves letters without publishing them. Their rows are gone from the topic;
who discarded them and when is kept, and an audit counts them as discarded, not as
missing. What is parked behind a discarded letter stays parked, and keeps holding
the key: redrive it next, so that it is published in order.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.read(args); err != nil {
				return err
			}
			if err := p.meant("discard"); err != nil {
				return err
			}
			if !yes {
				return &fleet.UsageError{What: "discard cannot be undone: look first with cdc-relay dlq list and the same filter, then say --yes"}
			}
			return a.resolves(cmd, fleet.RedriveRequest{Pipeline: p.pipeline, Filter: p.filter, Discard: true})
		},
	}
	p.flags(c)
	c.Flags().StringVar(&p.state, "state", "", "only dead or only parked ones")
	c.Flags().BoolVar(&p.all, "all", false, "all of them")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}

// resolves runs a redrive or a discard and prints what came of it.
func (a *app) resolves(cmd *cobra.Command, req fleet.RedriveRequest) error {
	f, err := a.fleet()
	if err != nil {
		return err
	}
	bar := a.progress()
	req.By, req.Progress = whoami(), bar.step
	done, err := f.Redrive(cmd.Context(), req)
	bar.done()
	if err != nil {
		return err
	}
	if a.output == "json" {
		err = a.json(done)
	} else {
		a.redriven(done, req.Discard)
	}
	if err == nil && done.Failed > 0 && !done.DryRun {
		err = &event.Fault{Verdict: event.Stop, What: fmt.Sprintf("pipeline %s: %d dead letters still cannot be published", done.Pipeline, done.Failed),
			Do: "cdc-relay dlq list says why"}
	}
	return err
}

// whoami is who a resolution is by: user@host.
func whoami() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

func (a *app) redriven(r *fleet.Redrive, discard bool) {
	switch {
	case r.DryRun:
		fmt.Fprintf(a.out, "pipeline %s: %d letters would be redriven (%d records), %d would fail, %d would wait behind those that stay\n", r.Pipeline, r.Redriven, r.Records, r.Failed, r.Waiting)
	case discard:
		fmt.Fprintf(a.out, "pipeline %s: %d letters discarded (%s)\n", r.Pipeline, r.Discard, r.ID)
	default:
		fmt.Fprintf(a.out, "pipeline %s: %d letters redriven (%d records, cdc_redrive_id %s), %d failed, %d wait behind those that stay\n", r.Pipeline, r.Redriven, r.Records, r.ID, r.Failed, r.Waiting)
	}
	for _, c := range r.Failures {
		fmt.Fprintf(a.out, "%12d  %s  %s: %s\n", c.Count, cmp.Or(c.EventType, "(no type)"), c.Class, clip(c.Example, 200))
	}
	for i := range r.Left {
		e := &r.Left[i]
		fmt.Fprintf(a.out, "  stays: %s  %s  key %q  %s\n", e.ID, e.EventType, clip(e.Key, 40), clip(cmp.Or(e.Reason, "behind "+e.Behind), 120))
	}
	if r.Released {
		fmt.Fprintln(a.out, "the relay looks anew at which keys are held")
	}
	left := "left"
	if r.DryRun {
		left = "would be left"
	}
	fmt.Fprintf(a.out, "%d dead letters and %d parked events %s\n", r.Dead, r.Parked, left)
	switch {
	case r.DryRun && r.Redriven > 0:
		fmt.Fprintln(a.out, "  next: the same without --dry-run")
	case discard && r.Parked > 0:
		fmt.Fprintln(a.out, "  next: cdc-relay dlq redrive --state parked publishes, in order, what waited behind them")
	case r.Dead+r.Parked > 0:
		fmt.Fprintln(a.out, "  next: cdc-relay dlq list")
	}
}
