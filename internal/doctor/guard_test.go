package doctor

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

var update = flag.Bool("update", false, "write the expected messages anew")

var guard = Guard{Pipeline: "essays", Slot: "cdc_relay_essays", Publication: "cdc_relay", ClusterID: "kafka-1", Options: "proto=1 streaming=off"}

// scene is a pipeline in good order; a case changes what it is about.
type scene struct {
	g Guard
	s event.Saved
	f event.Facts
}

func sound() *scene {
	f := event.Facts{
		SystemID: "7001", Timeline: 2, History: []event.Switch{{Timeline: 1, At: 0x5000000}}, Version: 170005, Database: "essays", Flush: 0x8000000,
		WALLevel: "logical", MaxSlots: 10, Slots: 2, MaxSenders: 10, Senders: 1, MaxSlotKeepSize: "10GB", Role: "relay", Replication: true, CanCreate: true,
		Slot: event.Slot{Name: "cdc_relay_essays", Exists: true, Plugin: "pgoutput", Type: "logical", Database: "essays", ActivePID: 42,
			RestartLSN: 0x6000000, ConfirmedFlush: 0x7000000, WALStatus: "reserved", Failover: true},
		Publication: event.Publication{Name: "cdc_relay", Exists: true, OID: 16500, Xmin: 700, Insert: true, ViaRoot: true,
			Entries: []event.PublicationEntry{{Table: "cdc_relay.outbox", OID: 16501, Xmin: 701, TableOID: 16400, Persistence: "p"}}},
		Tables:    []event.Table{{Name: "cdc_relay.outbox", Exists: true, OID: 16400, Persistence: "p", Partitioned: true, CanSelect: true, Owned: true}},
		SenderPID: 42, SyncState: "async",
	}
	s := event.Saved{V: event.SavedVersion, State: event.StateStreaming, SystemID: "7001", Timeline: 2, ClusterID: "kafka-1", Database: "essays",
		Slot: "cdc_relay_essays", Publication: f.Publication.Fingerprint(), Options: guard.Options, IDs: 2,
		Last: &event.SavedLast{Commit: 0x6FFFF00, Ord: 3, XID: 742}, Safe: 0x7000000, CommitTime: "2026-03-01T12:00:00.000000Z", Events: 9, Version: "1.2.3"}
	return &scene{guard, s, f}
}

// The guards a case is asked of.
const (
	foreign = "Foreign"
	start   = "Start"
	running = "Running"
)

var guardCases = []struct {
	name   string
	asked  string // the guards that see it; the others must pass
	change func(*scene)
}{
	{"server in recovery", "Foreign Start Running", func(c *scene) { c.f.InRecovery = true; c.f.Flush = 0; c.f.Slot.Exists = false }},
	{"checkpoint of a newer relay", "Foreign Start Running", func(c *scene) { c.s.V = 2; c.s.Version = "9.0.0" }},
	{"other system id", "Foreign Start Running", func(c *scene) { c.f.SystemID = "7002"; c.f.Slot.Exists = false }},
	{"other database", "Foreign Start Running", func(c *scene) { c.f.Database = "essays_copy" }},
	{"other slot", "Foreign Start Running", func(c *scene) { c.g.Slot = "cdc_relay_new" }},
	{"other kafka cluster", "Foreign Start Running", func(c *scene) { c.g.ClusterID = "kafka-2" }},

	{"no checkpoint but a slot", "Foreign Start Running", func(c *scene) { c.s = event.Saved{}; c.f.SenderPID, c.f.Slot.ActivePID = 0, 0 }},
	{"first start without logical wal_level", "Foreign Start", func(c *scene) { first(c); c.f.WALLevel = "replica" }},
	{"first start without the right to replicate", "Foreign Start", func(c *scene) { first(c); c.f.Replication = false }},
	{"first start of a role that may not publish", "Foreign Start Running", func(c *scene) { first(c); c.f.Tables[0].Owned = false }},
	{"first start of a role that may not create", "Foreign Start Running", func(c *scene) { first(c); c.f.CanCreate = false }},
	{"first start of a superuser", "", func(c *scene) { first(c); c.f.CanCreate, c.f.Superuser = false, true }},
	{"table published through its schema", "Start Running", func(c *scene) { c.f.Publication.Entries[0].OID = 0; c.s.Publication = c.f.Publication.Fingerprint() }},
	{"server restored from a snapshot", "Start", func(c *scene) { c.f.Flush = c.s.Safe - 1; c.f.Slot.ConfirmedFlush = c.s.Safe - 2 }},
	{"replay from another slot than its checkpoint's", "Foreign Start Running", func(c *scene) { c.g.Replay, c.g.Slot = true, "cdc_relay_new" }},
	{"replay from a temporary slot", "", func(c *scene) { c.g.Replay, c.f.Slot.Temporary = true, true }},
	{"first start without the table", "Foreign Start Running", func(c *scene) { first(c); c.f.Tables[0].Exists = false }},
	{"first start with a publication that lacks the table", "Foreign Start Running", func(c *scene) {
		first(c)
		c.f.Publication.Exists, c.f.Publication.Entries = true, nil
	}},
	{"first start with a publication without inserts", "Foreign Start Running", func(c *scene) {
		first(c)
		c.f.Publication.Exists, c.f.Publication.Insert = true, false
	}},
	{"intent with an older slot", "Start Running", func(c *scene) {
		c.s.State, c.s.Safe, c.s.Last = event.StateCreating, 0x7000001, nil
		c.f.SenderPID, c.f.Slot.ActivePID = 0, 0
	}},
	{"intent with a slot but no publication", "Foreign Start Running", func(c *scene) {
		c.s.State = event.StateCreating
		c.f.Publication = event.Publication{Name: "cdc_relay"}
	}},

	{"slot missing", "Start Running", func(c *scene) { c.f.Slot = event.Slot{Name: "cdc_relay_essays"}; c.f.SenderPID = 0 }},
	{"slot missing before any event", "Start Running", func(c *scene) {
		c.f.Slot = event.Slot{Name: "cdc_relay_essays"}
		c.s.Last, c.s.CommitTime, c.f.SenderPID = nil, "", 0
	}},
	{"slot lost", "Start Running", func(c *scene) { c.f.Slot.WALStatus, c.f.Slot.ActivePID, c.f.SenderPID = "lost", 0, 0 }},
	{"slot invalidated", "Start Running", func(c *scene) { c.f.Slot.Invalid, c.f.Slot.ActivePID, c.f.SenderPID = "idle_timeout", 0, 0 }},
	{"slot physical", "Start Running", func(c *scene) { c.f.Slot.Type, c.f.Slot.Plugin, c.f.Slot.Database = "physical", "", "" }},
	{"slot with another plugin", "Start Running", func(c *scene) { c.f.Slot.Plugin = "wal2json" }},
	{"slot of another database", "Start Running", func(c *scene) { c.f.Slot.Database = "exams" }},
	{"slot temporary", "Start Running", func(c *scene) { c.f.Slot.Temporary = true }},
	{"slot with two_phase", "Start Running", func(c *scene) { c.f.Slot.TwoPhase = true }},
	{"slot held by another process", "Start Running", func(c *scene) { c.f.SenderPID = 0; c.f.Slot.ConfirmedFlush = 0x7900000 }},
	{"slot taken over", "Start Running", func(c *scene) { c.f.Slot.ActivePID = 43 }},
	{"slot moved on by another that is gone", "Start Running", func(c *scene) {
		c.f.SenderPID, c.f.Slot.ActivePID = 0, 0
		c.f.Slot.ConfirmedFlush = 0x7900000
	}},
	{"slot let go of", "Start Running", func(c *scene) { c.f.Slot.ActivePID = 0 }},
	{"slot ahead of the checkpoint", "Start Running", func(c *scene) { c.f.Slot.ConfirmedFlush = 0x7000001 }},

	{"publication dropped", "Start Running", func(c *scene) { c.f.Publication = event.Publication{Name: "cdc_relay"} }},
	{"publication dropped and created", "Start Running", func(c *scene) {
		c.f.Publication.OID, c.f.Publication.Xmin = 16600, 800
		c.f.Publication.Entries[0].OID, c.f.Publication.Entries[0].Xmin = 16601, 800
	}},
	{"publication altered", "Start Running", func(c *scene) { c.f.Publication.Xmin = 800 }},
	{"publication renamed in the configuration", "Start Running", func(c *scene) { c.f.Publication.Name, c.g.Publication = "other", "other" }},
	{"table taken out of the publication", "Start Running", func(c *scene) { c.f.Publication.Entries = nil }},
	{"table taken out and put back", "Start Running", func(c *scene) { c.f.Publication.Entries[0].OID, c.f.Publication.Entries[0].Xmin = 16601, 800 }},
	{"table entry changed", "Start Running", func(c *scene) { c.f.Publication.Entries[0].Xmin = 800 }},
	{"table added to the publication", "Start Running", func(c *scene) {
		c.f.Publication.Entries = append(c.f.Publication.Entries, event.PublicationEntry{Table: "public.my outbox:2", OID: 2, Xmin: 3, TableOID: 4, Persistence: "p"})
	}},
	{"table dropped and created", "Start Running", func(c *scene) {
		c.f.Publication.Entries[0] = event.PublicationEntry{Table: "cdc_relay.outbox", OID: 16701, Xmin: 801, TableOID: 16700, Persistence: "p"}
	}},
	{"checkpoint without a fingerprint", "Start Running", func(c *scene) { c.s.Publication = "" }},
	{"table missing", "Start Running", func(c *scene) { c.f.Tables[0].Exists = false }},
	{"table unlogged", "Start Running", func(c *scene) { c.f.Tables[0].Persistence, c.f.Publication.Entries[0].Persistence = "u", "u" }},
	{"table temporary", "Start Running", func(c *scene) { c.f.Tables[0].Persistence = "t" }},
	{"table was unlogged in between", "Start Running", func(c *scene) {
		c.f.Publication.Entries[0].Persistence = "u"
		c.s.Publication = c.f.Publication.Fingerprint()
		c.f.Publication.Entries[0].Persistence = "p"
	}},
	{"inserts not published", "Start Running", func(c *scene) { c.f.Publication.Insert = false; c.s.Publication = c.f.Publication.Fingerprint() }},
	{"row filter", "Start Running", func(c *scene) { c.f.Publication.Entries[0].Filter = "(aggregate_type = 'essay')" }},
	{"column list", "Start Running", func(c *scene) { c.f.Publication.Entries[0].Columns = "id, payload" }},
	{"partitions under their own names", "Start Running", func(c *scene) { c.f.Publication.ViaRoot = false }},

	{"wal_level replica", "Start", func(c *scene) { c.f.WALLevel = "replica" }},
	{"wal_level minimal on 19", "Start", func(c *scene) { on19(c, "minimal", "minimal") }},
	{"wal_level replica on RDS", "Start", func(c *scene) { c.f.WALLevel = "replica"; c.g.Provider = RDS }},
	{"role may not replicate", "Start Running", func(c *scene) {
		c.f.Replication, c.f.SenderPID, c.f.Slot.ActivePID = false, 0, 0
		c.f.Slot.WALStatus = "lost"
	}},

	{"timeline not in the history", "Start Running", func(c *scene) { c.f.Timeline, c.f.History = 3, []event.Switch{{Timeline: 1, At: 0x5000000}} }},
	{"server on an older timeline", "Start Running", func(c *scene) { c.f.Timeline, c.f.History = 1, nil }},
	{"failover before safe", "Start Running", func(c *scene) {
		c.f.Timeline, c.f.History = 3, append(c.f.History, event.Switch{Timeline: 2, At: 0x6FFFFFF})
	}},
	{"failover at the last commit", "Start Running", func(c *scene) {
		c.f.Timeline, c.f.History = 3, append(c.f.History, event.Switch{Timeline: 2, At: 0x7000000})
		c.s.Last.Commit = 0x7000000
	}},

	{"half-sent transaction with other options", "Start Running", func(c *scene) { c.s.Last.Commit = 0x7000100; c.g.Options = "proto=2" }},
	{"half-sent transaction at a keepalive with other options", "Start Running", func(c *scene) { c.s.Last.Commit = 0x7000000; c.g.Options = "proto=2" }},
	{"synchronous walsender", "Start Running", func(c *scene) { c.f.SyncState = "sync" }},
	{"walsender that may become synchronous", "Start Running", func(c *scene) { c.f.SyncState = "potential" }},
	{"walsender of which nothing is told", "Start Running", func(c *scene) { c.f.SyncState = "unknown" }},

	// These must pass.
	{"good: in order", "", func(*scene) {}},
	{"good: first start", "", first},
	{"good: first start on 19 with its defaults", "", func(c *scene) { first(c); on19(c, "replica", "replica") }},
	{"good: on 19 with its defaults", "", func(c *scene) { on19(c, "replica", "logical") }},
	{"good: on 19 with wal_level logical", "", func(c *scene) { on19(c, "logical", "logical") }},
	{"good: first start into a publication made before", "", func(c *scene) { first(c); c.f.Publication = sound().f.Publication }},
	{"good: intent, no slot", "", func(c *scene) { c.s.State = event.StateCreating; noSlot(c) }},
	{"good: intent, younger slot", "", func(c *scene) {
		c.s.State, c.s.Publication = event.StateCreating, ""
		c.s.Safe = c.f.Slot.ConfirmedFlush
	}},
	{"good: intent may drop the slot", "", func(c *scene) {
		c.s.State, c.s.Drop, c.s.Safe = event.StateCreating, "cdc_relay_essays", 0x7500000
		c.f.Slot.WALStatus, c.f.Slot.Plugin = "lost", "wal2json"
	}},
	{"good: slot behind after an immediate stop", "", func(c *scene) { c.f.Slot.ConfirmedFlush = 0x6000000 }},
	{"good: failover after everything", "", func(c *scene) {
		c.f.Timeline, c.f.History = 4, append(c.f.History, event.Switch{Timeline: 2, At: 0x7000000}, event.Switch{Timeline: 3, At: 0x7800000})
	}},
	{"good: failover after an idle checkpoint", "", func(c *scene) {
		c.f.Timeline, c.f.History = 3, append(c.f.History, event.Switch{Timeline: 2, At: 0x7000000})
		c.s.Last = nil
	}},
	{"good: other options between transactions", "", func(c *scene) { c.g.Options = "proto=2" }},
	{"good: other options before any event", "", func(c *scene) { c.g.Options = "proto=2"; c.s.Last = nil }},
	{"good: the right comes through a provider's role", "", func(c *scene) { c.f.Replication = false }},
	{"good: superuser", "", func(c *scene) { first(c); c.f.Replication, c.f.Superuser = false, true }},
	{"good: for all tables", "", func(c *scene) {
		c.f.Publication.AllTables = true
		c.f.Publication.Entries = nil
		c.s.Publication = c.f.Publication.Fingerprint()
	}},
	{"good: cluster id not known", "", func(c *scene) { c.g.ClusterID = "" }},
	{"good: wal status extended", "", func(c *scene) { c.f.Slot.WALStatus = "extended" }},
}

func noSlot(c *scene) {
	c.f.Slot = event.Slot{Name: "cdc_relay_essays"}
	c.f.SenderPID, c.f.SyncState = 0, ""
}

// on19 is a PostgreSQL 19 with this wal_level and effective_wal_level.
func on19(c *scene, level, effective string) {
	c.f.Version, c.f.WALLevel, c.f.EffectiveLevel = 190001, level, effective
}

// first is a server no relay has touched.
func first(c *scene) {
	c.s = event.Saved{}
	noSlot(c)
	c.f.Publication = event.Publication{Name: "cdc_relay", Insert: true, ViaRoot: true}
}

// Every row of the guards table: which guard sees it, what becomes of the
// pipeline, and the text an operator reads (testdata/guards.txt).
func TestGuards(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	seen := map[string]bool{}
	for _, c := range guardCases {
		if seen[c.name] {
			t.Errorf("%s: two cases have this name", c.name)
		}
		seen[c.name] = true
		var said error
		for name, ask := range map[string]func(Guard, event.Saved, event.Facts) error{foreign: Guard.Foreign, start: Guard.Start, running: Guard.Running} {
			sc := sound()
			c.change(sc)
			err := ask(sc.g, sc.s, sc.f)
			want := strings.Contains(c.asked, name)
			if (err != nil) != want {
				t.Errorf("%s: %s says %v", c.name, name, err)
			}
			if err != nil && (said == nil || name == start) {
				said = err
			}
		}
		if said != nil {
			fmt.Fprintf(&out, "## %s → %s\n%v\n\n", c.name, verdicts[event.VerdictOf(said)], said)
			checkMessage(t, c.name, said)
		}
	}
	golden(t, "testdata/guards.txt", out.String())
}

var verdicts = map[event.Verdict]string{event.Restart: "again", event.Standby: "standby", event.Refuse: "refuse"}

var (
	command  = regexp.MustCompile(`cdc-relay ([a-z]+(?: [a-z]+)?)`)
	commands = regexp.MustCompile(`^(run|config (init|validate|show)|migrate|checkpoint (show|rebase|rename)|audit|repair|slots (list|anchor|adopt|recreate)|topics (plan|apply)|plan|schemas (register|check)|dlq (list|show|redrive|discard)|doctor|version)\b`)
)

// checkMessage: a refusal has a next step, every message names its pipeline,
// and no message promises a command that does not exist.
func checkMessage(t *testing.T, name string, err error) {
	t.Helper()
	var f *event.Fault
	if !errors.As(err, &f) {
		t.Fatalf("%s: %T is no Fault", name, err)
	}
	if f.Verdict == event.Refuse && f.Do == "" {
		t.Errorf("%s: no next step", name)
	}
	if !strings.HasPrefix(f.What, "pipeline essays: ") {
		t.Errorf("%s: which pipeline? %s", name, f.What)
	}
	unknownCommands(t, name, err.Error())
}

func unknownCommands(t *testing.T, name, text string) {
	t.Helper()
	for _, m := range command.FindAllStringSubmatch(text, -1) {
		if !commands.MatchString(m[1]) {
			t.Errorf("%s: there is no command %q", name, m[0])
		}
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*scene)
		want   string // part of the message; "" adoptable
	}{
		{"free", func(*scene) {}, ""},
		{"none", noSlot, "nothing to adopt"},
		{"held", func(c *scene) { c.f.Slot.ActivePID = 7 }, "held by another process"},
		{"plugin", func(c *scene) { c.f.Slot.Plugin = "wal2json" }, "wal2json"},
		{"database", func(c *scene) { c.f.Slot.Database = "exams" }, `"exams"`},
		{"two_phase", func(c *scene) { c.f.Slot.TwoPhase = true }, "two_phase"},
		{"temporary", func(c *scene) { c.f.Slot.Temporary = true }, "temporary"},
		{"lost", func(c *scene) { c.f.Slot.WALStatus = "lost" }, "no longer usable"},
		{"publication", func(c *scene) { c.f.Publication.Exists = false }, "publication cdc_relay does not exist"},
		{"standby", func(c *scene) { c.f.InRecovery = true }, "in recovery"},
	} {
		sc := sound()
		sc.f.SenderPID, sc.f.Slot.ActivePID = 0, 0
		c.change(sc)
		err := sc.g.Adopt(sc.f)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			unknownCommands(t, c.name, err.Error())
		}
	}
}

// The guards fit the relay. A method value is enough: no import of relay.
var _ = []func(event.Saved, event.Facts) error{guard.Foreign, guard.Start, guard.Running}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}
