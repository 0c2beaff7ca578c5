package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/oklog/run"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/admin"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/internal/replay"
)

func (a *app) run() *cobra.Command {
	var from, to string
	var pipelines []string
	c := &cobra.Command{
		Use:   "run",
		Short: "Relay the events of every configured database",
		Long: `run streams every configured database until it is told to stop (SIGTERM,
SIGINT). A pipeline that fails is FAILED while the others run; the process ends
when none can go on.

With --from-lsn it first publishes again, from an anchor at or before that LSN,
every transaction that committed from there up to --to-lsn (or up to what is
published now). The records carry the header cdc_replay_id. A replay is done
once: starting again with the same flags goes straight on with the live stream.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			again, err := request(from, to)
			if err != nil {
				return err
			}
			return a.relay(cmd.Context(), pipelines, again)
		},
	}
	c.Flags().StringVar(&from, "from-lsn", "", "publish again from this commit LSN, such as 16/B3748000")
	c.Flags().StringVar(&to, "to-lsn", "", "up to this commit LSN")
	c.Flags().StringSliceVar(&pipelines, "pipeline", nil, "only these pipelines (database names of the configuration)")
	return c
}

func request(from, to string) (*replay.Request, error) {
	if from == "" {
		if to != "" {
			return nil, &fleet.UsageError{What: "--to-lsn needs --from-lsn"}
		}
		return nil, nil
	}
	r := &replay.Request{}
	var err error
	if r.From, err = event.ParseLSN(from); err != nil {
		return nil, &fleet.UsageError{What: "--from-lsn: " + err.Error()}
	}
	if to == "" {
		return r, nil
	}
	if r.To, err = event.ParseLSN(to); err != nil {
		return nil, &fleet.UsageError{What: "--to-lsn: " + err.Error()}
	}
	return r, nil
}

// relay runs the process's two actors: the fleet and the HTTP server. The first
// to end stops the other.
func (a *app) relay(ctx context.Context, pipelines []string, again *replay.Request) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	log := a.logger(cfg.Log)
	reg := newRegistry()
	status := admin.NewStatus(reg)
	f, err := a.newFleet(cfg, log, reg, status)
	if err != nil {
		return err
	}
	// Before anything is made: a contract that names a schema there is no file
	// of is bad configuration, not a refusal of the registry.
	if err := f.CheckSchemas(); err != nil {
		return &fleet.UsageError{What: err.Error()}
	}
	log.Info("cdc-relay", "version", version, "name", cfg.Name, "environment", string(cfg.Environment),
		"pipelines", len(cfg.Pipelines()), "batches_at_most", cfg.Memory.String())

	var g run.Group
	server := admin.NewServer(admin.Options{Listen: cfg.HTTP.Listen, Status: status, Gatherer: reg, Log: log})
	add := func(do func(context.Context) error) {
		c, cancel := context.WithCancel(ctx)
		g.Add(func() error { return do(c) }, func(error) { cancel() })
	}
	var failed error
	add(func(c context.Context) error {
		failed = f.Run(c, pipelines, again)
		return failed
	})
	add(server.Run)
	// The group gives the error of the first to end only. Asked to stop, that may
	// be the server, and a pipeline that failed hours ago still has to be told.
	if err := g.Run(); failed == nil {
		return err
	}
	return failed
}

func (a *app) logger(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config.Load lets only known levels through
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.err, o))
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.output == "json" {
				return a.json(map[string]string{"version": version})
			}
			fmt.Fprintln(a.out, "cdc-relay", version)
			return nil
		},
	}
}
