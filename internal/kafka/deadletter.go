package kafka

import (
	"fmt"
)

// DeadLetterSpec is a dead letter topic as it is created. replicas 0 leaves the
// number to the brokers.
//
// One partition, because its order is the order of the letters. It is compacted:
// an unresolved letter is never deleted. A row that is too large for its own
// topic has to fit here. What was redriven can be listed for a week.
func DeadLetterSpec(name string, replicas int) NewTopic {
	return NewTopic{Name: name, Partitions: 1, Replicas: replicas, Config: map[string]string{
		"cleanup.policy":            "compact",
		"max.message.bytes":         fmt.Sprint(maxMessageBytes),
		"segment.bytes":             "67108864",
		"min.cleanable.dirty.ratio": "0.1",
		"delete.retention.ms":       "604800000",
	}}
}

// CheckDeadLetters judges a dead letter topic: a Fault (Refuse) for one that
// could lose a letter or its order or that we may not use, concerns for the rest.
// Pure.
func CheckDeadLetters(t Topic) (concerns []Concern, err error) {
	switch policy, known := t.Config["cleanup.policy"]; {
	case !t.Exists && t.Allowed == nil:
		return nil, refuse("cdc-relay topics apply", "Kafka has no dead letter topic %q, and the contract has events that may go there (on_error, unknown_event)", t.Name)
	case !t.May("read") || !t.May("write") || !t.May("describe"):
		return nil, refuse("give the relay's user the ACLs Read, Write, Describe and DescribeConfigs on it",
			"no right to use the dead letter topic %q", t.Name)
	case !known:
		return nil, refuse("give the relay's user the ACL DescribeConfigs on it",
			"cannot see whether the dead letter topic %q is compacted: its configuration may not be read", t.Name)
	case policy != "compact":
		return nil, refuse(fmt.Sprintf("kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name %s --add-config cleanup.policy=compact", t.Name),
			"the dead letter topic %q has cleanup.policy %q, which deletes letters: it must be exactly compact", t.Name, policy)
	case t.Partitions != 1:
		return nil, refuse("name another topic (dead_letters.topic, or dead_letter_topic of the database), then cdc-relay topics apply; letters in this one stay there",
			"the dead letter topic %q has %d partitions: its order is the order of the letters, so it must have one", t.Name, t.Partitions)
	}
	return durability(t), nil
}
