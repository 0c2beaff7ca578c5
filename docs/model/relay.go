package main

// A relay. Steps that touch nothing but its own memory are merged with the one
// before.

// relaySteps are all the steps of relay r.
func (w *world) relaySteps(s *State, r int) {
	q := &s.R[r]
	if q.PC == pcStopped {
		return
	}
	w.act(s, r)
	w.watch(s, r)
	if q.Took && s.Owner != who(r) && q.PC >= pcTake && !q.First {
		n := *s
		w.recover(&n, r)
		w.emit(&n, act{do: doNotice, relay: r}, 60, holds)
	}
	if q.PC != pcLook {
		n := *s
		if n.spend(faultCrash, w) {
			w.recover(&n, r)
			w.emit(&n, act{do: doCrash, relay: r}, 0, holds)
		}
	}
}

// act is the next step of r, if nothing befalls it.
func (w *world) act(s *State, r int) {
	q := &s.R[r]
	if q.Doubt && (q.PC == pcStream || q.PC == pcProduce || q.PC == pcCkpt) {
		w.doubt(s, r)
		return
	}
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

// recover is the one recovery path, and a crash: the slot, the lock and the
// producers are given up and everything received is forgotten. What is on the
// wire may still arrive, until its epoch is over.
func (w *world) recover(n *State, r int) {
	if n.Owner == who(r) {
		n.Owner = nobody
	}
	if n.Lock == who(r) {
		n.Lock = nobody
	}
	w.leave(n, r)
	for id := range n.Holder {
		if n.Holder[id] == who(r) {
			n.Holder[id] = nobody
		}
	}
	n.R[r] = Relay{}
	if w.command(r) { // a one-shot command ends; a person may try again, or not
		n.R[r].PC = pcStopped
	}
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

// failed: the broker refused a request of r.
func (w *world) failed(s *State, r int) {
	n := *s
	w.unknown(&n, r)
	w.emit(&n, act{do: doFenced, relay: r, id: s.R[r].ID}, 20, holds)
}
