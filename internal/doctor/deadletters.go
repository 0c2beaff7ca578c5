package doctor

import "fmt"

// DeadLetters are what there is to say about a pipeline's dead letter topic.
type DeadLetters struct {
	Pipeline string
	Topic    KafkaTopic
	Needed   bool // events of the contract may go there
	Err      error
	Dead     int
	Parked   int
	HeldKeys int
	Oldest   string // when the first of them was committed, RFC 3339
}

// deadLetters judges the topic as a start does, and warns of what lies in it.
func deadLetters(d DeadLetters, mayCreate bool, brokers int) []Finding {
	t := d.Topic
	name := "topic " + t.Name
	if !t.Exists && !d.Needed {
		return nil
	}
	out := oneTopic(t, mayCreate, brokers, "read", "write", "describe")
	if !t.Exists {
		return out
	}
	switch policy, known := t.Config["cleanup.policy"]; {
	case !known:
		out = append(out, Finding{Fail, "", name, "its configuration cannot be read, so that nobody knows whether dead letters are kept", "grant DescribeConfigs on the topic to the relay's user"})
	case policy != "compact":
		out = append(out, Finding{Fail, "", name, fmt.Sprintf("cleanup.policy is %q: dead letters would be deleted", policy), "kafka-configs --alter --topic " + t.Name + " --add-config cleanup.policy=compact"})
	}
	if t.Partitions != 1 {
		out = append(out, Finding{Fail, "", name, fmt.Sprintf("%d partitions: the order of dead letters is that of one", t.Partitions), "name another topic (dead_letters.topic), then cdc-relay topics apply"})
	}
	switch {
	case d.Err != nil:
		out = append(out, Finding{Warn, "", name, fmt.Sprintf("its letters cannot be read: %v", d.Err), "cdc-relay dlq list --pipeline " + d.Pipeline})
	case d.Dead+d.Parked > 0:
		out = append(out, Finding{Warn, "", name, fmt.Sprintf("%d dead letters, %d events parked behind them, %d keys held; the first event was committed at %s", d.Dead, d.Parked, d.HeldKeys, d.Oldest),
			"cdc-relay dlq list --pipeline " + d.Pipeline})
	}
	return out
}
