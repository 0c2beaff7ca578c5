// Package outbox is what a service imports to publish events in its own
// Postgres transaction. The events exist if and only if the transaction
// commits; cdc-relay reads them from the write-ahead log and brings them to
// Kafka exactly once.
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if _, err := tx.Exec(ctx, `update essays set state = 'done' where id = $1`, id); err != nil {
//			return err
//		}
//		return outbox.Publish(ctx, tx, outbox.Event{
//			AggregateType: "essay", AggregateID: id, Type: "essay.done", Payload: EssayDone{ID: id},
//		})
//	})
//
// The caller owns the transaction: Publish neither begins, commits nor rolls
// back. After an error the transaction must be rolled back, as after any failed
// statement. [Publish] is for pgx, [PublishSQL] for database/sql with any
// driver; so are the others:
//
//   - [PublishDual] writes a thin and a rich event under one correlation id;
//   - [Emit] writes events into the write-ahead log only, without the table.
//
// Package outbox/otel adds the trace of an OpenTelemetry context to an event,
// outbox/outboxtest has assertions for a service's own tests.
//
// The table is made by `cdc-relay migrate`; services need membership in the
// role cdc_relay_writer. This package imports pgx and the standard library
// only.
package outbox
