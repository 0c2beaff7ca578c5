package main

// Postgres: the slot as a lock, its position, the walsender.

// Faults, in the order of Budget and State.Left.
const (
	faultCrash = iota
	faultKill
	faultLost
	faultTimeout
	faultPGCrash
	faultOther
	faultLate
)

func (b Budget) list() [7]uint8 {
	return [...]uint8{b.Crash, b.Kill, b.Lost, b.Timeout, b.PGCrash, b.Other, b.Late}
}

// spend takes one fault from what is left.
func (s *State) spend(fault int, w *world) bool {
	if w.faults[fault] == unbounded {
		return true
	}
	if s.Left[fault] == 0 {
		return false
	}
	s.Left[fault]--
	return true
}

// take is START_REPLICATION at 0/0: the slot is the lock, and what is sent
// begins with the first transaction that ends after confirmed_flush.
func (w *world) take(s *State, r int) {
	s.Owner = who(r)
	s.R[r].Took = true
	s.R[r].From = w.upTo[s.Confirmed] + 1
}

// ack is a status that reaches our walsender. One that is gone hears nothing.
func (w *world) ack(s *State, r int, flush uint8) property {
	if s.Owner != who(r) || flush <= s.Confirmed {
		return holds
	}
	s.Confirmed = flush
	if w.upTo[flush] > s.delivered() {
		return loss
	}
	if flush > s.Safest {
		return ackAhead
	}
	return holds
}

// postgresSteps are what the server does by itself.
func (w *world) postgresSteps(s *State) {
	if s.WAL < uint8(len(w.Txns)) {
		n := *s
		n.WAL++
		w.emit(&n, act{do: doGrow}, 70, holds)
	}
	if s.Owner != nobody {
		n := *s
		if n.spend(faultKill, w) {
			n.Owner = nobody
			w.emit(&n, act{do: doKill, relay: int(s.Owner - 1)}, 0, holds)
		}
	}
	if s.Lock != nobody {
		n := *s
		if n.spend(faultKill, w) {
			n.Lock = nobody
			w.emit(&n, act{do: doKillLock, relay: int(s.Lock - 1)}, 0, holds)
		}
	}
	w.postgresCrash(s)
}

// postgresCrash is an immediate stop: every session ends, and the slot is where
// it was when it was last written to disk, which is nowhere in particular. A
// new slot is on disk before its creation returns.
func (w *world) postgresCrash(s *State) {
	n := *s
	if n.Slot == 0 || !n.spend(faultPGCrash, w) {
		return
	}
	n.Owner, n.Lock = nobody, nobody
	for back := s.Point; back <= s.Confirmed; back++ {
		// A keepalive's position is as good as the end of the transaction before.
		if back != s.Point && back != s.Confirmed && back%2 == 1 {
			continue
		}
		m := n
		m.Confirmed = back
		w.emit(&m, act{do: doPGCrash, arg: back}, 0, holds)
	}
}
