package main

// The stream: internal/relay/loop.go and internal/sink/commit.go. Batches,
// transactions, acknowledgements.

// batches are all the batches r could have received by now. What it reads from
// its socket is the WAL, also when the walsender is gone.
func (w *world) batches(s *State, r int) {
	for _, c := range w.cuts {
		q := &s.R[r]
		safe := max(q.Safe, c.safe)
		if c.needs > s.WAL || c.rows < q.Last || c.rows == q.Last && safe == q.Safe || c.inside && (!w.Split || c.rows == q.Last) {
			continue
		}
		n := *s
		q = &n.R[r]
		q.K, q.BLast, q.BSafe, q.Kind = q.Last, c.rows, safe, streaming
		if q.nextRow() == 0 { // the connection sends none of these rows
			q.BLast = q.Last
			if safe == q.Safe {
				continue
			}
		}
		q.PC = w.produceOrCheckpoint(q)
		w.emit(&n, act{do: doBatch, relay: r, arg: q.BLast}, 20, holds)
	}
}

// nextRow is the next row of the batch that the connection has sent; 0: none.
func (q *Relay) nextRow() uint8 {
	if row := max(q.K+1, q.From); row <= q.BLast {
		return row
	}
	return 0
}

func (w *world) produceOrCheckpoint(q *Relay) uint8 {
	switch {
	case q.nextRow() != 0:
		return pcProduce
	case !w.rules.NoCheckpoint:
		return pcCkpt
	case q.K == q.Last: // an empty transaction
		q.Last, q.Safe = q.BLast, q.BSafe
		return pcAck
	}
	return pcEnd
}

// produce is pcProduce and pcCkpt: one record of the batch.
func (w *world) produce(s *State, r int) {
	id := s.R[r].ID
	if s.R[r].Has&(1<<id) == 0 { // lazily
		w.fence(s, r, id, func(*State) {})
		return
	}
	if !s.owns(r, id) {
		w.failed(s, r)
		return
	}
	if s.R[r].announced() {
		if !w.admits(s, id, onData) {
			w.failed(s, r)
			return
		}
	} else if s.Txn[id] > txnOpen {
		return // CONCURRENT_TRANSACTIONS: the markers of the last one come first
	}
	n := *s
	q := &n.R[r]
	a := act{do: doCheckpoint, relay: r, id: id}
	var p property
	if q.PC == pcProduce {
		if !q.announced() {
			w.register(&n, id, onData)
		}
		q.K = q.nextRow()
		a.do, a.arg = doRow, q.K
		p = w.writeRow(&n, id, q.K)
		q.PC = w.produceOrCheckpoint(q)
	} else {
		w.register(&n, id, onCheckpoints)
		p = w.writeCheckpoint(&n, id, q.checkpoint(w.IDs[r]).tagged(id+1))
		a.arg, q.PC = q.BLast, pcEnd
	}
	w.emit(&n, a, 20, p)
}

// announced reports whether the client has the partition of its next record in
// the transaction, so that it does not ask the coordinator first.
func (q *Relay) announced() bool { return q.PC == pcProduce && q.K != q.Last }

// checkpoint is the last record of the batch.
func (q *Relay) checkpoint(ids uint8) record {
	c := checkpoint(q.BLast, q.BSafe, ids, int(q.Kind&^dropping))
	if q.Kind&dropping != 0 {
		c |= 1 << 11
	}
	return c
}

// end is EndTxn.
func (w *world) end(s *State, r int) {
	id := s.R[r].ID
	n := *s
	if n.owns(r, id) && n.spend(faultLost, w) {
		n.Wire[id].Sent |= commits
		w.unknown(&n, r)
		w.emit(&n, act{do: doUnanswered, relay: r, id: id}, 0, holds)
	}
	n = *s
	if w.rules.Overlap && n.Wire[id].Sent&commits == 0 && n.R[r].BLast < w.total && w.IDs[r] == 2 {
		n.Wire[id].Sent |= commits
		w.settled(&n, r)
		n.R[r].PC = pcStream
		w.emit(&n, act{do: doOverlap, relay: r, id: id}, 0, holds)
	}
	n = *s
	p := holds
	if w.rules.AckBeforeCommit {
		p = w.ack(&n, r, n.R[r].BSafe)
	}
	if !n.owns(r, id) || n.Txn[id] == txnAborting {
		w.failed(s, r)
		return
	}
	if n.Txn[id] == txnOpen { // else one that was late has committed it: success as well
		if q := w.decide(&n, id); p == holds {
			p = q
		}
	}
	n.R[r].PC = pcAnswer
	w.emit(&n, act{do: doEnd, relay: r, id: id}, 20, p)
	if n.spend(faultLate, w) {
		n.Wire[id].Sent |= commits
		n.R[r].Doubt = !w.rules.TrustRetriedCommit
		w.emit(&n, act{do: doEndTwice, relay: r, id: id}, 0, p)
	}
}

// answer is what the client hears of EndTxn, or does not.
func (w *world) answer(s *State, r int) {
	n := *s
	if n.spend(faultLost, w) {
		if w.rules.Redo && !n.R[r].First {
			n.R[r].K = n.R[r].Last
			n.R[r].PC = w.produceOrCheckpoint(&n.R[r])
		} else {
			w.unknown(&n, r)
		}
		w.emit(&n, act{do: doNoAnswer, relay: r, id: s.R[r].ID}, 0, holds)
	}
	n = *s
	q := &n.R[r]
	w.settled(&n, r)
	if q.First {
		w.saved(&n, r, s.R[r].Kind)
	}
	w.emit(&n, act{do: doAnswer, relay: r, id: s.R[r].ID}, 20, holds)
}

// settled: the commit returned success.
func (w *world) settled(n *State, r int) {
	q := &n.R[r]
	q.Last, q.Safe = q.BLast, q.BSafe
	q.ID = (q.ID + 1) % w.IDs[r]
	q.K, q.BLast, q.BSafe, q.Kind, q.PC = 0, 0, 0, 0, pcAck
}

// acknowledge tells Postgres.
func (w *world) acknowledge(s *State, r int) {
	n := *s
	n.R[r].PC = pcStream
	p := w.ack(&n, r, n.R[r].Safe)
	w.emit(&n, act{do: doAck, relay: r, arg: n.R[r].Safe}, 20, p)
}

// watch is the look at the server's facts beside the stream. It changes nothing
// unless it ends the stream, which crash and notice do as well; so only what it
// must not do is a step.
func (w *world) watch(s *State, r int) {
	if q := &s.R[r]; q.PC < pcStream || q.PC > pcAck || q.First || s.Confirmed <= q.Safe {
		return
	}
	if s.Owner == who(r) || s.Owner == nobody && w.rules.PositionNotOwner {
		n := *s
		w.emit(&n, act{do: doWatch, relay: r}, 0, refusal)
	}
}
