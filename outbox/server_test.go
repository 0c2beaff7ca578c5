package outbox_test

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// exampleServer gives an example, which has no testing.T, a database of its own
// with everything that `cdc-relay migrate` makes, and ends it.
func exampleServer(ctx context.Context) (url string, end func(), err error) {
	s, err := stack.Start(ctx, stack.Options{NoBroker: true, NoRegistry: true}, os.Stderr)
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	pg, name := s.Postgres(), "example_"+strings.ReplaceAll(outbox.NewID().String(), "-", "")
	c, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return "", nil, err
	}
	_, err = c.Exec(ctx, "create database "+name)
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = pg.DropDatabase(ctx, name) // else it goes with the server
		_ = s.Close()
	}
	if _, err = migrations.Up(ctx, pg.URL(name)); err != nil {
		return "", nil, err
	}
	return pg.URL(name), end, makeSlot(ctx, pg.URL(name), name)
}

// makeSlot makes the slot a relay would have: from PostgreSQL 19 on emit_event
// refuses where there is none.
func makeSlot(ctx context.Context, url, name string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "select pg_create_logical_replication_slot($1, 'pgoutput')", name)
	return errors.Join(err, c.Close(ctx))
}
