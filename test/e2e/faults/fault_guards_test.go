package faults

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Every refusal of the guards table that no other test brings about, each with
// its message and exit code 3, and the way out of it.

// What the checkpoint says, against what the servers say. The checkpoint is
// forged, one thing at a time; with the true one back, the relay goes on.
func TestForgedCheckpoints(t *testing.T) {
	l := lab.New(t)
	r := l.Start()
	l.Writes("a", 30)
	l.Delivered(l.Reader(), 30, time.Minute)
	l.Stops(r)
	truth := l.Saved()
	if truth.State != event.StateStreaming || truth.Last == nil || truth.Safe != l.Confirmed() {
		t.Fatalf("checkpoint %+v, slot %s", truth, l.Confirmed())
	}
	cases := []struct {
		name  string
		forge func(*event.Saved)
		says  []string
	}{
		{"other Kafka cluster", func(s *event.Saved) { s.ClusterID = "AAAAAAAAAAAAAAAAAAAAAA" },
			[]string{"was written on Kafka cluster AAAAAAAAAAAAAAAAAAAAAA, but this is cluster " + truth.ClusterID, "point bootstrap.servers at that cluster"}},
		{"other Postgres cluster", func(s *event.Saved) { s.SystemID = "7000000000000000001" },
			[]string{"system id 7000000000000000001, and the server reached now has " + truth.SystemID}},
		{"other database", func(s *event.Saved) { s.Database = "another" },
			[]string{fmt.Sprintf(`belongs to database "another", and the configuration leads to %q`, truth.Database)}},
		{"other slot", func(s *event.Saved) { s.Slot = "another" },
			[]string{"the checkpoint belongs to slot another, and the configuration names slot " + truth.Slot}},
		{"newer format", func(s *event.Saved) { s.V, s.Version = 2, "9.9" }, []string{"checkpoint of version 2, this relay reads up to 1", `"9.9"`}},
		{"other timeline", func(s *event.Saved) { s.Timeline = 7 },
			[]string{"the checkpoint is on timeline 7, which is not in the history of the server's timeline 1"}},
		{"other publication", func(s *event.Saved) { s.Publication = strings.Replace(s.Publication, ":", ":1", 1) },
			[]string{"publication cdc_relay is not what it was at the checkpoint " + truth.Safe.String(), "it was dropped and created again"}},
		{"slot ahead", func(s *event.Saved) { s.Safe-- },
			[]string{"has confirmed " + truth.Safe.String() + ", but the checkpoint says that Kafka has everything up to " + (truth.Safe - 1).String() + " only"}},
		{"half a transaction with other options", func(s *event.Saved) { s.Last.Commit, s.Options = s.Safe, "proto_version=4 streaming=on" },
			[]string{"is in Kafka up to its change number", `read with the stream options "proto_version=4 streaming=on"`, "the changes may be numbered otherwise"}},
		{"intent younger than the slot", func(s *event.Saved) { *s = asIntent(*s, s.Safe+1) },
			[]string{"before", "it is older than the pipeline and not ours to drop", "slots adopt"}},
	}
	for _, c := range cases {
		forged := truth
		last := *truth.Last
		forged.Last = &last
		c.forge(&forged)
		l.Forge(forged)
		l.Refused(c.says...)
		if t.Failed() {
			t.Fatalf("case %q", c.name)
		}
	}
	l.ForgeRaw([]byte("not a checkpoint"))
	l.Refused("cannot be read", "not a checkpoint", "kafka-console-consumer.sh")

	// Whole transactions need no options: nothing is numbered over a restart.
	truth.Options = "other"
	l.Forge(truth)
	r = l.Start()
	l.Writes("bb", 30)
	l.Settled(time.Minute)
	l.Stops(r)
}

// asIntent is the intent of a first start at lsn.
func asIntent(s event.Saved, lsn event.LSN) event.Saved {
	s.State, s.Safe, s.Last, s.CommitTime, s.Publication = event.StateCreating, lsn, nil, "", ""
	return s
}

// The slot against the checkpoint: gone, moved ahead by somebody, without a
// checkpoint. Each is refused, and each has a command that goes on.
func TestSlotAndCheckpointApart(t *testing.T) {
	l := lab.New(t)
	r := l.Start()
	l.Writes("a", 30)
	l.Delivered(l.Reader(), 30, time.Minute)
	l.Command("slots", "recreate").Exits(2).Says("--accept-gap")
	l.Command("slots", "recreate", "--accept-gap").Exits(3).Says("is in use", "stop the relay that streams from it")
	l.Command("slots", "adopt").Exits(3).Says("is in use")
	l.Stops(r)
	l.Command("slots", "adopt").Exits(3).Says("has a checkpoint already", "there is nothing to adopt")

	// Dropped.
	safe := l.Saved().Safe
	l.Exec("select pg_drop_replication_slot($1)", l.Slot())
	l.Exec(lostRow) // never in the log of the new slot
	l.Refused("does not exist any more, and the checkpoint stands at "+safe.String(), "slots recreate", "--accept-gap", "last published commit: ")
	goesOnAfterTheGap(l, "bb", safe)

	// Moved ahead, in the two ways there are.
	for i, move := range []string{
		"select pg_replication_slot_advance($1, pg_current_wal_lsn())::text",
		"select count(*)::text from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'cdc_relay')",
	} {
		safe = l.Saved().Safe
		l.Exec(lostRow)
		l.Ask(move, l.Slot())
		l.Refused("has confirmed "+l.Confirmed().String()+", but the checkpoint says that Kafka has everything up to "+safe.String()+" only", "somebody moved the slot", "slots recreate")
		goesOnAfterTheGap(l, fmt.Sprintf("moved%d", i), safe)
	}

	// The checkpoint is gone, and the slot is not: nobody can know.
	l.Writes("waiting", 30)
	l.ForgeRaw(nil)
	l.Refused("slot "+l.Slot()+" exists (confirmed_flush "+l.Confirmed().String()+"), but there is no checkpoint in Kafka", "cdc-relay slots adopt")
	l.Command("slots", "adopt").Exits(0).Says("is the pipeline's, from " + l.Confirmed().String())
	r = l.Start()
	l.Writes("adopted", 30)
	l.Settled(time.Minute)
	l.Stops(r)
}

// goesOnAfterTheGap recreates the slot and writes events, which have to come.
func goesOnAfterTheGap(l *lab.Lab, service string, from event.LSN) {
	l.Helper()
	l.Command("slots", "recreate", "--accept-gap").Exits(0).Says("what was committed between "+from.String()+" and there is not published", "the last published row was committed at")
	r := l.Start()
	l.Writes(service, 30)
	l.Settled(time.Minute)
	l.Stops(r)
}

// Slots that adopt must not take: each would skip or garble rows.
func TestAdoptRefuses(t *testing.T) {
	l := lab.New(t)
	l.Stops(l.Start())
	l.ForgeRaw(nil)
	l.Exec("select pg_drop_replication_slot($1)", l.Slot())
	l.Command("slots", "adopt").Exits(3).Says("slot " + l.Slot() + " does not exist in the server: there is nothing to adopt")

	other := l.Pool(l.PG.Database(t))
	cases := []struct{ make, says string }{
		{"select pg_create_physical_replication_slot('%s')", "is a physical slot, not a logical one"},
		{"select pg_create_logical_replication_slot('%s', 'pgoutput', false, true)", "has two_phase, which sends transactions before they commit"},
	}
	// Not every build of Postgres brings a second plugin; the guard's own test
	// has the case too.
	if l.Ask(`select count(*)::text from pg_ls_dir((select setting from pg_config() where name = 'PKGLIBDIR')) as f where f like 'test_decoding%'`) != "0" {
		cases = append(cases, struct{ make, says string }{
			"select pg_create_logical_replication_slot('%s', 'test_decoding')", `has the output plugin "test_decoding", not "pgoutput"`})
	}
	for _, c := range cases {
		l.Exec(fmt.Sprintf(c.make, l.Slot()))
		l.Command("slots", "adopt").Exits(3).Says(c.says, "the relay cannot read it")
		l.Exec("select pg_drop_replication_slot($1)", l.Slot())
	}
	l.Must(other.Exec(l.Ctx(time.Minute), "select pg_create_logical_replication_slot($1, 'pgoutput')", l.Slot()))
	l.Command("slots", "adopt").Exits(3).Says("is of database", "not of", "the relay cannot read it")
	l.Must(other.Exec(l.Ctx(time.Minute), "select pg_drop_replication_slot($1)", l.Slot()))

	// With neither slot nor checkpoint it is a first start again.
	r := l.Start()
	l.Writes("a", 30)
	l.Settled(time.Minute)
	l.Stops(r)
}

// A slot that kept more than max_slot_wal_keep_size is lost, and says so.
func TestSlotLost(t *testing.T) {
	l := lab.New(t, lab.OwnPostgres(stack.Setting("max_slot_wal_keep_size", "1MB"), stack.Setting("max_wal_size", "64MB")))
	r := l.Start()
	l.Writes("a", 30)
	l.Delivered(l.Reader(), 30, time.Minute)
	l.Stops(r)
	safe := l.Saved().Safe
	l.Exec(lostRow)
	l.Soon(time.Minute, "the slot is lost", func() bool {
		l.Exec("select pg_switch_wal() from (select pg_logical_emit_message(false, 'filler', 'x')) as m")
		l.Exec("checkpoint")
		return l.Ask("select wal_status from pg_replication_slots where slot_name = $1", l.Slot()) == "lost"
	})
	l.Refused("is no longer usable", "the checkpoint stands at "+safe.String()+": the write-ahead log after it is gone", "slots recreate")
	goesOnAfterTheGap(l, "bb", safe)
}

// A walsender that Postgres counts as synchronous makes every commit of the
// services wait for Kafka.
func TestSynchronousStandbyNames(t *testing.T) {
	l := lab.New(t, lab.OwnPostgres(), lab.With(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" }))
	r := l.Start()
	l.Writes("a", 30)
	l.Delivered(l.Reader(), 30, time.Minute)
	l.Exec("alter system set synchronous_standby_names = '*'")
	l.Exec("select pg_reload_conf()")
	says := []string{`has sync_state "sync"`, "every commit in this cluster waits for Kafka", "synchronous_standby_names"}
	l.Gone(r, 3, noticedWithin, says...)
	l.Refused(says...)
	l.Exec("alter system reset synchronous_standby_names")
	l.Exec("select pg_reload_conf()")
	r = l.Start()
	l.Writes("bb", 30)
	l.Settled(time.Minute)
	l.Stops(r)
}

func TestWALLevel(t *testing.T) {
	l := lab.New(t, lab.OwnPostgres(stack.Setting("wal_level", "replica")))
	l.Refused(`wal_level is "replica", and logical replication needs "logical"`, "ALTER SYSTEM SET wal_level", "restart")
	if n := l.Ask("select count(*)::text from pg_publication"); n != "0" {
		t.Errorf("refused, and made %s publications", n)
	}
}

func TestRoleMayNotReplicate(t *testing.T) {
	l := lab.New(t)
	role := "role_" + l.ID
	l.Exec("create role " + role + " login")
	l.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		l.Must(l.DB.Exec(ctx, "drop owned by "+role+"; drop role "+role))
	})
	l.Exec("grant usage on schema cdc_relay to " + role + "; grant select on all tables in schema cdc_relay to " + role +
		"; grant create on database " + l.Pipeline() + " to " + role)
	l.Change(func(c *rig.Config) {
		c.Postgres = strings.Replace(l.URL, "postgres@", role+"@", 1)
		c.Environment = "production"
	})
	prepared(l)
	l.Refused(`role "`+role+`" may not replicate`, "ALTER ROLE "+role+" WITH REPLICATION")
}

// prepared makes topics and schemas as a relay of an environment that may does,
// under the lab's name, without making the pipeline.
func prepared(l *lab.Lab) {
	l.Helper()
	production := l.Conf
	l.Change(func(c *rig.Config) { c.Environment, c.Postgres = "testing", l.URL })
	l.Stops(l.Start())
	l.ForgeRaw(nil)
	l.Exec("select pg_drop_replication_slot($1)", l.Slot())
	l.Exec("drop publication cdc_relay")
	l.Configure(production)
}

// In production nothing is made, so what is missing is refused.
func TestMissingTopicInProduction(t *testing.T) {
	l := lab.New(t)
	l.Stops(l.Start())
	topic := rig.Topics(l.ID)[1]
	l.Check(l.Kafka.DeleteTopic(l.Ctx(time.Minute), topic))
	l.Change(func(c *rig.Config) { c.Environment = "production" })
	l.Refused(`Kafka has no topic "`+topic+`"`, "cdc-relay topics apply")
	l.Command("topics", "apply").Exits(0).Says(topic)
	r := l.Start()
	l.Writes("a", 30)
	l.Settled(time.Minute)
	l.Stops(r)
}

func TestMissingSchemaInProduction(t *testing.T) {
	l := lab.New(t, lab.With(func(c *rig.Config) { c.Environment = "production" }))
	l.Command("topics", "apply").Exits(0)
	l.Refused("this schema is not registered", rig.Topics(l.ID)[0]+"-value", l.SR.URL())
}

// The registry says that a schema does not go with the one before it.
func TestIncompatibleSchema(t *testing.T) {
	l := lab.New(t)
	subject := rig.Topics(l.ID)[0] + "-value"
	body := `{"schema": "{\"type\":\"record\",\"name\":\"EssayStateChangedEventV1\",\"namespace\":\"huleedu.events\",\"fields\":[{\"name\":\"event_id\",\"type\":\"long\"}]}"}`
	req, err := http.NewRequestWithContext(l.Ctx(time.Minute), http.MethodPost, l.SR.URL()+"/subjects/"+subject+"/versions", strings.NewReader(body))
	l.Check(err)
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	res, err := http.DefaultClient.Do(req)
	l.Check(err)
	l.Check(res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("register a schema: %s", res.Status)
	}
	l.Refused("subject "+subject, "EssayStateChangedEventV1", "this schema is not compatible with the one before it")
	if n := l.Ask("select count(*)::text from pg_replication_slots where slot_name = $1", l.Slot()); n != "0" {
		t.Error("refused, and made a slot")
	}
}

// A checkpoint topic that deletes would lose checkpoints.
func TestCheckpointTopicDeletes(t *testing.T) {
	for _, policy := range []string{"delete", "compact,delete"} {
		t.Run(policy, func(t *testing.T) {
			l := lab.New(t)
			topic := l.Kafka.Topic(t, lab.CheckpointPartitions, map[string]string{"cleanup.policy": policy})
			l.Change(func(c *rig.Config) { c.Extra += "checkpoint_topic: " + topic + "\n" })
			l.Refused(`the checkpoint topic "`+topic+`" has cleanup.policy "`+policy+`"`, "it must be exactly compact", "--add-config cleanup.policy=compact")
		})
	}
}

// A publication that was there before the relay, and does not send every row
// whole, is refused before a slot is made.
func TestPublicationThatSendsLess(t *testing.T) {
	cases := []struct {
		name, publication, says string
		version                 int // from which it can be
	}{
		{"row filter", "create publication cdc_relay for table cdc_relay.outbox where (event_type <> 'x') with (publish = 'insert')",
			"publication cdc_relay has a row filter on table cdc_relay.outbox", 15},
		{"column list", "create publication cdc_relay for table cdc_relay.outbox (id, event_type, payload) with (publish = 'insert')",
			"publication cdc_relay has a column list on table cdc_relay.outbox, (id, event_type, payload)", 15},
		{"no inserts", "create publication cdc_relay for table cdc_relay.outbox with (publish = 'delete')",
			"publication cdc_relay does not publish inserts", 14},
		{"without the table", "create publication cdc_relay",
			"publication cdc_relay does not hold table cdc_relay.outbox", 14},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := lab.New(t)
			if l.PG.Version() < c.version {
				t.Skipf("PostgreSQL %d cannot do that; %d can", l.PG.Version(), c.version)
			}
			l.Exec(c.publication)
			l.Refused(c.says, "ALTER PUBLICATION cdc_relay")
			if n := l.Ask("select count(*)::text from pg_replication_slots where slot_name = $1", l.Slot()); n != "0" {
				t.Error("refused, and made a slot")
			}
			l.Exec("drop publication cdc_relay")
			r := l.Start()
			l.Writes("a", 20)
			l.Settled(time.Minute)
			l.Stops(r)
		})
	}
}

// A configuration or contract that cannot be right: exit code 2, before
// anything is connected.
func TestBadConfiguration(t *testing.T) {
	l := lab.New(t)
	good := l.Conf
	cases := []struct {
		change func(*rig.Config)
		says   []string
	}{
		{func(c *rig.Config) { c.Extra += "registri: {}\n" }, []string{"registri", "cdc-relay.yaml:"}},
		{func(c *rig.Config) { c.Kafka["acks"] = "1" }, []string{"acks"}},
		{func(c *rig.Config) { c.Contract = rig.Contract(l.ID) + "  also_few: {partitions: many}\n" }, []string{"events.yaml:", "partitions"}},
		{func(c *rig.Config) {
			c.Contract = strings.Replace(rig.Contract(l.ID), "schema: EssayStateChangedEvent", "schema: EssayStateChangdEvent", 1)
		}, []string{"EssayStateChangdEvent"}},
		{func(c *rig.Config) { c.Name = "" }, []string{"name"}},
	}
	for _, c := range cases {
		l.Configure(good)
		l.Change(c.change)
		l.Gone(l.Launch("run"), 2, 20*time.Second, c.says...)
	}
	l.Configure(good)
	l.Command("run", "--to-lsn", "0/1").Exits(2).Says("--to-lsn needs --from-lsn")
	l.Command("run", "--from-lsn", "here").Exits(2).Says("--from-lsn")
	l.Command("run", "--pipeline", "nobody").Exits(2).Says("nobody")
}
