package matrix

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Row is one row that Postgres committed, as its own log says.
type Row struct {
	ID     string
	Commit event.LSN // of its transaction
	End    event.LSN // of its transaction's commit record
	Ord    int       // among the rows of its transaction, from 1
	Of     int       // how many rows its transaction has
}

// Seen is one record as a read_committed consumer sees it.
type Seen struct {
	ID        string
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	// Txn names the Kafka transaction within the partition: producer and how
	// many of its commit markers came before.
	Txn string
}

// Mark is one committed checkpoint, in the order of their offsets.
type Mark struct {
	event.Saved
	At time.Time // when a consumer saw it
}

// Sample is confirmed_flush_lsn of the slot at a time.
type Sample struct {
	At      time.Time
	Flushed event.LSN
}

// Evidence is what a cell leaves to be judged.
type Evidence struct {
	Rows    []Row  // the truth, in commit order
	Records []Seen // per partition in the order of offsets
	Marks   []Mark
	Samples []Sample
	Limit   int // events in a batch at most: a larger transaction may be cut
	// Late says until when a checkpoint that was committed at t is sure to have
	// been seen; nil: a second and a half later.
	Late func(t time.Time) time.Time
}

// Verdict is what [Check] found. All but Events and Samples should be zero.
type Verdict struct {
	Events     int // that were to arrive
	Lost       int
	Doubled    int
	Reordered  int
	Partial    int // transactions that were cut
	Phantoms   int // records nobody committed, or of a gap that was given up
	AckAhead   int // samples
	Samples    int
	Complaints []string // the first few of each kind
}

// Sound reports that nothing is wrong.
func (v *Verdict) Sound() bool {
	return v.Lost+v.Doubled+v.Reordered+v.Partial+v.Phantoms+v.AckAhead == 0
}

func (v *Verdict) String() string {
	return fmt.Sprintf("events %d, lost %d, doubled %d, reordered %d, partial transactions %d, phantoms %d, acknowledged ahead %d of %d samples",
		v.Events, v.Lost, v.Doubled, v.Reordered, v.Partial, v.Phantoms, v.AckAhead, v.Samples)
}

func (v *Verdict) add(count *int, format string, args ...any) {
	if *count++; *count <= 3 {
		v.Complaints = append(v.Complaints, fmt.Sprintf(format, args...))
	}
}

// Check demands that every row that was to be published is there exactly once,
// that records with one key are in the order of (commit LSN, ordinal), that no
// Postgres transaction was cut unless it is larger than a batch, and that
// Postgres was never told to forget what was not committed in Kafka.
func Check(e *Evidence) *Verdict {
	v := &Verdict{}
	due := v.due(e)
	at := v.once(e, due)
	v.order(e.Records, at)
	v.whole(e, at)
	v.acked(e)
	return v
}

// due are the rows that have to arrive: those after the position of the first
// checkpoint that streams, and not in a gap that `slots recreate` gave up.
func (v *Verdict) due(e *Evidence) map[string]bool {
	due := make(map[string]bool, len(e.Rows))
	for _, r := range e.Rows {
		due[r.ID] = !givenUp(e.Marks, r)
	}
	for _, ok := range due {
		if ok {
			v.Events++
		}
	}
	return due
}

// givenUp reports whether a slot began after r and no checkpoint before that
// slot's had r.
func givenUp(marks []Mark, r Row) bool {
	making := true // nothing streams before the first checkpoint
	var last event.Position
	var system string
	for _, m := range marks {
		switch {
		case m.State == event.StateCreating:
			making = true
		case m.State == event.StateStreaming && making:
			making = false
			if r.End <= m.Safe && !has(last, r) && (system == "" || system == m.SystemID) {
				return true
			}
		}
		if m.State == event.StateStreaming { // an intent has no position
			last, system = m.Checkpoint().Last, m.SystemID
		}
	}
	return making // nothing ever streamed
}

// has reports whether rows up to last include r. Ord of a Row counts rows only,
// so it is compared by transaction; a cut transaction counts as had.
func has(last event.Position, r Row) bool { return last.Commit >= r.Commit }

// once counts what is lost, doubled and made up, and returns each record's row.
func (v *Verdict) once(e *Evidence, due map[string]bool) map[string]Row {
	rows := make(map[string]Row, len(e.Rows))
	for _, r := range e.Rows {
		rows[r.ID] = r
	}
	seen := make(map[string]*Seen, len(e.Records))
	for i := range e.Records {
		rec := &e.Records[i]
		switch first := seen[rec.ID]; {
		case first != nil:
			v.add(&v.Doubled, "doubled: event %s at %s and at %s", rec.ID, first, rec)
			continue
		case !due[rec.ID]:
			v.add(&v.Phantoms, "phantom: event %s at %s was not committed, or was given up", rec.ID, rec)
		}
		seen[rec.ID] = rec
	}
	for _, r := range e.Rows {
		if due[r.ID] && seen[r.ID] == nil {
			v.add(&v.Lost, "lost: event %s, row %d of %d of the transaction at %s", r.ID, r.Ord, r.Of, r.Commit)
		}
	}
	return rows
}

func (s *Seen) String() string { return fmt.Sprintf("%s/%d@%d", s.Topic, s.Partition, s.Offset) }

// order demands ascending positions per topic and key.
func (v *Verdict) order(records []Seen, rows map[string]Row) {
	type lane struct{ topic, key string }
	last := map[lane]Row{}
	again := map[string]bool{} // a copy is doubled, not out of order
	for i := range records {
		rec := &records[i]
		r, known := rows[rec.ID]
		if !known || again[rec.ID] {
			continue
		}
		again[rec.ID] = true
		l := lane{rec.Topic, rec.Key}
		before, any := last[l]
		if any && cmp.Or(cmp.Compare(r.Commit, before.Commit), cmp.Compare(r.Ord, before.Ord)) < 0 {
			v.add(&v.Reordered, "reordered: event %s (%s#%d) at %s comes after %s (%s#%d) of the same key %q",
				r.ID, r.Commit, r.Ord, rec, before.ID, before.Commit, before.Ord, rec.Key)
			continue // the one ahead stays the measure
		}
		last[l] = r
	}
}

// whole demands that rows of one transaction are in one Kafka transaction: in
// each partition by its markers, and across partitions because no checkpoint
// ends inside it.
func (v *Verdict) whole(e *Evidence, rows map[string]Row) {
	type part struct {
		commit    event.LSN
		topic     string
		partition int32
	}
	txn := map[part]string{}
	cut := map[event.LSN]bool{}
	complain := func(r Row, format string, args ...any) {
		if !cut[r.Commit] {
			cut[r.Commit] = true
			v.add(&v.Partial, "partial: the transaction at %s of %d rows: %s", r.Commit, r.Of, fmt.Sprintf(format, args...))
		}
	}
	size := map[event.LSN]Row{}
	for i := range e.Records {
		rec := &e.Records[i]
		r, known := rows[rec.ID]
		if !known || r.Of > e.Limit {
			continue
		}
		p := part{r.Commit, rec.Topic, rec.Partition}
		if was, any := txn[p]; any && was != rec.Txn {
			complain(r, "its records in %s/%d are in the Kafka transactions %s and %s", rec.Topic, rec.Partition, was, rec.Txn)
		}
		txn[p] = rec.Txn
	}
	for _, r := range e.Rows {
		size[r.Commit] = r
	}
	for _, m := range e.Marks {
		last := m.Checkpoint().Last
		r, known := size[last.Commit]
		if known && r.Of <= e.Limit && m.Safe < r.End {
			complain(r, "a checkpoint ends inside it, at %s", last)
		}
	}
}

// acked compares each sample with the checkpoints that were committed by then.
func (v *Verdict) acked(e *Evidence) {
	late := e.Late
	if late == nil {
		late = func(t time.Time) time.Time { return t.Add(1500 * time.Millisecond) }
	}
	marks := slices.Clone(e.Marks)
	slices.SortStableFunc(marks, func(a, b Mark) int { return a.At.Compare(b.At) })
	for _, s := range e.Samples {
		v.Samples++
		if s.Flushed == 0 {
			continue // there is no slot
		}
		by := late(s.At)
		var most event.LSN
		any := false
		for _, m := range marks {
			if m.At.After(by) {
				break
			}
			if m.State == event.StateStreaming {
				most, any = max(most, m.Safe), true
			}
		}
		if any && s.Flushed > most {
			v.add(&v.AckAhead, "acknowledged ahead: the slot had confirmed %s at %s, committed checkpoints went up to %s",
				s.Flushed, s.At.Format("15:04:05.000"), most)
		}
	}
}
