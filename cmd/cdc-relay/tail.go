package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/internal/tail"
)

// tailFlags are the flags of tail.
type tailFlags struct {
	fleet.TailRequest
	from             string
	headers          []string
	noFollow, single bool
	partition        int32
}

func (t *tailFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&t.Pipelines, "pipeline", nil, "show the topics of this pipeline's contract; repeatable; default: of all")
	f.StringArrayVar(&t.Topics, "topic", nil, "show this topic instead; repeatable")
	f.Int32Var(&t.partition, "partition", -1, "only this partition of each topic; default: all")
	f.StringVar(&t.from, "from", "", "earliest, latest, a time (2026-05-01T12:00:00Z, or 24h for a day ago), or an offset (-10: the last ten offsets of each partition); default: latest, with --no-follow earliest")
	f.BoolVar(&t.noFollow, "no-follow", false, "end where the topics end now, instead of waiting for more")
	f.IntVar(&t.Limit, "limit", 0, "end after so many events; default: never")
	f.StringArrayVar(&t.Filter.Types, "type", nil, "only events of this type, * for any characters; repeatable")
	f.StringArrayVar(&t.Filter.Keys, "key", nil, "only events with this key; repeatable")
	f.StringArrayVar(&t.Filter.IDs, "id", nil, "only the event with this id; repeatable")
	f.StringArrayVar(&t.headers, "header", nil, "only events with this header: NAME=VALUE, or NAME for any value; repeatable, all must be there")
	f.BoolVar(&t.single, "one-line", false, "a line for each event")
}

// request reads the flags.
func (t *tailFlags) request() (fleet.TailRequest, error) {
	usage := func(flag string, err error) (fleet.TailRequest, error) {
		return t.TailRequest, &fleet.UsageError{What: flag + ": " + err.Error()}
	}
	if t.from == "" {
		t.from = "latest"
		if t.noFollow {
			t.from = "earliest"
		}
	}
	var err error
	t.From, err = tail.ParseFrom(t.from, func(s string) (time.Time, error) { return moment(s, time.Now()) })
	if err != nil {
		return usage("--from", err)
	}
	for _, h := range t.headers {
		w, err := tail.ParseWant(h)
		if err != nil {
			return usage("--header", err)
		}
		t.Filter.Headers = append(t.Filter.Headers, w)
	}
	if err := t.Filter.Check(); err != nil {
		return usage("--type", err)
	}
	if t.Limit < 0 || t.partition < -1 {
		return t.TailRequest, &fleet.UsageError{What: "--limit and --partition cannot be negative"}
	}
	t.Follow, t.Partition = !t.noFollow, t.partition
	return t.TailRequest, nil
}

func (a *app) tail() *cobra.Command {
	var t tailFlags
	cmd := &cobra.Command{
		Use: "tail", Short: "Show events as they are in Kafka: decoded, with their headers", Args: cobra.NoArgs,
		Long: `tail shows the committed events of the topics that the contracts name, with
their headers and decoded values, and waits for more until Ctrl-C. Avro is
decoded with the schema it was written with, which the registry has.

It joins no consumer group, changes nothing, and may run beside a relay. What
belongs to a transaction that is open or was aborted is not shown. A value that
cannot be decoded is shown with the reason.

With -o json each event is a JSON object on a line of its own.`,
		Example: `  cdc-relay tail --type 'essay.*'                      events of these types, as they come
  cdc-relay tail --key batch-7 --from 1h               what happened to batch-7 in the last hour
  cdc-relay tail --id 0198c5a0-… --no-follow           where is this event?
  cdc-relay tail --no-follow -o json | jq .headers     all there is, for a script`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := t.request()
			if err != nil {
				return err
			}
			f, err := a.fleet()
			if err != nil {
				return err
			}
			style := tail.Pretty
			switch {
			case a.output == "json":
				style = tail.Lines
			case t.single:
				style = tail.OneLine
			}
			req.Show = tail.NewPrinter(a.out, style, coloured(a.out)).Print
			req.Note = func(s string) { fmt.Fprintln(a.err, "cdc-relay:", s) }
			return f.Tail(cmd.Context(), req)
		},
	}
	t.flags(cmd)
	return cmd
}

// coloured reports whether w is a terminal of somebody who likes colours.
func coloured(w io.Writer) bool {
	return terminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
