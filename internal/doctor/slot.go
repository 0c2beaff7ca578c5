package doctor

import (
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func unknownSlot(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if s.Exists() || !f.Slot.Exists {
		return nil
	}
	return g.refuse("if the relay or the pipeline had another name: cdc-relay checkpoint rename OLDNAME/OLDPIPELINE --pipeline "+g.Pipeline+"; else "+
		g.adopt()+", which goes on from the slot's position; or, to have a new slot, drop it (select pg_drop_replication_slot("+literal(f.Slot.Name)+")) and start again",
		"slot %s exists (confirmed_flush %s), but there is no checkpoint in Kafka: from where to go on is not known", f.Slot.Name, f.Slot.ConfirmedFlush)
}

// intent: the slot of a first start is younger than the intent; an older one is
// dropped only if `slots recreate` wrote its name into the intent.
func intent(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if s.State != event.StateCreating || !f.Slot.Exists || f.Slot.ConfirmedFlush >= s.Safe || s.Drop == f.Slot.Name {
		return nil
	}
	if f.Slot.ConfirmedFlush == 0 && f.Slot.ActivePID != 0 {
		return g.standby("slot %s is being made by process %d, which waits for transactions that are open", f.Slot.Name, f.Slot.ActivePID)
	}
	return g.refuse(g.adopt()+", which goes on from the slot's position; or drop it (select pg_drop_replication_slot("+literal(f.Slot.Name)+")) and start again",
		"slot %s stands at %s, before the first start of this pipeline (%s): it is older than the pipeline and not ours to drop", f.Slot.Name, f.Slot.ConfirmedFlush, s.Safe)
}

func slotThere(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if unmade(s) || f.Slot.Exists {
		return nil
	}
	return g.refuse(g.recreate(s, f),
		"slot %s does not exist any more, and the checkpoint stands at %s: the write-ahead log after it may be gone", s.Slot, s.Safe)
}

// slotKind: reading another kind of slot would skip or garble rows.
func slotKind(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if !f.Slot.Exists || s.State == event.StateCreating && s.Drop == f.Slot.Name {
		return nil
	}
	what := ""
	switch sl := f.Slot; {
	case sl.Type != "" && sl.Type != "logical":
		what = "is a " + sl.Type + " slot, not a logical one"
	case sl.Plugin != "pgoutput":
		what = fmt.Sprintf("has the output plugin %q, not \"pgoutput\"", sl.Plugin)
	case sl.Database != f.Database:
		what = fmt.Sprintf("is of database %q, not of %q", sl.Database, f.Database)
	case sl.Temporary && !g.Replay:
		what = "is temporary: it ends with the session that made it"
	case sl.TwoPhase:
		what = "has two_phase, which sends transactions before they commit"
	default:
		return nil
	}
	return g.refuse("write another slot: for this pipeline in the configuration (cdc-relay slots list shows what there is), or drop this one (select pg_drop_replication_slot("+
		literal(f.Slot.Name)+")) if nobody needs it", "slot %s %s: the relay cannot read it", f.Slot.Name, what)
}

func slotLost(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	sl := f.Slot
	if !sl.Exists || sl.WALStatus != "lost" && sl.Invalid == "" || s.State == event.StateCreating && s.Drop == sl.Name {
		return nil
	}
	why := "wal_status is lost: more write-ahead log than max_slot_wal_keep_size came after it"
	if sl.Invalid != "" {
		why = "invalidated: " + sl.Invalid
	}
	if !s.Exists() {
		return g.refuse("drop it (select pg_drop_replication_slot("+literal(sl.Name)+")) and start again with cdc-relay run: a new slot begins now",
			"slot %s is no longer usable (%s)", sl.Name, why)
	}
	return g.refuse(g.recreate(s, f),
		"slot %s is no longer usable (%s), and the checkpoint stands at %s: the write-ahead log after it is gone", sl.Name, why, s.Safe)
}

// slotHeld is never a refusal: who holds the slot may let go of it.
func slotHeld(g Guard, _ *event.Saved, f *event.Facts) *event.Fault {
	sl := f.Slot
	switch {
	case !sl.Exists || sl.ActivePID == f.SenderPID:
		return nil
	case f.SenderPID == 0:
		return g.standby("slot %s is held by another process (walsender pid %d): waiting to take over", sl.Name, sl.ActivePID)
	case sl.ActivePID == 0:
		return g.again("slot %s is not held by our walsender (pid %d) any more", sl.Name, f.SenderPID)
	}
	return g.again("slot %s is held by walsender pid %d, not by ours (pid %d)", sl.Name, sl.ActivePID, f.SenderPID)
}

// sessionEnded: a sound slot that nobody holds, ahead of the checkpoint we have
// read, says nothing once our own walsender has ended: another relay may have
// had it since, delivered and confirmed, and be gone again. The recovery path
// takes the slot and reads anew; what is ahead then is refused (slotAhead).
// Found by docs/model (position-before-owner).
func sessionEnded(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	sl := f.Slot
	if unmade(s) || !sl.Exists || sl.ActivePID != 0 || f.SenderPID != 0 || sl.WALStatus == "lost" || sl.Invalid != "" || sl.ConfirmedFlush <= s.Safe {
		return nil
	}
	return g.again("our walsender has ended, and slot %s stands at %s, after the checkpoint that was read before (%s): another relay may have had it meanwhile", sl.Name, sl.ConfirmedFlush, s.Safe)
}

// slotAhead: Postgres may have forgotten what Kafka does not have. The slot may
// be behind, because it goes back after an immediate stop.
func slotAhead(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if unmade(s) || !f.Slot.Exists || f.Slot.ConfirmedFlush <= s.Safe {
		return nil
	}
	return g.refuse("find out which of the two happened (cdc-relay checkpoint show and cdc-relay slots list print both positions); then "+g.recreate(s, f),
		"slot %s has confirmed %s, but the checkpoint says that Kafka has everything up to %s only: either somebody moved the slot, or Kafka lost committed data; events in between are not in Kafka",
		f.Slot.Name, f.Slot.ConfirmedFlush, s.Safe)
}

// options: the ordinal of a row is only stable under the same options, and only
// a transaction of which some rows are in Kafka needs it. While one is half
// sent, Safe cannot be past its commit record: a COMMIT moves Safe to its end,
// which lies after commit_lsn, and a keepalive at most to commit_lsn itself.
func options(g Guard, s *event.Saved, _ *event.Facts) *event.Fault {
	last := s.Checkpoint().Last
	if unmade(s) || g.Options == "" || s.Options == g.Options || last.Commit == 0 || s.Safe > last.Commit {
		return nil
	}
	return g.refuse("run the relay version that wrote the checkpoint ("+orUnknown(s.Version)+") with its configuration until cdc-relay checkpoint show has a safe_lsn after "+last.Commit.String()+", then this one",
		"the transaction that commits at %s is in Kafka up to its change number %d, read with the stream options %q; with the options of now, %q, the changes may be numbered otherwise",
		last.Commit, last.Ord, s.Options, g.Options)
}

// synchronous: a walsender that Postgres waits for makes every INSERT of the
// services wait for Kafka. The replication package says "unknown" where the role
// may not see it and there is somebody to wait for.
func synchronous(g Guard, _ *event.Saved, f *event.Facts) *event.Fault {
	if f.SenderPID == 0 || f.SyncState == "" || f.SyncState == "async" {
		return nil
	}
	if f.SyncState == "unknown" {
		return g.refuse("GRANT pg_read_all_stats TO "+name1(f.Role),
			"synchronous_standby_names is set, and role %q may not see whether it matches our walsender (pid %d): if it does, every commit in this cluster waits for Kafka", f.Role, f.SenderPID)
	}
	return g.refuse(g.Provider.set("synchronous_standby_names", "<the names of your real standbys, not *>")+", so that it does not match the relay's application_name",
		"our walsender (pid %d) has sync_state %q: with the present synchronous_standby_names every commit in this cluster waits for Kafka", f.SenderPID, f.SyncState)
}

func slotGood(_ Guard, s *event.Saved, f *event.Facts) string {
	if !f.Slot.Exists {
		return "none yet; the first start makes it"
	}
	text := fmt.Sprintf("%s, confirmed_flush %s", f.Slot.Name, f.Slot.ConfirmedFlush)
	if !unmade(s) {
		text += fmt.Sprintf(", checkpoint %s", s.Safe)
	}
	return text
}
