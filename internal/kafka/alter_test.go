package kafka

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Of a topic's settings those that are named change, all or none.
func TestAlterConfig(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	c := open(t, b.Bootstrap(), nil)
	name := b.Topic(t, 1, map[string]string{"segment.bytes": "20000000", "retention.ms": "1000000"})
	// The broker answers before it has learnt the change itself.
	altered := func(all map[string]Topic) bool {
		got := all[name].Config
		return got["retention.ms"] == "604800000" && got["cleanup.policy"] == "compact,delete" && got["segment.bytes"] == "20000000"
	}
	if err := c.AlterConfig(t.Context(), name, map[string]string{"retention.ms": "604800000", "cleanup.policy": "compact,delete"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Await(t.Context(), []string{name}, altered); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []map[string]string{{"cleanup.policy": "sometimes"}, {"no.such.setting": "1"}, {"retention.ms": "7", "segment.bytes": "x"}} {
		wantRefusal(t, "a value that is none", c.AlterConfig(t.Context(), name, bad), name)
	}
	if all, err := c.Topics(t.Context(), name); err != nil || !altered(all) {
		t.Errorf("half of a refused change was made: %v, %v", all[name].Config, err)
	}
	if err := c.AlterConfig(t.Context(), "no-such-topic", map[string]string{"retention.ms": "1"}); err == nil || !strings.Contains(err.Error(), "no-such-topic") {
		t.Errorf("a topic that does not exist: %v", err)
	}
}

// Partitions are added once, however many ask for it, and never taken away.
func TestAddPartitions(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	name := b.Topic(t, 2, nil)
	clients := []*Client{open(t, b.Bootstrap(), nil), open(t, b.Bootstrap(), nil)}
	var group sync.WaitGroup
	for _, c := range clients {
		group.Go(func() {
			if err := c.AddPartitions(t.Context(), name, 5); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	five := func(all map[string]Topic) bool { return all[name].Partitions == 5 }
	if err := clients[0].Await(t.Context(), []string{name}, five); err != nil {
		t.Fatal(err)
	}
	if err := clients[0].AddPartitions(t.Context(), name, 3); err != nil {
		t.Errorf("a topic that has more: %v", err)
	}
	if err := clients[0].Await(t.Context(), []string{name}, five); err != nil {
		t.Fatal(err)
	}
	if err := clients[0].AddPartitions(t.Context(), "no-such-topic", 3); err == nil {
		t.Error("a topic that does not exist got partitions")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	c := open(t, b.Bootstrap(), nil)
	name, other := b.Topic(t, 1, nil), b.Topic(t, 1, nil)
	got, err := c.Names(t.Context(), name)
	if err != nil || !slices.Contains(got, name) || slices.Contains(got, other) {
		t.Errorf("%q, %v; want %s and not %s", got, err, name, other)
	}
}

// Who may look, and not change, is told which right lacks.
func TestAlterWithoutRights(t *testing.T) {
	t.Parallel()
	var acls []kfake.ACL
	for _, op := range []kmsg.ACLOperation{kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs} {
		acls = append(acls, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "t", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
	}
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "root"),
		kfake.User("PLAIN", "relay", "pw", acls...), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c := open(t, strings.Join(fake.ListenAddrs(), ","), map[string]string{
		"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "relay", "sasl.password": "pw",
	})
	for acl, err := range map[string]error{
		"ACL AlterConfigs": c.AlterConfig(t.Context(), "t", map[string]string{"retention.ms": "1"}),
		"ACL Alter ":       c.AddPartitions(t.Context(), "t", 9),
	} {
		if event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), acl) || !strings.Contains(err.Error(), "no right to ") {
			t.Errorf("%s: %v", acl, err)
		}
	}
}
