package main

import (
	"fmt"
	"hash/maphash"
	"time"
)

// world is a Config under Rules, and the successors of one state.
type world struct {
	Config
	wal
	rules  Rules
	faults [7]uint8
	out    []step
}

// step is one transition.
type step struct {
	state State
	act   act
	rank  uint8 // of the friendly scheduler; 0: never taken by it
	prop  property
}

func newWorld(c Config, r Rules) *world {
	return &world{Config: c, wal: newWAL(&c), rules: r, faults: c.Budget.list()}
}

// first is the state everything begins in.
func (w *world) first() State {
	var s State
	for i, n := range w.faults {
		if n != unbounded {
			s.Left[i] = n
		}
	}
	if !w.First {
		s.Slot, s.WAL = 1, uint8(len(w.Txns))
		s.Base = checkpoint(0, 0, w.IDs[0], streaming)
	}
	if w.Relays == 1 {
		s.R[1].PC = pcStopped
	}
	if w.start != nil {
		w.start(&s)
	}
	return s
}

// emit adds a successor.
func (w *world) emit(n *State, a act, rank uint8, p property) {
	if rank > 0 && a.do.ofRelay() {
		rank = w.friendly(n, a, rank)
	}
	n.forget(0)
	n.forget(1)
	w.advance(n)
	w.out = append(w.out, step{*n, a, rank, p})
}

// friendly lets the one relay go on that has the lock, or could get it.
func (w *world) friendly(n *State, a act, rank uint8) uint8 {
	me := who(a.relay)
	switch {
	case a.do == doNotice:
		return rank
	case n.Owner == me || n.Lock == me:
		return 50
	case a.relay == 0:
		return 30
	}
	return 10
}

// successors are all steps from s; the slice is reused.
func (w *world) successors(s *State) []step {
	w.out = w.out[:0]
	w.kafkaSteps(s)
	w.postgresSteps(s)
	for r := range w.Relays {
		w.relaySteps(s, r)
	}
	return w.out
}

// done: every row is delivered, and Postgres knows.
func (w *world) done(s *State) bool {
	return s.Slot == 1 && s.Rows == w.total && s.Confirmed >= w.endLSN
}

// canonical is the same for two states that differ in the relays' names only.
func (w *world) canonical(s *State) State {
	if w.symmetric() && s.R[1].less(&s.R[0]) {
		return s.swap()
	}
	return *s
}

// result is one finished search.
type result struct {
	States, Transitions, Depth int
	Seconds                    float64
	Broken                     property
	Trace                      []step             // to the violation; Trace[0] is the first state
	Did                        [lastDeed + 1]bool // what happened at least once
}

// search is breadth-first: a trace it finds is a shortest one.
type search struct {
	*world
	seed   maphash.Seed
	states chunks
	parent []int32
	then   []next // per state
	table  []slot
	moves  int
	did    [lastDeed + 1]bool
	ignore property
}

// slot is one place of the hash table. It keeps the hash, so that neither a
// stranger nor growing is a look at a state.
type slot struct {
	at   int32 // 1 + index; 0: free
	hash uint32
}

// chunks is a growing list of states that is never copied.
type chunks struct {
	list [][]State
	n    int
}

const chunk = 1 << 14

func (c *chunks) add(s *State) {
	if c.n%chunk == 0 {
		c.list = append(c.list, make([]State, 0, chunk))
	}
	last := &c.list[len(c.list)-1]
	*last = append(*last, *s)
	c.n++
}

func (c *chunks) at(i int) *State { return &c.list[i/chunk][i%chunk] }

// next is where the friendly scheduler goes from a state: the index of another,
// or one of these.
type next int32

const (
	finished next = -1
	stuck    next = -2
)

// run explores every reachable state, or until a property is broken.
func run(c Config, r Rules, ignore property, limit int) (result, error) {
	began := time.Now()
	x := &search{world: newWorld(c, r), ignore: ignore, seed: maphash.MakeSeed(), table: make([]slot, 1<<16)}
	s := x.first()
	x.add(&s, -1)
	depth, levelEnd := 0, 1
	for i := 0; i < x.states.n; i++ {
		if i == levelEnd {
			depth, levelEnd = depth+1, x.states.n
		}
		bad, err := x.expand(i)
		if err != nil {
			return result{}, fmt.Errorf("configuration %s: %w", c.Name, err)
		}
		if bad != nil {
			return x.broken(i, *bad, depth+1, began), nil
		}
		if limit > 0 && x.states.n > limit {
			return result{}, fmt.Errorf("configuration %s: more than %d states at depth %d", c.Name, limit, depth)
		}
	}
	res := result{States: x.states.n, Transitions: x.moves, Depth: depth, Did: x.did}
	if i := x.deadEnd(); i >= 0 {
		res.Broken, res.Trace = deadEnd, x.trace(i)
	}
	res.Seconds = time.Since(began).Seconds()
	return res, nil
}

func (x *search) broken(from int, last step, depth int, began time.Time) result {
	return result{
		States: x.states.n, Transitions: x.moves, Depth: depth, Seconds: time.Since(began).Seconds(),
		Broken: last.prop, Trace: append(x.trace(from), last),
	}
}

// expand adds the successors of state i and returns the first that breaks a
// property.
func (x *search) expand(i int) (bad *step, err error) {
	s := *x.states.at(i)
	best, to := uint8(0), stuck
	for k := range x.successors(&s) {
		st := &x.out[k]
		x.moves++
		x.did[st.act.do] = true
		if st.prop == bound {
			return nil, fmt.Errorf("after %d states: %v", x.states.n, bound)
		}
		if st.prop != holds && st.prop != x.ignore {
			return st, nil
		}
		j := x.add(&st.state, int32(i))
		if st.rank > 0 && st.rank >= best {
			best, to = st.rank, next(j)
		}
	}
	if x.done(&s) {
		to = finished
	}
	x.then[i] = to
	return nil, nil
}

// add returns the index of s, which is new or known.
func (x *search) add(s *State, from int32) int32 {
	if 2*x.states.n >= len(x.table) {
		x.grow()
	}
	c := x.canonical(s)
	hash := uint32(maphash.Comparable(x.seed, c))
	mask := uint32(len(x.table) - 1)
	for h := hash; ; h++ {
		e := &x.table[h&mask]
		if e.at == 0 {
			x.states.add(s)
			x.parent = append(x.parent, from)
			x.then = append(x.then, stuck)
			*e = slot{int32(x.states.n), hash}
			return e.at - 1
		}
		if e.hash != hash {
			continue
		}
		if known := x.states.at(int(e.at) - 1); *known == *s || x.canonical(known) == c {
			return e.at - 1
		}
	}
}

func (x *search) grow() {
	old := x.table
	x.table = make([]slot, 2*len(old))
	mask := uint32(len(x.table) - 1)
	for _, e := range old {
		if e.at == 0 {
			continue
		}
		h := e.hash
		for x.table[h&mask].at != 0 {
			h++
		}
		x.table[h&mask] = e
	}
}

// deadEnd is a state from which the friendly scheduler does not come to the
// end; -1: none. It takes no fault, and each of its steps is one of the model:
// that it arrives shows that the end can be reached from every state.
func (x *search) deadEnd() int {
	var path []int
	for i := range x.states.n {
		path = path[:0]
		at := next(i)
		for at >= 0 && len(path) <= x.states.n {
			path = append(path, int(at))
			at = x.then[at]
		}
		if at != finished {
			return i
		}
		for _, k := range path {
			x.then[k] = finished
		}
	}
	return -1
}

// trace is the way to state i.
func (x *search) trace(i int) []step {
	var back []int
	for at := int32(i); at >= 0; at = x.parent[at] {
		back = append(back, int(at))
	}
	out := []step{{state: *x.states.at(back[len(back)-1])}}
	for k := len(back) - 2; k >= 0; k-- {
		from := out[len(out)-1].state
		for _, st := range x.successors(&from) {
			if st.state == *x.states.at(back[k]) {
				out = append(out, st)
				break
			}
		}
	}
	return out
}
