// Package consumer is what a service imports to act on each event once,
// although Kafka may bring it again: after a crash, a rebalance, a rewind of
// offsets or a replay.
//
// The relay publishes every event exactly once; a consumer's offset and its
// database are two systems, so the last step is the consumer's own. An [Inbox]
// claims the event in the transaction that does the work, in a table of the
// consumer's own Postgres: the claim is there if and only if the work is.
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		m := consumer.NewMessage(r.Topic, r.Partition, r.Offset, r.Headers)
//		_, err := inbox.Once(ctx, tx, m, func(ctx context.Context) error {
//			_, err := tx.Exec(ctx, `update essays set state = 'done' where id = $1`, string(r.Key))
//			return err
//		})
//		return err
//	})
//	// … and only now commit the offset.
//
// The caller owns the transaction, the Kafka client and the offsets: nothing
// here begins, commits, polls or runs in the background. [Inbox.Once] is for
// pgx, [Inbox.OnceSQL] for database/sql with any driver; [Inbox.Claim] claims
// many events in one statement. [NewMessage] takes the headers of
// confluent-kafka-go, franz-go and segmentio/kafka-go as they are. Package
// consumer/otel continues the producer's trace.
//
// The table is made by [Migrate], by `cdc-relay migrate --inbox URL`, or by
// running [SQL] in a migration of the service; services need membership in the
// role cdc_relay_consumer, or to own the table. Its rows are forgotten by
// [Prune]. docs/consuming.md says how long to keep them, and which settings of
// the Kafka client all this needs.
package consumer
