package deadletter

import "fmt"

// Limit says how many events may become dead letters before that is no poison
// any more but a fault of all of them: of the last Window events more than Share,
// and at least AtLeast.
type Limit struct {
	Share   float64 // 0.05: five of a hundred; 1: no limit
	Window  int     // events
	AtLeast int
}

// DefaultLimit is the limit when nothing is configured.
var DefaultLimit = Limit{Share: 0.05, Window: 1000, AtLeast: 20}

// Window counts the dead letters among the last events. It belongs to one
// goroutine.
type Window struct {
	limit Limit
	bits  []uint64
	at    int
	seen  int // at most Window
	dead  int
}

// NewWindow returns a Window that has seen nothing.
func NewWindow(l Limit) *Window {
	l.Window = max(l.Window, 1)
	return &Window{limit: l, bits: make([]uint64, (l.Window+63)/64)}
}

// Share is what a window had counted when a letter was written: dead letters
// among the events seen. Written with the letter, it outlives the process: a
// pipeline that is started again and again does not begin to count anew each time.
type Share struct{ Dead, Seen int }

// Resume goes on from a share; what was seen after it was not counted, or is read
// again. The letters are taken for the last ones of the events.
func (w *Window) Resume(s Share) {
	clear(w.bits)
	w.seen = min(max(s.Seen, 0), w.limit.Window)
	w.dead = min(max(s.Dead, 0), w.seen)
	w.at = w.seen % w.limit.Window
	for i := w.seen - w.dead; i < w.seen; i++ {
		w.bits[i>>6] |= 1 << (i & 63)
	}
}

// Share is what w has counted.
func (w *Window) Share() Share { return Share{w.dead, w.seen} }

func (s Share) String() string {
	if s == (Share{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Dead, s.Seen)
}

func parseShare(text string) (s Share, err error) {
	_, err = fmt.Sscanf(text, "%d/%d", &s.Dead, &s.Seen)
	return s, err
}

// Saw takes the next event and reports whether there are too many dead letters
// among the last ones.
func (w *Window) Saw(dead bool) (over bool) {
	word, bit := &w.bits[w.at>>6], uint64(1)<<(w.at&63)
	if w.seen == w.limit.Window {
		if *word&bit != 0 {
			w.dead--
		}
	} else {
		w.seen++
	}
	*word &^= bit
	if w.at++; w.at == w.limit.Window {
		w.at = 0
	}
	if !dead {
		return false
	}
	*word |= bit
	w.dead++
	return w.dead >= w.limit.AtLeast && float64(w.dead) > w.limit.Share*float64(w.seen)
}

func (w *Window) String() string {
	return fmt.Sprintf("%d of the last %d events", w.dead, w.seen)
}
