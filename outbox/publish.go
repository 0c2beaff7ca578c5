package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// chunkBytes bounds one statement: its arrays are built in memory here and
// parsed in memory there.
const chunkBytes = 16 << 20

// insert takes one array per column. Arrays are sent as text, which every
// driver can, and a statement with the same text for any number of events is
// prepared once.
const insert = `insert into cdc_relay.outbox
  (id, aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload, occurred_at)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::json[], $8::json[], $9::timestamptz[])`

const columns = 9

// Publish writes events in the order given, within tx. All are checked before
// the first is written: an *EventError means that nothing was sent. Many
// events go in one statement (one per 16 MiB).
//
// tx is what pgx.Conn.Begin or pgxpool.Pool.Begin returned; a pool or a
// connection does not fit, because it would publish outside the transaction.
func Publish(ctx context.Context, tx pgx.Tx, events ...Event) error {
	return publish(events, "insert", pgxExec(ctx, tx, insert))
}

// pgxExec and sqlExec run one statement for each chunk of events.
func pgxExec(ctx context.Context, tx pgx.Tx, statement string) func(args ...any) error {
	return func(args ...any) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	}
}

func sqlExec(ctx context.Context, tx SQLTx, statement string) func(args ...any) error {
	return func(args ...any) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	}
}

// SQLTx is a transaction of database/sql: *sql.Tx, or what wraps one. A
// *sql.DB does not fit, because it would publish outside the transaction.
type SQLTx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	Commit() error
	Rollback() error
}

// PublishSQL is Publish for database/sql, with any Postgres driver.
func PublishSQL(ctx context.Context, tx SQLTx, events ...Event) error {
	return publish(events, "insert", sqlExec(ctx, tx, insert))
}

// publish checks and writes events. what begins the message of an error of the
// database.
func publish(events []Event, what string, exec func(args ...any) error) error {
	rows := make([]prepared, len(events))
	for i := range events {
		var err error
		if rows[i], err = events[i].prepare(i); err != nil {
			return err
		}
	}
	for from := 0; from < len(events); {
		args, n := arrays(events[from:], rows[from:])
		if err := exec(args...); err != nil {
			return failed(err, what, from, n)
		}
		from += n
	}
	return nil
}

// arrays builds the nine arrays of the first n events, as many as fit into a
// statement and at least one.
func arrays(events []Event, rows []prepared) (args []any, n int) {
	var cols [columns]array
	total := 0
	for i := range events {
		e, row := &events[i], &rows[i]
		total += len(row.payload) + len(row.headers)
		if n > 0 && total > chunkBytes {
			break
		}
		n++
		cols[0].add(e.ID.String())
		cols[1].add(e.AggregateType)
		cols[2].add(e.AggregateID)
		cols[3].add(e.Type)
		cols[4].addOrNull(e.Topic)
		cols[5].addOrNull(e.Key)
		cols[6].addBytes(row.headers)
		cols[7].addBytes(row.payload)
		cols[8].add(e.OccurredAt.UTC().Format(time.RFC3339Nano))
	}
	for i := range cols {
		args = append(args, cols[i].String())
	}
	return args, n
}

// failed words an error of the database with what to do about it. Drivers
// differ; those we know tell the SQLSTATE by this method.
func failed(err error, what string, from, n int) error {
	next := ""
	if pg, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		switch pg.SQLState() {
		case "42P01", "3F000", "42883": // no table, no schema, no function
			next = "; next: cdc-relay migrate"
		case "42501": // may not
			next = "; next: grant cdc_relay_writer to the role of this service"
		}
	}
	return fmt.Errorf("outbox: %s events %d to %d: %w%s", what, from, from+n-1, err, next)
}
