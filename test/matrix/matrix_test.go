package matrix

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The fast cells of the matrix, on real parts. The whole matrix is
// `make test-crash`.
func TestFastCells(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("cells need servers of their own")
	}
	if err := rig.Sources(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{NoPostgres: true, NoBroker: true}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	build := filepath.Join(rig.Root(), "build")
	r := &Runner{Stack: s, Registry: s.Registry().URL(), Dir: filepath.Join(build, "crash-fast"), Seed: uint64(time.Now().UnixNano()), Worlds: 1, Out: t.Output()}
	if r.Binary, err = rig.Held(ctx); err != nil {
		t.Fatal(err)
	}
	results, err := r.Run(ctx, slices.DeleteFunc(Cells(), func(c Cell) bool { return !c.Fast }))
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range results {
		if res.Failed() {
			t.Errorf("%s: %s %v\n%v", res.Cell, &res.Verdict, res.Verdict.Complaints, res.Err)
		}
	}
}

// Every point of the protocol has cells.
func TestEveryPointIsInTheMatrix(t *testing.T) {
	t.Parallel()
	for _, at := range crash.All() {
		if !slices.ContainsFunc(Cells(), func(c Cell) bool { return strings.Contains(c.Name, string(at)) }) {
			t.Errorf("no cell holds the relay at %s", at)
		}
	}
}
