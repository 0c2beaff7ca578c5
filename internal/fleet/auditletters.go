package fleet

import (
	"context"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

// badRow is a row no record can be made of: it may be in the dead letter topic,
// which is read later.
type badRow struct {
	id     audit.Sum
	detail int // index of its detail; -1: none
}

// maxBad is how many are remembered; those beyond count as what they seem.
const maxBad = 2_000_000

// remember notes the row that was appended last.
func (a *auditor) remember(detail int) {
	id, ok := a.tr.EventID()
	if !ok || len(a.bad) >= maxBad {
		return
	}
	sum, _ := audit.IDOf([]byte(id))
	a.bad = append(a.bad, badRow{sum, detail})
}

// readDeadLetters reads which events lie in the dead letter topic, or were given
// up there, and takes the rows among them out of those that cannot be encoded.
func (a *auditor) readDeadLetters(ctx context.Context, facts *audit.Facts) error {
	index, _, err := a.readLetters(ctx, nil)
	if err != nil {
		return err
	}
	sums := func(entries []*deadletter.Entry, state func(deadletter.State) bool) map[audit.Sum]bool {
		out := map[audit.Sum]bool{}
		for _, e := range entries {
			if e.EventID == "" || !state(e.State) || e.Replay() != "" { // another copy
				continue
			}
			sum, _ := audit.IDOf([]byte(e.EventID))
			out[sum] = true
		}
		return out
	}
	facts.DeadLettered = sums(index.Open(), deadletter.State.Open)
	facts.Discarded = sums(index.Resolved(), func(s deadletter.State) bool { return s == deadletter.Discarded })
	for _, b := range a.bad {
		kind, count := audit.DeadLettered, &a.report.DeadLettered
		switch {
		case facts.DeadLettered[b.id]:
		case facts.Discarded[b.id]:
			kind, count = audit.Discarded, &a.report.Discarded
		default:
			continue
		}
		*count++
		a.report.Unencodable--
		if b.detail >= 0 {
			a.report.Details[b.detail].Kind = kind
		}
	}
	a.bad = nil
	return nil
}
