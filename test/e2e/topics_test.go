package e2e

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/topics"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// topicsLab is a lane whose contract is the one of docs/topics.md, with topics
// that begin with the lab's name instead of huleedu.
func topicsLab(t *testing.T, setups ...setup) *lane {
	t.Helper()
	text, err := rig.Example("docs/topics.md", "contract")
	if err != nil {
		t.Fatal(err)
	}
	own := func(l *lab, c *rig.Config) {
		c.Contract = strings.ReplaceAll(text, "huleedu", l.name)
		c.Extra += "checkpoint_topic: " + l.name + "-checkpoints\n"
	}
	return newLane(t, append(slices.Clone(setups), own)...)
}

// The topics of that contract.
func (n *lane) published() string { return n.name + ".assessment.result.published.v1" }
func (n *lane) old() string       { return n.name + ".assessment.results.v1" }
func (n *lane) phase() string     { return n.name + ".spellcheck.phase.completed.v1" }

// cluster asks the broker about topics.
func (l *lab) cluster(names ...string) map[string]kafka.Topic {
	l.Helper()
	s, err := kafka.NewSettings(map[string]string{"bootstrap.servers": l.kafka.Bootstrap()})
	l.check(err)
	c, err := kafka.Open(s, slog.New(slog.DiscardHandler))
	l.check(err)
	defer c.Close()
	all, err := c.Topics(l.ctx(time.Minute), names...)
	l.check(err)
	return all
}

// alter sets settings of a topic by hand (name, value, …) and waits until the
// broker says so: it answers before it has learnt it from the controller.
func (l *lab) alter(topic string, pairs ...string) {
	l.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for i := 0; i < len(pairs); i += 2 {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = pairs[i], kmsg.IncrementalAlterConfigOpSet, &pairs[i+1]
		res.Configs = append(res.Configs, c)
	}
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(l.ctx(time.Minute), l.kgo())
	l.check(err)
	for _, r := range resp.Resources {
		l.check(kerr.ErrorForCode(r.ErrorCode))
	}
	l.until("the settings of "+topic+" are "+strings.Join(pairs, " "), func() bool {
		got := l.settings(topic)
		for i := 0; i < len(pairs); i += 2 {
			if got[pairs[i]] != pairs[i+1] {
				return false
			}
		}
		return true
	})
}

// settings are a topic's, as the broker knows them now.
func (l *lab) settings(topic string) map[string]string {
	l.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(l.ctx(time.Minute), l.kgo())
	l.check(err)
	all := map[string]string{}
	for _, r := range resp.Resources {
		l.check(kerr.ErrorForCode(r.ErrorCode))
		for _, c := range r.Configs {
			if c.Value != nil {
				all[c.Name] = *c.Value
			}
		}
	}
	return all
}

// contract changes the contract; the next command has it.
func (n *lane) contract(old, new string) {
	n.Helper()
	if !strings.Contains(n.conf.Contract, old) {
		n.Fatalf("the contract has no %q", old)
	}
	n.rewrite(func(c *rig.Config) { c.Contract = strings.Replace(c.Contract, old, new, 1) })
}

// plan asks for the plan of the topics as JSON.
func (n *lane) plan(code int) (p topics.Plan) {
	n.Helper()
	c := n.run("topics", "plan", "-o", "json").exits(code)
	c.code = 0
	c.json(&p)
	return p
}

// What the plan says, apply does, and the broker then has: first everything is
// missing, then somebody changed topics by hand, then the classes changed.
func TestTopicsPlanAndApply(t *testing.T) {
	n := topicsLab(t, with(func(c *rig.Config) { c.Environment = "production" }))
	everything := []string{n.name + "-checkpoints", n.old(), n.published(), n.phase()}
	n.run("topics", "plan").exits(5).says(
		"topic "+n.published()+" (class assessment_result)\n  + create with 12 partitions, cleanup.policy=compact,delete, retention.ms=604800000\n",
		"topic "+n.phase()+" (class phase_completion)\n  + create with 12 partitions, cleanup.policy=delete, retention.ms=86400000\n",
		"topic "+n.name+"-checkpoints\n  + create with 25 partitions, cleanup.policy=compact, ",
		"4 changes; 0 topics are as they should be", "cdc-relay: the plan has 4 changes\n  next: cdc-relay topics apply")
	for name, topic := range n.cluster(everything...) {
		if topic.Exists {
			t.Fatalf("plan created %s", name)
		}
	}

	n.appliedTwiceAtOnce()
	all := n.cluster(everything...)
	for name, want := range map[string][2]string{
		n.published(): {"compact,delete", "604800000"}, n.old(): {"compact,delete", "604800000"}, n.phase(): {"delete", "86400000"},
	} {
		got := all[name]
		if got.Partitions != 12 || got.Config["cleanup.policy"] != want[0] || got.Config["retention.ms"] != want[1] {
			t.Errorf("%s: %d partitions, cleanup.policy %s, retention.ms %s", name, got.Partitions, got.Config["cleanup.policy"], got.Config["retention.ms"])
		}
	}
	n.run("topics", "plan").exits(0).says("0 changes; 4 topics are as they should be")
	n.byHand()
	n.otherClasses()
}

// appliedTwiceAtOnce runs two applies beside each other: neither minds the other.
func (n *lane) appliedTwiceAtOnce() {
	n.Helper()
	var done [2]*command
	var both sync.WaitGroup
	for i := range done {
		both.Go(func() { done[i] = n.run("topics", "apply") })
	}
	both.Wait()
	for _, c := range done {
		c.exits(0).says(n.published()+"  12  ", n.name+"-checkpoints ", " 25  ")
	}
	created := strings.Count(done[0].out+done[1].out, ": create with")
	if created != 4 {
		n.Errorf("%d topics were created by two applies, want 4:\n%s\n%s", created, done[0], done[1])
	}
}

// byHand: what is harmless is mended, what loses events waits for the flag, what
// no class names is left alone, and a start refuses what gives readers something
// else.
func (n *lane) byHand() {
	n.Helper()
	n.alter(n.phase(), "retention.ms", "3600000", "segment.bytes", "20000000", "max.message.bytes", "500000")
	n.alter(n.published(), "cleanup.policy", "compact")
	n.alter(n.old(), "cleanup.policy", "delete", "retention.ms", "1800000") // left as it is: its name is on the way out
	p := n.plan(5)
	if p.Changes() != 2 || !slices.Equal(p.Needs(), []topics.Flag{topics.AcceptDataLoss}) {
		n.Errorf("plan %+v", p)
	}
	n.run("topics", "plan").exits(5).says("~ retention.ms: 3600000 → 86400000", "~ cleanup.policy: compact → compact,delete",
		"LOSES EVENTS: the last one of a key, which was kept for ever, is deleted after 7 days", "only with cdc-relay topics apply --accept-data-loss")

	n.run("topics", "apply").exits(3).says(n.phase()+": retention.ms: 3600000 → 86400000\n", "altered", "held back",
		`cdc-relay: held back: topic "`+n.published()+`": cleanup.policy: compact → compact,delete`, "next: cdc-relay topics apply --accept-data-loss")
	all := n.cluster(n.phase(), n.published())
	if c := all[n.phase()].Config; c["retention.ms"] != "86400000" || c["segment.bytes"] != "20000000" || c["max.message.bytes"] != "500000" {
		n.Errorf("%s: retention.ms %s, segment.bytes %s, max.message.bytes %s", n.phase(), c["retention.ms"], c["segment.bytes"], c["max.message.bytes"])
	}
	if c := all[n.published()].Config; c["cleanup.policy"] != "compact" {
		n.Errorf("%s: cleanup.policy %s without the flag", n.published(), c["cleanup.policy"])
	}

	says := `it has cleanup.policy compact, class assessment_result says compact,delete`
	n.run("doctor").exits(3).says("fail  topic "+n.published()+" "+says, "warn  topic "+n.phase()+" its max.message.bytes is 500000, below max_event_bytes (1000000)")
	strict := n.conf.Extra
	warn, err := rig.Example("docs/topics.md", "drift")
	n.check(err)
	n.rewrite(func(c *rig.Config) { c.Environment, c.Extra = "development", strict+warn }) // registers the schemas
	r := n.start()
	n.logged(r, says, time.Minute)
	n.logged(r, "topic not changed, because that would do harm", time.Minute)
	n.stopped(r, 0)
	n.rewrite(func(c *rig.Config) { c.Environment, c.Extra = "production", strict })
	n.run("slots", "recreate", "--accept-gap").exits(0).says("the new slot begins at") // mends slots, whatever the topics are
	n.refused(`topic "`+n.published()+`": `+says, "next: cdc-relay topics plan shows what would change", "topics: {on_drift: warn}")
	if got := n.cluster(n.published())[n.published()].Config["cleanup.policy"]; got != "compact" {
		n.Errorf("a start changed cleanup.policy to %s", got)
	}

	var done []struct {
		Topic, State string
		Made         []topics.Change
	}
	n.run("topics", "apply", "--accept-data-loss", "-o", "json").json(&done)
	i := slices.IndexFunc(done, func(d struct {
		Topic, State string
		Made         []topics.Change
	}) bool {
		return d.State == "altered"
	})
	if i < 0 || done[i].Topic != n.published() || len(done[i].Made) != 1 || done[i].Made[0].To != "compact,delete" {
		n.Errorf("apply: %+v", done)
	}
	n.plan(0)
	n.stopped(n.start(), 0)
}

// otherClasses: partitions come only with the flag, and never go.
func (n *lane) otherClasses() {
	n.Helper()
	n.contract(`assessment_result: {partitions: 12, cleanup.policy: "compact,delete"`, `assessment_result: {partitions: 6, replication_factor: 3, cleanup.policy: "compact,delete"`)
	n.contract("phase_completion:  {partitions: 12", "phase_completion:  {partitions: 16")
	p := n.plan(5)
	if p.Changes() != 1 || !slices.Equal(p.Needs(), []topics.Flag{topics.AcceptRepartitioning}) {
		n.Errorf("plan %+v", p)
	}
	never := "! partitions is 12, not 6: never changed; Kafka takes no partition away"
	n.run("topics", "plan").exits(5).says(never, "! replication_factor is 1, not 3: never changed",
		"~ partitions: 12 → 16\n      MOVES KEYS: 75 % of the keys", "only with cdc-relay topics apply --accept-repartitioning")
	n.run("topics", "apply").exits(3).says(`held back: topic "`+n.phase()+`": partitions: 12 → 16 (MOVES KEYS`, "next: cdc-relay topics apply --accept-repartitioning")
	n.refused(`topic "`+n.phase()+`": it has 12 partitions, class phase_completion says 16`, "next: cdc-relay topics plan")
	n.run("topics", "apply", "--accept-data-loss").exits(3)
	if got := n.cluster(n.phase())[n.phase()].Partitions; got != 12 {
		n.Fatalf("%d partitions without the flag", got)
	}
	n.run("topics", "apply", "--accept-repartitioning").exits(0).says(n.phase()+": partitions: 12 → 16\n", "altered")
	all := n.cluster(n.phase(), n.published())
	if a, b := all[n.phase()].Partitions, all[n.published()].Partitions; a != 16 || b != 12 {
		n.Errorf("%d and %d partitions, want 16 and 12", a, b)
	}
	n.run("topics", "plan").exits(0).says(never, "0 changes")
	n.run("topics", "apply", "--accept-repartitioning").exits(0)
	n.stopped(n.start(), 0)
}

// In an environment that may create, a start also makes the changes that do no
// harm, and no others.
func TestStartMendsTopics(t *testing.T) {
	n := topicsLab(t)
	n.stopped(n.start(), 0)
	n.alter(n.phase(), "retention.ms", "3600000", "cleanup.policy", "compact,delete")
	n.alter(n.name+"-checkpoints", "segment.bytes", "20000000")
	if c := n.run("doctor").exits(0); strings.Contains(c.out, "class phase_completion says") {
		t.Errorf("what a start will mend is no drift: %s", c)
	}
	r := n.start()
	n.logged(r, "cleanup.policy: compact,delete → delete", time.Minute)
	n.stopped(r, 0)
	all := n.cluster(n.phase(), n.name+"-checkpoints")
	if c := all[n.phase()].Config; c["retention.ms"] != "86400000" || c["cleanup.policy"] != "delete" {
		t.Errorf("retention.ms %s, cleanup.policy %s", c["retention.ms"], c["cleanup.policy"])
	}
	if c := all[n.name+"-checkpoints"].Config; c["segment.bytes"] != "20000000" {
		t.Errorf("a start altered the checkpoint topic: segment.bytes %s", c["segment.bytes"])
	}
	n.run("topics", "apply").exits(0).says(n.name + "-checkpoints: segment.bytes: 20000000 → 16777216\n")
	n.plan(0)
}

// The shipped rename, from the first complaint to the last: the old name alone,
// both in one transaction, the new name alone.
func TestTopicIsRenamed(t *testing.T) {
	n := topicsLab(t)
	both := n.conf.Contract
	also := "    also: [{topic: " + n.old() + ", legacy: true}]   # until its last consumer has moved\n"
	n.contract(also, "")
	after := n.conf.Contract
	n.contract("topic: "+n.published(), "topic: "+n.old())
	n.run("config", "validate").exits(2).says(`events[0].topic: "`+n.old()+`" breaks the naming rule prefix.domain.entity.event.vN`,
		`"results" is a plural of "result"`, "write "+n.published()+", and publish both until its consumers have moved: also: [{topic: "+n.old()+", legacy: true}]")
	n.run("run").exits(2).says("breaks the naming rule")
	n.contract("prefix: "+n.name, "prefix: "+n.name+"\n  level: warn")
	n.run("config", "validate").exits(0).says(`warning: `, `"`+n.old()+`" breaks the naming rule`, "the configuration is valid")
	n.run("topics", "plan").exits(5).says(`name: `, "write "+n.published())

	r := n.start() // as it was before there was a rule
	n.logged(r, "a topic's name breaks the naming rule", time.Minute)
	first := n.result()
	n.check(n.reader(n.old()).Read(n.ctx(time.Minute), atLeast(1)))
	n.stopped(r, 0)

	n.rewrite(func(c *rig.Config) { c.Contract = both })
	n.run("config", "validate").exits(0)
	r = n.start()
	second := n.result()
	n.check(n.reader(n.published()).Read(n.ctx(time.Minute), atLeast(1)))
	n.stopped(r, 0)
	a, b := n.tape(n.old()), n.tape(n.published())
	if !slices.Equal(a.ids(), []string{first, second}) || !slices.Equal(b.ids(), []string{second}) {
		t.Fatalf("events %s and %s; the old topic has %v, the new one %v", first, second, a.ids(), b.ids())
	}
	// One producer, one commit marker for the one record: two transactions in a
	// row would have two producers.
	x, y := a.records[1], b.records[0]
	if x.ProducerID != y.ProducerID || x.ProducerEpoch != y.ProducerEpoch || b.commits != 1 || a.aborts+b.aborts > 0 {
		t.Errorf("not one transaction: producers %d/%d and %d/%d, %d commits, %d aborts", x.ProducerID, x.ProducerEpoch, y.ProducerID, y.ProducerEpoch, b.commits, a.aborts+b.aborts)
	}
	if string(x.Key) != string(y.Key) || string(x.Value[5:]) != string(y.Value[5:]) || x.Partition != y.Partition {
		t.Error("the two forms of one event differ")
	}

	n.rewrite(func(c *rig.Config) { c.Contract = after })
	n.run("topics", "plan").exits(0).says("in no contract: "+n.old()+"; topics are never deleted", "0 changes")
	r = n.start()
	third := n.result()
	n.check(n.reader(n.published()).Read(n.ctx(time.Minute), atLeast(2)))
	n.stopped(r, 0)
	if a, b := n.tape(n.old()), n.tape(n.published()); !slices.Contains(b.ids(), third) || len(a.ids()) != 2 || len(b.ids()) != 2 {
		t.Errorf("event %s; the old topic has %v, the new one %v", third, a.ids(), b.ids())
	}
	n.run("topics", "apply").exits(0)
	if !n.cluster(n.old())[n.old()].Exists {
		t.Error("apply deleted a topic")
	}
}

func atLeast(n int) func(int) bool { return func(have int) bool { return have >= n } }

// result commits one assessment result and returns its id.
func (n *lane) result() string {
	n.Helper()
	n.made++
	e := rig.Event{ID: uuid.NewString(), Type: "assessment.result.published", Key: "job-7", Seq: n.made, Tx: 1, Of: 1}
	n.check(pgx.BeginFunc(n.ctx(time.Minute), n.db, func(tx pgx.Tx) error { return outbox.Publish(n.Context(), tx, e.Outbox()) }))
	return e.ID
}

// page is what `plan -o json` prints.
type page struct {
	Steps   []struct{ Kind, Scope, Name, Do string }
	Topics  topics.Plan
	Blocked []struct{ Check, What, Do string }
}

func (n *lane) page(code int) (p page) {
	n.Helper()
	c := n.run("plan", "-o", "json").exits(code)
	c.code = 0
	c.json(&p)
	return p
}

// From nothing to a relay that runs, on one page: what the plan names is what
// the commands it names make, and then there is nothing left.
func TestPlanIsEverythingAStartMakes(t *testing.T) {
	n := production(t)
	pipeline := databaseName(n.url)
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
	before := n.page(5)
	want := []string{"migration cdc-relay migrate", "publication cdc-relay run", "schema", "slot cdc-relay run"}
	if got := kinds(before); !slices.Equal(got, want) || before.Topics.Changes() != 2 || len(before.Blocked) > 0 {
		t.Errorf("steps %q, %d topics, blocked %+v; want %q", got, before.Topics.Changes(), before.Blocked, want)
	}
	n.run("plan").exits(5).says("pipeline "+pipeline+"\n  + migration 0001_outbox.sql\n", "  + publication cdc_relay\n  + slot "+n.slot()+"\n",
		"registry\n  + schema "+n.topic+"-value: EssayStateChangedEventV1\n", "topics\n", "  topic "+n.topic+" (class lane)\n    + create with 1 partition, cleanup.policy=delete",
		"next: cdc-relay migrate; cdc-relay topics apply; ", "cdc-relay run")
	if got := n.page(5); len(got.Steps) != len(before.Steps) || got.Topics.Changes() != 2 {
		t.Error("plan changed something")
	}

	n.run("migrate").exits(0)
	n.run("topics", "apply").exits(0)
	left := n.page(5)
	if got := kinds(left); !slices.Equal(got, want[1:]) || left.Topics.Changes() > 0 {
		t.Errorf("after migrate and topics apply: %q, %d topics", got, left.Topics.Changes())
	}
	n.rewrite(func(c *rig.Config) { c.Environment = "development" })
	for _, s := range n.page(5).Steps {
		if s.Do != "cdc-relay run" {
			t.Errorf("where a start may create it makes everything: %+v", s)
		}
	}
	n.stopped(n.start(), 0)
	n.rewrite(func(c *rig.Config) { c.Environment = "production" })
	n.run("plan").exits(0).says("0 changes")
	if last := n.page(0); len(last.Steps)+last.Topics.Changes()+len(last.Blocked) > 0 {
		t.Errorf("after a start: %+v", last)
	}

	n.exec("drop publication cdc_relay")
	n.run("plan").exits(3).says("in the way\n  ! "+pipeline, "publication", "cdc-relay: a start would be refused, or fail, whatever is changed")
	n.rewrite(func(c *rig.Config) { c.Bootstrap = "127.0.0.1:1" })
	if c := n.run("plan").exits(3).says("! kafka, connection: the brokers at 127.0.0.1:1 cannot be asked"); strings.Contains(c.out, "\ntopics\n") {
		t.Errorf("nobody knows about topics: %s", c)
	}
}
