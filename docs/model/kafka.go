package main

// Kafka: two coordinators' transactions, two partitions, the last stable offset.

// Properties a step can break; none of them ever may.
type property uint8

const (
	holds property = iota
	duplicate
	disorder
	partial
	loss
	ackAhead
	refusal
	disturbed
	deadEnd
	bound // not a property: the world has outgrown its arrays
)

var propertyNames = [...]string{
	holds:     "holds",
	duplicate: "duplicate: a row is committed twice",
	disorder:  "disorder: a row is committed before an earlier one, which is late or lost",
	partial:   "partial: rows are committed without their checkpoint",
	loss:      "loss: a checkpoint or the slot has passed a row that is not committed",
	ackAhead:  "acked > committed: the slot has passed every committed checkpoint",
	refusal:   "refusal: a guard refuses although nobody did wrong",
	disturbed: "disturbed: a healthy holder of the slot is fenced by one who never had it",
	deadEnd:   "dead end: from here nothing leads to every row delivered",
	bound:     "the bounds of the model are too small",
}

func (p property) String() string { return propertyNames[p] }

// owns reports whether requests of r for id pass the broker's epoch check.
func (s *State) owns(r int, id uint8) bool {
	return s.Holder[id] == who(r) && s.R[r].Has&(1<<id) != 0
}

// hand begins an epoch of id and gives it to a producer. Whoever had the last
// one is fenced, with what is on the wire.
func (s *State) hand(id, to uint8) { s.Holder[id], s.Wire[id] = to, wire{} }

// initialise is one InitProducerId of r. ok is false while the coordinator
// answers CONCURRENT_TRANSACTIONS: the markers of a decided transaction come
// first. An open transaction is aborted, and the client has to ask again.
func (s *State) initialise(r int, id uint8) (ok bool) {
	switch s.Txn[id] {
	case txnEmpty:
		s.hand(id, who(r))
		s.R[r].Has |= 1 << id
		return true
	case txnOpen:
		s.hand(id, nobody)
		s.abort(id)
		return true
	}
	return false
}

// open adds a partition to the transaction of id.
func (s *State) open(id, partition uint8) {
	s.Txn[id] = txnOpen
	s.Mark[id] |= partition
}

// appendRow writes one row to the data partition.
func (s *State) appendRow(id, row uint8) property {
	for i := range s.Data {
		if s.Data[i] == 0 {
			s.Data[i] = row<<2 | (id + 1)
			return holds
		}
	}
	return bound
}

// appendCheckpoint writes one record to the checkpoint partition.
func (s *State) appendCheckpoint(c record) property {
	for i := range s.Ckpt {
		if s.Ckpt[i] == 0 {
			s.Ckpt[i] = c
			return holds
		}
	}
	return bound
}

// length is the read_uncommitted end of the checkpoint partition, counted from
// the last stable offset: the first record of Ckpt is always an unresolved one.
func (s *State) length() uint8 {
	for i := range s.Ckpt {
		if s.Ckpt[i] == 0 {
			return uint8(i)
		}
	}
	return maxCkpt
}

// decided ends the transaction of id one way or the other. The marker on a
// partition without records of it changes nothing.
func (s *State) decided(id, txn uint8) {
	with := uint8(0)
	for _, e := range s.Data {
		if e != 0 && e&3 == id+1 {
			with |= onData
		}
	}
	for _, c := range s.Ckpt {
		if c != 0 && c.tag() == id+1 {
			with |= onCheckpoints
		}
	}
	s.Txn[id] = txn
	if s.Mark[id] &= with; s.Mark[id] == 0 {
		s.Txn[id] = txnEmpty
	}
}

// abort decides that the transaction of id is aborted.
func (s *State) abort(id uint8) {
	s.decided(id, txnAborting)
	n := 0
	for _, e := range s.Data {
		if e == 0 || e&3 != id+1 {
			s.Data[n] = e
			n++
		}
	}
	for ; n < maxData; n++ {
		s.Data[n] = 0
	}
}

// decide is EndTxn(commit) reaching the coordinator while the transaction is
// open: from here every row in it is committed, whatever happens. The markers
// come later; readers see the order of the log.
func (w *world) decide(s *State, id uint8) property {
	s.decided(id, txnCommitting)
	with := uint8(0)
	for _, c := range s.Ckpt {
		if c != 0 && c.tag() == id+1 {
			with = c.last()
		}
	}
	p := s.commitRows(id, with)
	if q := w.commitCheckpoints(s, id); p == holds {
		p = q
	}
	return p
}

// commitRows: the rows of id will be visible; with is the last row of the
// checkpoint that is committed with them.
func (s *State) commitRows(id, with uint8) (p property) {
	for i, e := range s.Data {
		if e != 0 && e&3 == id+1 {
			s.Data[i] = e &^ 3
			if e>>2 > with {
				p = partial
			}
		}
	}
	if q := s.settle(); q != holds {
		p = q
	}
	return p
}

// commitCheckpoints: the checkpoints of id will be visible.
func (w *world) commitCheckpoints(s *State, id uint8) (p property) {
	for _, c := range s.Ckpt {
		if c == 0 || c.tag() != id+1 || c.kind() != streaming {
			continue
		}
		s.Safest = max(s.Safest, c.safe())
		if m := s.delivered(); c.last() > m || w.upTo[c.safe()] > m {
			p = loss
		}
	}
	return p
}

// settle judges the committed rows in log order and forgets the prefix of which
// nothing can change any more.
func (s *State) settle() (p property) {
	top := s.Rows
	for _, e := range s.Data {
		if e == 0 || e&3 != 0 {
			continue
		}
		switch row := e >> 2; {
		case row <= top:
			return duplicate
		case row > top+1:
			return disorder
		default:
			top = row
		}
	}
	n := 0
	for n < maxData && s.Data[n] != 0 && s.Data[n]&3 == 0 {
		n++
	}
	s.Rows += uint8(n)
	copy(s.Data[:], s.Data[n:])
	clear(s.Data[maxData-n:])
	return holds
}

// delivered counts the rows that are decided, in order and without a hole.
func (s *State) delivered() uint8 {
	m := s.Rows
	for _, e := range s.Data {
		if e != 0 && e&3 == 0 {
			m = e >> 2
		}
	}
	return m
}

// isDecided reports whether c will be visible to committed readers.
func (s *State) isDecided(c record) bool {
	t := c.tag()
	return t == resolved || t != ofAnother && s.Txn[t-1] == txnCommitting
}

// mark writes the end marker of id on one partition.
func (w *world) mark(s *State, id, partition uint8) {
	if partition == onCheckpoints {
		w.markCheckpoints(s, id, s.Txn[id] == txnCommitting || w.rules.ReadUncommitted)
	}
	if w.rules.LateMarkers && s.Txn[id] == txnCommitting {
		s.Wire[id].Sent |= partition << 4
	}
	if s.Mark[id] &^= partition; s.Mark[id] == 0 {
		s.Txn[id] = txnEmpty
	}
}

// markCheckpoints makes the records of id visible, or takes them out.
func (w *world) markCheckpoints(s *State, id uint8, keep bool) {
	for i := 0; i < maxCkpt && s.Ckpt[i] != 0; {
		switch {
		case s.Ckpt[i].tag() != id+1:
			i++
		case keep:
			s.Ckpt[i] = s.Ckpt[i].tagged(resolved)
			i++
		default:
			s.dropCheckpoint(i)
		}
	}
}

// dropCheckpoint takes out a record no committed reader will ever see.
func (s *State) dropCheckpoint(i int) {
	copy(s.Ckpt[i:], s.Ckpt[i+1:])
	s.Ckpt[maxCkpt-1] = 0
	for r := range s.R {
		if s.R[r].reads() && int(s.R[r].Target) > i {
			s.R[r].Target--
		}
	}
}

// reads reports whether the relay waits for its read to reach Target.
func (r *Relay) reads() bool {
	return r.PC == pcRead || r.PC == pcLookWait || r.PC == pcLockWait || r.PC == pcGoneWait
}

// advance moves the last stable offset over what is resolved, and ends the
// reads that have reached their target. A read is over as soon as it can be:
// what it returns is fixed when its end is asked, only the waiting is not.
func (w *world) advance(s *State) {
	for {
		for r := range s.R {
			if s.R[r].reads() && s.R[r].Target == 0 {
				w.captured(s, r)
			}
		}
		c := s.Ckpt[0]
		if c == 0 || c.tag() != resolved {
			return
		}
		if w.Rebase && s.Base.safe() > max(c.safe(), s.Old.safe()) {
			s.Old = s.Base
		}
		s.Base = c
		copy(s.Ckpt[:], s.Ckpt[1:])
		s.Ckpt[maxCkpt-1] = 0
		for r := range s.R {
			if s.R[r].reads() {
				s.R[r].Target--
			}
		}
	}
}

// captured ends the read of r: Base is the record with the highest offset.
func (w *world) captured(s *State, r int) {
	q := &s.R[r]
	if q.PC == pcGoneWait { // is it still the one that was seen?
		q.PC, q.Gone = pcGone2, q.Cp == s.Base
		return
	}
	q.Cp = s.Base
	if w.rules.HighestLSN && s.Old.safe() > s.Base.safe() {
		q.Cp = s.Old
	}
	switch q.PC {
	case pcLookWait:
		q.PC = pcLooked
	case pcLockWait:
		w.lockLooked(s, r)
	case pcRead:
		w.afterRead(q)
	}
}

// kafkaSteps are the steps the brokers take by themselves.
func (w *world) kafkaSteps(s *State) {
	for id := range uint8(2) {
		switch s.Txn[id] {
		case txnCommitting, txnAborting:
			for _, partition := range [...]uint8{onData, onCheckpoints} {
				if s.Mark[id]&partition != 0 {
					n := *s
					w.mark(&n, id, partition)
					w.emit(&n, act{do: doMarker, id: id, arg: partition}, 90, holds)
				}
			}
		case txnOpen:
			n := *s
			if n.spend(faultTimeout, w) {
				n.hand(id, nobody)
				n.abort(id)
				w.emit(&n, act{do: doTimeout, id: id}, w.patience(), holds)
			}
		}
	}
	w.anotherPipeline(s)
	w.lateRequests(s)
}

// patience: a timeout that may come in any state comes in the end, if nothing
// else does.
func (w *world) patience() uint8 {
	if w.faults[faultTimeout] == unbounded {
		return 5
	}
	return 0
}

// anotherPipeline opens and ends its transaction on the checkpoint partition.
func (w *world) anotherPipeline(s *State) {
	for i, c := range s.Ckpt {
		if c != 0 && c.tag() == ofAnother {
			n := *s
			n.dropCheckpoint(i)
			w.emit(&n, act{do: doOtherEnds}, 80, holds)
			return
		}
	}
	n := *s
	if n.spend(faultOther, w) {
		w.emit(&n, act{do: doOtherBegins}, 0, n.appendCheckpoint(ofAnother))
	}
}
