package main

// The library asks again by itself when a connection drops or a request times
// out. So any request may exist twice, and the elder may arrive at any later
// time, as may what a client had on its way when it gave up.
//
// The coordinator and a partition's leader refuse an older epoch: there is one
// wire per transactional id, and it ends with the epoch. (A client that speaks
// transactions V1, as librdkafka does, keeps its epoch until it is initialised
// again.) A request on the wire need not arrive, and may have been sent many
// times: it stays there when it does. So that it is there can be taken for
// granted, and costs no state. A commit asked for twice is a choice, because the
// relay can tell.
//
// Two requests are not on the wire. InitProducerId carries no epoch: it is late
// at any time, see lateInit. A Produce whose retry was written is dropped by its
// sequence number, now and in every later transaction of the epoch.

// Requests that wait on the wire of an id.
const (
	addData        = onData        // AddPartitionsToTxn, one a partition
	addCheckpoints = onCheckpoints //
	commits        = 1 << 2        // EndTxn
	aborts         = 1 << 3        //
	markedData     = onData << 4   // WriteTxnMarkers(commit), of the broker itself
	markedCkpts    = onCheckpoints << 4
)

// wire is what is on its way for the present epoch of an id.
type wire struct {
	Sent uint8
	Row  uint8  // Produce of a row that was not written and not asked for again
	Ckpt record // Produce of a checkpoint, likewise
}

// late reports whether requests outlive the library's own retry.
func (w *world) late() bool { return w.faults[faultLate] != 0 }

// produces reports whether a Produce is on its way.
func (x *wire) produces() bool { return x.Row != 0 || x.Ckpt != 0 }

// forget takes from the wire of an id that nobody has any more what can only begin
// and end an empty transaction.
func (s *State) forget(id uint8) {
	x := &s.Wire[id]
	switch {
	case s.Holder[id] != nobody || x.produces():
	case s.Txn[id] == txnOpen:
		x.Sent &^= addData | addCheckpoints
	default:
		x.Sent = 0
	}
}

// register is AddPartitionsToTxn of r, asked for more than once.
func (w *world) register(n *State, id, partition uint8) {
	n.open(id, partition)
	if w.late() {
		n.Wire[id].Sent |= partition
	}
}

// leave is what r has on its way when it ends: the request it waits for, and the
// EndTxn(abort) it may have sent because of it. A Produce is sent only when its
// partition is in the transaction.
func (w *world) leave(n *State, r int) {
	q := &n.R[r]
	if !w.late() || !n.owns(r, q.ID) || q.PC < pcProduce || q.PC > pcAnswer {
		return
	}
	n.Wire[q.ID].Sent |= aborts
	switch q.PC {
	case pcProduce:
		if q.announced() || w.registered(n, q.ID, onData) {
			n.Wire[q.ID].Row = q.nextRow()
		}
	case pcCkpt:
		if w.registered(n, q.ID, onCheckpoints) {
			n.Wire[q.ID].Ckpt = q.checkpoint(w.IDs[r]).tagged(q.ID + 1)
		}
	case pcEnd:
		n.Wire[q.ID].Sent |= commits
	}
}

// registered is an AddPartitionsToTxn and whether it is answered: not before the
// markers of the last transaction are written.
func (w *world) registered(n *State, id, partition uint8) bool {
	if n.Txn[id] > txnOpen {
		n.Wire[id].Sent |= partition
		return false
	}
	w.register(n, id, partition)
	return true
}

// doubt is what r does, before it produces anything else, when its last commit
// may have been asked for twice.
func (w *world) doubt(s *State, r int) {
	if w.rules.RenewInPlace {
		last := (s.R[r].ID + w.IDs[r] - 1) % w.IDs[r]
		w.fence(s, r, last, func(n *State) { n.R[r].Doubt = !n.owns(r, last) })
		return
	}
	n := *s
	w.recover(&n, r)
	w.emit(&n, act{do: doDoubt, relay: r}, 20, holds)
}

// lateRequests are the arrivals.
func (w *world) lateRequests(s *State) {
	for id := range uint8(2) {
		if w.late() {
			w.lateInit(s, id)
			w.lateAdd(s, id)
		}
		w.lateProduce(s, id)
		w.lateEnd(s, id)
		w.lateMarkers(s, id)
	}
}

// lateInit is an InitProducerId whose answer nobody waits for: of a relay that
// is gone, or of the one at work, which its own retry has answered. Whoever has
// the id is fenced, and an open transaction aborted, for nobody. When none is
// open, that is seen by who begins one, and not before.
func (w *world) lateInit(s *State, id uint8) {
	n := *s
	switch n.Txn[id] {
	case txnEmpty:
		if !s.begins(id) {
			return
		}
		n.hand(id, nobody)
	case txnOpen:
		n.hand(id, nobody)
		n.abort(id)
	default:
		return // CONCURRENT_TRANSACTIONS
	}
	w.emit(&n, act{do: doLateInit, id: id}, 0, holds)
}

// begins reports whether the holder of id is about to begin a transaction.
func (s *State) begins(id uint8) bool {
	if s.Holder[id] == nobody {
		return false
	}
	q := &s.R[s.Holder[id]-1]
	return q.ID == id && (q.PC == pcProduce && !q.announced() || q.PC == pcCkpt)
}

// lateAdd begins an empty transaction behind the client's back, or adds
// partitions to the one that is open. That is seen by who begins one, and by a
// Produce that is late as well.
func (w *world) lateAdd(s *State, id uint8) {
	late := s.Wire[id].Sent & (addData | addCheckpoints)
	if s.Txn[id] > txnOpen || late&^s.Mark[id] == 0 || !s.Wire[id].produces() && (s.Txn[id] == txnOpen || !s.begins(id)) {
		return
	}
	n := *s
	n.open(id, late)
	w.emit(&n, act{do: doLateAdd, id: id}, 0, holds)
}

// admits reports whether the leader of partition takes a Produce of the present
// epoch of id that no AddPartitionsToTxn goes before. It does while it knows of an
// open transaction; else it asks the coordinator (KIP-890 part 1: Kafka from 3.6
// on, transaction.partition.verification.enable), who says no unless one is open
// with this partition in it.
func (w *world) admits(s *State, id, partition uint8) bool {
	return s.Mark[id]&partition != 0 || w.rules.Unverified
}

// writeRow is one Produce that the leader admits. It need not know what was
// decided: before the partition has its marker, a row goes the way of the others
// of its transaction.
func (w *world) writeRow(n *State, id, row uint8) property {
	if n.Mark[id]&onData != 0 && n.Txn[id] == txnAborting {
		return holds // written, and aborted
	}
	p := n.appendRow(id, row)
	if n.Mark[id]&onData != 0 && n.Txn[id] == txnCommitting && p == holds {
		p = n.commitRows(id, 0)
	}
	return p
}

// writeCheckpoint is the same on the other partition.
func (w *world) writeCheckpoint(n *State, id uint8, c record) property {
	if n.Mark[id]&onCheckpoints != 0 && n.Txn[id] == txnAborting {
		return holds
	}
	p := n.appendCheckpoint(c)
	if n.Mark[id]&onCheckpoints != 0 && n.Txn[id] == txnCommitting && p == holds {
		p = w.commitCheckpoints(n, id)
	}
	return p
}

// lateProduce is a record whose client has given up.
func (w *world) lateProduce(s *State, id uint8) {
	if row := s.Wire[id].Row; row != 0 && w.admits(s, id, onData) {
		n := *s
		n.Wire[id].Row = 0
		p := w.writeRow(&n, id, row)
		w.emit(&n, act{do: doLateRow, id: id, arg: row}, 0, p)
	}
	if c := s.Wire[id].Ckpt; c != 0 && w.admits(s, id, onCheckpoints) {
		n := *s
		n.Wire[id].Ckpt = 0
		p := w.writeCheckpoint(&n, id, c)
		w.emit(&n, act{do: doLateCkpt, id: id, arg: c.last()}, 0, p)
	}
}

// lateEnd is EndTxn: it ends whatever transaction is open.
func (w *world) lateEnd(s *State, id uint8) {
	if s.Txn[id] != txnOpen {
		return
	}
	if s.Wire[id].Sent&commits != 0 {
		n := *s
		if !w.late() { // it was asked for once
			n.Wire[id].Sent &^= commits
		}
		p := w.decide(&n, id)
		w.emit(&n, act{do: doLateCommit, id: id}, 0, p)
	}
	if s.Wire[id].Sent&aborts != 0 {
		n := *s
		n.abort(id)
		w.emit(&n, act{do: doLateAbort, id: id}, 0, holds)
	}
}

// lateMarkers is not a request of ours: the coordinator lost its connection to a
// partition's leader, had the marker written over another one, and the first one
// arrives. The leader takes it while the epoch is the same.
func (w *world) lateMarkers(s *State, id uint8) {
	if s.Txn[id] != txnOpen {
		return
	}
	if s.Wire[id].Sent&markedData != 0 {
		n := *s
		p := n.commitRows(id, 0)
		w.emit(&n, act{do: doLateMarker, id: id, arg: onData}, 0, p)
	}
	if s.Wire[id].Sent&markedCkpts != 0 {
		n := *s
		p := w.commitCheckpoints(&n, id)
		w.markCheckpoints(&n, id, true)
		w.emit(&n, act{do: doLateMarker, id: id, arg: onCheckpoints}, 0, p)
	}
}
