package main

// The state is one comparable value of bytes: two states are the same when they
// are equal, and it is hashed as it is.

// Numbers of who: nobody, relay A, relay B.
const nobody = 0

// who is the number of relay r (0 or 1) in Owner, Lock and Holder.
func who(r int) uint8 { return uint8(r + 1) }

// States of a transactional id at its coordinator.
const (
	txnEmpty = iota
	txnOpen
	txnCommitting // decided: will be committed, markers are missing
	txnAborting   // decided: will be aborted, markers are missing
)

// Partitions in a transaction whose marker is not written yet.
const (
	onData = 1 << iota
	onCheckpoints
)

// record is one record on the checkpoint partition: a checkpoint and what it
// belongs to.
//
//	bits 0-1 tag · 2-4 last · 5-7 safe · 8 ids-1 · 9-10 kind · 11 names a slot to drop
type record uint16

// Tags of a record.
const (
	resolved  = 0 // committed, and its marker is written
	ofID0     = 1 // in a transaction of id 0; ofID0+1: of id 1
	ofAnother = 3 // another pipeline's, open
)

// Kinds of a checkpoint.
const (
	none = iota
	creating
	streaming
)

func checkpoint(last, safe, ids uint8, kind int) record {
	return record(last)<<2 | record(safe)<<5 | record(ids-1)<<8 | record(kind)<<9
}

func (c record) tag() uint8            { return uint8(c & 3) }
func (c record) tagged(t uint8) record { return c&^3 | record(t) }
func (c record) last() uint8           { return uint8(c >> 2 & 7) }
func (c record) safe() uint8           { return uint8(c >> 5 & 7) }
func (c record) ids() uint8            { return uint8(c>>8&1) + 1 }
func (c record) kind() int             { return int(c >> 9 & 3) }
func (c record) drops() bool           { return c>>11&1 == 1 }

// Bounds of the logs. A step that would exceed them is reported, not taken.
const (
	maxData = 10
	maxCkpt = 8
)

// State is the whole world.
type State struct {
	// Postgres. LSNs are small numbers, see wal.
	Confirmed uint8 // the slot's confirmed_flush
	Owner     uint8 // whose walsender holds the slot
	Slot      uint8 // 1: the slot exists
	Point     uint8 // its consistent point: what ends at or before it is not promised
	WAL       uint8 // transactions committed so far
	Lock      uint8 // advisory lock of the first start

	// The coordinator, per transactional id.
	Holder [2]uint8 // whose producer has the current epoch
	Txn    [2]uint8
	Mark   [2]uint8
	Wire   [2]wire

	// The data partition: rows 1..Rows are committed, then what follows in the
	// log from the first row on that is not: row<<2 | tag.
	Rows uint8
	Data [maxData]uint8

	// The checkpoint partition: Base is the last record below the last stable
	// offset, Ckpt what lies above it. Old is an earlier record with a higher
	// LSN that compaction has not removed.
	Base, Old record
	Ckpt      [maxCkpt]record

	Safest uint8 // the highest safe of all decided checkpoints

	R    [2]Relay
	Left [7]uint8 // what is left of the Budget, in its order; 0 also when unbounded
}

// Relay is the memory of one relay.
type Relay struct {
	PC     uint8
	First  bool   // in a first start
	Took   bool   // had the slot, or the lock of the first start, in this start
	Gone   bool   // the checkpoint was the same at a second look
	Doubt  bool   // the last commit may have been asked for twice
	Has    uint8  // bit i: this start initialised id i
	ID     uint8  // of the present or the next transaction
	K      uint8  // last row produced
	Last   uint8  // last row in Kafka, as known
	Safe   uint8  // what Postgres may forget, as known
	BLast  uint8  // where the batch leads
	BSafe  uint8  //
	Kind   uint8  // of the checkpoint of the batch; dropping besides for an intent that names a slot
	From   uint8  // first row the connection sends
	Target uint8  // records of Ckpt left to read
	Fact   uint8  // what was seen of Postgres: slot's position and existence
	Cp     record // as read
}

// Where a relay is. The order is that of a start.
const (
	pcLook      = iota // nothing taken: standby, or just (re)started
	pcLookKafka        // facts are read, the checkpoint is not
	pcLookWait         // nothing visible: waiting for what may be hidden
	pcLooked
	pcGone      // slot missing: facts again
	pcGoneKafka // and the checkpoint again
	pcGoneWait  // up to its end
	pcGone2
	pcLock // first start
	pcLockFacts
	pcLockKafka
	pcLockWait
	pcTake
	pcFence
	pcAsk
	pcRead
	pcGuard
	pcIntent // first start: what the checkpoint says decides
	pcDrop   // recreate
	pcMake
	pcStream
	pcProduce
	pcCkpt
	pcEnd
	pcAnswer
	pcAck
	pcStopped // a foreign relay that refused
)

// swap exchanges the two relays.
func (s *State) swap() State {
	n := *s
	n.R[0], n.R[1] = s.R[1], s.R[0]
	n.Owner, n.Lock = other(s.Owner), other(s.Lock)
	n.Holder[0], n.Holder[1] = other(s.Holder[0]), other(s.Holder[1])
	return n
}

func other(w uint8) uint8 {
	if w == nobody {
		return nobody
	}
	return 3 - w
}

// less orders two states that differ in their relays only, somehow.
func (r *Relay) less(o *Relay) bool {
	a, b := r.rank(), o.rank()
	if a[0] != b[0] {
		return a[0] < b[0]
	}
	return a[1] < b[1]
}

// rank packs every field.
func (r *Relay) rank() [2]uint64 {
	flags := r.Has<<2 | r.ID<<4
	if r.First {
		flags |= 1
	}
	if r.Took {
		flags |= 2
	}
	if r.Doubt {
		flags |= 1 << 6
	}
	if r.Gone {
		flags |= 1 << 7
	}
	return [2]uint64{
		pack(r.PC, flags, r.Kind, r.K, r.Last, r.Safe, r.BLast, r.BSafe),
		pack(r.From, r.Target, r.Fact, uint8(r.Cp), uint8(r.Cp>>8), 0, 0, 0),
	}
}

func pack(b ...uint8) (v uint64) {
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// wal gives LSNs and rows of the transactions of a Config. Transaction i
// commits at 2i+1 and ends at 2i+2; the keepalive behind it carries 2i+3, which
// is exactly where the next one commits.
type wal struct {
	upTo   [8]uint8 // rows of all transactions that end at or before an LSN
	below  [8]uint8 // rows of all transactions that commit at or before an LSN
	cuts   []cut    // where a batch can end
	total  uint8
	endLSN uint8 // of the last transaction
}

// walEnd is where the log of n transactions ends.
func walEnd(n uint8) uint8 { return 2*n + 1 }

// cut is a place where a batch can end.
type cut struct {
	rows, safe uint8
	inside     bool  // a transaction
	needs      uint8 // transactions in the WAL
}

func newWAL(c *Config) wal {
	var w wal
	for i, n := range c.Txns {
		for k := uint8(1); k < n; k++ {
			w.cuts = append(w.cuts, cut{rows: w.total + k, inside: true, needs: uint8(i + 1)})
		}
		w.total += n
		w.endLSN = uint8(2*i + 2)
		w.cuts = append(w.cuts, cut{rows: w.total, safe: w.endLSN, needs: uint8(i + 1)},
			cut{rows: w.total, safe: w.endLSN + 1, needs: uint8(i + 1)})
		for l := 2*i + 1; l < len(w.upTo); l++ {
			w.below[l] = w.total
			if l > 2*i+1 {
				w.upTo[l] = w.total
			}
		}
	}
	return w
}
