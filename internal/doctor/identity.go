package doctor

import (
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func inRecovery(g Guard, _ *event.Saved, f *event.Facts) *event.Fault {
	if f.InRecovery {
		return g.standby("the server is in recovery and not promoted yet: waiting")
	}
	return nil
}

func savedVersion(g Guard, s *event.Saved, _ *event.Facts) *event.Fault {
	if s.V > event.SavedVersion {
		return g.refuse("run the relay version that wrote it ("+orUnknown(s.Version)+") or a newer one",
			"the checkpoint has format %d, and this relay knows formats up to %d", s.V, event.SavedVersion)
	}
	return nil
}

// systemID: a staging file with the production name must not touch production.
func systemID(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if !s.Exists() || s.SystemID == f.SystemID {
		return nil
	}
	return g.refuse("correct postgres.url, or give this relay another `name`; if this is the right server after a dump and restore, pg_upgrade or a blue/green switch: "+
		g.rebase(s, "--accept-new-cluster", "which goes on from the slot of this server, or makes one"),
		"the checkpoint belongs to the Postgres cluster with system id %s, and the server reached now has %s: it is another cluster", s.SystemID, f.SystemID)
}

func database(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if !s.Exists() || s.Database == f.Database {
		return nil
	}
	return g.refuse("correct the database of this pipeline in the configuration, or give the pipeline another name",
		"the checkpoint belongs to database %q, and the configuration leads to %q", s.Database, f.Database)
}

func slotName(g Guard, s *event.Saved, _ *event.Facts) *event.Fault {
	if !s.Exists() || g.Slot == "" || s.Slot == g.Slot {
		return nil
	}
	return g.refuse(fmt.Sprintf("write slot: %s for this pipeline, or give it another name; to go over to the other slot: %s", s.Slot, g.foreign(s)),
		"the checkpoint belongs to slot %s, and the configuration names slot %s", s.Slot, g.Slot)
}

func clusterID(g Guard, s *event.Saved, _ *event.Facts) *event.Fault {
	if !s.Exists() || g.ClusterID == "" || s.ClusterID == "" || s.ClusterID == g.ClusterID {
		return nil
	}
	return g.refuse("correct kafka.bootstrap.servers, or give this relay another `name`; if these brokers take over: "+g.foreign(s),
		"the checkpoint was written in the Kafka cluster %s, and the brokers reached now are cluster %s: the topic was copied here", s.ClusterID, g.ClusterID)
}

// neededLevel is the lowest wal_level a slot can be made with. From 19 on
// Postgres writes what a logical slot needs by itself while there is one.
func neededLevel(f *event.Facts) string {
	if f.Version >= 190000 {
		return "replica"
	}
	return "logical"
}

func walLevelSuffices(f *event.Facts) bool {
	return f.WALLevel == "logical" || f.WALLevel == neededLevel(f)
}

func walLevel(g Guard, _ *event.Saved, f *event.Facts) *event.Fault {
	if walLevelSuffices(f) {
		return nil
	}
	need := neededLevel(f)
	return g.refuse(g.Provider.walLevel(need), "wal_level is %q, and logical replication needs %q", f.WALLevel, need)
}

func walLevelGood(_ Guard, _ *event.Saved, f *event.Facts) string {
	switch {
	case f.WALLevel == "logical":
		return f.WALLevel
	case f.EffectiveLevel == "logical":
		return f.WALLevel + ", and logical by itself while there is a logical slot, as now (effective_wal_level)"
	}
	return f.WALLevel + ", and logical by itself from the first logical slot on: nothing to set, no restart"
}

// privileges: a walsender of ours that streams is proof enough, whatever the
// catalogue says (managed services grant the right through a role of theirs).
func privileges(g Guard, _ *event.Saved, f *event.Facts) *event.Fault {
	if f.Replication || f.Superuser || f.SenderPID != 0 {
		return nil
	}
	return g.refuse(g.Provider.grant(f.Role), "role %q may not replicate", f.Role)
}

// foreign is the command that takes the place of another cluster's or slot's
// checkpoint.
func (g Guard) foreign(s *event.Saved) string {
	return strings.Replace(g.recreate(s, nil), "--accept-gap", "--accept-gap --accept-foreign", 1)
}

// logEnd: a server restored from a snapshot comes up with the same system id and
// timeline, and the past written anew. Confirming a position it has not reached
// would skip everything up to there in silence.
func logEnd(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	end := max(s.Safe, s.Checkpoint().Last.Commit)
	if unmade(s) || f.Flush == 0 || f.Flush >= end {
		return nil
	}
	return g.refuse("if the server was restored from a snapshot or a backup: find the events whose rows are gone from the table and tell their consumers; then "+g.recreate(s, nil),
		"the server's log ends at %s, but Kafka holds events up to %s (last event %s): the server has gone back in time", f.Flush, end, lastOf(s))
}

// timeline: a failover may have undone events that were published already.
func timeline(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	if unmade(s) || s.Timeline == 0 || s.Timeline == f.Timeline {
		return nil
	}
	at, known := f.Left(s.Timeline)
	if !known {
		return g.refuse("connect to the server this checkpoint comes from; if that one is gone for good: "+g.recreate(s, nil),
			"the checkpoint is on timeline %d, which is not in the history of the server's timeline %d: the server does not descend from the one the events came from (last event %s, safe %s)",
			s.Timeline, f.Timeline, lastOf(s), s.Safe)
	}
	last := s.Checkpoint().Last
	if at >= s.Safe && at > last.Commit {
		return nil
	}
	return g.refuse("find the events whose rows are gone from the table and tell their consumers; then "+g.ontoTimeline(s, f, at),
		"a failover undid events that are published: timeline %d ended at %s (the server is on timeline %d now), and Kafka holds everything up to %s (last event %s)",
		s.Timeline, at, f.Timeline, max(s.Safe, last.Commit), lastOf(s))
}

// ontoTimeline is the command that goes on after a failover that undid events: a
// rebase, or, where the promoted server has no slot, a new one.
func (g Guard) ontoTimeline(s *event.Saved, f *event.Facts, at event.LSN) string {
	if f.Slot.Exists || g.Replay {
		return g.rebase(s, "--accept-timeline", "which publishes what was committed on the new timeline from "+at.String()+" on")
	}
	return g.recreate(s, nil) + "; then cdc-relay audit and cdc-relay repair publish what was committed between " + at.String() +
		" and the new slot: the promoted server does not have slot " + s.Slot + " (it was no failover slot, or not in step)"
}

func lastOf(s *event.Saved) string {
	if s.Last == nil {
		return "none"
	}
	return s.Checkpoint().Last.String()
}

func timelineGood(_ Guard, s *event.Saved, f *event.Facts) string {
	if unmade(s) || s.Timeline == f.Timeline {
		return fmt.Sprint(f.Timeline)
	}
	return fmt.Sprintf("%d, which descends from the checkpoint's timeline %d", f.Timeline, s.Timeline)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
