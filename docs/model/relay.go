package main

// A relay: internal/relay/start.go, loop.go and internal/sink as steps. Steps
// that touch nothing but the relay's own memory are merged with the one before.

// toFence is the ids that have to be fenced before the checkpoint is read, and
// so far are not, of which the next one is taken.
func (w *world) toFence(s *State, r int) (want uint8) {
	q := &s.R[r]
	switch {
	case w.rules.NoFence && !q.First:
		return 0
	case w.rules.LazyFencing && !q.First:
		want = 1
	default:
		want = 1<<w.IDs[r] - 1
	}
	if q.Cp.kind() != none && q.Cp.ids() > w.IDs[r] && !w.rules.FewerIDsFenced {
		want = 3
	}
	return want &^ q.Has
}

// fenceNext is pcFence: InitTransactions of one id after the other.
func (w *world) fenceNext(s *State, r int) {
	todo := w.toFence(s, r)
	for _, id := range w.fenceOrder(todo) {
		w.fence(s, r, id, func(n *State) {
			if w.toFence(n, r) == 0 {
				w.fenced(n, r)
			}
		})
	}
}

// fenceOrder is which ids may be fenced next.
func (w *world) fenceOrder(todo uint8) []uint8 {
	switch {
	case todo != 3:
		return [][]uint8{{}, {0}, {1}}[todo]
	case w.rules.ParallelFencing:
		return []uint8{0, 1}
	case w.rules.DescendingFence:
		return []uint8{1}
	}
	return []uint8{0}
}

// fence is one InitProducerId of r, and what follows when it succeeds.
func (w *world) fence(s *State, r int, id uint8, then func(*State)) {
	n, p := *s, holds
	if o := 1 - r; w.Relays == 2 && s.Holder[id] == who(o) && !s.R[r].Took &&
		s.Owner == who(o) && s.R[o].PC >= pcStream {
		p = disturbed
	}
	if w.alien(r) && s.committedKind() == streaming {
		p = disturbed
	}
	if !n.initialise(r, id) {
		return
	}
	a := act{do: doFence, relay: r, id: id}
	if !n.owns(r, id) {
		a.do = doAbortByFence
	}
	then(&n)
	w.emit(&n, a, 30, p)
}

// committedKind is the kind of the last decided checkpoint.
func (s *State) committedKind() int {
	k := s.Base.kind()
	for _, c := range s.Ckpt {
		if c != 0 && s.isDecided(c) {
			k = c.kind()
		}
	}
	return k
}

// fenced goes on after the last id.
func (w *world) fenced(n *State, r int) {
	q := &n.R[r]
	switch {
	case w.rules.EndBeforeFence && !q.First:
		q.PC = pcGuard // it was read before
	case w.rules.FenceBeforeTake && !q.First && !q.Took:
		q.PC = pcTake
	default:
		q.PC = pcAsk
	}
}

// begin is the first step after the look: take, then fence.
func (w *world) begin(s *State, r int) {
	n := *s
	q := &n.R[r]
	if w.rules.FenceBeforeTake && !q.Took && q.PC != pcTake {
		q.PC = pcFence
		w.fenceNext(&n, r)
		return
	}
	if s.Owner != nobody {
		if q.PC == pcTake { // in use: standby, and everything from the top
			w.recover(&n, r)
			w.emit(&n, act{do: doStandby, relay: r}, 0, holds)
		}
		return
	}
	if s.Slot == 0 { // dropped since the look
		w.recover(&n, r)
		w.emit(&n, act{do: doAgain, relay: r}, 20, holds)
		return
	}
	w.take(&n, r)
	q.PC = pcFence
	if w.rules.EndBeforeFence || w.rules.NoFence || w.rules.FenceBeforeTake {
		q.PC = pcAsk
	}
	w.emit(&n, act{do: doTake, relay: r}, 40, holds)
}

// ask asks for the end of the checkpoint partition; see advance for the read.
func (w *world) ask(s *State, r int) {
	n := *s
	q := &n.R[r]
	q.PC, q.Target = pcRead, n.length()
	switch {
	case w.rules.ReadToLSO:
		q.Target = 0
	case w.rules.ReadUncommitted:
		q.Cp, q.Target = n.Base, 0
		for _, c := range n.Ckpt {
			if c != 0 && c.tag() != ofAnother {
				q.Cp = c.tagged(resolved)
			}
		}
		w.afterRead(q)
	}
	w.emit(&n, act{do: doAsk, relay: r}, 30, holds)
}

// afterRead goes on when the checkpoint is known.
func (w *world) afterRead(q *Relay) {
	q.Target = 0
	switch {
	case q.First:
		q.PC = pcIntent
	case w.rules.EndBeforeFence && q.Has == 0:
		q.PC = pcFence
	default:
		q.PC = pcGuard
	}
}

// guard is the last step of a start: more ids in the record than fenced, then
// one SELECT, then the position is confirmed.
func (w *world) guard(s *State, r int) {
	n := *s
	q := &n.R[r]
	if w.toFence(s, r) != 0 { // and read again
		q.PC = pcFence
		w.fenceNext(&n, r)
		return
	}
	a, p := act{do: doGuard, relay: r}, holds
	switch {
	case q.Cp.kind() != streaming:
		a.do = doAgain
	case w.rules.NoLastSelect:
	case w.rules.PositionNotOwner && s.Owner == nobody && s.Confirmed > q.Cp.safe():
		p = refusal
	case s.Owner != who(r):
		a.do = doAgain
	case s.Confirmed > q.Cp.safe():
		p = refusal
	}
	if a.do == doAgain {
		w.recover(&n, r)
		w.emit(&n, a, 35, holds)
		return
	}
	q.Last, q.Safe = q.Cp.last(), q.Cp.safe()
	if w.rules.DropBySafe {
		q.Last = w.below[q.Safe]
	}
	q.Cp, q.PC, q.ID = 0, pcAck, 0
	if w.rules.FirstOnOtherID && w.IDs[r] == 2 {
		q.ID = 1
	}
	w.emit(&n, a, 30, p)
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
	if s.Txn[id] > txnOpen {
		return // CONCURRENT_TRANSACTIONS: the markers of the last one come first
	}
	n := *s
	q := &n.R[r]
	a, p := act{do: doCheckpoint, relay: r, id: id}, holds
	if q.PC == pcProduce {
		q.K = q.nextRow()
		a.do, a.arg = doRow, q.K
		p = n.appendRow(id, q.K)
		q.PC = w.produceOrCheckpoint(q)
	} else {
		n.open(id, onCheckpoints)
		p = n.appendCheckpoint(q.checkpoint(w.IDs[r]).tagged(id + 1))
		a.arg, q.PC = q.BLast, pcEnd
	}
	w.emit(&n, a, 20, p)
}

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
	if s.R[r].Late == 0 {
		n := *s
		if n.owns(r, id) && n.spend(faultLost, w) {
			n.R[r].Late = id + 1
			w.unknown(&n, r)
			w.emit(&n, act{do: doUnanswered, relay: r, id: id}, 0, holds)
		}
	}
	n := *s
	if w.rules.Overlap && n.R[r].Late == 0 && n.R[r].BLast < w.total && w.IDs[r] == 2 {
		n.R[r].Late = id + 1
		w.settled(&n, r)
		n.R[r].PC = pcStream
		w.emit(&n, act{do: doOverlap, relay: r, id: id}, 0, holds)
	}
	n = *s
	p := holds
	if w.rules.AckBeforeCommit {
		p = w.ack(&n, r, n.R[r].BSafe)
	}
	if !n.owns(r, id) || n.Txn[id] != txnOpen {
		w.failed(s, r)
		return
	}
	if q := w.decide(&n, id); p == holds {
		p = q
	}
	n.R[r].PC = pcAnswer
	w.emit(&n, act{do: doEnd, relay: r, id: id}, 20, p)
}

// answer is what the client hears of EndTxn, or does not.
func (w *world) answer(s *State, r int) {
	n := *s
	if n.spend(faultLost, w) {
		w.unknown(&n, r)
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

// failed: the broker refused a request of r.
func (w *world) failed(s *State, r int) {
	n := *s
	w.unknown(&n, r)
	w.emit(&n, act{do: doFenced, relay: r, id: s.R[r].ID}, 20, holds)
}

// unknown is the recovery after a transaction that did not succeed.
func (w *world) unknown(n *State, r int) {
	old, owner := n.R[r], n.Owner
	w.recover(n, r)
	if w.rules.KeepConnection && !old.First {
		q := &n.R[r]
		q.PC, q.Took, q.From = pcFence, true, old.BLast+1
		n.Owner = owner
	}
}

// recover is the one recovery path, and a crash: the slot, the lock and the
// producers are given up and everything received is forgotten. What the client
// has on the wire may still arrive, until its epoch is over.
func (w *world) recover(n *State, r int) {
	if n.Owner == who(r) {
		n.Owner = nobody
	}
	if n.Lock == who(r) {
		n.Lock = nobody
	}
	late := n.R[r].Late
	for id := range uint8(2) {
		if n.Holder[id] == who(r) && late != id+1 {
			n.Holder[id] = nobody
		}
	}
	n.R[r] = Relay{Late: late}
	if w.command(r) { // a one-shot command ends; a person may try again, or not
		n.R[r].PC = pcStopped
	}
}

// relaySteps are all the steps of relay r.
func (w *world) relaySteps(s *State, r int) {
	q := &s.R[r]
	if q.PC == pcStopped {
		return
	}
	if q.PC != pcLook {
		n := *s
		if n.spend(faultCrash, w) {
			w.recover(&n, r)
			w.emit(&n, act{do: doCrash, relay: r}, 0, holds)
		}
	}
	if q.Took && s.Owner != who(r) && q.PC >= pcTake && !q.First {
		n := *s
		w.recover(&n, r)
		w.emit(&n, act{do: doNotice, relay: r}, 60, holds)
	}
	w.watch(s, r)
	switch q.PC {
	case pcLook:
		if w.First || w.Recreate || w.alien(r) {
			w.look(s, r)
		} else {
			w.begin(s, r)
		}
	case pcTake:
		w.begin(s, r)
	case pcFence:
		w.fenceNext(s, r)
	case pcAsk:
		w.ask(s, r)
	case pcGuard:
		w.guard(s, r)
	case pcStream:
		w.batches(s, r)
	case pcProduce, pcCkpt:
		w.produce(s, r)
	case pcEnd:
		w.end(s, r)
	case pcAnswer:
		w.answer(s, r)
	case pcAck:
		w.acknowledge(s, r)
	default:
		w.firstSteps(s, r)
	}
}
