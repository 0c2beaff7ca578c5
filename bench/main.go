package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// options are the flags.
type options struct {
	events  int
	runs    int
	rate    int
	warm    time.Duration
	span    time.Duration
	idle    time.Duration
	only    string
	profile bool
	against string
	kafka   properties
}

// properties are client properties, from a repeated flag NAME=VALUE.
type properties map[string]string

func (p properties) String() string { return fmt.Sprint(map[string]string(p)) }

func (p properties) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("want NAME=VALUE")
	}
	p[name] = value
	return nil
}

func main() { os.Exit(start()) }

func start() int {
	o := options{kafka: properties{}}
	var quick bool
	flag.IntVar(&o.events, "n", 300_000, "events to drain")
	flag.IntVar(&o.runs, "runs", 5, "runs of each contender")
	flag.IntVar(&o.rate, "rate", 1000, "events per second of the latency run")
	flag.DurationVar(&o.warm, "warm", 10*time.Second, "of the latency run, not measured")
	flag.DurationVar(&o.span, "span", time.Minute, "of the latency run, measured")
	flag.DurationVar(&o.idle, "idle", 10*time.Second, "without events, measured")
	flag.StringVar(&o.only, "only", "txn1000,txn1,latency", "parts to run")
	flag.BoolVar(&quick, "quick", false, "60 000 events, one run each, 20 s of latency: a look, not a measurement")
	flag.StringVar(&o.against, "against", "", "another build of the relay, drained in turn with this tree's, to compare")
	flag.Var(o.kafka, "kafka", "client property NAME=VALUE of the relays, repeatable")
	flag.BoolVar(&o.profile, "profile", false, "one drain of txn1000 by a relay with net/http/pprof; writes build/bench/cpu.pprof and no figures")
	flag.Parse()
	if quick {
		o.events, o.runs, o.warm, o.span, o.idle = 60_000, 1, 5*time.Second, 15*time.Second, 5*time.Second
	}
	if o.profile {
		o.runs, o.only = 1, "txn1000"
	}
	if flag.NArg() > 0 || o.events < 1000 || o.events%1000 != 0 || o.runs < 1 || o.rate < 1 {
		fmt.Fprintln(os.Stderr, "bench: want -n in thousands, -runs and -rate of 1 or more, and no arguments")
		return 2
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// dir holds what the benchmark needs besides build/bench.json.
func dir() string { return filepath.Join(rig.Root(), "build", "bench") }

// bench is what all parts of the benchmark share.
type bench struct {
	options
	stack  *stack.Stack
	binary string
	warmed bool
	out    figures
}

// serverSettings keep the server from checkpointing in the middle of a run, and
// leave it the rest of what the stack sets (fsync off: nothing here waits for a
// disk).
func serverSettings() []stack.PGOption {
	return []stack.PGOption{
		stack.Setting("max_wal_size", "16GB"), stack.Setting("checkpoint_timeout", "1h"),
		stack.Setting("shared_buffers", "256MB"), stack.Setting("autovacuum", "off"),
	}
}

func run(ctx context.Context, o options) (err error) {
	if err := os.MkdirAll(dir(), 0o755); err != nil {
		return err
	}
	b := &bench{options: o, out: figures{}}
	if b.binary, err = b.build(ctx); err != nil {
		return err
	}
	b.stack, err = stack.Start(ctx, stack.Options{Postgres: serverSettings(), Broker: []stack.BrokerOption{stack.Benchmark()}}, os.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stack.Close()) }()
	if b.stack.Kafka().Kind() == "embedded" {
		return errors.New("there is no real broker here, and figures of an imitation mean nothing; test/stack/README.md lists the ways to one")
	}
	b.describe()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"txn1000", func(ctx context.Context) error { return b.drain(ctx, 1000) }},
		{"txn1", func(ctx context.Context) error { return b.drain(ctx, 1) }},
		{"latency", b.latency},
	} {
		if !slices.Contains(strings.Split(o.only, ","), part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if o.profile {
		return nil
	}
	b.conclude()
	return b.out.write(filepath.Join(rig.Root(), "build", "bench.json"))
}
