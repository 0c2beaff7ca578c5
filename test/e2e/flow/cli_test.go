package flow

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// The way of a new user in production, command by command: what is missing is
// named with what mends it, each command does it, and may be repeated.
func TestTheWayToProduction(t *testing.T) {
	n := lab.Production(t)
	pipeline := lab.DatabaseName(n.URL)
	n.Command("config", "validate").Exits(0).Says("pipeline "+pipeline+": database "+pipeline+", table cdc_relay.outbox, slot "+n.Slot(), "the configuration is valid", "cdc-relay doctor")

	n.Command("doctor").Exits(3).Says(
		"fail  topic "+n.ID+".checkpoints does not exist", "fail  topic "+n.Topic+" ", "next: cdc-relay topics apply",
		"fail  subject "+n.Topic+"-value", "is not registered",
		"table cdc_relay.outbox does not exist in database", "next: cdc-relay migrate",
		"4 failed", "cdc-relay: not everything is as a start needs it")
	var before, after lab.Findings
	n.Findings(&before, 3)
	if before.Level != doctor.Fail {
		t.Errorf("level %s", before.Level)
	}
	for _, f := range before.Findings {
		if f.Level != doctor.OK && f.Do == "" {
			t.Errorf("a finding without a next step: %+v", f)
		}
	}

	n.Command("migrate", "--dry-run").Exits(0).Says("create table if not exists cdc_relay.outbox")
	n.Command("migrate").Exits(0).Says("database "+pipeline+": applied 0001_outbox.sql", "applied 0002", "applied 0003")
	n.Command("migrate").Exits(0).Says("database " + pipeline + ": up to date")
	n.Command("topics", "apply").Exits(0).Says(n.ID+".checkpoints  25", "created")
	n.Command("topics", "apply").Exits(0).Says("exists")
	var topics []struct {
		Topic, State string
		Partitions   int
	}
	n.Command("topics", "apply", "-o", "json").JSON(&topics)
	if len(topics) != 2 || topics[0].Topic != n.ID+".checkpoints" || topics[1].Topic != n.Topic || topics[1].Partitions != 1 || topics[1].State != "exists" {
		t.Errorf("topics apply: %+v", topics)
	}

	// The schema is the last thing missing; a run says so and ends.
	n.Command("run").Exits(3).Says("subject "+n.Topic+"-value", "this schema is not registered", "next: ", "environment: development")
	n.Rewrite(func(c *rig.Config) { c.Environment = "development" })
	n.Stopped(n.Start(), 0)
	n.Rewrite(func(c *rig.Config) { c.Environment = "production" })

	n.Command("doctor").Exits(0).Says("ok    subject "+n.Topic+"-value", "ok    tables", "ok    slot", "0 failed")
	n.Findings(&after, 0)
	r := n.Start()
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	n.Command("doctor").Exits(0).Says("0 failed") // beside a relay that runs
	looks(n, pipeline)
	n.Finished(r)
	n.Command("config", "show").Exits(0).Says("environment: production", "# default", "checkpoint_topic: "+n.ID+".checkpoints", filepath.Base(n.Config)+":")
}

// looks asks every command that only looks, while the relay streams.
func looks(n *lab.Lane, pipeline string) {
	n.Helper()
	n.Until("the checkpoint has three events", func() bool { return n.Saved().Events == 3 })
	saved := n.Saved()
	n.Command("checkpoint", "show").Exits(0).Says("PIPELINE", "SAFE_LSN", pipeline, "streaming", saved.Last.Commit.String()+"#1", n.Slot())
	n.Command("checkpoint", "show", "--pipeline", pipeline).Exits(0).Says(pipeline)

	var slots []struct {
		Slot, Database, Plugin, Pipeline string
		ActivePID                        int       `json:"active_pid"`
		Confirmed                        event.LSN `json:"confirmed_flush_lsn"`
	}
	n.Command("slots", "list", "-o", "json").JSON(&slots)
	found := false
	for _, s := range slots {
		if s.Slot == n.Slot() {
			found = s.Pipeline == pipeline && s.Database == pipeline && s.ActivePID > 0 && s.Confirmed > 0 && s.Confirmed <= n.Saved().Safe
		}
	}
	if !found {
		n.Errorf("slots list: %+v", slots)
	}
	n.Command("slots", "list").Exits(0).Says("SLOT", "RETAINED_BYTES", n.Slot())
	n.Command("slots", "anchor", "first").Exits(0).Says("anchor first keeps the log from ", "later: cdc-relay run --from-lsn ")
	n.Command("slots", "anchor", "first").Exits(3).Says(`has an anchor "first" already`, "next: ", "--drop")
	n.Command("slots", "list").Exits(0).Says(pipeline + " anchor first")
	n.Command("slots", "anchor", "first", "--drop").Exits(0).Says("dropped anchor first")
	n.Command("slots", "anchor", "first", "--drop").Exits(3).Says(`has no anchor "first"`, "next: cdc-relay slots list")
	n.Command("slots", "adopt").Exits(3).Says("slot "+n.Slot()+" is in use", "next: stop the relay")
	n.Command("slots", "recreate", "--accept-gap").Exits(3).Says("in use", "next: stop the relay")
}

// A configuration as `config init` writes it becomes one that runs by setting
// what it names; usage errors say what to do and end with 2, what cannot be
// reached with 1.
func TestCommandsAsTyped(t *testing.T) {
	n := lab.NewLane(t)
	env := []string{"DATABASE_URL=" + n.URL, "KAFKA_BROKERS=" + n.Kafka.Bootstrap(), "SCHEMA_REGISTRY_URL=" + n.SR.URL()}
	if c := n.Bare().Exits(0).Says("Usage:", "doctor", "Exit codes:"); c.Err != "" {
		t.Errorf("help goes to standard error: %s", c)
	}
	n.Bare("version").Exits(0).Says("cdc-relay ")
	var version map[string]string
	n.Bare("version", "-o", "json").JSON(&version)
	n.Bare("config", "init").Exits(0).Says("name: essays")
	n.Check(os.Remove(n.Config))
	n.Check(os.Remove(filepath.Join(n.Dir, "events.yaml")))
	n.Bare("config", "validate").Exits(2).Says("cdc-relay.yaml", "cdc-relay config init")
	n.Bare("config", "init", "cdc-relay.yaml").Exits(0).Says("wrote cdc-relay.yaml", "next: ")
	n.Bare("config", "init", "cdc-relay.yaml").Exits(3).Says("exists and is left as it is", "next: ")
	n.CommandWith(env, "config", "validate").Exits(2).Says("cdc-relay.yaml:", "events.yaml cannot be read")
	n.Check(os.WriteFile(filepath.Join(n.Dir, "events.yaml"), []byte(n.Conf.Contract), 0o600))
	n.CommandWith(env, "config", "validate").Exits(2).Says("schemas", "cannot be read")
	n.Check(os.CopyFS(filepath.Join(n.Dir, "schemas", "avro"), os.DirFS(filepath.Join(rig.Root(), "schemas", "avro"))))
	n.CommandWith(env, "config", "validate").Exits(0).Says("the configuration is valid")
	n.CommandWith(append(env, "SCHEMA_REGISTRY_URL=http://u:secret@h:1"), "config", "show").Exits(0).Says("name: essays", "$DATABASE_URL").Hides("secret")
	n.CommandWith(env, "doctor").Exits(3).Says("next: cdc-relay topics apply")

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
		n.CommandWith(append(env, "DATABASE_URL="+n.URL), strings.Fields(c.args)...).Exits(2).Says(c.says)
	}
	closed := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/essays", 1)
	n.CommandWith(append(env, "DATABASE_URL="+closed), "migrate").Exits(1).Says("127.0.0.1", "refused")
	n.CommandWith(append(env, "DATABASE_URL="+closed), "slots", "list").Exits(1).Says("127.0.0.1", "refused")
	n.CommandWith(append(env, "DATABASE_URL="+closed), "doctor").Exits(3).Says("refused", "next: check the URL")
}
