package main

// The look, and the first start: lock, fence, intent, slot, first checkpoint.

// facts is what one look at Postgres shows.
//
//	bit 0 slot exists · 1-2 transactions in the WAL · 3-5 confirmed_flush
func (s *State) facts() uint8 { return s.Slot | s.WAL<<1 | s.Confirmed<<3 }

func (q *Relay) sawSlot() bool       { return q.Fact&1 != 0 }
func (q *Relay) sawEnd() uint8       { return walEnd(q.Fact >> 1 & 3) }
func (q *Relay) sawConfirmed() uint8 { return q.Fact >> 3 }

// alien reports whether r belongs to another Postgres.
func (w *world) alien(r int) bool { return w.Alien && r == 1 }

// look is the first step of a start: facts, then the checkpoint.
func (w *world) look(s *State, r int) {
	if w.alien(r) {
		if w.rules.FenceBeforeLook {
			w.fence(s, r, 0, func(n *State) { n.R[r].PC = pcStopped })
			return
		}
	} else if s.Owner != nobody && !w.command(r) {
		return // standby
	}
	n := *s
	if s.Owner != nobody { // in use: refused
		n.R[r] = Relay{PC: pcStopped}
		w.emit(&n, act{do: doStandby, relay: r}, 20, holds)
		return
	}
	n.R[r].Fact = s.facts()
	n.R[r].PC = pcLookKafka
	w.emit(&n, act{do: doLook, relay: r}, 20, holds)
}

// visible is a look at the checkpoint, without any authority: what is visible
// is enough; nothing visible has to be nothing.
func (w *world) visible(s *State, r int, wait uint8, seen func(*State)) {
	n := *s
	q := &n.R[r]
	if n.Base.kind() != none || w.rules.BelieveNone {
		q.Cp = n.Base
		seen(&n)
	} else {
		q.PC, q.Target = wait, n.length()
	}
	w.emit(&n, act{do: doLookKafka, relay: r}, 20, holds)
}

// looked decides what the look was for.
func (w *world) looked(s *State, r int) {
	n := *s
	q := &n.R[r]
	kind, p := q.Cp.kind(), holds
	if w.alien(r) {
		if kind == none { // it makes a first start of its own
			w.fence(s, r, 0, func(n *State) { n.R[r] = Relay{PC: pcStopped} })
			return
		}
		n.R[r] = Relay{PC: pcStopped}
		w.emit(&n, act{do: doForeign, relay: r}, 20, holds)
		return
	}
	switch {
	case w.command(r): // whatever is there is made anew
		q.PC = pcLock
	case kind == none && q.sawSlot():
		p = refusal
	case kind != streaming:
		q.PC = pcLock
	case !q.sawSlot():
		q.PC = pcGone
	default:
		*q = Relay{PC: pcTake}
	}
	w.emit(&n, act{do: doJudge, relay: r}, 20, p)
}

// firstSteps are the steps of the look and of the first start.
func (w *world) firstSteps(s *State, r int) {
	n := *s
	q := &n.R[r]
	switch q.PC {
	case pcLookKafka:
		w.visible(s, r, pcLookWait, func(n *State) { n.R[r].PC = pcLooked })
	case pcLooked:
		w.looked(s, r)
	case pcGone:
		q.Fact, q.PC = s.facts(), pcGoneKafka
		w.emit(&n, act{do: doLook, relay: r}, 20, holds)
	case pcGoneKafka:
		q.PC, q.Target = pcGoneWait, n.length()
		if w.rules.GoneByLook {
			q.Target = 0
		}
		w.emit(&n, act{do: doLookKafka, relay: r}, 20, holds)
	case pcGone2:
		p := holds
		if q.Gone && !q.sawSlot() {
			p = refusal
		}
		w.recover(&n, r)
		w.emit(&n, act{do: doAgain, relay: r}, 20, p)
	case pcLock:
		w.lock(s, r)
	case pcLockFacts:
		q.Fact, q.PC = s.facts(), pcLockKafka
		if s.Owner != nobody {
			w.recover(&n, r)
		}
		w.emit(&n, act{do: doLook, relay: r}, 20, holds)
	case pcLockKafka:
		w.visible(s, r, pcLockWait, func(n *State) { w.lockLooked(n, r) })
	case pcIntent:
		w.intent(s, r)
	case pcDrop:
		w.drop(s, r)
	case pcMake:
		w.make(s, r)
	}
}

func (w *world) lock(s *State, r int) {
	n := *s
	if s.Lock != nobody {
		w.recover(&n, r)
		w.emit(&n, act{do: doStandby, relay: r}, 0, holds)
		return
	}
	q := &n.R[r]
	n.Lock, q.PC, q.Took = who(r), pcLockFacts, true
	if w.command(r) { // it looks again after the fence
		q.First, q.PC, q.Cp = true, pcFence, 0
	}
	w.emit(&n, act{do: doLock, relay: r}, 20, holds)
}

// lockLooked: whoever had the lock before may have come to the end.
func (w *world) lockLooked(n *State, r int) {
	q := &n.R[r]
	if q.Cp.kind() == creating || q.Cp.kind() == none && !q.sawSlot() {
		q.First, q.PC, q.Cp, q.Target = true, pcFence, 0, 0
		return
	}
	w.own(n, r)
}

// own leaves a first start for the ordinary one.
func (w *world) own(n *State, r int) {
	w.recover(n, r)
	if !w.command(r) {
		n.R[r].PC = pcTake
	}
}

// intent goes on from what the fence has shown.
func (w *world) intent(s *State, r int) {
	n := *s
	q := &n.R[r]
	a, p := act{do: doJudge, relay: r}, holds
	switch {
	case w.toFence(s, r) != 0:
		q.PC = pcFence
	case q.Cp.kind() == streaming && !w.command(r):
		w.own(&n, r)
	case q.Cp.kind() == none && !w.rules.NoIntent:
		q.BSafe, q.Kind, q.PC = q.sawEnd(), creating, pcCkpt
	case w.command(r):
		w.recreate(s, q)
	default:
		p = w.finish(q)
	}
	w.emit(&n, a, 20, p)
}

// make creates the slot, or finds the one its intent names, and begins the
// first checkpoint.
func (w *world) make(s *State, r int) {
	n := *s
	q := &n.R[r]
	p := holds
	if n.Slot == 0 {
		n.Slot, n.Confirmed = 1, walEnd(n.WAL)
		n.Point = n.Confirmed
		if given := w.upTo[n.Confirmed]; given > n.delivered() {
			if s.committedKind() == streaming {
				p = loss // nobody accepted this gap
			}
			n.Rows = given
		}
	}
	q.BSafe, q.Kind, q.PC, q.Cp, q.Fact = n.Confirmed, streaming, pcCkpt, 0, 0
	w.emit(&n, act{do: doMake, relay: r}, 20, p)
}

// saved goes on after a checkpoint of the first start was committed.
func (w *world) saved(n *State, r int, kind uint8) {
	q := &n.R[r]
	switch kind {
	case creating:
		q.PC = pcMake
		return
	case creating | dropping:
		q.PC = pcDrop
		return
	}
	w.own(n, r)
}
