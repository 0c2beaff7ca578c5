// Command run proves that the relay is exactly once: it runs the fault matrix of
// test/matrix.
//
//	go run ./test/matrix/run                     the whole matrix, once
//	go run ./test/matrix/run -runs 3             three times in a row
//	go run ./test/matrix/run -cell 'zombie'      the cells whose name matches
//	go run ./test/matrix/run -list               their names
//	go run ./test/matrix/run -mutants            that the matrix has teeth
//	go run ./test/matrix/run -guarantees         write the tables of docs/guarantees.md from the last runs
//	go run ./test/matrix/run -soak 20m           random faults, and bounds on the process at the end
//
// It starts what it needs and ends it. Exit code 1: a cell failed, or a mutant
// lived.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/test/matrix"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

type options struct {
	runs, worlds int
	cell         *regexp.Regexp
	seed         uint64
	list         bool
	mutants      bool
	guarantees   bool
	soak         time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1) //nolint:gocritic // the stack has been closed by run
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("run", flag.ExitOnError)
	f.IntVar(&o.runs, "runs", 1, "how many times in a row")
	f.IntVar(&o.worlds, "worlds", 4, "how many worlds at a time, each a Postgres and a Kafka cluster")
	cell := f.String("cell", "", "only cells (or, with -mutants, mutants) whose name matches this regular expression")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the choices within cells")
	f.BoolVar(&o.list, "list", false, "list the cells")
	f.BoolVar(&o.mutants, "mutants", false, "run the mutants instead")
	f.BoolVar(&o.guarantees, "guarantees", false, "write the tables of docs/guarantees.md instead")
	f.DurationVar(&o.soak, "soak", 0, "soak for this long instead")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.cell, err = regexp.Compile(*cell)
	return o, err
}

func run(ctx context.Context, o options) (err error) {
	cells := matrix.Choose(matrix.Cells(), o.cell)
	if o.list {
		for _, c := range cells {
			fmt.Println(c.Name)
		}
		return nil
	}
	build := filepath.Join(rig.Root(), "build")
	if o.guarantees {
		return matrix.Guarantees(build, filepath.Join(rig.Root(), "docs", "guarantees.md"))
	}
	s, err := stack.Start(ctx, stack.Options{NoPostgres: true, NoBroker: true}, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r := &matrix.Runner{Stack: s, Registry: s.Registry().URL(), Dir: filepath.Join(build, "crash"), Seed: o.seed, Worlds: o.worlds, Out: os.Stdout}
	if r.Binary, err = matrix.Build(ctx, filepath.Join(build, "matrix"), ""); err != nil {
		return err
	}
	if o.soak > 0 {
		return r.Soak(ctx, o.soak, filepath.Join(build, "soak.json"))
	}
	if o.mutants {
		return r.Mutants(ctx, o.cell, filepath.Join(build, "mutants.json"))
	}
	return r.Matrix(ctx, cells, o.runs, filepath.Join(build, "crash.json"))
}
