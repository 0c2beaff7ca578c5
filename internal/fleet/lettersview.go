package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// LetterFilter says which dead letters are meant; each part that is not empty has
// to fit.
type LetterFilter struct {
	IDs     []string // or a beginning of one that no other letter has
	Types   []string // event types
	Reasons []string // classes of reasons
	Keys    []string
	State   deadletter.State // "": any
	Since   time.Time        // of the commit in Postgres
	Until   time.Time
}

// Empty reports whether every letter is meant.
func (f *LetterFilter) Empty() bool {
	return len(f.IDs)+len(f.Types)+len(f.Reasons)+len(f.Keys) == 0 && f.State == "" && f.Since.IsZero() && f.Until.IsZero()
}

// fits reports whether e is meant. IDs are resolved already.
func (f *LetterFilter) fits(e *deadletter.Entry) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	at := time.UnixMicro(e.Commit)
	return in(f.IDs, e.ID) && in(f.Types, e.EventType) && in(f.Reasons, e.Class) && (f.State == "" || f.State == e.State) &&
		(f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until)) && f.hasKey(e)
}

func (f *LetterFilter) hasKey(e *deadletter.Entry) bool {
	return len(f.Keys) == 0 || slices.Contains(f.Keys, e.Key) ||
		slices.ContainsFunc(e.Holds, func(h deadletter.Hold) bool { return slices.Contains(f.Keys, h.Key) })
}

// resolve replaces beginnings of IDs by the letters they are of.
func (f *LetterFilter) resolve(open []*deadletter.Entry) error {
	ids := slices.Clone(f.IDs)
	for i, short := range ids {
		var of []string
		for _, e := range open {
			if e.ID == short {
				of = []string{short}
				break
			}
			if strings.HasPrefix(e.ID, short) {
				of = append(of, e.ID)
			}
		}
		switch {
		case len(of) == 0:
			return event.Refusef("cdc-relay dlq list; cdc-relay dlq list --resolved shows those that are gone", "there is no unresolved dead letter %q", short)
		case len(of) > 1:
			return &UsageError{fmt.Sprintf("%q is the beginning of %d letters, among them %s and %s: write more of it", short, len(of), of[0], of[1])}
		}
		ids[i] = of[0]
	}
	f.IDs = ids
	return nil
}

// LetterCount is how many letters are of one kind.
type LetterCount struct {
	EventType string           `json:"event_type"`
	State     deadletter.State `json:"state"`
	Class     string           `json:"class,omitempty"`
	Count     int              `json:"count"`
	Example   string           `json:"example,omitempty"` // the reason of the first
}

// ListedLetter is a letter as a list has it.
type ListedLetter struct {
	deadletter.Letter
	LSN        string `json:"lsn"`
	Ordinal    uint64 `json:"ordinal"`
	CommitTime string `json:"commit_time"`
	Written    string `json:"written_at"`
	Offset     int64  `json:"offset"`
}

// Letters is what lies in the dead letter topic of a pipeline.
type Letters struct {
	Pipeline string         `json:"pipeline"`
	Topic    string         `json:"topic"`
	Exists   bool           `json:"exists"`
	Dead     int            `json:"dead"`
	Parked   int            `json:"parked"`
	HeldKeys int            `json:"held_keys"`
	Counts   []LetterCount  `json:"counts"`  // of those that fit the filter
	Letters  []ListedLetter `json:"letters"` // the first of them
	Fitting  int            `json:"fitting"`
}

// DeadLetters lists the letters of a pipeline that fit: unresolved ones in the
// order of the stream, or, resolved, what was redriven or discarded of late. It
// fences nobody. limit 0: all.
func (f *Fleet) DeadLetters(ctx context.Context, pipeline string, filter LetterFilter, resolved bool, limit int) (*Letters, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return nil, err
	}
	u := f.unit(p)
	index, exists, err := u.readLetters(ctx, nil)
	if err != nil {
		return nil, named(p.Name, err)
	}
	out := &Letters{Pipeline: p.Name, Topic: p.DeadLetterTopic, Exists: exists, HeldKeys: index.Held().Len(), Letters: []ListedLetter{}, Counts: []LetterCount{}}
	open := index.Open()
	for _, e := range open {
		if e.State == deadletter.Parked {
			out.Parked++
		} else {
			out.Dead++
		}
	}
	if resolved {
		open = index.Resolved()
	}
	if err := filter.resolve(open); err != nil {
		return nil, err
	}
	counts := map[LetterCount]*LetterCount{}
	for _, e := range open {
		if !filter.fits(e) {
			continue
		}
		kind := LetterCount{EventType: e.EventType, State: e.State, Class: e.Class}
		if counts[kind] == nil {
			c := kind
			c.Example = e.Reason
			counts[kind] = &c
		}
		counts[kind].Count++
		if out.Fitting++; limit == 0 || len(out.Letters) < limit {
			out.Letters = append(out.Letters, listed(e))
		}
	}
	for _, c := range counts {
		out.Counts = append(out.Counts, *c)
	}
	slices.SortFunc(out.Counts, func(a, b LetterCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.EventType, b.EventType), cmp.Compare(a.Class, b.Class), cmp.Compare(a.State, b.State))
	})
	return out, nil
}

func listed(e *deadletter.Entry) ListedLetter {
	return ListedLetter{
		Letter: e.Letter, LSN: e.Pos.Commit.String(), Ordinal: e.Pos.Ord, Offset: e.Offset,
		CommitTime: time.UnixMicro(e.Commit).UTC().Format(time.RFC3339Nano), Written: time.UnixMilli(e.Time).UTC().Format(time.RFC3339Nano),
	}
}

// readLetters reads the dead letter topic to the end it has now; value is given
// the value of each letter.
func (u *unit) readLetters(ctx context.Context, value func(*deadletter.Entry, []byte)) (x *deadletter.Index, exists bool, err error) {
	x = deadletter.NewIndex()
	client, err := kafka.Open(u.settings, u.log)
	if err != nil {
		return x, false, err
	}
	defer client.Close()
	topics, err := client.Topics(ctx, u.cfg.DeadLetterTopic)
	if err != nil {
		return x, false, err
	}
	spans, err := client.Spans(ctx, time.Time{}, topics)
	if err != nil || len(spans) == 0 {
		return x, len(spans) > 0, err
	}
	if len(spans) != 1 {
		_, err := kafka.CheckDeadLetters(topics[u.cfg.DeadLetterTopic])
		return x, true, err
	}
	var headers []event.Header
	return x, true, client.Scan(ctx, spans, func(s *kafka.Scanned) error {
		headers = s.Headers(headers[:0])
		e, err := x.Add(s.Key, s.Value, headers, s.Offset, s.Time)
		if err == nil && value != nil {
			value(e, s.Value)
		}
		return err
	})
}

// ShownLetter is one letter with its row.
type ShownLetter struct {
	ListedLetter
	Value  []byte   `json:"-"`      // of the record: the row
	Waits  []string `json:"waits"`  // the first letters parked behind it
	Parked int      `json:"parked"` // how many are
}

// DeadLetter finds one letter by its ID, or the beginning of it.
func (f *Fleet) DeadLetter(ctx context.Context, pipeline, id string) (*ShownLetter, error) {
	p, err := f.one(pipeline)
	if err != nil {
		return nil, err
	}
	values := map[string][]byte{}
	index, _, err := f.unit(p).readLetters(ctx, func(e *deadletter.Entry, value []byte) {
		if strings.HasPrefix(e.ID, id) {
			values[e.ID] = value
		}
	})
	if err != nil {
		return nil, named(p.Name, err)
	}
	filter := LetterFilter{IDs: []string{id}}
	all := slices.Concat(index.Open(), index.Resolved())
	if err := filter.resolve(all); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(e *deadletter.Entry) bool { return e.ID == filter.IDs[0] })
	s := &ShownLetter{ListedLetter: listed(all[at]), Value: values[filter.IDs[0]], Waits: []string{}}
	for _, e := range index.Open() {
		if e.Behind != s.ID || e.State != deadletter.Parked {
			continue
		}
		if s.Parked++; len(s.Waits) < 10 {
			s.Waits = append(s.Waits, e.ID)
		}
	}
	return s, nil
}
