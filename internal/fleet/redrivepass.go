package fleet

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// keepLetters is of how many letters the values are kept as they are read.
const keepLetters = 20_000

// errPrefix is why a logical message gives no record.
var errPrefix = errors.New("its logical message has a prefix that is not postgres.message_prefix any more")

// pass tries letters in order and commits what comes of them whenever the batch is
// full, between two Postgres transactions.
func (r *redriver) pass(ctx context.Context, open []*deadletter.Entry) error {
	var last event.LSN
	try := func(e *deadletter.Entry) error {
		if r.full(e.Pos.Commit == last) {
			if err := r.commit(ctx); err != nil {
				return err
			}
		}
		last = e.Pos.Commit
		err := r.try(e)
		delete(r.kept, e.ID)
		return err
	}
	if err := r.fetchApart(ctx, open); err != nil {
		return err
	}
	if err := r.walk(ctx, open, try); err != nil {
		return err
	}
	return r.commit(ctx)
}

// lacks reports whether the value of e may be needed and is not at hand.
func (r *redriver) lacks(e *deadletter.Entry) bool {
	_, have := r.kept[e.ID]
	return !have && !r.req.Discard && (e.State == deadletter.Parked || r.req.Filter.fits(e))
}

// fetchApart gets the values of letters that were written again, which lie behind
// letters that come later.
func (r *redriver) fetchApart(ctx context.Context, open []*deadletter.Entry) error {
	apart := map[int64]string{}
	low, high := int64(math.MaxInt64), int64(0)
	for _, e := range open {
		if e.First >= 0 && r.lacks(e) {
			apart[e.Offset] = e.ID
			low, high = min(low, e.Offset), max(high, e.Offset)
		}
	}
	if len(apart) == 0 {
		return nil
	}
	return r.live.LettersAgain(ctx, low, high+1, func(s *kafka.Scanned) error {
		if id, ok := apart[s.Offset]; ok {
			r.kept[id] = s.Value
		}
		return nil
	})
}

// walk tries each letter in order, as the values of those that lack them are read
// in one go. One whose record is not there any more is tried without.
func (r *redriver) walk(ctx context.Context, open []*deadletter.Entry, try func(*deadletter.Entry) error) error {
	from, until := int64(-1), int64(0)
	for _, e := range open {
		if r.lacks(e) {
			if from < 0 {
				from = e.Offset
			}
			until = e.Offset + 1
		}
	}
	if from >= 0 {
		err := r.live.LettersAgain(ctx, from, until, func(s *kafka.Scanned) (err error) {
			open, err = r.upTo(s, open, try)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, e := range open {
		if err := try(e); err != nil {
			return err
		}
	}
	return nil
}

// upTo tries the letters that need not wait for a later record than s, and returns
// the others.
func (r *redriver) upTo(s *kafka.Scanned, open []*deadletter.Entry, try func(*deadletter.Entry) error) ([]*deadletter.Entry, error) {
	for len(open) > 0 {
		e := open[0]
		lacks := r.lacks(e)
		if lacks && e.Offset > s.Offset {
			break
		}
		if lacks && e.Offset == s.Offset {
			r.kept[e.ID] = s.Value
		}
		open = open[1:]
		if err := try(e); err != nil {
			return open, err
		}
	}
	return open, nil
}

// full reports whether the batch has to be committed first. Letters of one
// Postgres transaction stay together, unless they alone are too many.
func (r *redriver) full(inside bool) bool {
	n, most := len(r.batch.Records), 2*r.Config.Batch.Events // records and tombstones
	over := n >= most || r.batch.Bytes >= int(r.Config.Batch.Bytes) || r.batch.Short()
	return n > 0 && over && (!inside || n >= 4*most || r.batch.Bytes >= 4*int(r.Config.Batch.Bytes))
}

// try adds to the batch what comes of one letter.
func (r *redriver) try(e *deadletter.Entry) error {
	wanted := r.req.Filter.fits(e)
	if r.req.Discard {
		if wanted {
			r.resolved(e, deadletter.Discarded, []byte(`{"v":1,"discarded":true}`))
		}
		return nil
	}
	if !r.queue.Next(e, wanted) {
		if wanted && !r.failed[e.ID] {
			r.waits[e.ID] = true
		}
		return nil
	}
	from, blobs := len(r.batch.Records), len(r.batch.Blobs)
	value, have := r.kept[e.ID]
	if !have { // a tombstone written by hand since, and cleaned
		r.queue.Stay(e)
		return nil
	}
	m, err := r.rows.Message(&e.Letter, value)
	if err == nil {
		err = r.tr.Append(r.batch, &m)
	}
	if err == nil && len(r.batch.Records) == from {
		err = errPrefix
	}
	if err != nil {
		return r.fails(e, value, err)
	}
	var seats []deadletter.Hold
	for _, rec := range r.batch.Records[from:] {
		if rec.Key != nil {
			seats = append(seats, deadletter.Hold{Topic: *rec.Topic, Key: string(rec.Key)})
		}
	}
	if _, _, held := r.queue.First(seats); held {
		r.batch.Records, r.batch.Blobs = r.batch.Records[:from], r.batch.Blobs[:blobs]
		r.queue.Stay(e)
		r.waits[e.ID] = true
		return nil
	}
	markReplay(r.batch.Records[from:], e.Replay())
	r.made += len(r.batch.Records) - from
	r.queue.Gone(e)
	r.resolved(e, deadletter.Redriven, nil)
	return nil
}

// markReplay marks records that come of a replay's letter as what they are, a
// second copy: a consumer and an audit look for that header.
func markReplay(records []event.Record, id string) {
	if id == "" {
		return
	}
	for i := range records {
		hs := slices.DeleteFunc(slices.Clone(records[i].Headers), func(h event.Header) bool { return h.Key == event.ReplayHeader })
		records[i].Headers = append(hs, event.Header{Key: event.ReplayHeader, Value: []byte(id)})
	}
}

// resolved adds the record that resolves a letter.
func (r *redriver) resolved(e *deadletter.Entry, as deadletter.State, value []byte) {
	l := e.Resolve(as, r.req.By, r.out.ID, time.Now())
	r.write(&l, value)
	r.pending = append(r.pending, e)
}

func (r *redriver) write(l *deadletter.Letter, value []byte) {
	rec := event.Record{Topic: &r.out.Topic, Key: []byte(l.ID), Value: value, Headers: l.Headers()}
	r.batch.Bytes += len(rec.Key) + len(value)
	for i := range rec.Headers {
		r.batch.Bytes += len(rec.Headers[i].Value)
	}
	r.batch.Records = append(r.batch.Records, rec)
}

// fails keeps a letter that still cannot be published, with why it cannot now.
// What is not about the letter ends the redrive.
func (r *redriver) fails(e *deadletter.Entry, value []byte, err error) error {
	l := e.Letter
	l.State, l.Behind = deadletter.Dead, ""
	if errors.Is(err, errPrefix) {
		l.Class, l.Reason, l.Next = "row", err.Error(), "set it to what it was, or discard the letter"
	} else if !r.tr.Explain(&l, err) {
		return err
	}
	r.queue.Stay(e)
	if r.failed[e.ID] {
		return nil
	}
	r.failed[e.ID] = true
	r.out.Failed++
	kind := LetterCount{EventType: l.EventType, State: l.State, Class: l.Class}
	if r.failures[kind] == nil {
		c := kind
		c.Example = l.Reason
		r.failures[kind] = &c
	}
	r.failures[kind].Count++
	if l.State == e.State && l.Class == e.Class && l.Reason == e.Reason {
		return nil
	}
	l.First, l.Relay, l.Redrive = e.Order(), r.Version, r.out.ID
	r.write(&l, value)
	return nil
}

// count says what is left.
func (r *redriver) count() {
	r.out.Waiting = len(r.waits)
	for _, c := range r.failures {
		r.out.Failures = append(r.out.Failures, *c)
	}
	slices.SortFunc(r.out.Failures, func(a, b LetterCount) int { return cmp.Compare(b.Count, a.Count) })
	const most = 20
	for _, e := range r.index.Open() {
		if e.State == deadletter.Parked {
			r.out.Parked++
		} else {
			r.out.Dead++
		}
		if len(r.out.Left) < most && (r.failed[e.ID] || r.waits[e.ID] || r.orphan(e)) {
			r.out.Left = append(r.out.Left, listed(e))
		}
	}
}

// orphan reports whether what e was parked behind was discarded in this run.
func (r *redriver) orphan(e *deadletter.Entry) bool {
	return r.req.Discard && e.State == deadletter.Parked && r.gone[e.Behind]
}
