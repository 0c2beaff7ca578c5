package contracts

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/topics"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// topicsLab is a lane whose contract is the one of docs/topics.md, with topics
// that begin with the lab's name instead of huleedu.
func topicsLab(t *testing.T, setups ...lab.Setup) *lab.Lane {
	t.Helper()
	text, err := rig.Example("docs/topics.md", "contract")
	if err != nil {
		t.Fatal(err)
	}
	own := func(l *lab.Lab, c *rig.Config) {
		c.Contract = strings.ReplaceAll(text, "huleedu", l.ID)
		c.Extra += "checkpoint_topic: " + l.ID + "-checkpoints\n"
	}
	return lab.NewLane(t, append(slices.Clone(setups), own)...)
}

// The topics of that contract.
func published(n *lab.Lane) string { return n.ID + ".assessment.result.published.v1" }

func old(n *lab.Lane) string { return n.ID + ".assessment.results.v1" }

func phase(n *lab.Lane) string { return n.ID + ".spellcheck.phase.completed.v1" }

// cluster asks the broker about topics.
func cluster(l *lab.Lab, names ...string) map[string]kafka.Topic {
	l.Helper()
	s, err := kafka.NewSettings(map[string]string{"bootstrap.servers": l.Kafka.Bootstrap()})
	l.Check(err)
	c, err := kafka.Open(s, slog.New(slog.DiscardHandler))
	l.Check(err)
	defer c.Close()
	all, err := c.Topics(l.Ctx(time.Minute), names...)
	l.Check(err)
	return all
}

// contract changes the contract; the next command has it.
func contract(n *lab.Lane, old, new string) {
	n.Helper()
	if !strings.Contains(n.Conf.Contract, old) {
		n.Fatalf("the contract has no %q", old)
	}
	n.Rewrite(func(c *rig.Config) { c.Contract = strings.Replace(c.Contract, old, new, 1) })
}

// plan asks for the plan of the topics as JSON.
func plan(n *lab.Lane, code int) (p topics.Plan) {
	n.Helper()
	c := n.Command("topics", "plan", "-o", "json").Exits(code)
	c.Code = 0
	c.JSON(&p)
	return p
}

// What the plan says, apply does, and the broker then has: first everything is
// missing, then somebody changed topics by hand, then the classes changed.
func TestTopicsPlanAndApply(t *testing.T) {
	n := topicsLab(t, lab.With(func(c *rig.Config) { c.Environment = "production" }))
	everything := []string{n.ID + "-checkpoints", old(n), published(n), phase(n)}
	n.Command("topics", "plan").Exits(5).Says(
		"topic "+published(n)+" (class assessment_result)\n  + create with 12 partitions, cleanup.policy=compact,delete, retention.ms=604800000\n",
		"topic "+phase(n)+" (class phase_completion)\n  + create with 12 partitions, cleanup.policy=delete, retention.ms=86400000\n",
		"topic "+n.ID+"-checkpoints\n  + create with 25 partitions, cleanup.policy=compact, ",
		"4 changes; 0 topics are as they should be", "cdc-relay: the plan has 4 changes\n  next: cdc-relay topics apply")
	for name, topic := range cluster(n.Lab, everything...) {
		if topic.Exists {
			t.Fatalf("plan created %s", name)
		}
	}

	appliedTwiceAtOnce(n)
	all := cluster(n.Lab, everything...)
	for name, want := range map[string][2]string{
		published(n): {"compact,delete", "604800000"}, old(n): {"compact,delete", "604800000"}, phase(n): {"delete", "86400000"},
	} {
		got := all[name]
		if got.Partitions != 12 || got.Config["cleanup.policy"] != want[0] || got.Config["retention.ms"] != want[1] {
			t.Errorf("%s: %d partitions, cleanup.policy %s, retention.ms %s", name, got.Partitions, got.Config["cleanup.policy"], got.Config["retention.ms"])
		}
	}
	n.Command("topics", "plan").Exits(0).Says("0 changes; 4 topics are as they should be")
	byHand(n)
	otherClasses(n)
}

// appliedTwiceAtOnce runs two applies beside each other: neither minds the other.
func appliedTwiceAtOnce(n *lab.Lane) {
	n.Helper()
	var done [2]*lab.Command
	var both sync.WaitGroup
	for i := range done {
		both.Go(func() { done[i] = n.Command("topics", "apply") })
	}
	both.Wait()
	for _, c := range done {
		c.Exits(0).Says(published(n)+"  12  ", n.ID+"-checkpoints ", " 25  ")
	}
	created := strings.Count(done[0].Out+done[1].Out, ": create with")
	if created != 4 {
		n.Errorf("%d topics were created by two applies, want 4:\n%s\n%s", created, done[0], done[1])
	}
}

// byHand: what is harmless is mended, what loses events waits for the flag, what
// no class names is left alone, and a start refuses what gives readers something
// else.
func byHand(n *lab.Lane) {
	n.Helper()
	n.Alter(phase(n), "retention.ms", "3600000", "segment.bytes", "20000000", "max.message.bytes", "500000")
	n.Alter(published(n), "cleanup.policy", "compact")
	n.Alter(old(n), "cleanup.policy", "delete", "retention.ms", "1800000") // left as it is: its name is on the way out
	p := plan(n, 5)
	if p.Changes() != 2 || !slices.Equal(p.Needs(), []topics.Flag{topics.AcceptDataLoss}) {
		n.Errorf("plan %+v", p)
	}
	n.Command("topics", "plan").Exits(5).Says("~ retention.ms: 3600000 → 86400000", "~ cleanup.policy: compact → compact,delete",
		"LOSES EVENTS: the last one of a key, which was kept for ever, is deleted after 7 days", "only with cdc-relay topics apply --accept-data-loss")

	n.Command("topics", "apply").Exits(3).Says(phase(n)+": retention.ms: 3600000 → 86400000\n", "altered", "held back",
		`cdc-relay: held back: topic "`+published(n)+`": cleanup.policy: compact → compact,delete`, "next: cdc-relay topics apply --accept-data-loss")
	all := cluster(n.Lab, phase(n), published(n))
	if c := all[phase(n)].Config; c["retention.ms"] != "86400000" || c["segment.bytes"] != "20000000" || c["max.message.bytes"] != "500000" {
		n.Errorf("%s: retention.ms %s, segment.bytes %s, max.message.bytes %s", phase(n), c["retention.ms"], c["segment.bytes"], c["max.message.bytes"])
	}
	if c := all[published(n)].Config; c["cleanup.policy"] != "compact" {
		n.Errorf("%s: cleanup.policy %s without the flag", published(n), c["cleanup.policy"])
	}

	says := `it has cleanup.policy compact, class assessment_result says compact,delete`
	n.Command("doctor").Exits(3).Says("fail  topic "+published(n)+" "+says, "warn  topic "+phase(n)+" its max.message.bytes is 500000, below max_event_bytes (1000000)")
	strict := n.Conf.Extra
	warn, err := rig.Example("docs/topics.md", "drift")
	n.Check(err)
	n.Rewrite(func(c *rig.Config) { c.Environment, c.Extra = "development", strict+warn }) // registers the schemas
	r := n.Start()
	n.Logged(r, says, time.Minute)
	n.Logged(r, "topic not changed, because that would do harm", time.Minute)
	n.Stopped(r, 0)
	n.Rewrite(func(c *rig.Config) { c.Environment, c.Extra = "production", strict })
	n.Command("slots", "recreate", "--accept-gap").Exits(0).Says("the new slot begins at") // mends slots, whatever the topics are
	n.Refused(`topic "`+published(n)+`": `+says, "next: cdc-relay topics plan shows what would change", "topics: {on_drift: warn}")
	if got := cluster(n.Lab, published(n))[published(n)].Config["cleanup.policy"]; got != "compact" {
		n.Errorf("a start changed cleanup.policy to %s", got)
	}

	var done []struct {
		Topic, State string
		Made         []topics.Change
	}
	n.Command("topics", "apply", "--accept-data-loss", "-o", "json").JSON(&done)
	i := slices.IndexFunc(done, func(d struct {
		Topic, State string
		Made         []topics.Change
	}) bool {
		return d.State == "altered"
	})
	if i < 0 || done[i].Topic != published(n) || len(done[i].Made) != 1 || done[i].Made[0].To != "compact,delete" {
		n.Errorf("apply: %+v", done)
	}
	plan(n, 0)
	n.Stopped(n.Start(), 0)
}

// otherClasses: partitions come only with the flag, and never go.
func otherClasses(n *lab.Lane) {
	n.Helper()
	contract(n, `assessment_result: {partitions: 12, cleanup.policy: "compact,delete"`, `assessment_result: {partitions: 6, replication_factor: 3, cleanup.policy: "compact,delete"`)
	contract(n, "phase_completion:  {partitions: 12", "phase_completion:  {partitions: 16")
	p := plan(n, 5)
	if p.Changes() != 1 || !slices.Equal(p.Needs(), []topics.Flag{topics.AcceptRepartitioning}) {
		n.Errorf("plan %+v", p)
	}
	never := "! partitions is 12, not 6: never changed; Kafka takes no partition away"
	n.Command("topics", "plan").Exits(5).Says(never, "! replication_factor is 1, not 3: never changed",
		"~ partitions: 12 → 16\n      MOVES KEYS: 75 % of the keys", "only with cdc-relay topics apply --accept-repartitioning")
	n.Command("topics", "apply").Exits(3).Says(`held back: topic "`+phase(n)+`": partitions: 12 → 16 (MOVES KEYS`, "next: cdc-relay topics apply --accept-repartitioning")
	n.Refused(`topic "`+phase(n)+`": it has 12 partitions, class phase_completion says 16`, "next: cdc-relay topics plan")
	n.Command("topics", "apply", "--accept-data-loss").Exits(3)
	if got := cluster(n.Lab, phase(n))[phase(n)].Partitions; got != 12 {
		n.Fatalf("%d partitions without the flag", got)
	}
	n.Command("topics", "apply", "--accept-repartitioning").Exits(0).Says(phase(n)+": partitions: 12 → 16\n", "altered")
	all := cluster(n.Lab, phase(n), published(n))
	if a, b := all[phase(n)].Partitions, all[published(n)].Partitions; a != 16 || b != 12 {
		n.Errorf("%d and %d partitions, want 16 and 12", a, b)
	}
	n.Command("topics", "plan").Exits(0).Says(never, "0 changes")
	n.Command("topics", "apply", "--accept-repartitioning").Exits(0)
	n.Stopped(n.Start(), 0)
}

// In an environment that may create, a start also makes the changes that do no
// harm, and no others.
func TestStartMendsTopics(t *testing.T) {
	n := topicsLab(t)
	n.Stopped(n.Start(), 0)
	n.Alter(phase(n), "retention.ms", "3600000", "cleanup.policy", "compact,delete")
	n.Alter(n.ID+"-checkpoints", "segment.bytes", "20000000")
	if c := n.Command("doctor").Exits(0); strings.Contains(c.Out, "class phase_completion says") {
		t.Errorf("what a start will mend is no drift: %s", c)
	}
	r := n.Start()
	n.Logged(r, "cleanup.policy: compact,delete → delete", time.Minute)
	n.Stopped(r, 0)
	all := cluster(n.Lab, phase(n), n.ID+"-checkpoints")
	if c := all[phase(n)].Config; c["retention.ms"] != "86400000" || c["cleanup.policy"] != "delete" {
		t.Errorf("retention.ms %s, cleanup.policy %s", c["retention.ms"], c["cleanup.policy"])
	}
	if c := all[n.ID+"-checkpoints"].Config; c["segment.bytes"] != "20000000" {
		t.Errorf("a start altered the checkpoint topic: segment.bytes %s", c["segment.bytes"])
	}
	n.Command("topics", "apply").Exits(0).Says(n.ID + "-checkpoints: segment.bytes: 20000000 → 16777216\n")
	plan(n, 0)
}

// The shipped rename, from the first complaint to the last: the old name alone,
// both in one transaction, the new name alone.
func TestTopicIsRenamed(t *testing.T) {
	n := topicsLab(t)
	both := n.Conf.Contract
	also := "    also: [{topic: " + old(n) + ", legacy: true}]   # until its last consumer has moved\n"
	contract(n, also, "")
	after := n.Conf.Contract
	contract(n, "topic: "+published(n), "topic: "+old(n))
	n.Command("config", "validate").Exits(2).Says(`events[0].topic: "`+old(n)+`" breaks the naming rule prefix.domain.entity.event.vN`,
		`"results" is a plural of "result"`, "write "+published(n)+", and publish both until its consumers have moved: also: [{topic: "+old(n)+", legacy: true}]")
	n.Command("run").Exits(2).Says("breaks the naming rule")
	contract(n, "prefix: "+n.ID, "prefix: "+n.ID+"\n  level: warn")
	n.Command("config", "validate").Exits(0).Says(`warning: `, `"`+old(n)+`" breaks the naming rule`, "the configuration is valid")
	n.Command("topics", "plan").Exits(5).Says(`name: `, "write "+published(n))

	r := n.Start() // as it was before there was a rule
	n.Logged(r, "a topic's name breaks the naming rule", time.Minute)
	first := result(n)
	n.Check(n.Reader(old(n)).Read(n.Ctx(time.Minute), atLeast(1)))
	n.Stopped(r, 0)

	n.Rewrite(func(c *rig.Config) { c.Contract = both })
	n.Command("config", "validate").Exits(0)
	r = n.Start()
	second := result(n)
	n.Check(n.Reader(published(n)).Read(n.Ctx(time.Minute), atLeast(1)))
	n.Stopped(r, 0)
	a, b := n.Tape(old(n)), n.Tape(published(n))
	if !slices.Equal(a.IDs(), []string{first, second}) || !slices.Equal(b.IDs(), []string{second}) {
		t.Fatalf("events %s and %s; the old topic has %v, the new one %v", first, second, a.IDs(), b.IDs())
	}
	// One producer, one commit marker for the one record: two transactions in a
	// row would have two producers.
	x, y := a.Records[1], b.Records[0]
	if x.ProducerID != y.ProducerID || x.ProducerEpoch != y.ProducerEpoch || b.Commits != 1 || a.Aborts+b.Aborts > 0 {
		t.Errorf("not one transaction: producers %d/%d and %d/%d, %d commits, %d aborts", x.ProducerID, x.ProducerEpoch, y.ProducerID, y.ProducerEpoch, b.Commits, a.Aborts+b.Aborts)
	}
	if string(x.Key) != string(y.Key) || string(x.Value[5:]) != string(y.Value[5:]) || x.Partition != y.Partition {
		t.Error("the two forms of one event differ")
	}

	n.Rewrite(func(c *rig.Config) { c.Contract = after })
	n.Command("topics", "plan").Exits(0).Says("in no contract: "+old(n)+"; topics are never deleted", "0 changes")
	r = n.Start()
	third := result(n)
	n.Check(n.Reader(published(n)).Read(n.Ctx(time.Minute), atLeast(2)))
	n.Stopped(r, 0)
	if a, b := n.Tape(old(n)), n.Tape(published(n)); !slices.Contains(b.IDs(), third) || len(a.IDs()) != 2 || len(b.IDs()) != 2 {
		t.Errorf("event %s; the old topic has %v, the new one %v", third, a.IDs(), b.IDs())
	}
	n.Command("topics", "apply").Exits(0)
	if !cluster(n.Lab, old(n))[old(n)].Exists {
		t.Error("apply deleted a topic")
	}
}

func atLeast(n int) func(int) bool { return func(have int) bool { return have >= n } }

// result commits one assessment result and returns its id.
func result(n *lab.Lane) string {
	n.Helper()
	n.Made++
	e := rig.Event{ID: uuid.NewString(), Type: "assessment.result.published", Key: "job-7", Seq: n.Made, Tx: 1, Of: 1}
	n.Check(pgx.BeginFunc(n.Ctx(time.Minute), n.DB, func(tx pgx.Tx) error { return outbox.Publish(n.Context(), tx, e.Outbox()) }))
	return e.ID
}

// page is what `plan -o json` prints.
type page struct {
	Steps   []struct{ Kind, Scope, Name, Do string }
	Topics  topics.Plan
	Blocked []struct{ Check, What, Do string }
}

func asked(n *lab.Lane, code int) (p page) {
	n.Helper()
	c := n.Command("plan", "-o", "json").Exits(code)
	c.Code = 0
	c.JSON(&p)
	return p
}

// From nothing to a relay that runs, on one page: what the plan names is what
// the commands it names make, and then there is nothing left.
func TestPlanIsEverythingAStartMakes(t *testing.T) {
	n := lab.Production(t)
	pipeline := lab.DatabaseName(n.URL)
	kinds := func(p page) (all []string) {
		for _, s := range p.Steps {
			if !slices.Contains(all, s.Kind+" "+s.Do) {
				all = append(all, s.Kind+" "+s.Do)
			}
			if s.Kind == "schema" {
				all[len(all)-1] = "schema"
			}
		}
		slices.Sort(all)
		return all
	}
	before := asked(n, 5)
	want := []string{"migration cdc-relay migrate", "publication cdc-relay run", "schema", "slot cdc-relay run"}
	if got := kinds(before); !slices.Equal(got, want) || before.Topics.Changes() != 2 || len(before.Blocked) > 0 {
		t.Errorf("steps %q, %d topics, blocked %+v; want %q", got, before.Topics.Changes(), before.Blocked, want)
	}
	n.Command("plan").Exits(5).Says("pipeline "+pipeline+"\n  + migration 0001_outbox.sql\n", "  + publication cdc_relay\n  + slot "+n.Slot()+"\n",
		"registry\n  + schema "+n.Topic+"-value: EssayStateChangedEventV1\n", "topics\n", "  topic "+n.Topic+" (class lane)\n    + create with 1 partition, cleanup.policy=delete",
		"next: cdc-relay migrate; cdc-relay topics apply; ", "cdc-relay run")
	if got := asked(n, 5); len(got.Steps) != len(before.Steps) || got.Topics.Changes() != 2 {
		t.Error("plan changed something")
	}

	n.Command("migrate").Exits(0)
	n.Command("topics", "apply").Exits(0)
	left := asked(n, 5)
	if got := kinds(left); !slices.Equal(got, want[1:]) || left.Topics.Changes() > 0 {
		t.Errorf("after migrate and topics apply: %q, %d topics", got, left.Topics.Changes())
	}
	n.Rewrite(func(c *rig.Config) { c.Environment = "development" })
	for _, s := range asked(n, 5).Steps {
		if s.Do != "cdc-relay run" {
			t.Errorf("where a start may create it makes everything: %+v", s)
		}
	}
	n.Stopped(n.Start(), 0)
	n.Rewrite(func(c *rig.Config) { c.Environment = "production" })
	n.Command("plan").Exits(0).Says("0 changes")
	if last := asked(n, 0); len(last.Steps)+last.Topics.Changes()+len(last.Blocked) > 0 {
		t.Errorf("after a start: %+v", last)
	}

	n.Exec("drop publication cdc_relay")
	n.Command("plan").Exits(3).Says("in the way\n  ! "+pipeline, "publication", "cdc-relay: a start would be refused, or fail, whatever is changed")
	n.Rewrite(func(c *rig.Config) { c.Bootstrap = "127.0.0.1:1" })
	if c := n.Command("plan").Exits(3).Says("! kafka, connection: the brokers at 127.0.0.1:1 cannot be asked"); strings.Contains(c.Out, "\ntopics\n") {
		t.Errorf("nobody knows about topics: %s", c)
	}
}
