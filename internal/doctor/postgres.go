package doctor

import (
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Wants are what the configuration needs of a server, beside the facts.
type Wants struct {
	Guard Guard
	Hints Hints
	// Saved is the pipeline's checkpoint; SavedUnknown says that Kafka could not
	// be asked, so nothing is said about it.
	Saved        event.Saved
	SavedUnknown bool
	// NewSlots and NewSenders are how many slots and walsenders all pipelines of
	// the process on this server need beyond those that exist now.
	NewSlots, NewSenders int
	// SynchronousStandbyNames is the server's setting; ApplicationName is the
	// relay's.
	SynchronousStandbyNames, ApplicationName string
	// Failover is what the server says about its standbys.
	Failover event.Failover
	// MayCreate: the environment lets `run` migrate, so a missing table is made.
	MayCreate bool
}

// Postgres judges the server, the publication and the slot of one pipeline:
// every guard, and what deserves a warning. While the relay runs its walsender
// holds the slot; that is no finding.
func Postgres(f event.Facts, w Wants) []Finding {
	g := w.Guard
	if g.Provider == SelfHosted {
		g.Provider = Detect(w.Hints)
	}
	out := g.Provider.notes(w.Hints)
	if f.InRecovery {
		out = append(out, version(f), Finding{Warn, "", "recovery", "the server is in recovery: a relay here waits for its promotion, and only what that depends on can be judged",
			"run doctor against the primary too"})
		return scoped(g.Pipeline, append(out, atStandby(g, f, w)...))
	}
	out = append(out, version(f))
	out = append(out, guards(g, f, w)...)
	out = append(out, capacity(g, f, w)...)
	out = append(out, standbys(g, w)...)
	out = append(out, retention(g, f)...)
	out = append(out, failover(g, f, w)...)
	out = append(out, extras(f)...)
	return scoped(g.Pipeline, out)
}

func version(f event.Facts) Finding {
	text := fmt.Sprintf("PostgreSQL %d.%d", f.Version/10000, f.Version%10000)
	if f.Version < 140000 {
		return Finding{Fail, "", "version", text + " is older than 14", "upgrade to PostgreSQL 14 or later"}
	}
	return Finding{Level: OK, Check: "version", What: text}
}

// guards asks every guard on its own, so that one finding does not hide the
// next.
func guards(g Guard, f event.Facts, w Wants) []Finding {
	s := w.Saved
	lists := [][]check{identity, server, history, source, slot, stream}
	if w.SavedUnknown {
		s = event.Saved{V: event.SavedVersion, State: event.StateCreating, Drop: f.Slot.Name, SystemID: f.SystemID, Database: f.Database, Slot: g.Slot}
	}
	var out []Finding
	for _, l := range lists {
		for _, c := range l {
			fault := c.judge(g, &s, &f)
			switch {
			case fault != nil && fault.Verdict == event.Refuse:
				out = append(out, finding(g, c.name, fault, w.MayCreate))
			case fault == nil && c.good != nil:
				out = append(out, Finding{Level: OK, Check: c.name, What: c.good(g, &s, &f)})
			}
		}
	}
	return out
}

func finding(g Guard, name string, fault *event.Fault, mayCreate bool) Finding {
	what := strings.TrimPrefix(fault.What, "pipeline "+g.Pipeline+": ")
	if mayCreate && strings.HasPrefix(what, "table cdc_relay.outbox does not exist") {
		return Finding{Level: OK, Check: name, What: "cdc_relay.outbox does not exist yet; cdc-relay run makes it at start in this environment"}
	}
	return Finding{Level: Fail, Check: name, What: what, Do: fault.Do}
}

func capacity(g Guard, f event.Facts, w Wants) []Finding {
	one := func(name, thing string, limit, used, need int) Finding {
		free := limit - used
		what := fmt.Sprintf("%d %s, %d in use, %d more needed", limit, thing, used, need)
		switch {
		case free < need:
			return Finding{Fail, "", name, what, g.Provider.set(name, fmt.Sprint(used+need+2))}
		case free == need:
			return Finding{Warn, "", name, what + ": none is left for an anchor, a replay or another relay", g.Provider.set(name, fmt.Sprint(used+need+2))}
		}
		return Finding{Level: OK, Check: name, What: what}
	}
	return []Finding{
		one("max_replication_slots", "slots", f.MaxSlots, f.Slots, w.NewSlots),
		one("max_wal_senders", "walsenders", f.MaxSenders, f.Senders, w.NewSenders),
	}
}

// standbys asks whether our walsender would count as a synchronous standby.
func standbys(g Guard, w Wants) []Finding {
	names := w.SynchronousStandbyNames
	if names == "" {
		return nil
	}
	for _, name := range standbyNames(names) {
		if name == "*" || w.ApplicationName != "" && strings.EqualFold(name, w.ApplicationName) {
			return []Finding{{Fail, "", "synchronous_standby_names", fmt.Sprintf("%q matches the relay's walsender: every commit in this cluster would wait for Kafka", names),
				g.Provider.set("synchronous_standby_names", "<the names of your real standbys, not *>")}}
		}
	}
	return []Finding{{Level: OK, Check: "synchronous_standby_names", What: fmt.Sprintf("%q does not match the relay", names)}}
}

// standbyNames takes the setting apart: a, b · FIRST 1 (a, b) · ANY 2 ("a", *) ·
// 2 (a, b).
func standbyNames(setting string) []string {
	if i := strings.IndexByte(setting, '('); i >= 0 {
		setting = strings.TrimSuffix(strings.TrimSpace(setting[i+1:]), ")")
	}
	var out []string
	for name := range strings.SplitSeq(setting, ",") {
		out = append(out, strings.ReplaceAll(strings.Trim(strings.TrimSpace(name), `"`), `""`, `"`))
	}
	return out
}

// retention judges how long the server keeps what the relay has not read.
func retention(g Guard, f event.Facts) []Finding {
	var out []Finding
	switch f.MaxSlotKeepSize {
	case "":
	case "-1":
		out = append(out, Finding{Warn, "", "max_slot_wal_keep_size", "-1: while the relay is down the write-ahead log grows until the disk is full",
			"watch cdc_relay_slot_retained_bytes and the disk, or bound it (a slot beyond the bound is lost, and events with it): " +
				g.Provider.set("max_slot_wal_keep_size", "<half of the free disk>")})
	default:
		out = append(out, Finding{Level: OK, Check: "max_slot_wal_keep_size", What: f.MaxSlotKeepSize + ": a relay that falls further behind loses its slot"})
	}
	if t := f.IdleSlotTimeout; t != "" && t != "0" && t != "0s" {
		out = append(out, Finding{Warn, "", "idle_replication_slot_timeout", t + ": the slot of a relay that is down for longer is invalidated, and events are lost with it",
			g.Provider.set("idle_replication_slot_timeout", "0")})
	}
	s := f.Slot
	if !s.Exists {
		return out
	}
	if f.Flush > s.RestartLSN && s.RestartLSN != 0 {
		kept := fmt.Sprintf("the slot keeps %s of write-ahead log", amount(uint64(f.Flush-s.RestartLSN)))
		switch s.WALStatus {
		case "unreserved":
			out = append(out, Finding{Warn, "", "retained wal", kept + " and is about to be lost (wal_status unreserved)",
				"start the relay now, or raise the bound: " + g.Provider.set("max_slot_wal_keep_size", "<more>")})
		case "extended":
			out = append(out, Finding{Warn, "", "retained wal", kept + ", more than max_wal_size (wal_status extended)", "start the relay, or find out what holds it back (cdc_relay_lag_seconds)"})
		default:
			out = append(out, Finding{Level: OK, Check: "retained wal", What: kept})
		}
	}
	if f.Version >= 170000 && !s.Failover {
		out = append(out, Finding{Warn, "", "failover slot", "slot " + s.Name + " has failover off: a promoted standby does not have it",
			"with the relay stopped: ALTER_REPLICATION_SLOT " + s.Name + " (FAILOVER true) on a replication connection; and sync_replication_slots = on at the standby"})
	}
	return out
}

// extras are what works, but costs.
func extras(f event.Facts) []Finding {
	var out []Finding
	p := f.Publication
	var more []string
	for _, x := range []struct {
		on   bool
		name string
	}{{p.Update, "update"}, {p.Delete, "delete"}, {p.Truncate, "truncate"}} {
		if x.on {
			more = append(more, x.name)
		}
	}
	if p.Exists && len(more) > 0 {
		out = append(out, Finding{Warn, "", "publication operations", "publication " + p.Name + " also publishes " + strings.Join(more, ", ") +
			": the relay ignores them, the walsender decodes and sends them (the deletes of housekeeping too)",
			"ALTER PUBLICATION " + name1(p.Name) + " SET (publish = 'insert') before the first start; later the relay refuses the changed publication"})
	}
	if p.Exists && p.AllTables {
		out = append(out, Finding{Warn, "", "publication tables", "publication " + p.Name + " is FOR ALL TABLES: every insert of the database is sent to the relay, and an outbox that was unlogged for a while is not noticed",
			"let the relay make a publication of its own: another name under postgres.publication before the first start"})
	}
	for _, t := range f.Tables {
		if t.Exists && !t.CanSelect {
			out = append(out, Finding{Warn, "", "select", "role " + f.Role + " may not read table " + t.Name + ": replication works, looking at rows does not",
				"GRANT SELECT ON " + ident(t.Name) + " TO " + name1(f.Role)})
		}
	}
	return out
}

func amount(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
