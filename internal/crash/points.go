package crash

// Name is a point of the protocol. It is passed when the step it names is done
// and the next one is not begun.
type Name string

// The points of a start (internal/relay/start.go).
const (
	StartLooked Name = "start.looked" // Postgres and the checkpoint were looked at, nothing touched
	StartTaken  Name = "start.taken"  // the slot is ours, nobody is fenced
	FenceFirst  Name = "fence.first"  // id 0 is initialised, id 1 is not
	StartFenced Name = "start.fenced" // every id is ours, the checkpoint is not read
	StartRead   Name = "start.read"   // the checkpoint is read, the guards are not asked
	StartJudged Name = "start.judged" // the guards passed, nothing is resumed
)

// The points of a first start and of `slots recreate`.
const (
	FirstLocked      Name = "first.locked"
	FirstFenced      Name = "first.fenced"
	FirstIntent      Name = "first.intent"      // the intent is committed
	FirstPublication Name = "first.publication" // the publication is there, the slot is not
	FirstSlot        Name = "first.slot"        // the slot is there, the checkpoint is not
	FirstCheckpoint  Name = "first.checkpoint"
	RecreateLocked   Name = "recreate.locked"
	RecreateFenced   Name = "recreate.fenced"
	RecreateIntent   Name = "recreate.intent"
	RecreateDropped  Name = "recreate.dropped" // the old slot is gone, the new one is not there
)

// The points of the stream (internal/relay/loop.go).
const (
	StreamBegin  Name = "stream.begin"  // a BEGIN was received
	StreamRow    Name = "stream.row"    // a row is in the batch
	StreamHanded Name = "stream.handed" // a batch went to the committer
	SplitHanded  Name = "split.handed"  // the same, in the middle of a transaction larger than a batch
	AckBefore    Name = "ack.before"    // the commit is known, Postgres is not told
	AckAfter     Name = "ack.after"     // Postgres is told
)

// The points of a Kafka transaction (internal/sink/commit.go): of a batch, of an
// idle checkpoint and of the records of a first start.
const (
	TxnBegun      Name = "txn.begun"
	TxnProduced   Name = "txn.produced"   // one more record was produced
	TxnRecords    Name = "txn.records"    // all records, the checkpoint is not
	TxnCheckpoint Name = "txn.checkpoint" // the checkpoint was produced, the commit is not asked for
	TxnCommitted  Name = "txn.committed"  // the broker said so
	TxnAborting   Name = "txn.aborting"   // it is given up, the abort is not asked for
	TxnAborted    Name = "txn.aborted"
)

// The points of the recovery path (internal/relay/pipeline.go).
const (
	RecoverFailed Name = "recover.failed" // a stream or a start ended in an error, both ends are open
	RecoverClosed Name = "recover.closed" // both ends are closed
)

// All returns every point, in the order above.
func All() []Name {
	return []Name{
		StartLooked, StartTaken, FenceFirst, StartFenced, StartRead, StartJudged,
		FirstLocked, FirstFenced, FirstIntent, FirstPublication, FirstSlot, FirstCheckpoint,
		RecreateLocked, RecreateFenced, RecreateIntent, RecreateDropped,
		StreamBegin, StreamRow, StreamHanded, SplitHanded, AckBefore, AckAfter,
		TxnBegun, TxnProduced, TxnRecords, TxnCheckpoint, TxnCommitted, TxnAborting, TxnAborted,
		RecoverFailed, RecoverClosed,
	}
}
