package main

// `slots recreate`: a person gives up what was not published and has a new slot
// made. It goes the way of the first start, and a relay finishes what a crash
// leaves of it.

// dropping is the bit of Kind that makes an intent name the slot to drop.
const dropping = 4

// command reports whether r is `slots recreate` and not a relay.
func (w *world) command(r int) bool { return w.Recreate && r == 1 }

// recreate writes the intent, with the slot of now.
func (w *world) recreate(s *State, q *Relay) {
	q.Fact = s.facts()
	q.BSafe, q.Kind, q.PC = q.sawEnd(), creating, pcCkpt
	if q.sawSlot() {
		q.Kind |= dropping
	}
}

// finish judges the slot as it was seen before the fence.
func (w *world) finish(q *Relay) property {
	q.PC = pcMake
	if !q.sawSlot() || q.sawConfirmed() >= q.Cp.safe() {
		return holds
	}
	if !q.Cp.drops() {
		return refusal
	}
	q.Safe, q.PC = q.Cp.safe(), pcDrop
	return holds
}

// drop drops the old slot: one that is in use is not dropped. A process that
// was away meanwhile must not drop the one that was made since, so the server
// is asked for the position in the same statement.
func (w *world) drop(s *State, r int) {
	n := *s
	q := &n.R[r]
	a := act{do: doDrop, relay: r}
	switch {
	case s.Slot == 1 && s.Owner != nobody:
		a.do = doStandby
		w.recover(&n, r)
	case s.Slot == 1 && (s.Confirmed < q.Safe || w.rules.DropBlindly):
		n.Slot, q.PC = 0, pcMake
	default:
		q.PC = pcMake
	}
	w.emit(&n, a, 20, holds)
}
