package outboxtest

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// ofThisTransaction reads what this transaction wrote, in the order of writing.
// A row that is visible although the transaction that wrote it is in progress is
// our own; those behind a savepoint bear another number than the transaction.
// Numbers in rows have 32 bits, and the status of one is asked by 64: the upper
// half is that of the present.
const ofThisTransaction = `select id::text, aggregate_type, aggregate_id, event_type, coalesce(topic, ''), coalesce(message_key, ''), headers::text, payload::text, occurred_at
  from cdc_relay.outbox, (select pg_current_xact_id()::text::bigint as me) as now
 where xmin::text::bigint >= (me & 4294967295)
   and pg_xact_status((((me >> 32) << 32) + xmin::text::bigint)::text::xid8) = 'in progress'
 order by cmin::text::bigint, ctid`

// readTimeout bounds the query of an assertion.
const readTimeout = 30 * time.Second

// Published returns the events written in tx so far, in the order of writing. It
// ends the test if they cannot be read.
func Published(t testing.TB, tx pgx.Tx) []outbox.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), readTimeout)
	defer cancel()
	rows, err := tx.Query(ctx, ofThisTransaction)
	if err != nil {
		fail(t, err)
	}
	events, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (outbox.Event, error) { return scan(r.Scan) })
	if err != nil {
		fail(t, err)
	}
	return events
}

// SQLTx is what the assertions need of a transaction of database/sql: *sql.Tx.
type SQLTx interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	Commit() error
	Rollback() error
}

// PublishedSQL is Published for database/sql, with any Postgres driver.
func PublishedSQL(t testing.TB, tx SQLTx) []outbox.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), readTimeout)
	defer cancel()
	rows, err := tx.QueryContext(ctx, ofThisTransaction)
	if err != nil {
		fail(t, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the error that counts
	var events []outbox.Event
	for rows.Next() {
		e, err := scan(rows.Scan)
		if err != nil {
			fail(t, err)
		}
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		fail(t, err)
	}
	return events
}

func scan(into func(...any) error) (outbox.Event, error) {
	var e outbox.Event
	var id, headers, payload string
	if err := into(&id, &e.AggregateType, &e.AggregateID, &e.Type, &e.Topic, &e.Key, &headers, &payload, &e.OccurredAt); err != nil {
		return e, err
	}
	if _, err := hex.Decode(e.ID[:], []byte(strings.ReplaceAll(id, "-", ""))); err != nil {
		return e, fmt.Errorf("id %q: %w", id, err)
	}
	if err := json.Unmarshal([]byte(headers), &e.Headers); err != nil {
		return e, fmt.Errorf("headers of event %s: %w", id, err)
	}
	e.Payload = json.RawMessage(payload)
	return e, nil
}

// fail ends the test with what to do about an error of the database.
func fail(t testing.TB, err error) {
	t.Helper()
	next := ""
	if pg, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		switch pg.SQLState() {
		case "42P01", "3F000":
			next = "; next: cdc-relay migrate"
		case "42501":
			next = "; next: grant cdc_relay_reader to the role of the test"
		case "25P02":
			next = "; an earlier statement of the transaction failed: look at its error"
		}
	}
	t.Fatalf("outboxtest: read the events of this transaction: %v%s", err, next)
}
