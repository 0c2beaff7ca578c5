package audit

import (
	"cmp"
	"slices"
)

// Kind is a kind of finding.
type Kind string

// The kinds, in the order of a report.
const (
	Missing     Kind = "missing"         // a row whose record is not in Kafka
	Duplicate   Kind = "duplicate"       // more copies than rows
	OutOfOrder  Kind = "out_of_order"    // an earlier commit behind a later one of the same key
	Unencodable Kind = "unencodable"     // a row no record can be made of
	NotRelayed  Kind = "not_relayed_yet" // missing, but the relay may still bring it
	Removed     Kind = "removed"         // not there, and the topic's retention or compaction may be why
	Unknown     Kind = "unknown"         // a record without a row
	// Not in their topics, and known not to be: in the dead letter topic, or given
	// up there.
	DeadLettered Kind = "dead_lettered"
	Discarded    Kind = "discarded"
)

// Kinds are all kinds, in the order of a report.
func Kinds() []Kind {
	return []Kind{Missing, Duplicate, OutOfOrder, Unencodable, DeadLettered, Discarded, NotRelayed, Removed, Unknown}
}

// Finding is one thing that was found. Row is that of the kinds about rows, and
// of a duplicate that has one. Records are the copies of a duplicate; of a
// disorder the record that came too late, then the one before it that should
// have come after it.
type Finding struct {
	Kind    Kind
	Row     *Row
	Records []Record
}

func (f *Finding) at() int64 {
	if f.Row != nil {
		return f.Row.Created
	}
	return f.Records[0].Time * 1000
}

// Ref is a missing record, as a repair needs it.
type Ref struct {
	Place
	XID   uint32
	Topic uint16
}

// Result is what Compare found.
type Result struct {
	Expected int64 // records the rows stand for
	Replayed int64 // records that say they are of a replay
	Repaired int64 // records that say they are of a repair
	Redriven int64 // records that say they were dead letters
	Counts   map[Kind]int64
	Findings []Finding // by kind, the earliest of each
	Missing  []Ref     // when asked for; see Overflow
	Overflow bool      // more are missing than Options.Missing
}

// keeper keeps the earliest findings of one kind.
type keeper struct {
	limit int
	list  []Finding
	last  int64 // later ones need not be kept
	full  bool
}

// wants reports whether a finding of this time would be kept.
func (k *keeper) wants(at int64) bool { return k.limit > 0 && (!k.full || at < k.last) }

func (k *keeper) add(f Finding) {
	k.list = append(k.list, f)
	if len(k.list) >= 2*k.limit+64 {
		k.cut()
	}
}

func (k *keeper) cut() []Finding {
	slices.SortStableFunc(k.list, func(a, b Finding) int { return cmp.Compare(a.at(), b.at()) })
	if len(k.list) >= k.limit && k.limit > 0 {
		clear(k.list[k.limit:])
		k.list = k.list[:k.limit]
		k.full, k.last = true, k.list[k.limit-1].at()
	}
	return k.list
}
