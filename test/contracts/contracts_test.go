package contracts

import (
	"context"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The fuzz and the poisoned drain at a size for everyday; TestDual and the test of
// package keys are the rest of `make test-contracts`.
func TestSmall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("contracts are measured on real parts")
	}
	if err := rig.Sources(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	s, err := stack.Start(ctx, stack.Options{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	p := &Parts{Stack: s, Dir: dir, Out: t.Output()}
	if p.Binary, err = rig.Tested(ctx); err != nil {
		t.Fatal(err)
	}
	seed := int(time.Now().Unix())
	var got Report
	if err := Fuzz(ctx, p, 8, 2000, seed, &got); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	if err := Poison(ctx, p, 3000, 1, seed, &got); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	if got.FuzzAvro < 100 || got.FuzzDeadLetters < 100 {
		t.Errorf("seed %d: the documents are of one sort only: %+v", seed, got)
	}
}

func TestSchemasAreRepeatable(t *testing.T) {
	t.Parallel()
	every := func(string) bool { return true }
	a, err := randomSchemas(20, 7, every)
	if err != nil {
		t.Fatal(err)
	}
	b, err := randomSchemas(20, 7, every)
	if err != nil {
		t.Fatal(err)
	}
	valid := 0
	for i := range a {
		if a[i].text != b[i].text || string(a[i].make.Example(3)) != string(b[i].make.Example(3)) {
			t.Errorf("schema %d differs with the same seed", i)
		}
		for j := range 20 {
			if f := a[i].make.Example(j); len(f) > 0 && f[0] == '{' {
				valid++
			}
		}
	}
	if valid < 200 {
		t.Errorf("only %d of 400 documents begin an object", valid)
	}
}
