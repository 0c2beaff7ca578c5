package doctor

import (
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Guard judges one pipeline. Its methods fit relay.Guards, return nil or an
// *event.Fault, and touch nothing. A Guard is a value and safe for concurrent
// use.
type Guard struct {
	Pipeline    string
	Slot        string // the slot this configuration uses
	Publication string // the publication this configuration uses
	ClusterID   string // of Kafka, as the brokers said now; "" not known
	Options     string // fingerprint of the stream options in use; "" not known
	Provider    Provider
	// Replay: the slot is a temporary copy of an anchor, made for this session.
	Replay bool
}

// check is one judgement; all of them have the same form, so that guards and
// findings share them.
type check struct {
	name  string
	judge func(Guard, *event.Saved, *event.Facts) *event.Fault
	good  func(Guard, *event.Saved, *event.Facts) string // what to say when it passes; "" nothing
}

// The order matters: what comes first explains what comes after it. A server
// that was replaced also lacks the slot, but the slot is not the news.
var (
	identity = []check{
		{"recovery", inRecovery, nil},
		{"checkpoint version", savedVersion, nil},
		{"system id", systemID, func(_ Guard, _ *event.Saved, f *event.Facts) string { return f.SystemID }},
		{"database", database, nil},
		{"slot name", slotName, nil},
		{"kafka cluster", clusterID, nil},
	}
	server = []check{
		{"wal_level", walLevel, walLevelGood},
		{"privileges", privileges, func(_ Guard, _ *event.Saved, f *event.Facts) string {
			return "role " + f.Role + " may replicate"
		}},
	}
	// A changed publication ends the walsender at the first row that was written
	// without it: it is the news, not that the slot is not held.
	source = []check{
		{"tables", tables, tablesGood},
		{"publication", publication, publicationGood},
		{"publication identity", publicationSame, nil},
	}
	history = []check{{"timeline", timeline, timelineGood}}
	// The log's end is older than a checkpoint read before it; only while
	// nothing is streamed can the two be compared.
	atRest = []check{{"log end", logEnd, nil}}
	slot   = []check{
		{"adoption", unknownSlot, nil},
		{"intent", intent, nil},
		{"slot", slotThere, slotGood},
		{"slot kind", slotKind, nil},
		{"slot wal", slotLost, nil},
		{"slot in use", slotHeld, nil},
		{"slot position", slotAhead, nil},
	}
	// Only while a pipeline runs: what it has read may be old.
	session = []check{{"slot session", sessionEnded, nil}}
	stream  = []check{
		{"stream options", options, nil},
		{"synchronous replication", synchronous, nil},
	}
)

// Foreign is asked before the fence: is this checkpoint ours at all? facts may
// be older than saved. While nothing was made yet (no checkpoint, or only the
// intent of a first start) it also asks what a first start needs of the server,
// and refuses a slot that nobody's checkpoint knows: the intent is committed
// before a slot is made, so facts older than saved cannot show one by chance.
func (g Guard) Foreign(saved event.Saved, facts event.Facts) error {
	lists := [][]check{identity}
	if unmade(&saved) {
		lists = append(lists, server, source, []check{{"adoption", unknownSlot, nil}})
	}
	return g.first(&saved, &facts, lists...)
}

// Start is asked last, with facts read after saved, while our walsender holds
// the slot. Without a walsender of ours (SenderPID 0) it may be asked too, when
// the slot cannot be taken: then it says why.
func (g Guard) Start(saved event.Saved, facts event.Facts) error {
	return g.first(&saved, &facts, identity, server, history, atRest, source, session, slot, stream)
}

// Running is asked every now and then while the pipeline streams. saved is the
// last checkpoint whose commit returned success before facts were read, or a
// later one.
func (g Guard) Running(saved event.Saved, facts event.Facts) error {
	return g.first(&saved, &facts, identity, history, source, session, slot, stream)
}

// Adopt says whether the slot can be adopted: it exists, is sound, is of the
// kind the relay reads, and nobody reads it.
func (g Guard) Adopt(facts event.Facts) error {
	none := event.Saved{}
	if facts.InRecovery {
		return g.first(&none, &facts, identity)
	}
	if !facts.Slot.Exists {
		return g.refuse("cdc-relay slots list shows the slots there are; cdc-relay run makes one when there is neither slot nor checkpoint",
			"slot %s does not exist in the server: there is nothing to adopt", g.Slot)
	}
	return g.first(&none, &facts, server, source, []check{{"slot kind", slotKind, nil}, {"slot wal", slotLost, nil}, {"slot in use", slotHeld, nil}})
}

func (g Guard) first(s *event.Saved, f *event.Facts, lists ...[]check) error {
	for _, l := range lists {
		for _, c := range l {
			if fault := c.judge(g, s, f); fault != nil {
				return fault
			}
		}
	}
	return nil
}

// refuse makes the Fault of a guard; do is the next step.
func (g Guard) refuse(do, format string, args ...any) *event.Fault {
	return event.Refusef(do, "pipeline %s: %s", g.Pipeline, fmt.Sprintf(format, args...))
}

// again makes a Fault that takes the recovery path.
func (g Guard) again(format string, args ...any) *event.Fault {
	return &event.Fault{Verdict: event.Restart, What: fmt.Sprintf("pipeline %s: %s", g.Pipeline, fmt.Sprintf(format, args...))}
}

func (g Guard) standby(format string, args ...any) *event.Fault {
	return &event.Fault{Verdict: event.Standby, What: fmt.Sprintf("pipeline %s: %s", g.Pipeline, fmt.Sprintf(format, args...))}
}

func (g Guard) adopt() string { return "cdc-relay slots adopt --pipeline " + g.Pipeline }

// recreate is the command that starts anew, and what that costs. f is nil where
// positions of this server mean nothing for the checkpoint.
func (g Guard) recreate(s *event.Saved, f *event.Facts) string {
	if g.Replay {
		return "run without --from-lsn, or begin another replay (another --to-lsn): this one cannot go on"
	}
	text := "cdc-relay slots recreate --pipeline " + g.Pipeline + " --accept-gap, which starts anew from now: what was committed after " + s.Safe.String()
	if s.CommitTime != "" {
		text += " (last published commit: " + s.CommitTime + ")"
	}
	if f != nil && f.Flush != 0 {
		text += " up to the new slot (the log ends at " + f.Flush.String() + " now)"
	}
	return text + " and is not in Kafka stays unpublished; its rows are in the table until they are deleted there"
}

// rebase is the command that accepts one change, and what it does. A replay is
// not worth it.
func (g Guard) rebase(s *event.Saved, accept, does string) string {
	if g.Replay {
		return g.recreate(s, nil)
	}
	return "cdc-relay checkpoint rebase --pipeline " + g.Pipeline + " " + accept + ", " + does
}

// unmade reports whether no first start (or `slots recreate`) came to its end.
func unmade(s *event.Saved) bool { return !s.Exists() || s.State == event.StateCreating }
