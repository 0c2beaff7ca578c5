package consumer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/consumer"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// BenchmarkInbox claims events in transactions of 500, one by one, all at once,
// and each in a transaction of its own; an op is one event.
func BenchmarkInbox(b *testing.B) {
	pool, err := pgxpool.New(b.Context(), stack.Postgres(b).Database(b))
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	if err := consumer.Migrate(b.Context(), pool); err != nil {
		b.Fatal(err)
	}
	inbox, err := consumer.New(consumer.Options{Group: "group"})
	if err != nil {
		b.Fatal(err)
	}
	once := func(ctx context.Context, tx pgx.Tx, messages []consumer.Message) error {
		for _, m := range messages {
			if _, err := inbox.Once(ctx, tx, m, func(context.Context) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	}
	claim := func(ctx context.Context, tx pgx.Tx, messages []consumer.Message) error {
		_, err := inbox.Claim(ctx, tx, messages...)
		return err
	}
	for _, c := range []struct {
		name  string
		batch int
		do    func(context.Context, pgx.Tx, []consumer.Message) error
	}{{"Once/tx=1", 1, once}, {"Once/tx=500", 500, once}, {"Claim/tx=500", 500, claim}} {
		for _, again := range []bool{false, true} {
			run := 0
			b.Run(fmt.Sprintf("%s/duplicate=%t", c.name, again), func(b *testing.B) {
				if !again {
					run++
				}
				for at := 0; at < b.N; at += c.batch {
					messages := make([]consumer.Message, min(c.batch, b.N-at))
					for i := range messages {
						n := at + i
						if again {
							n = i // of the first batch
						}
						messages[i] = message(fmt.Sprintf("%s %t %d 0198f3a2-7c1e-7b60-%016x", c.name, again, run, n), int64(n))
					}
					if err := pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error { return c.do(b.Context(), tx, messages) }); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
