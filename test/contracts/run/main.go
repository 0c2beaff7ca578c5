// Command run measures what the contract promises (test/contracts) at full size
// and writes build/contracts.json. It starts what it needs and ends it. Exit
// code 1: a promise is not kept.
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
	"time"

	"github.com/cdc-relay/cdc-relay/test/contracts"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	seed := flag.Int("seed", int(time.Now().Unix()), "of what is random")
	flag.Parse()
	if err := run(ctx, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "contracts:", err)
		os.Exit(1) //nolint:gocritic // the stack has been closed by run
	}
}

func run(ctx context.Context, seed int) (err error) {
	dir := filepath.Join(rig.Root(), "build", "contracts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s, err := stack.Start(ctx, stack.Options{}, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	binary, err := rig.Build(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Printf("contracts: seed %d\n", seed)
	report, err := contracts.All(ctx, &contracts.Parts{Stack: s, Binary: binary, Dir: dir, Out: os.Stdout}, contracts.Full, seed)
	return errors.Join(err, report.Write(filepath.Join(rig.Root(), "build", "contracts.json")))
}
