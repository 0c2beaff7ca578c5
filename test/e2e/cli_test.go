package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// production is a lane in an environment where a run creates nothing, on a
// database and with topics where there is nothing yet.
func production(t *testing.T) *lane {
	t.Helper()
	n := newLane(t)
	n.url = n.pg.Database(t)
	n.db = n.pool(n.url)
	n.rewrite(func(c *rig.Config) {
		c.Postgres, c.Environment = n.url, "production"
		c.Extra = "checkpoint_topic: " + n.name + ".checkpoints\n"
	})
	return n
}

// The way of a new user in production, command by command: what is missing is
// named with what mends it, each command does it, and may be repeated.
func TestTheWayToProduction(t *testing.T) {
	n := production(t)
	pipeline := databaseName(n.url)
	n.run("config", "validate").exits(0).says("pipeline "+pipeline+": database "+pipeline+", table cdc_relay.outbox, slot "+n.slot(), "the configuration is valid", "cdc-relay doctor")

	n.run("doctor").exits(3).says(
		"fail  topic "+n.name+".checkpoints does not exist", "fail  topic "+n.topic+" ", "next: cdc-relay topics apply",
		"fail  subject "+n.topic+"-value", "is not registered",
		"table cdc_relay.outbox does not exist in database", "next: cdc-relay migrate",
		"4 failed", "cdc-relay: not everything is as a start needs it")
	var before, after findings
	n.findings(&before, 3)
	if before.Level != doctor.Fail {
		t.Errorf("level %s", before.Level)
	}
	for _, f := range before.Findings {
		if f.Level != doctor.OK && f.Do == "" {
			t.Errorf("a finding without a next step: %+v", f)
		}
	}

	n.run("migrate", "--dry-run").exits(0).says("create table if not exists cdc_relay.outbox")
	n.run("migrate").exits(0).says("database "+pipeline+": applied 0001_outbox.sql", "applied 0002", "applied 0003")
	n.run("migrate").exits(0).says("database " + pipeline + ": up to date")
	n.run("topics", "apply").exits(0).says(n.name+".checkpoints  25", "created")
	n.run("topics", "apply").exits(0).says("exists")
	var topics []struct {
		Topic, State string
		Partitions   int
	}
	n.run("topics", "apply", "-o", "json").json(&topics)
	if len(topics) != 2 || topics[0].Topic != n.name+".checkpoints" || topics[1].Topic != n.topic || topics[1].Partitions != 1 || topics[1].State != "exists" {
		t.Errorf("topics apply: %+v", topics)
	}

	// The schema is the last thing missing; a run says so and ends.
	n.run("run").exits(3).says("subject "+n.topic+"-value", "this schema is not registered", "next: ", "environment: development")
	n.rewrite(func(c *rig.Config) { c.Environment = "development" })
	n.stopped(n.start(), 0)
	n.rewrite(func(c *rig.Config) { c.Environment = "production" })

	n.run("doctor").exits(0).says("ok    subject "+n.topic+"-value", "ok    tables", "ok    slot", "0 failed")
	n.findings(&after, 0)
	r := n.start()
	n.publish(3)
	n.arrived(n.reader(n.topic))
	n.run("doctor").exits(0).says("0 failed") // beside a relay that runs
	n.looks(pipeline)
	n.finished(r)
	n.run("config", "show").exits(0).says("environment: production", "# default", "checkpoint_topic: "+n.name+".checkpoints", filepath.Base(n.config)+":")
}

type findings struct {
	Level    doctor.Level
	Findings []doctor.Finding
}

// findings asks doctor for JSON.
func (n *lane) findings(into *findings, code int) {
	n.Helper()
	c := n.run("doctor", "-o", "json").exits(code)
	c.code = 0
	c.json(into)
}

// looks asks every command that only looks, while the relay streams.
func (n *lane) looks(pipeline string) {
	n.Helper()
	n.until("the checkpoint has three events", func() bool { return n.saved().Events == 3 })
	saved := n.saved()
	n.run("checkpoint", "show").exits(0).says("PIPELINE", "SAFE_LSN", pipeline, "streaming", saved.Last.Commit.String()+"#1", n.slot())
	n.run("checkpoint", "show", "--pipeline", pipeline).exits(0).says(pipeline)

	var slots []struct {
		Slot, Database, Plugin, Pipeline string
		ActivePID                        int       `json:"active_pid"`
		Confirmed                        event.LSN `json:"confirmed_flush_lsn"`
	}
	n.run("slots", "list", "-o", "json").json(&slots)
	found := false
	for _, s := range slots {
		if s.Slot == n.slot() {
			found = s.Pipeline == pipeline && s.Database == pipeline && s.ActivePID > 0 && s.Confirmed > 0 && s.Confirmed <= n.saved().Safe
		}
	}
	if !found {
		n.Errorf("slots list: %+v", slots)
	}
	n.run("slots", "list").exits(0).says("SLOT", "RETAINED_BYTES", n.slot())
	n.run("slots", "anchor", "first").exits(0).says("anchor first keeps the log from ", "later: cdc-relay run --from-lsn ")
	n.run("slots", "anchor", "first").exits(3).says(`has an anchor "first" already`, "next: ", "--drop")
	n.run("slots", "list").exits(0).says(pipeline + " anchor first")
	n.run("slots", "anchor", "first", "--drop").exits(0).says("dropped anchor first")
	n.run("slots", "anchor", "first", "--drop").exits(3).says(`has no anchor "first"`, "next: cdc-relay slots list")
	n.run("slots", "adopt").exits(3).says("slot "+n.slot()+" is in use", "next: stop the relay")
	n.run("slots", "recreate", "--accept-gap").exits(3).says("in use", "next: stop the relay")
}

// A configuration as `config init` writes it becomes one that runs by setting
// what it names; usage errors say what to do and end with 2, what cannot be
// reached with 1.
func TestCommandsAsTyped(t *testing.T) {
	n := newLane(t)
	env := []string{"DATABASE_URL=" + n.url, "KAFKA_BROKERS=" + n.kafka.Bootstrap(), "SCHEMA_REGISTRY_URL=" + n.sr.URL()}
	if c := n.bare().exits(0).says("Usage:", "doctor", "Exit codes:"); c.err != "" {
		t.Errorf("help goes to standard error: %s", c)
	}
	n.bare("version").exits(0).says("cdc-relay ")
	var version map[string]string
	n.bare("version", "-o", "json").json(&version)
	n.bare("config", "init").exits(0).says("name: essays")
	n.check(os.Remove(n.config))
	n.check(os.Remove(filepath.Join(n.dir, "events.yaml")))
	n.bare("config", "validate").exits(2).says("cdc-relay.yaml", "cdc-relay config init")
	n.bare("config", "init", "cdc-relay.yaml").exits(0).says("wrote cdc-relay.yaml", "next: ")
	n.bare("config", "init", "cdc-relay.yaml").exits(3).says("exists and is left as it is", "next: ")
	n.with(env, "config", "validate").exits(2).says("cdc-relay.yaml:", "events.yaml cannot be read")
	n.check(os.WriteFile(filepath.Join(n.dir, "events.yaml"), []byte(n.conf.Contract), 0o600))
	n.with(env, "config", "validate").exits(2).says("schemas", "cannot be read")
	n.check(os.CopyFS(filepath.Join(n.dir, "schemas", "avro"), os.DirFS(filepath.Join(rig.Root(), "schemas", "avro"))))
	n.with(env, "config", "validate").exits(0).says("the configuration is valid")
	n.with(append(env, "SCHEMA_REGISTRY_URL=http://u:secret@h:1"), "config", "show").exits(0).says("name: essays", "$DATABASE_URL").hides("secret")
	n.with(env, "doctor").exits(3).says("next: cdc-relay topics apply")

	for _, c := range []struct{ args, says string }{
		{"nonsense", "unknown command"},
		{"slots nonsense", "unknown command"},
		{"run --nonsense", "unknown flag"},
		{"run --from-lsn x", "--from-lsn: "},
		{"run --to-lsn 0/1", "--to-lsn needs --from-lsn"},
		{"run --pipeline other", `no pipeline "other"`},
		{"checkpoint show --pipeline other", `no pipeline "other"`},
		{"checkpoint show -o yaml", "want text or json"},
		{"slots recreate", "--accept-gap"},
		{"slots anchor", "accepts 1 arg"},
		{"slots anchor Not-A-Name", "want lower-case letters"},
	} {
		n.with(append(env, "DATABASE_URL="+n.url), strings.Fields(c.args)...).exits(2).says(c.says)
	}
	closed := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/essays", 1)
	n.with(append(env, "DATABASE_URL="+closed), "migrate").exits(1).says("127.0.0.1", "refused")
	n.with(append(env, "DATABASE_URL="+closed), "slots", "list").exits(1).says("127.0.0.1", "refused")
	n.with(append(env, "DATABASE_URL="+closed), "doctor").exits(3).says("refused", "next: check the URL")
}

// hides demands that a secret is nowhere in what was printed.
func (c *command) hides(secret string) *command {
	c.l.Helper()
	if strings.Contains(c.out+c.err, secret) {
		c.l.Errorf("prints a secret: %s", c)
	}
	return c
}
