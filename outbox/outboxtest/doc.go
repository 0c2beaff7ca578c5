// Package outboxtest is for the tests of services that publish with package
// outbox. It reads the events back inside the test's own transaction, before it
// is committed or rolled back: no relay, no Kafka, no fake.
//
//	tx, _ := pool.Begin(ctx)
//	defer tx.Rollback(ctx)
//	service.FinishEssay(ctx, tx, "essay-1")
//	outboxtest.RequirePublished(t, tx, outbox.Event{
//		AggregateType: "essay", AggregateID: "essay-1", Type: "essay.done",
//		Payload: EssayDone{EssayID: "essay-1", Grade: "A-"},
//	})
//
// What is zero in a wanted event is not compared, so a test says what it is
// about. Only the events of this transaction count, whatever else is in the table.
// The test's role reads the table (cdc_relay_reader); a service's own need not.
//
// Events of outbox.Emit are in the log and not in the table, and cannot be seen
// from inside a transaction.
package outboxtest
