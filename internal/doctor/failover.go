package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// failover judges the settings a failover depends on, as far as the primary
// shows them, and says in one sentence what a failover now would lose.
func failover(g Guard, f event.Facts, w Wants) []Finding {
	o := w.Failover
	switch {
	case !o.Known || !f.Slot.Exists:
		return nil
	case len(o.Named) == 0 && !slices.ContainsFunc(o.Standbys, func(s event.Replica) bool { return s.Active }):
		return []Finding{{Level: OK, Check: "failover", What: "no standby streams from this server: there is nothing to fail over to"}}
	case f.Version < 170000:
		return []Finding{{Warn, "", "failover", fmt.Sprintf("a failover now loses slot %s, because a standby of PostgreSQL %d does not have it: what is not published by then stays in the table", f.Slot.Name, f.Version/10000),
			"upgrade to PostgreSQL 17 for failover slots; after a failover: cdc-relay slots recreate --accept-gap, then cdc-relay audit and cdc-relay repair"}}
	case !f.Slot.Failover: // see retention
		return []Finding{{Warn, "", "failover", "a failover now loses slot " + f.Slot.Name + ": what is not published by then stays in the table",
			"make it a failover slot, as said above; after a failover without one: cdc-relay slots recreate --accept-gap, then cdc-relay audit and cdc-relay repair"}}
	}
	held := g.heldBack(o)
	steps := g.inStep(f, o)
	out := append([]Finding{held, steps}, g.feedback(o)...)
	return append(out, g.loses(f, w, held.Level == OK, steps.Level == OK))
}

// heldBack: without synchronized_standby_slots an event may be published before
// a standby has its row.
func (g Guard) heldBack(o event.Failover) Finding {
	const name = "synchronized_standby_slots"
	var missing, waiting, without []string
	for _, s := range o.Standbys {
		switch {
		case !s.Active: // naming it would hold everything back
		case s.Slot == "":
			without = append(without, orUnknown(s.Name))
		case !slices.Contains(o.Named, s.Slot):
			missing = append(missing, s.Slot)
		}
	}
	for _, n := range o.Named {
		if !slices.ContainsFunc(o.Standbys, func(s event.Replica) bool { return s.Slot == n && s.Active }) {
			waiting = append(waiting, n)
		}
	}
	whole := strings.Join(append(slices.Clone(o.Named), missing...), ", ")
	switch {
	case len(waiting) > 0:
		return Finding{Fail, "", name, "it names " + strings.Join(waiting, ", ") + ", from which no standby streams: the relay's walsender waits for it, and nothing is published meanwhile",
			"start that standby, or take the name out: " + g.Provider.set(name, strings.Join(rest(o.Named, waiting), ", "))}
	case len(without) > 0:
		return Finding{Warn, "", name, "standby " + strings.Join(without, ", ") + " streams without a physical slot and cannot be named: an event may be published before it has the row, and its promotion then undoes the event",
			"give it one (primary_slot_name), and name that: " + g.Provider.set(name, "<the standbys' slots>")}
	case len(missing) > 0:
		return Finding{Warn, "", name, "it does not name " + strings.Join(missing, ", ") + ": an event may be published before that standby has the row, and its promotion then undoes the event",
			g.Provider.set(name, whole)}
	}
	return Finding{Level: OK, Check: name, What: whole + ": no event is published before these standbys have its row"}
}

func rest(names, gone []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(gone, n) })
}

// inStep: a standby that keeps failover slots in step has a worker connected to
// the primary; its setting is to be seen nowhere else.
func (g Guard) inStep(f event.Facts, o event.Failover) Finding {
	const name = "sync_replication_slots"
	switch o.SlotWorker {
	case "yes":
		return Finding{Level: OK, Check: name, What: "a standby keeps failover slots in step; doctor against the standby says whether it has this one"}
	case "no":
		return Finding{Warn, "", name, "no standby keeps failover slots in step: a promoted one does not have slot " + f.Slot.Name,
			"at the standby: " + g.Provider.set(name, "on") + "; it needs hot_standby_feedback, primary_slot_name, and a dbname in primary_conninfo too"}
	}
	return Finding{Warn, "", name, "role " + f.Role + " may not see whether a standby keeps failover slots in step", "GRANT pg_read_all_stats TO " + name1(f.Role)}
}

// feedback: without it the primary may remove rows of the catalogue that a slot
// in step still needs, and the slot is invalidated at the standby.
func (g Guard) feedback(o event.Failover) []Finding {
	const name = "hot_standby_feedback"
	var off []string
	for _, s := range o.Standbys {
		if s.Active && !s.Feedback {
			off = append(off, called(s))
		}
	}
	if len(off) > 0 {
		return []Finding{{Warn, "", name, "standby " + strings.Join(off, ", ") + " sends none: the slot in step there can be invalidated", "at the standby: " + g.Provider.set(name, "on")}}
	}
	return []Finding{{Level: OK, Check: name, What: "the standbys send it"}}
}

func called(s event.Replica) string {
	if s.Name != "" {
		return s.Name
	}
	return orUnknown(s.Slot)
}

// loses is the sentence.
func (g Guard) loses(f event.Facts, w Wants, held, steps bool) Finding {
	const name = "failover"
	safe := w.Saved.Safe
	for _, s := range w.Failover.Standbys {
		if !w.SavedUnknown && s.Flush != 0 && s.Flush < safe {
			return Finding{Warn, "", name, fmt.Sprintf("a failover to standby %s now undoes events that are published: it has the log up to %s, and Kafka everything up to %s", called(s), s.Flush, safe),
				"let the standby catch up, and hold events back for it: synchronized_standby_slots. After such a failover the relay refuses, and cdc-relay checkpoint rebase --accept-timeline goes on"}
		}
	}
	switch {
	case !steps:
		return Finding{Warn, "", name, "a failover now may lose slot " + f.Slot.Name + ": what is not published by then stays in the table",
			"see sync_replication_slots; after a failover without the slot: cdc-relay slots recreate --accept-gap, then cdc-relay audit and cdc-relay repair"}
	case !held:
		return Finding{Warn, "", name, "a failover now may undo events that are published, if the standby is behind by then",
			"see synchronized_standby_slots; after such a failover the relay refuses, and cdc-relay checkpoint rebase --accept-timeline goes on"}
	}
	return Finding{Level: OK, Check: name, What: "a failover now undoes no published event, and loses none whose row the standby has: the relay goes on there by itself, if postgres.url names its host too"}
}

// atStandby judges a server in recovery as the next primary.
func atStandby(g Guard, f event.Facts, w Wants) []Finding {
	o := w.Failover
	if !o.Known {
		return nil
	}
	if f.Version < 170000 {
		return []Finding{{Warn, "", "failover", fmt.Sprintf("a promotion of this server has no slot: failover slots need PostgreSQL 17, this is %d", f.Version/10000),
			"after a failover: cdc-relay slots recreate --accept-gap, then cdc-relay audit and cdc-relay repair"}}
	}
	var out []Finding
	want := func(name string, good bool, what, value string) {
		if good {
			out = append(out, Finding{Level: OK, Check: name, What: value})
			return
		}
		out = append(out, Finding{Warn, "", name, what, g.Provider.set(name, value)})
	}
	want("sync_replication_slots", o.SyncSlots == "on", o.SyncSlots+": failover slots are not kept in step here", "on")
	want("hot_standby_feedback", o.Feedback, "off: slots that are kept in step need it", "on")
	want("primary_slot_name", o.PrimarySlot != "", "none: slots that are kept in step need a physical slot at the primary", orSome(o.PrimarySlot, "<a physical slot of the primary>"))
	level := neededLevel(&f)
	if walLevelSuffices(&f) {
		level = walLevelGood(g, nil, &f)
	}
	want("wal_level", walLevelSuffices(&f), f.WALLevel+": a promoted server could not be read", level)
	if o.PrimaryNoDB {
		want("primary_conninfo", false, "it has no dbname: slots that are kept in step need one", "… dbname=postgres")
	}
	there := slotHere(g, f)
	return append(out, there, promotion(g, w, there.Level == OK))
}

func orSome(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// slotHere judges the slot at a standby.
func slotHere(g Guard, f event.Facts) Finding {
	const name = "slot"
	s := f.Slot
	switch {
	case !s.Exists:
		return Finding{Warn, "", name, "slot " + g.Slot + " is not here", "make it a failover slot at the primary, and set what is named above"}
	case s.Invalid != "":
		return Finding{Warn, "", name, "slot " + s.Name + " is invalidated here: " + s.Invalid, "set what is named above; it is made again when it is in step the next time"}
	case !s.Synced:
		return Finding{Warn, "", name, "slot " + s.Name + " was made here, not kept in step with the primary's, which it stands in the way of", "drop it here: select pg_drop_replication_slot(" + literal(s.Name) + ")"}
	case s.Temporary:
		return Finding{Warn, "", name, "slot " + s.Name + " is not in step yet: a promotion drops it", "select pg_log_standby_snapshot() at the primary, with the relay running"}
	}
	return Finding{Level: OK, Check: name, What: fmt.Sprintf("%s is in step, confirmed_flush %s", s.Name, s.ConfirmedFlush)}
}

// promotion is the sentence of a standby.
func promotion(g Guard, w Wants, slot bool) Finding {
	const name = "failover"
	received, safe := w.Failover.Received, w.Saved.Safe
	switch {
	case !slot:
		return Finding{Warn, "", name, "a promotion of this server now loses slot " + g.Slot + ": what is not published by then stays in the table",
			"after it: cdc-relay slots recreate --accept-gap, then cdc-relay audit and cdc-relay repair"}
	case !w.SavedUnknown && received < safe:
		return Finding{Warn, "", name, fmt.Sprintf("a promotion of this server now undoes events that are published: it has the log up to %s, and Kafka everything up to %s", received, safe),
			"let it catch up first; name its slot " + orUnknown(w.Failover.PrimarySlot) + " in synchronized_standby_slots at the primary. After such a promotion: cdc-relay checkpoint rebase --accept-timeline"}
	case w.Failover.ReceiverLost:
		return Finding{Warn, "", name, "it does not stream from its primary: what is committed there from now on is lost with a promotion", "find out why: select * from pg_stat_wal_receiver, and its log"}
	}
	return Finding{Level: OK, Check: name, What: fmt.Sprintf("a promotion of this server now undoes no published event, and loses none whose row is here: it has the log up to %s", received)}
}
