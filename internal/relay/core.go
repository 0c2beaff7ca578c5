package relay

import (
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Limits say how much one Kafka transaction carries before it is closed.
type Limits struct {
	Events int // records; default 2 000
	Bytes  int // of keys, values and headers; default 8 MiB
	// An idle checkpoint (nothing in flight, Safe moved) is due after this
	// time or this much WAL, whichever comes first.
	IdleAfter time.Duration
	IdleBytes event.LSN
}

// DefaultLimits are the measured ones (docs/adr/0003-batches.md).
var DefaultLimits = Limits{Events: 2000, Bytes: 8 << 20, IdleAfter: 10 * time.Second, IdleBytes: 16 << 20}

// Core decides what is kept, when a batch is closed, where it leads and what
// Postgres may forget. It has no clock, no goroutine and does no I/O: the loop
// tells it what happened and does what it says.
//
//	OUTSIDE ──Begin──► INSIDE ──Commit──► OUTSIDE      the stream
//	FILLING ──Close──► COMMITTING ──Committed──► …     the batch; one commits while the next fills
//
// Invariant: acked <= committed <= received, at all times.
type Core struct {
	limits Limits

	// The stream.
	inside bool           // between BEGIN and COMMIT
	drop   event.Position // rows not after it are known to Kafka
	seen   event.Checkpoint
	before event.Checkpoint // seen when the open transaction began, or its last piece was handed over

	// The batch being filled.
	events, bytes     int // in it
	txEvents, txBytes int // of the open transaction in it
	draining          bool

	// The batch being committed.
	committing bool
	closing    event.Checkpoint // where it leads

	committed event.Checkpoint // in Kafka, acknowledged by the broker
	acked     event.LSN        // told to Postgres
}

// NewCore returns a Core that has seen nothing; call Restart before Saw.
func NewCore(l Limits) *Core { return &Core{limits: l} }

// Restart forgets everything received and goes on from cp, the checkpoint as
// read from Kafka. It is the only way into a stream: after a start, a crash,
// an abort or an unknown outcome.
func (c *Core) Restart(cp event.Checkpoint) {
	*c = Core{limits: c.limits, drop: cp.Last, seen: cp, committed: cp, closing: cp, acked: cp.Safe}
}

// Saw takes note of m and says whether its row is to be kept, that is, appended
// to the batch and then reported by Grew.
func (c *Core) Saw(m *event.Msg) (keep bool) {
	switch m.Kind {
	case event.Begin:
		c.inside, c.before = true, c.seen
		c.txEvents, c.txBytes = 0, 0
	case event.Row:
		// Dropped only by what Kafka knows of rows, never by Safe: a
		// transaction may commit at exactly the LSN of a keepalive.
		if !m.Pos.After(c.drop) {
			return false
		}
		c.seen.Last, c.seen.XID, c.seen.Time = m.Pos, m.XID, m.Time
		return true
	case event.Commit:
		c.inside = false
		c.raise(m.End)
	case event.Alive:
		// Inside a transaction the server's WAL end is ahead of rows still to
		// come: it says nothing.
		if !c.inside {
			c.raise(m.End)
		}
	}
	return false
}

// raise moves what Postgres may forget; it never goes down (the server repeats
// older positions after a reconnect).
func (c *Core) raise(end event.LSN) { c.seen.Safe = max(c.seen.Safe, end) }

// Grew reports what a kept row added to the batch.
func (c *Core) Grew(events, bytes int) {
	c.events += events
	c.bytes += bytes
	c.txEvents += events
	c.txBytes += bytes
	c.seen.Events += uint64(events)
}

// Full reports that the batch must not grow: no further message may be read
// before it was closed. Between transactions that is at the limit (or when the
// pool is short); inside one only when this one transaction has reached the
// limit by itself, so that smaller ones are never cut.
func (c *Core) Full(short bool) bool {
	if c.inside {
		return c.txEvents >= c.limits.Events || c.txBytes >= c.limits.Bytes
	}
	return c.events > 0 && (short || c.events >= c.limits.Events || c.bytes >= c.limits.Bytes)
}

// Close closes the batch if it is time: no commit is running, and it is full,
// or nothing more is waiting at a transaction boundary. end is where it leads.
// There is no linger and no age: under load batches grow by themselves while
// the one before commits.
func (c *Core) Close(more, short bool) (end event.Checkpoint, ok bool) {
	if c.committing || c.events == 0 {
		return event.Checkpoint{}, false
	}
	if !c.Full(short) && (c.inside || more) {
		return event.Checkpoint{}, false
	}
	c.shut()
	return c.closing, true
}

// shut hands the batch over. Positions seen from now on belong to the next.
func (c *Core) shut() {
	c.committing, c.closing, c.before = true, c.seen, c.seen
	c.events, c.bytes, c.txEvents, c.txBytes = 0, 0, 0, 0
}

// CloseIdle closes an empty batch, a checkpoint alone, if nothing is in flight
// and Safe has moved far enough or since is long enough ago. since is the time
// since the last commit.
func (c *Core) CloseIdle(since time.Duration) (end event.Checkpoint, ok bool) {
	moved := c.seen.Safe - c.committed.Safe
	if c.committing || c.events > 0 || moved == 0 {
		return event.Checkpoint{}, false
	}
	if !c.draining && since < c.limits.IdleAfter && moved < c.limits.IdleBytes {
		return event.Checkpoint{}, false
	}
	c.shut()
	return c.closing, true
}

// Retreat leaves the open transaction, as far as it was not handed over, to the
// next start, so that the whole ones before it in the batch can be committed.
// Only the end of a stream may follow. It returns how many records stay.
func (c *Core) Retreat() (stay int) {
	if c.inside {
		c.inside, c.seen = false, c.before
		c.events -= c.txEvents
		c.bytes -= c.txBytes
		c.txEvents, c.txBytes = 0, 0
	}
	return c.events
}

// Drain makes every idle checkpoint due at once: the process, or Postgres, is
// shutting down.
func (c *Core) Drain() { c.draining = true }

// Committed reports that the broker acknowledged the commit of the batch that
// was closed. ack is what Postgres may forget now.
func (c *Core) Committed() (ack event.LSN) {
	c.committing, c.committed = false, c.closing
	c.acked = c.committed.Safe
	return c.acked
}

// Committing reports whether a closed batch waits for its outcome.
func (c *Core) Committing() bool { return c.committing }

// Inside reports whether the stream is between BEGIN and COMMIT.
func (c *Core) Inside() bool { return c.inside }

// Acked is the flush position Postgres was told.
func (c *Core) Acked() event.LSN { return c.acked }

// At is the checkpoint in Kafka.
func (c *Core) At() event.Checkpoint { return c.committed }

// Received is the position all received messages lead to.
func (c *Core) Received() event.Checkpoint { return c.seen }
