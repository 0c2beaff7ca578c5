package main

// The start: internal/relay/start.go. Take, fence, read, judge; the look before
// it is in first.go.

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
