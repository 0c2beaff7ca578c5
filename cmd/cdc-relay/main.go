package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/cdc-relay/cdc-relay/internal/admin"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2 // or configuration
	exitRefused = 3
	exitFenced  = 4
	exitChanges = 5 // a plan or a comparison found changes
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root(os.Stdout, os.Stderr).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cdc-relay:", err)
	}
	os.Exit(exitCode(err))
}

// exitCode is the worst of what err holds: fenced, refused, usage, failed.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok { // walked by hand: the worst counts, not the first
		code := 0
		for _, e := range many.Unwrap() {
			code = max(code, exitCode(e))
		}
		return max(code, exitFailed)
	}
	if one, ok := err.(interface{ Unwrap() error }); ok && event.VerdictOf(err) == event.Restart {
		return max(exitCode(one.Unwrap()), exitFailed)
	}
	if _, ok := errors.AsType[*fleet.UsageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[config.Problems](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*fleet.ChangesError](err); ok {
		return exitChanges
	}
	if _, ok := errors.AsType[*fleet.DiffersError](err); ok {
		return exitChanges
	}
	switch event.VerdictOf(err) {
	case event.Refuse:
		return exitRefused
	case event.Fenced:
		return exitFenced
	default:
		return exitFailed
	}
}

// app is what the verbs share: where the configuration is and where to print.
type app struct {
	out, err io.Writer
	files    []string
	output   string // text | json
}

func root(out, errw io.Writer) *cobra.Command {
	a := &app{out: out, err: errw}
	c := &cobra.Command{
		Use:   "cdc-relay",
		Short: "Streams an outbox table from Postgres to Kafka, exactly once",
		Long: `cdc-relay streams the inserts of an outbox table from the write-ahead log of
Postgres, turns each into an Avro record of a registered schema and produces it
exactly once in Kafka transactions.

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 refused by a
guard, 4 fenced, 5 a plan or a comparison found changes.`,
		SilenceUsage: true, SilenceErrors: true, Version: version,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	c.SetOut(out)
	c.SetErr(errw)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &fleet.UsageError{What: fmt.Sprintf("%v\n  next: %s --help", err, c.CommandPath())}
	})
	c.PersistentFlags().StringArrayVarP(&a.files, "config", "c", []string{"cdc-relay.yaml"}, "configuration file; repeatable, a later one over the earlier")
	c.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "text or json, where a script would want it")
	c.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.output != "text" && a.output != "json" {
			return &fleet.UsageError{What: fmt.Sprintf("--output %q: want text or json", a.output)}
		}
		return nil
	}
	c.AddCommand(a.run(), a.config(), a.doctor(), a.migrate(), a.checkpoint(), a.slots(), a.topics(), a.schemas(), a.plan(), a.audit(), a.repair(), a.dlq(), a.tail(), a.version())
	strict(c)
	return c
}

// strict makes unknown sub-commands and surplus arguments usage errors.
func strict(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strict(sub)
	}
	if c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &fleet.UsageError{What: fmt.Sprintf("unknown command %q for %q\n  next: %s --help", args[0], c.CommandPath(), c.CommandPath())}
			}
			return c.Help()
		}
		return
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &fleet.UsageError{What: fmt.Sprintf("%v\n  next: %s --help", err, c.CommandPath())}
			}
			return nil
		}
	}
}

// load reads the configuration.
func (a *app) load() (*config.Config, error) { return config.Load(a.files, os.LookupEnv) }

// fleet makes a Fleet for a one-shot command, which has no use for metrics.
func (a *app) fleet() (*fleet.Fleet, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return a.newFleet(cfg, log, prometheus.NewRegistry(), admin.NewStatus(prometheus.NewRegistry()))
}

func (a *app) newFleet(cfg *config.Config, log *slog.Logger, reg prometheus.Registerer, status *admin.Status) (*fleet.Fleet, error) {
	f, err := fleet.New(fleet.Options{Config: cfg, Log: log, Registerer: reg, Status: status, Version: version})
	if err != nil {
		return nil, &fleet.UsageError{What: err.Error()}
	}
	return f, nil
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}
