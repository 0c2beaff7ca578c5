package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

// compared are the flags of audit and repair.
type compared struct {
	fleet.AuditRequest
	since, until string
}

func (c *compared) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.Pipeline, "pipeline", "", "the pipeline, where there are several")
	f.StringVar(&c.since, "since", "", "rows written from then on: 2026-05-01, 2026-05-01T12:00:00Z, or 24h for a day ago; default: all")
	f.StringVar(&c.until, "until", "", "rows written before then; default: now")
	f.StringVar(&c.TimeColumn, "time-column", "", "the column --since and --until mean; default: created_at, else that of occurred_at")
	f.StringVar(&c.Dir, "temp", "", "directory of temporary files, about 120 bytes for each event; default: the system's")
	f.DurationVar(&c.Wait, "wait", 30*time.Second, "how long to wait for the relay to pass the moment of the comparison")
	f.DurationVar(&c.Tolerance, "tolerance", audit.DefaultTolerance*time.Millisecond, "how much earlier than the one before it, with the same key, a record's commit time may be")
	f.StringVar(&c.Anchor, "anchor", "", "the anchor (slots anchor) whose log says at which LSN the rows found were committed")
	f.IntVar(&c.Limit, "limit", 0, "how many findings of each kind are listed; default: 20, with -o json 1000")
}

// request reads the flags.
func (c *compared) request(output string, bar *progress) (fleet.AuditRequest, error) {
	now := time.Now()
	var err error
	if c.Since, err = moment(c.since, now); err != nil {
		return c.AuditRequest, &fleet.UsageError{What: "--since: " + err.Error()}
	}
	if c.Until, err = moment(c.until, now); err != nil {
		return c.AuditRequest, &fleet.UsageError{What: "--until: " + err.Error()}
	}
	switch {
	case !c.Since.IsZero() && !c.Until.IsZero() && !c.Since.Before(c.Until):
		return c.AuditRequest, &fleet.UsageError{What: fmt.Sprintf("--since %s is not before --until %s", c.since, c.until)}
	case c.Wait < 0 || c.Tolerance < 0 || c.Limit < 0 || c.Limit > 100_000:
		return c.AuditRequest, &fleet.UsageError{What: "--wait and --tolerance cannot be negative, --limit is from 0 to 100000"}
	case c.Limit == 0 && output == "json":
		c.Limit = 1000
	case c.Limit == 0:
		c.Limit = 20
	}
	c.Progress = bar.step
	return c.AuditRequest, nil
}

// moment reads a point in time; "" is the zero time.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-05-01, 2026-05-01T12:00:00Z (UTC where it says nothing else), or 24h for a day ago", s)
}

func (a *app) audit() *cobra.Command {
	var c compared
	var headers bool
	cmd := &cobra.Command{
		Use: "audit", Short: "Compare the outbox table with the topics: missing, duplicate, out of order", Args: cobra.NoArgs,
		Long: `audit reads the rows of the outbox table and the committed records of the topics
and compares them by event id: what is missing in Kafka, what is there more than
once, what is out of order for its key. It changes nothing, fences nobody, and may
run beside a relay, which it waits for to pass the moment of the comparison.
Memory does not grow with the number of events.

With --headers it shows instead, for each event type, the share of records that
have each standard header.

Exit code 3: something is missing, duplicate, out of order, or cannot be encoded.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bar := a.progress()
			req, err := c.request(a.output, bar)
			if err != nil {
				return err
			}
			f, err := a.fleet()
			if err != nil {
				return err
			}
			if headers {
				counts, err := f.Headers(cmd.Context(), req)
				bar.done()
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.json(counts)
				}
				return audit.PrintHeaders(a.out, counts)
			}
			report, err := f.Audit(cmd.Context(), req)
			bar.done()
			if err != nil {
				return err
			}
			return a.audited(report)
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&headers, "headers", false, "show which standard headers the records have, by event type")
	return cmd
}

// audited prints a report; one that is not sound is a refusal.
func (a *app) audited(r *audit.Report) error {
	if err := a.printed(r); err != nil {
		return err
	}
	if r.Sound {
		return nil
	}
	next := "see the findings; docs/audit.md says what each may come from"
	if r.Missing > 0 {
		next = "cdc-relay repair --dry-run shows what would be produced; docs/audit.md says what else may be done"
	}
	return event.Refusef(next, "pipeline %s: %d missing, %d duplicate, %d out of order, %d not encodable", r.Pipeline, r.Missing, r.Duplicate, r.OutOfOrder, r.Unencodable)
}

func (a *app) printed(r *audit.Report) error {
	if a.output == "json" {
		return a.json(r)
	}
	return r.Print(a.out)
}
