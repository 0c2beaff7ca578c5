package contracts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// dualRun is the measurement at a size for everyday, with a relay of its own.
func dualRun(t *testing.T, n int, flags ...string) (pairs, halves int, err error) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs real parts")
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
	build := rig.Tested
	if len(flags) > 0 {
		build = func(ctx context.Context) (string, error) { return rig.Build(ctx, dir, flags...) }
	}
	binary, err := build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return Dual(ctx, s, binary, dir, t.Output(), n, uint64(time.Now().UnixNano()))
}

func TestDual(t *testing.T) {
	t.Parallel()
	const n = 800
	pairs, halves, err := dualRun(t, n)
	if err != nil || pairs != n || halves != 0 {
		t.Errorf("%d pairs, %d by half, error %v; want %d and none", pairs, halves, err, n)
	}
}

// A relay that closes a batch by its number of events, also inside of a
// transaction, is caught.
func TestDualHasTeeth(t *testing.T) {
	t.Parallel()
	const whole, cut = "return c.txEvents >= c.limits.Events ||", "return c.events >= c.limits.Events ||"
	file, dir := filepath.Join(rig.Root(), "internal", "relay", "core.go"), t.TempDir()
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), whole) != 1 {
		t.Fatalf("%s does not hold %q once (%v)", file, whole, err)
	}
	mutant, overlay := filepath.Join(dir, "core.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(mutant, []byte(strings.Replace(string(text), whole, cut, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, file, mutant), 0o600); err != nil {
		t.Fatal(err)
	}
	if pairs, halves, err := dualRun(t, 300, "-overlay", overlay); pairs != 300 || halves == 0 {
		t.Errorf("%d pairs, %d by half, error %v; want some by half", pairs, halves, err)
	}
}

// TestDualCheck plants what should be found.
func TestDualCheck(t *testing.T) {
	t.Parallel()
	// "a0 b0|c1" are the pairs a and b in transaction 0 and c in transaction 1.
	topic := func(text string) (records []dualRecord) {
		for i, f := range strings.Fields(text) {
			records = append(records, dualRecord{pair: f[:1], key: "k", offset: int64(i), txn: dualTxn{"7/0", int(f[1] - '0')}})
		}
		return records
	}
	marks := func(events ...int) (out []dualMark) {
		for i, n := range events {
			out = append(out, dualMark{txn: dualTxn{"7/0", i}, events: n})
		}
		return out
	}
	all := map[string]bool{"a": true, "b": true, "c": true, "x": false}
	for name, c := range map[string]struct {
		thin, rich    string
		marks         []dualMark
		pairs, halves int
		says          string
	}{
		"sound":                  {"a0 b0 c1", "a0 b0 c1", marks(4, 6), 3, 0, ""},
		"cut between the halves": {"a0 b0 c1", "a0 b1 c1", marks(3, 6), 3, 1, ""},
		"a half lost":            {"a0 b0 c1", "a0 c1", marks(3, 5), 2, 1, ""},
		"lost":                   {"a0 c1", "a0 c1", marks(2, 4), 2, 0, "pair b was committed and is not there"},
		"doubled":                {"a0 b0 b1 c1", "a0 b0 b1 c1", marks(4, 8), 3, 0, "pair b is doubled"},
		"rolled back":            {"a0 b0 x0 c1", "a0 b0 x0 c1", marks(6, 8), 3, 0, "pair x at offset 2 was not committed (known true)"},
		"made up":                {"a0 b0 y0 c1", "a0 b0 y0 c1", marks(6, 8), 3, 0, "pair y at offset 2 was not committed (known false)"},
		"a wrong count":          {"a0 b0 c1", "a0 b0 c1", marks(3, 6), 3, 0, "counts 3 events, 4 are before its end"},
		"a transaction missing":  {"a0 b0 c1", "a0 b0 c1", marks(4, 6, 7), 3, 0, "the transaction {7/0 2} of a checkpoint has 0 thin and 0 rich events"},
	} {
		v := dualCheck(topic(c.thin), topic(c.rich), c.marks, all)
		err := v.err()
		if v.pairs != c.pairs || v.halves != c.halves || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d pairs, %d halves, error %v; want %d, %d, %q", name, v.pairs, v.halves, err, c.pairs, c.halves, c.says)
		}
	}
	odd := topic("a0")
	odd[0].key = "other"
	if err := dualCheck(topic("a0"), odd, marks(2), map[string]bool{"a": true}).err(); err == nil || !strings.Contains(err.Error(), "has the keys") {
		t.Errorf("keys: %v", err)
	}
}
