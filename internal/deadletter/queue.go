package deadletter

// Queue decides, letter by letter in the order of the stream, which of them a
// redrive may publish, so that no event overtakes another with its key. It lives
// as long as the redrive, over any number of rounds: what stayed keeps what comes
// later behind it. It belongs to one goroutine.
type Queue struct {
	blocked  map[Hold]string // by the first letter that stays
	released map[Hold]bool   // by a letter that was redriven in this run
	stayed   map[string]bool
}

// NewQueue returns a Queue nobody waits in.
func NewQueue() *Queue {
	return &Queue{blocked: map[Hold]string{}, released: map[Hold]bool{}, stayed: map[string]bool{}}
}

// Next reports whether e may be tried now. wanted: it is one that was asked for.
// A letter that is parked is tried too when what it waited for was redriven in
// this run: it is part of the same queue. If not, e stays.
func (q *Queue) Next(e *Entry, wanted bool) bool {
	if q.stayed[e.ID] {
		return false
	}
	if _, _, held := q.First(e.Holds); held {
		q.Stay(e)
		return false
	}
	if wanted || e.State == Parked && q.follows(e) {
		return true
	}
	q.Stay(e)
	return false
}

// Undecided are those of entries that have not been told to stay.
func (q *Queue) Undecided(entries []*Entry) []*Entry {
	if len(q.stayed) == 0 {
		return entries
	}
	var out []*Entry
	for _, e := range entries {
		if !q.stayed[e.ID] {
			out = append(out, e)
		}
	}
	return out
}

// follows reports whether a letter e was parked behind has gone.
func (q *Queue) follows(e *Entry) bool {
	for _, at := range e.Holds {
		if q.released[at] {
			return true
		}
	}
	return false
}

// First is the first of places that a letter that stays holds.
func (q *Queue) First(places []Hold) (at Hold, id string, held bool) {
	for _, at := range places {
		if id, held := q.blocked[at]; held {
			return at, id, true
		}
	}
	return Hold{}, "", false
}

// Stay keeps e, and everything that comes later at what it holds.
func (q *Queue) Stay(e *Entry) {
	q.stayed[e.ID] = true
	for _, at := range e.Holds {
		if _, held := q.blocked[at]; !held {
			q.blocked[at] = e.ID
		}
	}
}

// Gone notes that e was redriven.
func (q *Queue) Gone(e *Entry) {
	for _, at := range e.Holds {
		q.released[at] = true
	}
}
