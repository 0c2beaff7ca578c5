package contracts

import (
	"errors"
	"fmt"
	"strings"
)

// dualRecord is one half of a pair, as a consumer of committed records sees it.
type dualRecord struct {
	pair   string // correlation id
	key    string
	offset int64
	txn    dualTxn
}

// dualTxn is a Kafka transaction with events: its producer, and how many such
// transactions that producer has committed before. Every one has events in both
// topics, so the number is the same in both, and that of its checkpoint.
type dualTxn struct {
	producer string // id and epoch
	n        int
}

// dualMark is a committed checkpoint that counts more events than the last.
type dualMark struct {
	txn    dualTxn
	events int // records produced until then
}

// dualVerdict is what dualCheck found.
type dualVerdict struct {
	pairs      int // whole at the end
	halves     int // seen by half at a checkpoint, or at the end
	marks      int
	wrong      int
	complaints []string // the first few
}

func (v *dualVerdict) complain(format string, args ...any) {
	if v.wrong++; v.wrong <= 5 {
		v.complaints = append(v.complaints, fmt.Sprintf(format, args...))
	}
}

// err says that there was something wrong apart from halves.
func (v *dualVerdict) err() error {
	if v.wrong == 0 {
		return nil
	}
	return errors.New("dual: " + strings.Join(v.complaints, "; "))
}

// dualCheck goes through the checkpoints in the order of their offsets. A consumer
// that has read both topics up to one has read each of them to the last record
// of the checkpoint's transaction; of all it has read by then no pair may lack
// a half. written says of each pair whether it was committed.
func dualCheck(thin, rich []dualRecord, marks []dualMark, written map[string]bool) *dualVerdict {
	v := &dualVerdict{marks: len(marks)}
	seen := map[string]int{} // pair → halves read: 1 thin, 2 rich, 3 both
	open := map[string]bool{}
	halved := map[string]bool{}
	read := func(records []dualRecord, half int) {
		for _, r := range records {
			if seen[r.pair]&half != 0 {
				v.complain("pair %s is doubled, at offset %d", r.pair, r.offset)
			}
			if committed, known := written[r.pair]; !committed {
				v.complain("pair %s at offset %d was not committed (known %v)", r.pair, r.offset, known)
			}
			if seen[r.pair] |= half; seen[r.pair] == 3 {
				delete(open, r.pair)
			} else {
				open[r.pair] = true
			}
		}
	}
	halve := func() {
		for pair := range open {
			halved[pair] = true
		}
	}
	thinAt, richAt := dualEnds(thin), dualEnds(rich)
	thinRead, richRead := 0, 0
	for _, m := range marks {
		t, r := thinAt[m.txn], richAt[m.txn]
		if t == 0 || r == 0 {
			v.complain("the transaction %v of a checkpoint has %d thin and %d rich events", m.txn, t, r)
			continue
		}
		if t > thinRead {
			read(thin[thinRead:t], 1)
			thinRead = t
		}
		if r > richRead {
			read(rich[richRead:r], 2)
			richRead = r
		}
		if thinRead+richRead != m.events {
			v.complain("the checkpoint of transaction %v counts %d events, %d are before its end", m.txn, m.events, thinRead+richRead)
		}
		halve()
	}
	read(thin[thinRead:], 1)
	read(rich[richRead:], 2)
	halve()
	v.keys(thin, rich)
	for pair, committed := range written {
		if committed && seen[pair] == 0 {
			v.complain("pair %s was committed and is not there", pair)
		}
		if committed && seen[pair] == 3 {
			v.pairs++
		}
	}
	v.halves = len(halved)
	return v
}

// dualEnds is, for each transaction, how many records of a topic have been read
// when its last one was.
func dualEnds(records []dualRecord) map[dualTxn]int {
	ends := map[dualTxn]int{}
	for i, r := range records {
		ends[r.txn] = i + 1
	}
	return ends
}

// keys demands that both halves of a pair have the pair's key.
func (v *dualVerdict) keys(thin, rich []dualRecord) {
	keys := make(map[string]string, len(thin))
	for _, r := range thin {
		keys[r.pair] = r.key
	}
	for _, r := range rich {
		if key, there := keys[r.pair]; there && key != r.key {
			v.complain("pair %s has the keys %q and %q", r.pair, key, r.key)
		}
	}
}
