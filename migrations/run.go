package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
)

// change runs do under the lock, with the schema in place.
func change(ctx context.Context, url string, do func(context.Context, *goose.Provider) ([]*goose.MigrationResult, error)) (res Result, err error) {
	db, said, err := open(url)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// One connection holds the lock; closing it gives the lock back, whatever
	// happened to the others.
	lock, err := db.Conn(ctx)
	if err != nil {
		return res, failed("connect to Postgres", err)
	}
	defer func() { err = errors.Join(err, release(ctx, lock)) }()
	if _, err := lock.ExecContext(ctx, "select pg_advisory_lock($1)", lockKey); err != nil {
		return res, failed("wait for another migration of this database", err)
	}
	if err := createSchema(ctx, lock); err != nil {
		return res, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return res, fmt.Errorf("prepare migrations: %w", err)
	}
	results, err := do(ctx, p)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results = partial.Applied
	}
	res.Steps = stepsOf(results)
	res.Notices = said.list
	if err != nil {
		return res, failed("migrate", err)
	}
	return res, dropEmptySchema(ctx, lock)
}

// release gives the advisory lock back even when ctx has ended.
func release(ctx context.Context, lock *sql.Conn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := lock.ExecContext(ctx, "select pg_advisory_unlock($1)", lockKey)
	return errors.Join(err, lock.Close())
}

// createSchema makes the schema the version table lies in; migration 1 finds
// it there.
func createSchema(ctx context.Context, c *sql.Conn) error {
	var exists bool
	if err := c.QueryRowContext(ctx, "select to_regnamespace('cdc_relay') is not null").Scan(&exists); err != nil {
		return failed("look for schema cdc_relay", err)
	}
	if exists {
		return nil
	}
	if _, err := c.ExecContext(ctx, "create schema cdc_relay"); err != nil {
		return failed("create schema cdc_relay", err)
	}
	return nil
}

// dropEmptySchema ends the schema once no migration is left and nothing but
// the version table is in it.
func dropEmptySchema(ctx context.Context, c *sql.Conn) error {
	var empty bool
	err := c.QueryRowContext(ctx, `select not exists (select from `+versionTable+` where version_id > 0)
		and not exists (select from pg_class where relnamespace = 'cdc_relay'::regnamespace and relkind in ('r','p','v','m','f') and relname <> 'schema_version')
		and not exists (select from pg_proc where pronamespace = 'cdc_relay'::regnamespace)`).Scan(&empty)
	if err != nil {
		return failed("look into schema cdc_relay", err)
	}
	if !empty {
		return nil
	}
	if _, err := c.ExecContext(ctx, "drop table "+versionTable); err != nil {
		return failed("drop "+versionTable, err)
	}
	if _, err := c.ExecContext(ctx, "drop schema cdc_relay"); err != nil {
		return failed("drop schema cdc_relay", err)
	}
	return nil
}

func stepsOf(results []*goose.MigrationResult) []Step {
	steps := make([]Step, 0, len(results))
	for _, r := range results {
		steps = append(steps, Step{Version: r.Source.Version, Name: r.Source.Path, Applied: time.Now()})
	}
	return steps
}

// failed words an error of the server with what to do about it.
func failed(what string, err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Errorf("%s: %w", what, err)
	}
	next := ""
	switch pg.Code {
	case "42501":
		next = "\n  next: let the owner of the database run it, or: grant create on database … to this role"
	case "55P03":
		next = "\n  next: it waited " + lockTimeout + " for a lock; find who holds it with: select pid, query from pg_stat_activity where state <> 'idle'; then run it again"
	}
	return fmt.Errorf("%s: %w%s", what, err, next)
}
