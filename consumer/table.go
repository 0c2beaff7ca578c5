package consumer

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// SQL makes or updates the inbox in the database it runs in: table
// cdc_relay.inbox, functions cdc_relay.inbox_*, role cdc_relay_consumer. It is
// one statement, to be run as it is by any driver or migration tool, in a
// transaction or without, again and again. Services whose tables are made by a
// tool of their own keep it there; others call Migrate when they start.
//
//go:embed inbox.sql
var SQL string

// Version is the version of the inbox that SQL makes.
const Version = 1

// lockTimeout is how long Migrate waits for a lock before it gives up.
const lockTimeout = "15s"

// Beginner begins a transaction: *pgxpool.Pool, *pgx.Conn. With database/sql run
// [SQL] with ExecContext.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Migrate runs SQL in a transaction. What is up to date is left alone and not
// locked, and so is what a newer release of this package made.
func Migrate(ctx context.Context, db Beginner) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local lock_timeout = '"+lockTimeout+"'"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, SQL)
		return err
	})
	if err != nil {
		next := ""
		switch stateOf(err) {
		case "42501": // may not
			next = "; next: let the owner of the database run it, or: grant create on database … to this role"
		case "55P03":
			next = "; next: it waited " + lockTimeout + " for a lock; find who holds it in pg_stat_activity, then run it again"
		}
		return fmt.Errorf("consumer: make cdc_relay.inbox: %w%s", err, next)
	}
	return nil
}

// Querier asks for one row: *pgxpool.Pool, *pgx.Conn, pgx.Tx.
type Querier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// Installed is the version of the inbox in the database; 0: there is none.
func Installed(ctx context.Context, db Querier) (version int, err error) {
	var there bool
	if err := db.QueryRow(ctx, "select to_regprocedure('cdc_relay.inbox_version()') is not null").Scan(&there); err != nil {
		return 0, fmt.Errorf("consumer: look for cdc_relay.inbox: %w", err)
	}
	if !there {
		return 0, nil
	}
	if err := db.QueryRow(ctx, "select cdc_relay.inbox_version()").Scan(&version); err != nil {
		return 0, fmt.Errorf("consumer: look for cdc_relay.inbox: %w", err)
	}
	return version, nil
}

// pruneRows is how many rows one transaction of Prune deletes.
const pruneRows = 5000

const prune = `select cdc_relay.inbox_prune($1 * interval '1 microsecond', $2)`

// Prune forgets the claims of all groups of the database that are older than
// keep, oldest first, in transactions of 5 000 rows each, until none is left,
// and returns how many those were. Several may run at once, and beside
// consumers. An event that comes again after its claim was forgotten is new:
// keep must be longer than topics keep records and than any replay reaches back.
func Prune(ctx context.Context, db Querier, keep time.Duration) (forgotten int64, err error) {
	return pruned(keep, func(args ...any) (n int64, err error) {
		err = db.QueryRow(ctx, prune, args...).Scan(&n)
		return n, err
	})
}

// SQLQuerier asks for one row: *sql.DB, *sql.Conn, *sql.Tx.
type SQLQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// PruneSQL is Prune for database/sql, with any Postgres driver.
func PruneSQL(ctx context.Context, db SQLQuerier, keep time.Duration) (forgotten int64, err error) {
	return pruned(keep, func(args ...any) (n int64, err error) {
		err = db.QueryRowContext(ctx, prune, args...).Scan(&n)
		return n, err
	})
}

func pruned(keep time.Duration, batch func(args ...any) (int64, error)) (forgotten int64, err error) {
	if keep < time.Microsecond {
		return 0, fmt.Errorf("consumer: Prune keeps %s: want a time above zero", keep)
	}
	for {
		n, err := batch(keep.Microseconds(), pruneRows)
		forgotten += n
		if err != nil {
			return forgotten, failed("prune cdc_relay.inbox", err)
		}
		if n < pruneRows {
			return forgotten, nil
		}
	}
}
