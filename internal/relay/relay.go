package relay

import (
	"context"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Source is a replication stream of one database. Next, Status and Resume
// belong to the loop goroutine; Wake may be called from anywhere; Look and
// Watch use a connection of their own and may be called beside Next.
type Source interface {
	// Look reads the server's facts and touches nothing. A server in recovery
	// is no error: Facts.InRecovery says so.
	Look(ctx context.Context) (event.Facts, error)
	// Watch waits a while (10 s), or until the server ends the connection
	// (event.ErrShutdown), and then looks.
	Watch(ctx context.Context) (event.Facts, error)
	// Taken reports, by one cheap statement, whether a process holds the slot
	// of a server that is not in recovery.
	Taken(ctx context.Context) (bool, error)
	// LockFirst takes the advisory lock of a first start; unlock gives it back.
	// Held by another process: a Fault with the verdict Standby.
	LockFirst(ctx context.Context) (unlock func(), err error)
	// Create makes what does not exist yet of publication and slot and returns
	// the slot's consistent point.
	Create(ctx context.Context) (event.LSN, error)
	// DropOlder drops the slot if it stands before than, or is lost, judged by
	// the server in the statement that drops it; one that does not, or does not
	// exist, is no error. Used by `slots recreate` only.
	DropOlder(ctx context.Context, name string, than event.LSN) error
	// Take starts replication at the slot's confirmed position; the slot is the
	// lock. In use: a Fault with the verdict Standby. Until Resume, statuses
	// repeat confirmed_flush as read after Take.
	Take(ctx context.Context) error
	// Beat keeps the session of a slot that was taken and not resumed yet.
	Beat() error
	// Resume says where the pipeline stands: from here statuses confirm cp.Safe.
	Resume(cp event.Checkpoint) error
	// Next reads the next message, serving keepalives meanwhile. It returns a
	// Wake at Wake, and at the latest after a second of silence.
	Next(m *event.Msg) error
	// Status tells the server that everything before flush is in Kafka. Also
	// called again and again with the same value while the loop cannot read.
	Status(flush event.LSN) error
	// Wake makes the running or the next Next return.
	Wake()
	// Close ends the replication connection and the SQL connection. Within ctx
	// it ends the stream in good order, so that the slot has the last Status.
	Close(ctx context.Context) error
}

// Transformer turns rows into records: one outcome per row. An error stops the
// pipeline or restarts it, as event.VerdictOf says.
type Transformer interface {
	Append(b *event.Batch, m *event.Msg) error
}

// Sink is the exactly-once writer of one pipeline. It hides the transactional
// ids and which one is next. After any error but one of Look it must be closed
// and made anew by Look … Read.
type Sink interface {
	// Look reads the checkpoint without fencing anyone; the zero Saved (not
	// Exists) is "none". It never takes an open transaction for "none".
	Look(ctx context.Context) (event.Saved, error)
	// Settled is a Look that waits for every transaction that is open now: what
	// was committed before it is seen. It fences nobody.
	Settled(ctx context.Context) (event.Saved, error)
	// Fence initialises every transactional id, one after the other in
	// ascending order.
	Fence(ctx context.Context) error
	// Read reads the checkpoint with the authority of the fence. If it names
	// more ids than were fenced it fences those and reads again.
	Read(ctx context.Context) (event.Saved, error)
	// Save commits a transaction that carries only this checkpoint.
	Save(ctx context.Context, s event.Saved) error
	// Resume gives the identity every later checkpoint carries; call it after
	// Read and before the first Commit.
	Resume(s event.Saved)
	// Commit produces the batch and its checkpoint in one transaction and
	// returns nil only if the broker acknowledged the commit.
	Commit(ctx context.Context, b *event.Batch) error
	// Doubt is not nil when the last Commit or Save, which succeeded, may have
	// been asked for twice: nothing more is committed before the next start.
	Doubt() error
	// Close drops both producers without waiting for them.
	Close()
}

// Guards judge facts; each returns nil or a Fault. They are pure.
type Guards struct {
	// Foreign is asked before the fence: is this checkpoint ours at all?
	Foreign func(event.Saved, event.Facts) error
	// Start is asked last, with facts read after the checkpoint.
	Start func(event.Saved, event.Facts) error
	// Running is asked every 10 s and before each idle checkpoint, with the last
	// checkpoint committed before the facts were read, or a later one.
	Running func(event.Saved, event.Facts) error
	// Adopt is asked whether a slot without a checkpoint can be taken over.
	Adopt func(event.Facts) error
}
