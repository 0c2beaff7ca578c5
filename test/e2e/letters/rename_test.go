package letters

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// renamed gives the relay another name, and its slot the name it has.
func renamed(l *lab.Lab, name string) {
	l.Helper()
	slot := l.Slot()
	l.Change(func(c *rig.Config) { c.Name, c.Lines = name, []string{"  slot: " + slot} })
}

// The relay gets another name: its checkpoint goes with it, exactly once.
func TestRename(t *testing.T) {
	l := lab.New(t)
	former := l.ID + "/" + l.Pipeline()
	r := l.Start()
	l.Writes("a", 60)
	l.Delivered(l.Reader(), 60, time.Minute)
	before, old := l.Saved(), l.Conf

	l.Change(func(c *rig.Config) { c.Name = l.ID + "x" }) // and with it the default name of the slot
	l.Command("checkpoint", "rename", former).Exits(3).Says("the checkpoint belongs to slot "+before.Slot, "write slot: "+before.Slot)
	l.Configure(old)
	renamed(l, l.ID+"x")
	l.Command("checkpoint", "rename", former).Exits(3).Says("is in use", "stop the relay that streams from it")
	l.Stops(r)
	l.Refused("there is no checkpoint in Kafka", "if the relay or the pipeline had another name: cdc-relay checkpoint rename")
	before = checkpoint(l, old)
	l.Command("checkpoint", "rename", "nobody/"+l.Pipeline()).Exits(3).Says("there is no checkpoint of nobody/"+l.Pipeline(), "checkpoint show")
	l.Command("checkpoint", "rename", "nobody").Exits(2).Says("write the former NAME/PIPELINE")
	l.Command("checkpoint", "rename", l.ID+"x/"+l.Pipeline()).Exits(2).Says("nothing to rename")

	t.Log(l.Command("checkpoint", "rename", former).Exits(0).Says("the checkpoint of "+former+" is that of "+l.ID+"x/"+l.Pipeline()+" now", "next: cdc-relay run"))
	if s := l.Saved(); s.Safe != before.Safe || *s.Last != *before.Last || s.Events != before.Events || s.Slot != before.Slot {
		t.Errorf("renamed %+v to %+v", before, s)
	}
	if s := checkpoint(l, old); s.Exists() {
		t.Errorf("the former name still has %+v", s)
	}
	l.Command("checkpoint", "rename", former).Exits(3).Says("there is no checkpoint of " + former)
	r = l.Start()
	l.Writes("bb", 60)
	l.Settled(time.Minute)
	l.Stops(r)

	l.Configure(old)
	l.Refused("exists", "but there is no checkpoint in Kafka")
	l.Writes("ccc", 20)
	renamed(l, l.ID+"x")
	r = l.Start()
	l.Settled(time.Minute)
	l.Stops(r)
}

// A pipeline gets another name within its relay: its database is known under
// another key in the configuration.
func TestRenamePipeline(t *testing.T) {
	l := lab.New(t)
	databases := func(name string) func(*rig.Config) {
		slot := "cdc_relay_" + l.ID
		return func(c *rig.Config) {
			c.Server, c.Postgres = l.PG.URL(""), ""
			c.Databases = map[string]string{name: fmt.Sprintf("dbname: %s, slot: %s", l.Pipeline(), slot)}
		}
	}
	l.Change(databases("essays"))
	r := l.Start()
	l.Writes("a", 40)
	l.Delivered(l.Reader(), 40, time.Minute)
	l.Stops(r)
	l.Change(databases("papers"))
	l.Refused("there is no checkpoint in Kafka")
	l.Command("checkpoint", "rename", "essays/essays", "--pipeline", "papers").Exits(3).Says("there is no checkpoint of essays/essays")
	l.Command("checkpoint", "rename", l.ID+"/essays", "--pipeline", "papers").Exits(0).Says("the checkpoint of " + l.ID + "/essays is that of " + l.ID + "/papers now")
	r = l.Start()
	l.Writes("bb", 40)
	l.Settled(time.Minute)
	l.Stops(r)
}

// checkpoint is what another configuration's relay has.
func checkpoint(l *lab.Lab, of rig.Config) event.Saved {
	l.Helper()
	now := l.Conf
	l.Configure(of)
	defer l.Configure(now)
	return l.Saved()
}

// A rename that is killed with the old name fenced has changed nothing: the old
// name goes on, and can be renamed later.
func TestRenameKilled(t *testing.T) {
	l := lab.New(t, lab.OwnBroker())
	former, old := l.ID+"/"+l.Pipeline(), l.Conf
	r := l.Start()
	l.Writes("a", 40)
	l.Delivered(l.Reader(), 40, time.Minute)
	l.Stops(r)
	renamed(l, l.ID+"x")
	c := l.Client()
	was := epoch(l, c, former+"/1")
	killed := l.Launch("checkpoint", "rename", former)
	l.Soon(time.Minute, "the rename has the slot and has fenced the old name", func() bool { return epoch(l, c, former+"/1") > was })
	killed.Kill()
	if lab.Said(killed, "is that of") {
		t.Skip("the rename was faster than its end")
	}
	if s := checkpoint(l, old); !s.Exists() {
		t.Fatal("the former name lost its checkpoint")
	}
	if s := l.Saved(); s.Exists() {
		t.Fatalf("half renamed: %+v", s)
	}
	l.Configure(old)
	r = l.Start()
	l.Writes("bb", 40)
	l.Settled(time.Minute)
	l.Stops(r)
	renamed(l, l.ID+"x")
	l.Command("checkpoint", "rename", former).Exits(0)
	r = l.Start()
	l.Writes("ccc", 40)
	l.Settled(time.Minute)
	l.Stops(r)
}

// epoch is the producer epoch of a transactional id, -1 when the broker does not
// know it.
func epoch(l *lab.Lab, c *kgo.Client, id string) int16 {
	l.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	for _, shard := range c.RequestSharded(l.Ctx(10*time.Second), req) {
		l.Check(shard.Err)
		for _, t := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
			if kerr.ErrorForCode(t.ErrorCode) != nil {
				return -1
			}
			return t.ProducerEpoch
		}
	}
	return -1
}
