package main

import (
	"fmt"
	"io"
	"strings"
)

// deed is what a step does.
type deed uint8

const (
	doCrash deed = iota
	doNotice
	doLook
	doLookKafka
	doJudge
	doForeign
	doStandby
	doLock
	doMake
	doDrop
	doTake
	doFence
	doAbortByFence
	doAsk
	doGuard
	doAgain
	doBatch
	doRow
	doCheckpoint
	doEnd
	doEndTwice
	doOverlap
	doUnanswered
	doAnswer
	doNoAnswer
	doFenced
	doAck
	doWatch
	doDoubt
	lastOfRelay = doDoubt

	doLateInit = iota
	doLateAdd
	doLateRow
	doLateCkpt
	doLateCommit
	doLateAbort
	doLateMarker
	doMarker
	doTimeout
	doOtherBegins
	doOtherEnds
	doKill
	doKillLock
	doPGCrash
	doGrow
	lastDeed = doGrow
)

func (d deed) ofRelay() bool { return d <= lastOfRelay }

// act names a step.
type act struct {
	do    deed
	relay int
	id    uint8
	arg   uint8
}

var deeds = [...]string{
	doCrash:        "%[1]s crashes: slot, producers and memory are gone",
	doNotice:       "%[1]s notices that its walsender is gone, and starts again",
	doLook:         "%[1]s looks at Postgres",
	doLookKafka:    "%[1]s looks at the visible checkpoint",
	doJudge:        "%[1]s decides by what it has read",
	doForeign:      "%[1]s sees that the checkpoint is another's, and stops",
	doStandby:      "%[1]s finds it in use: standby",
	doLock:         "%[1]s takes the lock of the first start",
	doMake:         "%[1]s makes the slot, or finds it",
	doDrop:         "%[1]s drops the slot that the intent names, or finds another there",
	doTake:         "%[1]s takes the slot: START_REPLICATION",
	doFence:        "%[1]s initialises id %[2]d: older producers of it are fenced",
	doAbortByFence: "%[1]s initialises id %[2]d: its open transaction is aborted first",
	doAsk:          "%[1]s asks for the end of the checkpoint partition, and reads up to it",
	doGuard:        "%[1]s judges, and resumes",
	doAgain:        "%[1]s judges: not ours any more, or changed meanwhile; it starts again",
	doBatch:        "%[1]s closes a batch up to row %[3]d",
	doRow:          "%[1]s produces row %[3]d on id %[2]d",
	doCheckpoint:   "%[1]s produces the checkpoint on id %[2]d: last row %[3]d",
	doEnd:          "%[1]s: EndTxn of id %[2]d reaches the broker: committed",
	doEndTwice:     "%[1]s: EndTxn of id %[2]d was asked for twice: committed by one; the other is on its way",
	doOverlap:      "%[1]s sends EndTxn of id %[2]d and begins the next batch without waiting",
	doUnanswered:   "%[1]s sends EndTxn of id %[2]d, hears nothing and starts again; the request is on its way",
	doAnswer:       "%[1]s hears that the commit of id %[2]d succeeded",
	doNoAnswer:     "%[1]s never hears whether id %[2]d was committed",
	doFenced:       "%[1]s is refused on id %[2]d, fenced or its transaction over; it starts again",
	doAck:          "%[1]s tells Postgres: flushed up to %[3]d",
	doWatch:        "%[1]s looks at the slot while it streams",
	doDoubt:        "%[1]s starts again: its last commit may have been asked for twice",
	doLateInit:     "an InitProducerId of id %[2]d arrives late: whoever has the id is fenced",
	doLateAdd:      "an AddPartitionsToTxn of id %[2]d arrives late: its partitions are in a transaction",
	doLateRow:      "a Produce on id %[2]d arrives late: row %[3]d",
	doLateCkpt:     "a Produce on id %[2]d arrives late: the checkpoint with last row %[3]d",
	doLateCommit:   "an EndTxn(commit) of id %[2]d arrives late: what is there is committed",
	doLateAbort:    "an EndTxn(abort) of id %[2]d arrives late",
	doLateMarker:   "a commit marker of id %[2]d is written on the %[4]s partition once more",
	doMarker:       "the broker writes the marker of id %[2]d on the %[4]s partition",
	doTimeout:      "the broker aborts the open transaction of id %[2]d: timeout",
	doOtherBegins:  "another pipeline opens a transaction on the checkpoint partition",
	doOtherEnds:    "the other pipeline's transaction ends",
	doKill:         "the walsender of %[1]s ends; %[1]s does not know",
	doKillLock:     "the session with %[1]s's lock ends; %[1]s does not know",
	doPGCrash:      "Postgres stops at once; the slot is at %[3]d again",
	doGrow:         "a service commits the next transaction in Postgres",
}

func (a act) String() string {
	text := deeds[a.do]
	if !strings.Contains(text, "%") {
		return text
	}
	partition := "data"
	if a.arg == onCheckpoints {
		partition = "checkpoint"
	}
	return fmt.Sprintf(text, string(rune('A'+a.relay)), a.id, a.arg, partition)
}

// writeTrace prints steps and, beside each, the state it leads to.
func writeTrace(out io.Writer, c Config, r result) {
	fmt.Fprintf(out, "configuration %s: %s\n", c.Name, c.What)
	for i, st := range r.Trace {
		if i == 0 {
			fmt.Fprintf(out, "%3d  %-84s %s\n", i, "(start)", st.state.brief())
			continue
		}
		fmt.Fprintf(out, "%3d  %-84s %s\n", i, st.act, st.state.brief())
	}
	fmt.Fprintf(out, "     %s\n", r.Broken)
}

// brief is the state in one line.
func (s *State) brief() string {
	names := [...]string{"-", "A", "B"}
	txn := [...]string{"·", "open", "committing", "aborting"}
	var b strings.Builder
	fmt.Fprintf(&b, "slot %s@%d  id0 %s %s  id1 %s %s  rows %d", names[s.Owner], s.Confirmed,
		names[s.Holder[0]], txn[s.Txn[0]], names[s.Holder[1]], txn[s.Txn[1]], s.Rows)
	for _, e := range s.Data {
		if e != 0 {
			fmt.Fprintf(&b, " +%d%s", e>>2, [...]string{"", "(id0)", "(id1)"}[e&3])
		}
	}
	fmt.Fprintf(&b, "  cp %s", s.Base)
	for _, c := range s.Ckpt {
		if c != 0 {
			fmt.Fprintf(&b, " +%s", c)
		}
	}
	return b.String()
}

func (c record) String() string {
	if c.tag() == ofAnother {
		return "other"
	}
	tag := [...]string{"", "(id0)", "(id1)"}[c.tag()]
	switch c.kind() {
	case none:
		return "none"
	case creating:
		return fmt.Sprintf("intent@%d%s", c.safe(), tag)
	}
	return fmt.Sprintf("row %d safe %d%s", c.last(), c.safe(), tag)
}
