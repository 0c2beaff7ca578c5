package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what Check found.
type Report struct {
	Written, RolledBack                    int
	Delivered                              int // different events of the truth
	Duplicates, Missing, OutOfOrder        int
	FromRolledBack, Unknown, WrongContents int
	P50, P99                               time.Duration // from the commit in Postgres to the consumer
	Details                                []string      // the first few of each kind
}

// Exact reports that everything is there exactly once, in order, and nothing
// else.
func (r *Report) Exact() bool {
	return r.Delivered == r.Written && r.Duplicates+r.Missing+r.OutOfOrder+r.FromRolledBack+r.Unknown+r.WrongContents == 0
}

func (r *Report) String() string {
	s := fmt.Sprintf("written %d, rolled back %d, delivered %d, duplicates %d, missing %d, out of order %d, from rolled back %d, unknown %d, wrong contents %d",
		r.Written, r.RolledBack, r.Delivered, r.Duplicates, r.Missing, r.OutOfOrder, r.FromRolledBack, r.Unknown, r.WrongContents)
	return strings.Join(append([]string{s}, r.Details...), "\n  ")
}

func (r *Report) add(count *int, format string, args ...any) {
	if *count++; *count <= 3 {
		r.Details = append(r.Details, fmt.Sprintf(format, args...))
	}
}

// Check compares records, in the order they were read, with the truth: each
// committed event exactly once, per type and key in commit order (Seq counts up
// by one within a partition), with the key, headers and contents it was written
// with.
func Check(ctx context.Context, truth *Truth, records []Record, dec *Decoder) (*Report, error) {
	truth.mu.Lock()
	defer truth.mu.Unlock()
	r := &Report{Written: len(truth.committed), RolledBack: len(truth.rolledBack)}
	seen := make(map[string]bool, len(truth.committed))
	last := map[string]int{}
	var lags []time.Duration
	for i := range records {
		rec := &records[i]
		id := rec.Headers["event_id"]
		e, ok := truth.committed[id]
		switch {
		case truth.rolledBack[id]:
			r.add(&r.FromRolledBack, "event %s at %s was rolled back", id, rec.at())
			continue
		case !ok:
			r.add(&r.Unknown, "event %q at %s was never written", id, rec.at())
			continue
		case seen[id]:
			r.add(&r.Duplicates, "event %s once more at %s", id, rec.at())
			continue
		}
		seen[id] = true
		if lane := e.Type + " " + e.Key; e.Seq != last[lane]+1 {
			r.add(&r.OutOfOrder, "%s: number %d after %d at %s", lane, e.Seq, last[lane], rec.at())
		}
		last[e.Type+" "+e.Key] = e.Seq
		v, err := dec.Decode(ctx, rec.Value)
		if err != nil {
			return nil, fmt.Errorf("event %s at %s: %w", id, rec.at(), err)
		}
		if why := e.differs(rec, v); why != "" {
			r.add(&r.WrongContents, "event %s at %s: %s", id, rec.at(), why)
		}
		lags = append(lags, rec.Seen.Sub(rec.Time))
	}
	r.Delivered = len(seen)
	for id := range truth.committed {
		if !seen[id] {
			r.add(&r.Missing, "event %s was not delivered", id)
		}
	}
	slices.Sort(lags)
	if n := len(lags); n > 0 {
		r.P50, r.P99 = lags[n/2], lags[n*99/100]
	}
	return r, nil
}

func (rec *Record) at() string { return fmt.Sprintf("%s/%d@%d", rec.Topic, rec.Partition, rec.Offset) }

// differs says where a record is not what was written; "" nowhere.
func (e Event) differs(rec *Record, v map[string]any) string {
	switch {
	case rec.Key != e.Key:
		return fmt.Sprintf("key %q, want %q", rec.Key, e.Key)
	case !strings.HasSuffix(rec.Topic, e.Type+".v1"):
		return "wrong topic"
	case rec.Headers["event_type"] != e.Type || rec.Headers["schema_version"] != "1" || rec.Headers["content_type"] != "application/avro":
		return fmt.Sprintf("headers %v", rec.Headers)
	case fmt.Sprint(v["event_type"]) != e.Type || meta(v, "seq") != e.Seq || meta(v, "tx") != e.Tx || meta(v, "of") != e.Of:
		return fmt.Sprintf("value %v", v)
	}
	return ""
}
