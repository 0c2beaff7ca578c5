package outbox

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// emit calls the function for each event, in their order, in one statement.
const emit = `select cdc_relay.emit_event(t.aggregate_type, t.aggregate_id, t.event_type, t.payload, t.topic, t.message_key, t.headers, t.id, t.occurred_at)
  from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::json[], $8::json[], $9::timestamptz[])
    as t(id, aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload, occurred_at)`

// Emit writes events into the write-ahead log only, as logical messages of tx:
// an outbox without a table. They come in one order with the rows that Publish
// writes in the same transaction, and go with it if it is rolled back.
//
// The relay reads them only with `postgres: {message_prefix: cdc_relay}`; what
// no relay reads is lost, and `cdc-relay audit` has nothing to compare. Use it
// where the table is a burden, not by default.
func Emit(ctx context.Context, tx pgx.Tx, events ...Event) error {
	return publish(events, "emit", pgxExec(ctx, tx, emit))
}

// EmitSQL is Emit for database/sql, with any Postgres driver.
func EmitSQL(ctx context.Context, tx SQLTx, events ...Event) error {
	return publish(events, "emit", sqlExec(ctx, tx, emit))
}
