package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// renamed gives the relay another name, and its slot the name it has.
func (l *lab) renamed(name string) {
	l.Helper()
	slot := l.slot()
	l.change(func(c *rig.Config) { c.Name, c.Lines = name, []string{"  slot: " + slot} })
}

// The relay gets another name: its checkpoint goes with it, exactly once.
func TestRename(t *testing.T) {
	l := newLab(t)
	former := l.name + "/" + l.pipeline()
	r := l.start()
	l.writes("a", 60)
	l.delivered(l.reader(), 60, time.Minute)
	before, old := l.saved(), l.conf

	l.change(func(c *rig.Config) { c.Name = l.name + "x" }) // and with it the default name of the slot
	l.run("checkpoint", "rename", former).exits(3).says("the checkpoint belongs to slot "+before.Slot, "write slot: "+before.Slot)
	l.write(old)
	l.renamed(l.name + "x")
	l.run("checkpoint", "rename", former).exits(3).says("is in use", "stop the relay that streams from it")
	l.stops(r)
	l.refused("there is no checkpoint in Kafka", "if the relay or the pipeline had another name: cdc-relay checkpoint rename")
	before = l.checkpoint(old)
	l.run("checkpoint", "rename", "nobody/"+l.pipeline()).exits(3).says("there is no checkpoint of nobody/"+l.pipeline(), "checkpoint show")
	l.run("checkpoint", "rename", "nobody").exits(2).says("write the former NAME/PIPELINE")
	l.run("checkpoint", "rename", l.name+"x/"+l.pipeline()).exits(2).says("nothing to rename")

	t.Log(l.run("checkpoint", "rename", former).exits(0).says("the checkpoint of "+former+" is that of "+l.name+"x/"+l.pipeline()+" now", "next: cdc-relay run"))
	if s := l.saved(); s.Safe != before.Safe || *s.Last != *before.Last || s.Events != before.Events || s.Slot != before.Slot {
		t.Errorf("renamed %+v to %+v", before, s)
	}
	if s := l.checkpoint(old); s.Exists() {
		t.Errorf("the former name still has %+v", s)
	}
	l.run("checkpoint", "rename", former).exits(3).says("there is no checkpoint of " + former)
	r = l.start()
	l.writes("bb", 60)
	l.settled(time.Minute)
	l.stops(r)

	l.write(old)
	l.refused("exists", "but there is no checkpoint in Kafka")
	l.writes("ccc", 20)
	l.renamed(l.name + "x")
	r = l.start()
	l.settled(time.Minute)
	l.stops(r)
}

// A pipeline gets another name within its relay: its database is known under
// another key in the configuration.
func TestRenamePipeline(t *testing.T) {
	l := newLab(t)
	databases := func(name string) func(*rig.Config) {
		slot := "cdc_relay_" + l.name
		return func(c *rig.Config) {
			c.Server, c.Postgres = l.pg.URL(""), ""
			c.Databases = map[string]string{name: fmt.Sprintf("dbname: %s, slot: %s", l.pipeline(), slot)}
		}
	}
	l.change(databases("essays"))
	r := l.start()
	l.writes("a", 40)
	l.delivered(l.reader(), 40, time.Minute)
	l.stops(r)
	l.change(databases("papers"))
	l.refused("there is no checkpoint in Kafka")
	l.run("checkpoint", "rename", "essays/essays", "--pipeline", "papers").exits(3).says("there is no checkpoint of essays/essays")
	l.run("checkpoint", "rename", l.name+"/essays", "--pipeline", "papers").exits(0).says("the checkpoint of " + l.name + "/essays is that of " + l.name + "/papers now")
	r = l.start()
	l.writes("bb", 40)
	l.settled(time.Minute)
	l.stops(r)
}

// checkpoint is what another configuration's relay has.
func (l *lab) checkpoint(of rig.Config) event.Saved {
	l.Helper()
	now := l.conf
	l.write(of)
	defer l.write(now)
	return l.saved()
}

// A rename that is killed with the old name fenced has changed nothing: the old
// name goes on, and can be renamed later.
func TestRenameKilled(t *testing.T) {
	l := newLab(t, ownBroker())
	former, old := l.name+"/"+l.pipeline(), l.conf
	r := l.start()
	l.writes("a", 40)
	l.delivered(l.reader(), 40, time.Minute)
	l.stops(r)
	l.renamed(l.name + "x")
	c := l.kgo()
	was := l.epoch(c, former+"/1")
	killed := l.launch("checkpoint", "rename", former)
	l.soon(time.Minute, "the rename has the slot and has fenced the old name", func() bool { return l.epoch(c, former+"/1") > was })
	killed.Kill()
	if said(killed, "is that of") {
		t.Skip("the rename was faster than its end")
	}
	if s := l.checkpoint(old); !s.Exists() {
		t.Fatal("the former name lost its checkpoint")
	}
	if s := l.saved(); s.Exists() {
		t.Fatalf("half renamed: %+v", s)
	}
	l.write(old)
	r = l.start()
	l.writes("bb", 40)
	l.settled(time.Minute)
	l.stops(r)
	l.renamed(l.name + "x")
	l.run("checkpoint", "rename", former).exits(0)
	r = l.start()
	l.writes("ccc", 40)
	l.settled(time.Minute)
	l.stops(r)
}

// epoch is the producer epoch of a transactional id, -1 when the broker does not
// know it.
func (l *lab) epoch(c *kgo.Client, id string) int16 {
	l.Helper()
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	for _, shard := range c.RequestSharded(l.ctx(10*time.Second), req) {
		l.check(shard.Err)
		for _, t := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
			if kerr.ErrorForCode(t.ErrorCode) != nil {
				return -1
			}
			return t.ProducerEpoch
		}
	}
	return -1
}
