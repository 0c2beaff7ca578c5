package deadletter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Recall reads a dead letter topic for what it holds and nothing else: a start
// waits for it, and there may be many parked letters. Records are added in the
// order of their offsets. It belongs to one goroutine.
type Recall struct {
	Database string // whose letters they have to be

	open    map[string]*place
	sharing map[string][]Hold // the same text is the same holds

	lastID    string // of the last letter that says its share, unless it was resolved since
	lastOrder int64
	last      Share
}

type place struct {
	holds []Hold
	order int64
}

// Add takes a record.
func (r *Recall) Add(key []byte, tombstone bool, headers []event.Header, offset int64) error {
	if r.open == nil {
		r.open, r.sharing = map[string]*place{}, map[string][]Hold{}
	}
	id := strings.Clone(string(key))
	if id == r.lastID {
		r.lastID, r.lastOrder, r.last = "", 0, Share{}
	}
	if tombstone {
		delete(r.open, id)
		return nil
	}
	l := Letter{ID: id, First: -1}
	var holds []byte
	for _, h := range headers {
		var err error
		switch h.Key {
		case headerState, headerDatabase:
			err = l.take(h.Key, string(h.Value))
		case headerFirst, headerShare:
			err = l.number(h.Key, string(h.Value))
		case headerHolds:
			holds = h.Value
		}
		if err != nil {
			return fmt.Errorf("dead letter %s: header %s: %w", id, h.Key, err)
		}
	}
	if l.Database != "" && l.Database != r.Database {
		return event.Refusef("give each pipeline a dead letter topic of its own (dead_letters.topic, or dead_letter_topic of the database)",
			"the dead letter topic holds letters of database %q, and the pipeline reads %q", l.Database, r.Database)
	}
	delete(r.open, id)
	order := offset
	if l.First >= 0 {
		order = l.First
	}
	if l.State.Open() && l.Share != (Share{}) && order >= r.lastOrder {
		r.lastID, r.lastOrder, r.last = id, order, l.Share
	}
	if !l.State.Open() || len(holds) == 0 {
		return nil
	}
	var err error
	if l.Holds = r.sharing[string(holds)]; l.Holds == nil {
		if l.Holds, err = parseHolds(string(holds)); err != nil {
			return fmt.Errorf("dead letter %s: header %s: %w", id, headerHolds, err)
		}
		r.sharing[string(holds)] = l.Holds
	}
	r.open[id] = &place{holds: l.Holds, order: order}
	return nil
}

// Share is that of the last letter that is not resolved.
func (r *Recall) Share() Share { return r.last }

// Letters is how many letters hold something.
func (r *Recall) Letters() int { return len(r.open) }

// Held is what they hold.
func (r *Recall) Held() *Held {
	ids := make([]string, 0, len(r.open))
	for id := range r.open {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(r.open[a].order, r.open[b].order) })
	h := NewHeld()
	for _, id := range ids {
		h.Add(id, r.open[id].holds)
	}
	return h
}
