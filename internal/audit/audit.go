package audit

import (
	"errors"
	"fmt"
	"math"
)

// DefaultTolerance is how much earlier than its predecessor with the same key a
// record's commit time may be without being called out of order. Postgres takes
// the time of a commit before it writes the commit record: of two transactions
// that commit at once, the one that was preempted in between has the earlier
// time and the later place in the log. A preemption lasts milliseconds, on an
// overloaded machine tenths of a second; a second is beyond both, and far below
// what a relay that mixes up batches would show.
const DefaultTolerance = 1000 // milliseconds

const (
	// perBucket is how many events a bucket should hold: 16 MB of rows and
	// records together.
	perBucket  = 120_000
	maxBuckets = 512
	// maxSuspects is how many keys are remembered as possibly out of order;
	// with more, all keys are looked at.
	maxSuspects = 500_000
)

// Options say what is compared.
type Options struct {
	Dir       string // of the temporary files; "" the system's
	Events    int64  // how many are expected; a wrong number costs memory or speed only
	Since     int64  // of the range, microseconds since the Unix epoch; 0: open
	Until     int64  // records after it need no row; 0: open
	Tolerance int64  // of order, milliseconds
	Limit     int    // findings of each kind that are kept, the earliest
	Missing   int    // references of missing rows that are kept for a repair

	buckets int // for tests; 0: by Events
}

// Audit takes rows and records and compares them. It belongs to one goroutine.
// All rows and records come before Compare; the records of one partition come
// in the order of their offsets.
type Audit struct {
	o       Options
	rows    *spill
	records *spill
	keyRows *spill // second pass
	keyRecs *spill

	topics []string
	byName map[string]uint16
	newest [][]int64 // by topic and partition: the latest time so far

	suspects map[Sum]bool
	all      bool // too many suspects: every key is one

	res Result
}

// New makes an Audit. Close it.
func New(o Options) (*Audit, error) {
	n := o.buckets
	if n == 0 {
		n = int(min(max(o.Events/perBucket+1, 1), maxBuckets))
	}
	if o.Until == 0 {
		o.Until = math.MaxInt64
	}
	o.buckets = n
	a := &Audit{o: o, byName: map[string]uint16{}, suspects: map[Sum]bool{}}
	var err error
	if a.rows, err = newSpill(o.Dir, rowBytes, n); err == nil {
		a.records, err = newSpill(o.Dir, recordBytes, n)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close frees the temporary files.
func (a *Audit) Close() {
	for _, s := range []*spill{a.rows, a.records, a.keyRows, a.keyRecs} {
		s.close()
	}
	a.rows, a.records, a.keyRows, a.keyRecs = nil, nil, nil, nil
}

var errTopics = errors.New("more than 65535 topics")

// Topic is the number of a topic.
func (a *Audit) Topic(name string) (uint16, error) {
	if n, ok := a.byName[name]; ok {
		return n, nil
	}
	if len(a.topics) > math.MaxUint16 {
		return 0, errTopics
	}
	n := uint16(len(a.topics))
	a.topics, a.newest = append(a.topics, name), append(a.newest, nil)
	a.byName[name] = n
	return n, nil
}

// TopicName is the topic with a number of Topic.
func (a *Audit) TopicName(n uint16) string { return a.topics[n] }

// Topics are the topics seen so far.
func (a *Audit) Topics() []string { return a.topics }

// AddRow takes a record that should be in Kafka.
func (a *Audit) AddRow(r *Row) error {
	a.res.Expected++
	return putRow(a.rows, r.ID, r)
}

func putRow(s *spill, by Sum, r *Row) error {
	i := by.bucket(len(s.buckets))
	room, err := s.room(i)
	if err != nil {
		return err
	}
	s.put(i, r.append(room))
	return nil
}

// AddRecord takes a record that is in Kafka.
func (a *Audit) AddRecord(r *Record) error {
	if r.Mark == Live && r.Key != (Sum{}) {
		a.watch(r)
	}
	return putRecord(a.records, r.ID, r)
}

func putRecord(s *spill, by Sum, r *Record) error {
	i := by.bucket(len(s.buckets))
	room, err := s.room(i)
	if err != nil {
		return err
	}
	s.put(i, r.append(room))
	return nil
}

// watch finds the keys whose order has to be looked at: a record that is
// earlier than the latest of its partition, of whatever key, may be out of
// order; any other is not.
func (a *Audit) watch(r *Record) {
	parts := a.newest[r.Topic]
	for int(r.Partition) >= len(parts) {
		parts = append(parts, math.MinInt64)
		a.newest[r.Topic] = parts
	}
	if at := &parts[r.Partition]; r.Time >= *at {
		*at = r.Time
	} else if *at != math.MinInt64 && r.Time < *at-a.o.Tolerance && !a.all {
		a.suspects[r.Key] = true
		if len(a.suspects) > maxSuspects {
			a.all, a.suspects = true, map[Sum]bool{}
		}
	}
}

// TopicFacts are what the cluster says about a topic.
type TopicFacts struct {
	Partitions int
	Compacted  bool // a later record replaces an earlier one with the same key
	// From is, by partition, the time of the oldest record of a partition whose
	// beginning was deleted, in microseconds since the Unix epoch: what should
	// be there before it cannot be judged. 0: nothing was deleted.
	From []int64
}

// Facts are known when both sides were read.
type Facts struct {
	Topics map[string]TopicFacts // those that exist
	// Behind: the relay has not passed the moment of the snapshot. What is
	// missing may be under way then, except rows of transactions before
	// OldestXID (when OldestKnown), which the slot has passed.
	Behind      bool
	OldestXID   uint32
	OldestKnown bool
	// DeadLettered and Discarded are the event ids in the dead letter topic, read
	// before the topics were: what is redriven meanwhile is found there.
	DeadLettered, Discarded map[Sum]bool
}

// gone reports whether the row's record may have been deleted by retention.
func (f *TopicFacts) gone(r *Row) bool {
	if len(f.From) == 0 || f.Partitions == 0 {
		return false
	}
	if r.Key != (Sum{}) {
		p := int(r.KeyHash&0x7fffffff) % f.Partitions
		return p < len(f.From) && r.Created < f.From[p]
	}
	for _, from := range f.From { // without a key any partition was as good
		if r.Created < from {
			return true
		}
	}
	return false
}

// underWay reports whether the relay may still bring the row.
func (f *Facts) underWay(r *Row) bool {
	passed := f.OldestKnown && int32(r.XID-f.OldestXID) < 0 // xids are compared modulo 2^32
	return f.Behind && !passed
}

// String names a row's place for messages.
func (p Place) String() string { return fmt.Sprintf("(%d,%d)", p.Block, p.Tuple) }
