package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// options are the flags.
type options struct {
	events int // to commit
	rate   int // per second
	keep   bool
	colour bool
	live   bool // a line that is redrawn
}

func main() { os.Exit(start()) }

func start() int {
	var o options
	var stop, hold bool
	flag.IntVar(&o.events, "events", 10_000, "events to commit")
	flag.IntVar(&o.rate, "rate", 1000, "events per second")
	flag.BoolVar(&o.keep, "keep", false, "leave everything running, with addresses to look at")
	flag.BoolVar(&stop, "stop", false, "end what -keep left running")
	flag.BoolVar(&hold, "hold", false, "used by -keep itself: the process that stays")
	flag.BoolVar(&o.colour, "colour", isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "", "colours")
	flag.BoolVar(&o.live, "live", isTerminal(os.Stdout), "redraw the line of progress")
	flag.Parse()
	if o.events < 100 || o.rate < 10 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "demo: want -events 100 or more, -rate 10 or more, and no arguments")
		return 2
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := os.MkdirAll(dir(), 0o755); err != nil {
		return failed(err)
	}
	switch {
	case stop:
		return stopKept(ctx, os.Stdout)
	case hold:
		return holdOn(ctx, o)
	case o.keep:
		return spawn(ctx, o)
	}
	s := newScreen(os.Stdout, o.colour, o.live)
	d := &demo{options: o, screen: s}
	exact, err := d.run(ctx)
	s.progress("")
	if cerr := d.close(); err == nil {
		err = cerr
	}
	return verdict(exact, err)
}

func verdict(exact bool, err error) int {
	switch {
	case err != nil:
		return failed(err)
	case !exact:
		return 1
	}
	return 0
}

func failed(err error) int {
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted; everything it started was ended")
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	return 1
}

// dir holds what the demo writes besides build/demo.json.
func dir() string { return filepath.Join(rig.Root(), "build", "demo") }
