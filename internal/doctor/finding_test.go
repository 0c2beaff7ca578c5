package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func wants(c *scene) Wants {
	return Wants{Guard: c.g, Saved: c.s, ApplicationName: "cdc-relay"}
}

// The findings of doctor: testdata/findings.txt holds what a person reads, all
// levels included.
func TestFindings(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, c := range findingCases {
		fs := c.findings()
		worst := OK
		for _, f := range fs {
			if f.Scope == "" || f.Check == "" || f.What == "" {
				t.Errorf("%s: incomplete: %+v", c.name, f)
			}
			if f.Level == Fail && f.Do == "" {
				t.Errorf("%s: no next step: %+v", c.name, f)
			}
			if f.Level == Fail || f.Level == Warn && worst == OK {
				worst = f.Level
			}
		}
		if worst != c.worst {
			t.Errorf("%s: worst is %s, want %s", c.name, worst, c.worst)
		}
		var text bytes.Buffer
		exit, err := Print(&text, fs, false)
		if err != nil || (exit == ExitRefused) != (worst == Fail) {
			t.Errorf("%s: exit %d, %v", c.name, exit, err)
		}
		unknownCommands(t, c.name, text.String())
		fmt.Fprintf(&out, "## %s\n%s\n", c.name, text.String())
	}
	golden(t, "testdata/findings.txt", out.String())
}

// failedOver are the findings about standbys of a primary that has one, s1.
func failedOver(change func(*scene, *Wants)) []Finding {
	c := sound()
	w := wants(c)
	w.Failover = event.Failover{Known: true, Named: []string{"s1"}, SlotWorker: "yes",
		Standbys: []event.Replica{{Slot: "s1", Name: "host2", Active: true, Feedback: true, Flush: 0x8000000}}}
	change(c, &w)
	return scoped("essays", failover(w.Guard, c.f, w))
}

// atTheStandby are the findings at that standby.
func atTheStandby(change func(*scene, *Wants)) []Finding {
	c := sound()
	c.f.InRecovery, c.f.Flush, c.f.Slot.Synced, c.f.Slot.ActivePID = true, 0, true, 0
	w := wants(c)
	w.Failover = event.Failover{Known: true, SyncSlots: "on", Feedback: true, PrimarySlot: "s1", Received: 0x8000000}
	change(c, &w)
	return Postgres(c.f, w)
}

var findingCases = []struct {
	name     string
	worst    Level
	findings func() []Finding
}{
	{"postgres in order", OK, func() []Finding { c := sound(); return Postgres(c.f, wants(c)) }},
	{"postgres before the first start, production", OK, func() []Finding {
		c := sound()
		first(c)
		w := wants(c)
		w.NewSlots, w.NewSenders = 1, 1
		return Postgres(c.f, w)
	}},
	{"postgres 19 before the first start", OK, func() []Finding {
		c := sound()
		first(c)
		on19(c, "replica", "replica")
		return Postgres(c.f, wants(c))
	}},
	{"postgres 19 in order", OK, func() []Finding { c := sound(); on19(c, "replica", "logical"); return Postgres(c.f, wants(c)) }},
	{"postgres before migrate, testing", OK, func() []Finding {
		c := sound()
		first(c)
		c.f.Tables[0] = event.Table{Name: "cdc_relay.outbox"}
		w := wants(c)
		w.MayCreate = true
		return Postgres(c.f, w)
	}},
	{"everything wrong at once", Fail, func() []Finding {
		c := sound()
		first(c)
		c.f.Version, c.f.WALLevel, c.f.Replication = 130012, "replica", false
		c.f.MaxSlots, c.f.Slots, c.f.MaxSenders, c.f.Senders = 2, 2, 2, 1
		c.f.Tables[0].Exists = false
		c.f.MaxSlotKeepSize = "-1"
		w := wants(c)
		w.NewSlots, w.NewSenders, w.SynchronousStandbyNames = 2, 1, `ANY 1 ("a", *)`
		return Postgres(c.f, w)
	}},
	{"the warnings", Warn, func() []Finding {
		c := sound()
		c.f.MaxSlotKeepSize, c.f.IdleSlotTimeout, c.f.Slot.WALStatus, c.f.Slot.Failover = "-1", "1d", "unreserved", false
		c.f.Version = 180001
		c.f.Publication.Delete, c.f.Publication.Truncate, c.f.Publication.AllTables = true, true, true
		c.f.Tables[0].CanSelect = false
		c.f.MaxSlots, c.f.Slots = 3, 2
		w := wants(c)
		w.NewSlots, w.SynchronousStandbyNames = 1, "FIRST 1 (s1, s2)"
		return Postgres(c.f, w)
	}},
	{"slot behind by much, idle relay", Warn, func() []Finding {
		c := sound()
		c.f.SenderPID, c.f.Slot.ActivePID, c.f.SyncState = 0, 0, ""
		c.f.Flush, c.f.Slot.WALStatus = 0x200000000, "extended"
		return Postgres(c.f, wants(c))
	}},
	{"the relay runs elsewhere", OK, func() []Finding {
		c := sound()
		c.f.SenderPID, c.f.SyncState = 0, ""
		return Postgres(c.f, wants(c))
	}},
	{"kafka is down, so the checkpoint is not known", OK, func() []Finding {
		c := sound()
		c.s = event.Saved{}
		w := wants(c)
		w.SavedUnknown = true
		return Postgres(c.f, w)
	}},
	{"a standby server", Warn, func() []Finding { c := sound(); c.f.InRecovery = true; return Postgres(c.f, wants(c)) }},
	{"slot lost", Fail, func() []Finding { c := sound(); c.f.Slot.WALStatus = "lost"; return Postgres(c.f, wants(c)) }},
	{"walsender would be synchronous by its name", Fail, func() []Finding {
		c := sound()
		w := wants(c)
		w.SynchronousStandbyNames = `"CDC-relay"`
		return Postgres(c.f, w)
	}},
	{"failover in order", OK, func() []Finding { return failedOver(func(*scene, *Wants) {}) }},
	{"failover: no standby", OK, func() []Finding {
		return failedOver(func(_ *scene, w *Wants) { w.Failover.Named, w.Failover.Standbys[0].Active = nil, false })
	}},
	{"failover: before 17", Warn, func() []Finding { return failedOver(func(c *scene, _ *Wants) { c.f.Version = 160004 }) }},
	{"failover: no failover slot", Warn, func() []Finding { return failedOver(func(c *scene, _ *Wants) { c.f.Slot.Failover = false }) }},
	{"failover: standby not named, no worker, no feedback", Warn, func() []Finding {
		return failedOver(func(_ *scene, w *Wants) {
			w.Failover.Named, w.Failover.SlotWorker, w.Failover.Standbys[0].Feedback = nil, "no", false
			w.Failover.Standbys = append(w.Failover.Standbys, event.Replica{Slot: "spare"})
		})
	}},
	{"failover: held back by nobody", Warn, func() []Finding {
		return failedOver(func(_ *scene, w *Wants) { w.Failover.Named = nil })
	}},
	{"failover: a named standby is gone", Fail, func() []Finding {
		return failedOver(func(_ *scene, w *Wants) {
			w.Failover.Named = append(w.Failover.Named, "s2", "s3")
			w.Failover.Standbys = append(w.Failover.Standbys, event.Replica{Slot: "s2"})
		})
	}},
	{"failover: a standby without a slot, a role that may not see", Warn, func() []Finding {
		return failedOver(func(_ *scene, w *Wants) {
			w.Failover.SlotWorker = "unknown"
			w.Failover.Standbys = append(w.Failover.Standbys, event.Replica{Name: "walreceiver", Active: true, Feedback: true})
		})
	}},
	{"failover: the standby is behind what is published", Warn, func() []Finding {
		return failedOver(func(_ *scene, w *Wants) { w.Failover.Named, w.Failover.Standbys[0].Flush = nil, 0x6FFFF00 })
	}},
	{"a standby in order", Warn, func() []Finding { return atTheStandby(func(*scene, *Wants) {}) }},
	{"a standby of 19 in order", Warn, func() []Finding {
		return atTheStandby(func(c *scene, _ *Wants) { on19(c, "replica", "logical") })
	}},
	{"a standby of 19 with wal_level minimal", Warn, func() []Finding {
		return atTheStandby(func(c *scene, _ *Wants) { on19(c, "minimal", "logical") })
	}},
	{"a standby before 17", Warn, func() []Finding { return atTheStandby(func(c *scene, _ *Wants) { c.f.Version = 150004 }) }},
	{"a standby with nothing set", Warn, func() []Finding {
		return atTheStandby(func(c *scene, w *Wants) {
			c.f.WALLevel, c.f.Slot = "replica", event.Slot{}
			w.Failover.SyncSlots, w.Failover.Feedback, w.Failover.PrimarySlot, w.Failover.PrimaryNoDB = "off", false, "", true
		})
	}},
	{"a standby behind what is published", Warn, func() []Finding {
		return atTheStandby(func(_ *scene, w *Wants) { w.Failover.Received = 0x6FFFF00 })
	}},
	{"a standby cut off, its slot not in step yet", Warn, func() []Finding {
		return atTheStandby(func(c *scene, w *Wants) { w.Failover.ReceiverLost, c.f.Slot.Temporary = true, true })
	}},
	{"a standby cut off", Warn, func() []Finding { return atTheStandby(func(_ *scene, w *Wants) { w.Failover.ReceiverLost = true }) }},
	{"a standby with a slot of its own", Warn, func() []Finding { return atTheStandby(func(c *scene, _ *Wants) { c.f.Slot.Synced = false }) }},
	{"a standby whose slot is invalidated", Warn, func() []Finding {
		return atTheStandby(func(c *scene, _ *Wants) { c.f.Slot.Invalid = "rows_removed" })
	}},
	{"amazon rds", Fail, func() []Finding {
		c := sound()
		first(c)
		c.f.WALLevel, c.f.Replication = "replica", false
		c.f.MaxSlots = 2
		w := wants(c)
		w.NewSlots, w.Hints = 1, Hints{Host: "x.abc.eu-north-1.rds.amazonaws.com", Roles: []string{"rds_superuser"}}
		return Postgres(c.f, w)
	}},
	{"neon through the pooler", Fail, func() []Finding {
		c := sound()
		w := wants(c)
		w.Hints = Hints{Host: "ep-x-pooler.eu-central-1.aws.neon.tech"}
		return Postgres(c.f, w)
	}},

	{"kafka in order", OK, func() []Finding { return Kafka(kafkaSound(), false) }},
	{"kafka cannot be asked", Fail, func() []Finding {
		return Kafka(KafkaFacts{Bootstrap: "broker:9092", Err: errors.New("connection refused")}, false)
	}},
	{"kafka without topics, production", Fail, func() []Finding { return Kafka(kafkaEmpty(), false) }},
	{"kafka without topics, testing", OK, func() []Finding { return Kafka(kafkaEmpty(), true) }},
	{"kafka with one broker", Warn, func() []Finding {
		f := kafkaSound()
		f.Brokers = 1
		for _, t := range []*KafkaTopic{&f.Checkpoint, &f.Topics[0]} {
			t.Replicas, t.Config = 1, map[string]string{"cleanup.policy": "compact", "min.insync.replicas": "1"}
		}
		return Kafka(f, false)
	}},
	{"kafka with weak topics and rights", Fail, func() []Finding {
		f := kafkaSound()
		f.Unread = []string{"pipeline essays: the checkpoint cannot be read"}
		f.Checkpoint.Config = map[string]string{"cleanup.policy": "compact,delete", "min.insync.replicas": "2"}
		f.Checkpoint.Partitions = 6
		f.Topics = []KafkaTopic{
			{Name: "weak", Exists: true, Partitions: 3, Replicas: 1, Config: map[string]string{"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}},
			{Name: "read-only", Exists: true, Partitions: 3, Replicas: 3, Allowed: []string{"read", "describe"}},
			{Name: "hidden", Allowed: []string{}},
		}
		return Kafka(f, true)
	}},
	{"checkpoint topic with a secret configuration", Fail, func() []Finding {
		f := kafkaSound()
		f.Checkpoint.Config = nil
		return Kafka(f, false)
	}},
	{"kafka topics that are not as their class says", Fail, func() []Finding {
		f := kafkaSound()
		f.Topics = append(f.Topics, KafkaTopic{Name: "small", Exists: true, Partitions: 1, Replicas: 3})
		f.Drift = []TopicDrift{
			{Topic: "essays.scored.v1", What: "it has cleanup.policy compact, class scored says delete", Refused: true},
			{Topic: "small", What: "its max.message.bytes is 1000, below max_event_bytes (1000000)"},
		}
		return Kafka(f, false)
	}},
	{"registry in order", OK, func() []Finding {
		return Registry(RegistryFacts{URL: "http://registry:8081", Subjects: []RegistrySubject{{Subject: "a-value", Schema: "A", Version: 1, ID: 7}}}, false)
	}},
	{"registry cannot be asked", Fail, func() []Finding {
		return Registry(RegistryFacts{URL: "http://registry:8081", Err: errors.New("401")}, false)
	}},
	{"registry without schemas, production", Fail, func() []Finding { return Registry(registryEmpty(), false) }},
	{"bucket in order", OK, func() []Finding { return ClaimCheck("s3://artifacts/events", nil, true) }},
	{"bucket nobody needs", Warn, func() []Finding { return ClaimCheck("s3://artifacts/events", nil, false) }},
	{"bucket that refuses", Fail, func() []Finding {
		return ClaimCheck("s3://artifacts/events", event.Refusef("let the relay write there", "write events/cdc-relay-probe: 403"), true)
	}},
	{"bucket that cannot be reached", Fail, func() []Finding { return ClaimCheck("s3://artifacts/events", errors.New("dial tcp: refused"), true) }},
	{"registry without schemas, testing", Fail, func() []Finding { return Registry(registryEmpty(), true) }},
}

func kafkaSound() KafkaFacts {
	return KafkaFacts{Bootstrap: "broker:9092", ClusterID: "kafka-1", Brokers: 3,
		Checkpoint: KafkaTopic{Name: "cdc-relay.checkpoints", Exists: true, Partitions: 25, Replicas: 3, Allowed: []string{"read", "write", "describe"},
			Config: map[string]string{"cleanup.policy": "compact", "min.insync.replicas": "2"}},
		Topics: []KafkaTopic{{Name: "essays.scored.v1", Exists: true, Partitions: 12, Replicas: 3, Config: map[string]string{"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}}}}
}

func kafkaEmpty() KafkaFacts {
	f := kafkaSound()
	f.Checkpoint, f.Topics = KafkaTopic{Name: "cdc-relay.checkpoints"}, []KafkaTopic{{Name: "essays.scored.v1"}}
	return f
}

func registryEmpty() RegistryFacts {
	return RegistryFacts{URL: "http://registry:8081", Subjects: []RegistrySubject{
		{Subject: "a-value", Schema: "A", Version: 2},
		{Subject: "b-value", Schema: "B", Version: 1, Err: errors.New("incompatible: READER_FIELD_MISSING_DEFAULT_VALUE")}}}
}

func TestPrintJSON(t *testing.T) {
	t.Parallel()
	for want, fs := range map[Level][]Finding{
		OK:   nil,
		Warn: {{Level: Warn, Scope: "kafka", Check: "c", What: "a < b & c"}},
		Fail: {{Level: Fail, Scope: "kafka", Check: "c", What: "w", Do: "d"}, {Level: Warn, Scope: "x", Check: "c", What: "w"}},
	} {
		var out bytes.Buffer
		exit, err := Print(&out, fs, true)
		if err != nil || (exit == ExitRefused) != (want == Fail) {
			t.Errorf("%s: exit %d, %v", want, exit, err)
		}
		var got struct {
			Level    Level     `json:"level"`
			Findings []Finding `json:"findings"`
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Level != want || len(got.Findings) != len(fs) || got.Findings == nil {
			t.Errorf("%s: %s %v", want, out.String(), err)
		}
		for i := range fs {
			if got.Findings[i] != fs[i] {
				t.Errorf("%+v, want %+v", got.Findings[i], fs[i])
			}
		}
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want Provider
		h    Hints
	}{
		{SelfHosted, Hints{}},
		{SelfHosted, Hints{Host: "db.internal", Settings: []string{"pg_stat_statements.max"}, Roles: []string{"postgres"}}},
		{SelfHosted, Hints{Host: "notrds.amazonaws.com.evil.org"}},
		{RDS, Hints{Host: "x.abc.eu-north-1.rds.amazonaws.com."}},
		{RDS, Hints{Host: "alias.internal", Settings: []string{"rds.logical_replication"}}},
		{RDS, Hints{Roles: []string{"rds_superuser"}}},
		{Aurora, Hints{Host: "x.cluster-abc.eu-north-1.rds.amazonaws.com"}},
		{Aurora, Hints{Host: "alias", Functions: []string{"aurora_version"}, Roles: []string{"rds_superuser"}}},
		{CloudSQL, Hints{Settings: []string{"cloudsql.logical_decoding"}}},
		{CloudSQL, Hints{Roles: []string{"cloudsqlsuperuser"}}},
		{AlloyDB, Hints{Settings: []string{"alloydb.logical_decoding"}, Roles: []string{"cloudsqlsuperuser"}}},
		{Azure, Hints{Host: "x.Postgres.Database.Azure.com"}},
		{Azure, Hints{Settings: []string{"azure.extensions"}}},
		{Neon, Hints{Host: "ep-x.eu-central-1.aws.neon.tech"}},
		{Neon, Hints{Settings: []string{"neon.timeline_id"}}},
		{Supabase, Hints{Host: "db.abc.supabase.co"}},
		{Supabase, Hints{Roles: []string{"supabase_admin"}}},
	} {
		if got := Detect(c.h); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.h, got, c.want)
		}
	}
}

// Each provider says something of its own for each thing to set.
func TestProviders(t *testing.T) {
	t.Parallel()
	seen := map[string]Provider{}
	for _, p := range []Provider{SelfHosted, RDS, Aurora, CloudSQL, AlloyDB, Azure, Supabase, Neon} {
		for _, text := range []string{p.walLevel("logical"), p.set("max_wal_senders", "20")} {
			if first, twice := seen[text]; twice || text == "" {
				t.Errorf("%q and %q say the same: %q", p, first, text)
			}
			seen[text] = p
		}
	}
	for _, h := range []Hints{{Host: "x.cluster-ro-abc.eu-north-1.rds.amazonaws.com"}, {Host: "aws-0.pooler.supabase.com"}, {Host: "db.x.supabase.co", Port: 6543}, {Host: "a-pooler.x.neon.tech"}} {
		if fs := Detect(h).notes(h); len(fs) != 1 || fs[0].Level != Fail || fs[0].Do == "" {
			t.Errorf("%+v: %+v", h, fs)
		}
	}
	if fs := Neon.notes(Hints{Host: "a.neon.tech"}); len(fs) != 1 || fs[0].Level != Warn {
		t.Errorf("%+v", fs)
	}
	if got := RDS.grant("my role"); got != `GRANT rds_replication TO "my role"` {
		t.Error(got)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"cdc_relay.outbox": "cdc_relay.outbox", "public.order": `public."order"`, "public.My.Table": `public."My.Table"`, `a"b.c`: `"a""b".c`, "plain": "plain"} {
		if got := ident(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := literal("it's"); got != "'it''s'" {
		t.Error(got)
	}
}
