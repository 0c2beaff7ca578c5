package contracts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/cdc-relay/cdc-relay/test/contracts/keys"
)

// Size is how much is measured.
type Size struct {
	Schemas, Documents int // of the fuzz
	Poison, Kills      int // events, and SIGKILLs among them
	Pairs              int
	Keys               int
}

// Full is the size the promises are made at.
var Full = Size{Schemas: 20, Documents: 100_000, Poison: 100_000, Kills: 3, Pairs: 10_000, Keys: 10_000}

// All measures everything, one after the other; the report says what was
// measured, whatever fails.
func All(ctx context.Context, p *Parts, size Size, seed int) (*Report, error) {
	var r Report
	err := errors.Join(
		p.fuzz(ctx, size, seed, &r),
		p.poison(ctx, size, seed, &r),
		p.dual(ctx, size, seed, &r),
		p.keys(ctx, size, seed, &r),
	)
	return &r, err
}

func (p *Parts) fuzz(ctx context.Context, size Size, seed int, r *Report) error {
	err := Fuzz(ctx, p, size.Schemas, size.Documents, seed, r)
	p.say("fuzz: %d records decoded by fastavro, %d dead letters, %d undecodable", r.FuzzAvro, r.FuzzDeadLetters, r.FuzzUndecodable)
	return err
}

func (p *Parts) poison(ctx context.Context, size Size, seed int, r *Report) error {
	return Poison(ctx, p, size.Poison, size.Kills, seed, r)
}

func (p *Parts) dual(ctx context.Context, size Size, seed int, r *Report) error {
	var err error
	r.DualPairs, r.DualHalves, err = Dual(ctx, p.Stack, p.Binary, p.Dir, p.Out, size.Pairs, uint64(seed))
	if err == nil && (r.DualPairs != size.Pairs || r.DualHalves != 0) {
		err = fmt.Errorf("%d of %d pairs arrived whole, %d were seen by half", r.DualPairs, size.Pairs, r.DualHalves)
	}
	return err
}

func (p *Parts) keys(ctx context.Context, size Size, seed int, r *Report) error {
	classes, err := p.Stack.KafkaClasses(ctx)
	if err != nil {
		return err
	}
	env := keys.Env{
		Java: classes.Java, ClassPath: classes.Path, Bootstrap: p.Stack.Kafka().Bootstrap(), Dir: filepath.Join(p.Dir, "keys"),
		Prefix: "keys-" + strings.ReplaceAll(uuid.NewString(), "-", "")[:8],
	}
	if err := os.MkdirAll(env.Dir, 0o755); err != nil {
		return err
	}
	got, err := keys.Compare(ctx, env, keys.Random(size.Keys, uint64(seed)))
	r.KeysJavaEqual = got.Equal
	p.say("keys: %d of %d on the partition of the Java client", got.Equal, got.Keys)
	if err == nil && got.Equal != size.Keys {
		err = fmt.Errorf("keys on another partition than the Java client's:\n%s", strings.Join(got.Different, "\n"))
	}
	return err
}
