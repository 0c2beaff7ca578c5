package contracts

import (
	"context"
	"errors"
)

// Size is how much is measured.
type Size struct {
	Schemas, Documents int // of the fuzz
	Poison, Kills      int // events, and SIGKILLs among them
}

// Full is the size the promises are made at.
var Full = Size{Schemas: 20, Documents: 100_000, Poison: 100_000, Kills: 3}

// All measures everything, one after the other; the report says what was
// measured, whatever fails.
func All(ctx context.Context, p *Parts, size Size, seed int) (*Report, error) {
	fuzz, err1 := Fuzz(ctx, p, size.Schemas, size.Documents, seed)
	all := fuzz
	poison, err2 := Poison(ctx, p, size.Poison, size.Kills, seed)
	all.PoisonEvents, all.PoisonDelivered, all.PoisonDeadLetters = poison.PoisonEvents, poison.PoisonDelivered, poison.PoisonDeadLetters
	all.PoisonKills, all.PoisonAfterRedrive, all.PoisonOutOfOrder = poison.PoisonKills, poison.PoisonAfterRedrive, poison.PoisonOutOfOrder
	return &all, errors.Join(err1, err2)
}
