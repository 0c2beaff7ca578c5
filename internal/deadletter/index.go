package deadletter

import (
	"cmp"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Entry is a letter and where it is.
type Entry struct {
	Letter
	Offset int64
	Time   int64 // of the record, milliseconds since the Unix epoch
}

// Order is the place of the letter in the stream: one that was written again
// keeps its own.
func (e *Entry) Order() int64 {
	if e.First >= 0 {
		return e.First
	}
	return e.Offset
}

// Index is what the records of a dead letter topic come to. They are added in
// the order of their offsets. It belongs to one goroutine.
type Index struct {
	open     map[string]*Entry
	resolved map[string]*Entry
}

// NewIndex returns an Index of an empty topic.
func NewIndex() *Index { return &Index{open: map[string]*Entry{}, resolved: map[string]*Entry{}} }

// Add takes a record; a nil value is a tombstone. at is its timestamp in
// milliseconds since the Unix epoch. Headers are not kept.
func (x *Index) Add(key, value []byte, headers []event.Header, offset, at int64) (*Entry, error) {
	l, err := Parse(key, headers, value == nil)
	if err != nil {
		return nil, err
	}
	e := &Entry{Letter: l, Offset: offset, Time: at}
	if l.State.Open() {
		x.open[l.ID] = e
		delete(x.resolved, l.ID)
	} else {
		x.resolved[l.ID] = e
		delete(x.open, l.ID)
	}
	return e, nil
}

// Resolve takes a letter out.
func (x *Index) Resolve(id string) { delete(x.open, id) }

// Len is how many letters are open.
func (x *Index) Len() int { return len(x.open) }

// Open are the unresolved letters, in the order of the stream.
func (x *Index) Open() []*Entry { return ordered(x.open) }

// Resolved are those that were redriven (as long as their tombstones are kept)
// or discarded, the latest last.
func (x *Index) Resolved() []*Entry {
	out := ordered(x.resolved)
	slices.SortStableFunc(out, func(a, b *Entry) int { return cmp.Compare(a.Offset, b.Offset) })
	return out
}

func ordered(m map[string]*Entry) []*Entry {
	out := make([]*Entry, 0, len(m))
	for _, e := range m {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(a.Order(), b.Order()), cmp.Compare(a.Offset, b.Offset))
	})
	return out
}

// Held is what the open letters hold.
func (x *Index) Held() *Held {
	h := NewHeld()
	for _, e := range x.Open() {
		h.Add(e.ID, e.Holds)
	}
	return h
}
