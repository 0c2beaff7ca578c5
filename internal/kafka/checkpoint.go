package kafka

import (
	"context"
	"fmt"
)

// CheckpointTopic is the checkpoint topic's name when none is configured.
const CheckpointTopic = "cdc-relay.checkpoints"

// CheckpointPartitions is how many partitions the checkpoint topic is created
// with. They are never altered: the key's partition would move.
const CheckpointPartitions = 25

// CheckpointSpec is the checkpoint topic as it is created. replicas 0 leaves
// the number to the brokers.
//
// Small segments and an eager cleaner keep it short: every transaction adds a
// record and a marker, and only closed segments are cleaned.
func CheckpointSpec(name string, replicas int) NewTopic {
	return NewTopic{Name: name, Partitions: CheckpointPartitions, Replicas: replicas, Config: map[string]string{
		"cleanup.policy":            "compact",
		"segment.bytes":             "16777216",
		"min.cleanable.dirty.ratio": "0.01",
	}}
}

// EnsureCheckpoint creates the checkpoint topic where it is missing and checks
// it.
func (c *Client) EnsureCheckpoint(ctx context.Context, name string, replicas int) error {
	if _, err := c.CreateTopics(ctx, CheckpointSpec(name, replicas)); err != nil {
		return err
	}
	topics, err := c.Topics(ctx, name)
	if err != nil {
		return err
	}
	_, err = CheckCheckpoint(topics[name])
	return err
}

// CheckCheckpoint judges the checkpoint topic: a Fault (Refuse) for one that
// could lose a checkpoint or that we may not use, concerns for the rest. Pure.
func CheckCheckpoint(t Topic) (concerns []Concern, err error) {
	switch policy, known := t.Config["cleanup.policy"]; {
	case !t.Exists && t.Allowed == nil:
		return nil, refuse("cdc-relay topics apply", "Kafka has no checkpoint topic %q", t.Name)
	case !t.May("read") || !t.May("write") || !t.May("describe"):
		return nil, refuse("give the relay's user the ACLs Read, Write, Describe and DescribeConfigs on it",
			"no right to use the checkpoint topic %q", t.Name)
	case !known:
		return nil, refuse("give the relay's user the ACL DescribeConfigs on it",
			"cannot see whether the checkpoint topic %q is compacted: its configuration may not be read", t.Name)
	case policy != "compact":
		return nil, refuse(fmt.Sprintf("kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name %s --add-config cleanup.policy=compact", t.Name),
			"the checkpoint topic %q has cleanup.policy %q, which deletes checkpoints: it must be exactly compact", t.Name, policy)
	}
	if t.Partitions != CheckpointPartitions {
		concerns = append(concerns, t.concern("it has %d partitions, not %d: fine as long as the number never changes", t.Partitions, CheckpointPartitions))
	}
	return append(concerns, durability(t)...), nil
}
