package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Every refusal of the guards table that no other test brings about, each with
// its message and exit code 3, and the way out of it.

// What the checkpoint says, against what the servers say. The checkpoint is
// forged, one thing at a time; with the true one back, the relay goes on.
func TestForgedCheckpoints(t *testing.T) {
	l := newLab(t)
	r := l.start()
	l.writes("a", 30)
	l.delivered(l.reader(), 30, time.Minute)
	l.stops(r)
	truth := l.saved()
	if truth.State != event.StateStreaming || truth.Last == nil || truth.Safe != l.confirmed() {
		t.Fatalf("checkpoint %+v, slot %s", truth, l.confirmed())
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
		l.forge(forged)
		l.refused(c.says...)
		if t.Failed() {
			t.Fatalf("case %q", c.name)
		}
	}
	l.forgeRaw([]byte("not a checkpoint"))
	l.refused("cannot be read", "not a checkpoint", "kafka-console-consumer.sh")

	// Whole transactions need no options: nothing is numbered over a restart.
	truth.Options = "other"
	l.forge(truth)
	r = l.start()
	l.writes("bb", 30)
	l.settled(time.Minute)
	l.stops(r)
}

// asIntent is the intent of a first start at lsn.
func asIntent(s event.Saved, lsn event.LSN) event.Saved {
	s.State, s.Safe, s.Last, s.CommitTime, s.Publication = event.StateCreating, lsn, nil, "", ""
	return s
}

// The slot against the checkpoint: gone, moved ahead by somebody, without a
// checkpoint. Each is refused, and each has a command that goes on.
func TestSlotAndCheckpointApart(t *testing.T) {
	l := newLab(t)
	r := l.start()
	l.writes("a", 30)
	l.delivered(l.reader(), 30, time.Minute)
	l.run("slots", "recreate").exits(2).says("--accept-gap")
	l.run("slots", "recreate", "--accept-gap").exits(3).says("is in use", "stop the relay that streams from it")
	l.run("slots", "adopt").exits(3).says("is in use")
	l.stops(r)
	l.run("slots", "adopt").exits(3).says("has a checkpoint already", "there is nothing to adopt")

	// Dropped.
	safe := l.saved().Safe
	l.exec("select pg_drop_replication_slot($1)", l.slot())
	l.exec(lostRow) // never in the log of the new slot
	l.refused("does not exist any more, and the checkpoint stands at "+safe.String(), "slots recreate", "--accept-gap", "last published commit: ")
	l.goesOnAfterTheGap("bb", safe)

	// Moved ahead, in the two ways there are.
	for i, move := range []string{
		"select pg_replication_slot_advance($1, pg_current_wal_lsn())::text",
		"select count(*)::text from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'cdc_relay')",
	} {
		safe = l.saved().Safe
		l.exec(lostRow)
		l.ask(move, l.slot())
		l.refused("has confirmed "+l.confirmed().String()+", but the checkpoint says that Kafka has everything up to "+safe.String()+" only", "somebody moved the slot", "slots recreate")
		l.goesOnAfterTheGap(fmt.Sprintf("moved%d", i), safe)
	}

	// The checkpoint is gone, and the slot is not: nobody can know.
	l.writes("waiting", 30)
	l.forgeRaw(nil)
	l.refused("slot "+l.slot()+" exists (confirmed_flush "+l.confirmed().String()+"), but there is no checkpoint in Kafka", "cdc-relay slots adopt")
	l.run("slots", "adopt").exits(0).says("is the pipeline's, from " + l.confirmed().String())
	r = l.start()
	l.writes("adopted", 30)
	l.settled(time.Minute)
	l.stops(r)
}

// goesOnAfterTheGap recreates the slot and writes events, which have to come.
func (l *lab) goesOnAfterTheGap(service string, from event.LSN) {
	l.Helper()
	l.run("slots", "recreate", "--accept-gap").exits(0).says("what was committed between "+from.String()+" and there is not published", "the last published row was committed at")
	r := l.start()
	l.writes(service, 30)
	l.settled(time.Minute)
	l.stops(r)
}

// Slots that adopt must not take: each would skip or garble rows.
func TestAdoptRefuses(t *testing.T) {
	l := newLab(t)
	l.stops(l.start())
	l.forgeRaw(nil)
	l.exec("select pg_drop_replication_slot($1)", l.slot())
	l.run("slots", "adopt").exits(3).says("slot " + l.slot() + " does not exist in the server: there is nothing to adopt")

	other := l.pool(l.pg.Database(t))
	cases := []struct{ make, says string }{
		{"select pg_create_physical_replication_slot('%s')", "is a physical slot, not a logical one"},
		{"select pg_create_logical_replication_slot('%s', 'pgoutput', false, true)", "has two_phase, which sends transactions before they commit"},
	}
	// Not every build of Postgres brings a second plugin; the guard's own test
	// has the case too.
	if l.ask(`select count(*)::text from pg_ls_dir((select setting from pg_config() where name = 'PKGLIBDIR')) as f where f like 'test_decoding%'`) != "0" {
		cases = append(cases, struct{ make, says string }{
			"select pg_create_logical_replication_slot('%s', 'test_decoding')", `has the output plugin "test_decoding", not "pgoutput"`})
	}
	for _, c := range cases {
		l.exec(fmt.Sprintf(c.make, l.slot()))
		l.run("slots", "adopt").exits(3).says(c.says, "the relay cannot read it")
		l.exec("select pg_drop_replication_slot($1)", l.slot())
	}
	l.must(other.Exec(l.ctx(time.Minute), "select pg_create_logical_replication_slot($1, 'pgoutput')", l.slot()))
	l.run("slots", "adopt").exits(3).says("is of database", "not of", "the relay cannot read it")
	l.must(other.Exec(l.ctx(time.Minute), "select pg_drop_replication_slot($1)", l.slot()))

	// With neither slot nor checkpoint it is a first start again.
	r := l.start()
	l.writes("a", 30)
	l.settled(time.Minute)
	l.stops(r)
}

// A slot that kept more than max_slot_wal_keep_size is lost, and says so.
func TestSlotLost(t *testing.T) {
	l := newLab(t, ownPostgres(stack.Setting("max_slot_wal_keep_size", "1MB"), stack.Setting("max_wal_size", "64MB")))
	r := l.start()
	l.writes("a", 30)
	l.delivered(l.reader(), 30, time.Minute)
	l.stops(r)
	safe := l.saved().Safe
	l.exec(lostRow)
	l.soon(time.Minute, "the slot is lost", func() bool {
		l.exec("select pg_switch_wal() from (select pg_logical_emit_message(false, 'filler', 'x')) as m")
		l.exec("checkpoint")
		return l.ask("select wal_status from pg_replication_slots where slot_name = $1", l.slot()) == "lost"
	})
	l.refused("is no longer usable", "the checkpoint stands at "+safe.String()+": the write-ahead log after it is gone", "slots recreate")
	l.goesOnAfterTheGap("bb", safe)
}

// A walsender that Postgres counts as synchronous makes every commit of the
// services wait for Kafka.
func TestSynchronousStandbyNames(t *testing.T) {
	l := newLab(t, ownPostgres(), with(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" }))
	r := l.start()
	l.writes("a", 30)
	l.delivered(l.reader(), 30, time.Minute)
	l.exec("alter system set synchronous_standby_names = '*'")
	l.exec("select pg_reload_conf()")
	says := []string{`has sync_state "sync"`, "every commit in this cluster waits for Kafka", "synchronous_standby_names"}
	l.gone(r, 3, noticedWithin, says...)
	l.refused(says...)
	l.exec("alter system reset synchronous_standby_names")
	l.exec("select pg_reload_conf()")
	r = l.start()
	l.writes("bb", 30)
	l.settled(time.Minute)
	l.stops(r)
}

func TestWALLevel(t *testing.T) {
	l := newLab(t, ownPostgres(stack.Version(18), stack.Setting("wal_level", "replica")))
	l.refused(`wal_level is "replica", and logical replication needs "logical"`, "ALTER SYSTEM SET wal_level", "restart")
	if n := l.ask("select count(*)::text from pg_publication"); n != "0" {
		t.Errorf("refused, and made %s publications", n)
	}
}

func TestRoleMayNotReplicate(t *testing.T) {
	l := newLab(t)
	role := "role_" + l.name
	l.exec("create role " + role + " login")
	l.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		l.must(l.db.Exec(ctx, "drop owned by "+role+"; drop role "+role))
	})
	l.exec("grant usage on schema cdc_relay to " + role + "; grant select on all tables in schema cdc_relay to " + role +
		"; grant create on database " + l.pipeline() + " to " + role)
	l.change(func(c *rig.Config) {
		c.Postgres = strings.Replace(l.url, "postgres@", role+"@", 1)
		c.Environment = "production"
	})
	l.prepared()
	l.refused(`role "`+role+`" may not replicate`, "ALTER ROLE "+role+" WITH REPLICATION")
}

// prepared makes topics and schemas as a relay of an environment that may does,
// under the lab's name, without making the pipeline.
func (l *lab) prepared() {
	l.Helper()
	production := l.conf
	l.change(func(c *rig.Config) { c.Environment, c.Postgres = "testing", l.url })
	l.stops(l.start())
	l.forgeRaw(nil)
	l.exec("select pg_drop_replication_slot($1)", l.slot())
	l.exec("drop publication cdc_relay")
	l.write(production)
}

// In production nothing is made, so what is missing is refused.
func TestMissingTopicInProduction(t *testing.T) {
	l := newLab(t)
	l.stops(l.start())
	topic := rig.Topics(l.name)[1]
	l.check(l.kafka.DeleteTopic(l.ctx(time.Minute), topic))
	l.change(func(c *rig.Config) { c.Environment = "production" })
	l.refused(`Kafka has no topic "`+topic+`"`, "cdc-relay topics apply")
	l.run("topics", "apply").exits(0).says(topic)
	r := l.start()
	l.writes("a", 30)
	l.settled(time.Minute)
	l.stops(r)
}

func TestMissingSchemaInProduction(t *testing.T) {
	l := newLab(t, with(func(c *rig.Config) { c.Environment = "production" }))
	l.run("topics", "apply").exits(0)
	l.refused("this schema is not registered", rig.Topics(l.name)[0]+"-value", l.sr.URL())
}

// The registry says that a schema does not go with the one before it.
func TestIncompatibleSchema(t *testing.T) {
	l := newLab(t)
	subject := rig.Topics(l.name)[0] + "-value"
	body := `{"schema": "{\"type\":\"record\",\"name\":\"EssayStateChangedEventV1\",\"namespace\":\"huleedu.events\",\"fields\":[{\"name\":\"event_id\",\"type\":\"long\"}]}"}`
	req, err := http.NewRequestWithContext(l.ctx(time.Minute), http.MethodPost, l.sr.URL()+"/subjects/"+subject+"/versions", strings.NewReader(body))
	l.check(err)
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	res, err := http.DefaultClient.Do(req)
	l.check(err)
	l.check(res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("register a schema: %s", res.Status)
	}
	l.refused("subject "+subject, "EssayStateChangedEventV1", "this schema is not compatible with the one before it")
	if n := l.ask("select count(*)::text from pg_replication_slots where slot_name = $1", l.slot()); n != "0" {
		t.Error("refused, and made a slot")
	}
}

// A checkpoint topic that deletes would lose checkpoints.
func TestCheckpointTopicDeletes(t *testing.T) {
	for _, policy := range []string{"delete", "compact,delete"} {
		t.Run(policy, func(t *testing.T) {
			l := newLab(t)
			topic := l.kafka.Topic(t, checkpointPartitions, map[string]string{"cleanup.policy": policy})
			l.change(func(c *rig.Config) { c.Extra += "checkpoint_topic: " + topic + "\n" })
			l.refused(`the checkpoint topic "`+topic+`" has cleanup.policy "`+policy+`"`, "it must be exactly compact", "--add-config cleanup.policy=compact")
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
			l := newLab(t)
			if l.pg.Version() < c.version {
				t.Skipf("PostgreSQL %d cannot do that; %d can", l.pg.Version(), c.version)
			}
			l.exec(c.publication)
			l.refused(c.says, "ALTER PUBLICATION cdc_relay")
			if n := l.ask("select count(*)::text from pg_replication_slots where slot_name = $1", l.slot()); n != "0" {
				t.Error("refused, and made a slot")
			}
			l.exec("drop publication cdc_relay")
			r := l.start()
			l.writes("a", 20)
			l.settled(time.Minute)
			l.stops(r)
		})
	}
}

// A configuration or contract that cannot be right: exit code 2, before
// anything is connected.
func TestBadConfiguration(t *testing.T) {
	l := newLab(t)
	good := l.conf
	cases := []struct {
		change func(*rig.Config)
		says   []string
	}{
		{func(c *rig.Config) { c.Extra += "registri: {}\n" }, []string{"registri", "cdc-relay.yaml:"}},
		{func(c *rig.Config) { c.Kafka["acks"] = "1" }, []string{"acks"}},
		{func(c *rig.Config) { c.Contract = rig.Contract(l.name) + "  also_few: {partitions: many}\n" }, []string{"events.yaml:", "partitions"}},
		{func(c *rig.Config) {
			c.Contract = strings.Replace(rig.Contract(l.name), "schema: EssayStateChangedEvent", "schema: EssayStateChangdEvent", 1)
		}, []string{"EssayStateChangdEvent"}},
		{func(c *rig.Config) { c.Name = "" }, []string{"name"}},
	}
	for _, c := range cases {
		l.write(good)
		l.change(c.change)
		l.gone(l.launch("run"), 2, 20*time.Second, c.says...)
	}
	l.write(good)
	l.run("run", "--to-lsn", "0/1").exits(2).says("--to-lsn needs --from-lsn")
	l.run("run", "--from-lsn", "here").exits(2).says("--from-lsn")
	l.run("run", "--pipeline", "nobody").exits(2).says("nobody")
}
