package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KafkaTopic is what the cluster says about a topic. Its fields are those of
// kafka.Topic, in the same order, so that one converts to the other.
type KafkaTopic struct {
	Name            string
	Exists          bool
	Partitions      int
	Replicas        int               // of the partition with the fewest
	Allowed         []string          // operations, lower case; nil: not told; empty: none, not even to see it
	Config          map[string]string // nil: we may not read it
	MaxMessageBytes int
}

func (t KafkaTopic) may(op string) bool { return t.Allowed == nil || slices.Contains(t.Allowed, op) }

// hidden: it may exist, and we may not see it.
func (t KafkaTopic) hidden() bool { return !t.Exists && t.Allowed != nil }

// KafkaFacts are what a Kafka cluster states about itself.
type KafkaFacts struct {
	Bootstrap   string
	Err         error // the cluster could not be asked; the rest is empty then
	ClusterID   string
	Brokers     int
	Checkpoint  KafkaTopic
	Topics      []KafkaTopic // those the contracts name
	DeadLetters []DeadLetters
	// Drift are the differences between a topic and its class that a start is
	// judged by.
	Drift []TopicDrift
	// Unread says of which pipelines the checkpoint cannot be read, and why.
	Unread []string
}

// DriftMended is what to do about a topic that is not as its class says.
const DriftMended = "cdc-relay topics plan shows what would change, and what that does to consumers; then cdc-relay topics apply, " +
	"or correct the class in the contract; to run meanwhile: topics: {on_drift: warn}"

// TopicDrift is one difference; Refused says that a start would refuse it.
type TopicDrift struct {
	Topic, What string
	Refused     bool
}

// checkpointPartitions is how many partitions the checkpoint topic is created
// with; a checkpoint is found by its key.
const checkpointPartitions = 25

// Kafka judges the cluster and the topics. mayCreate: the environment lets
// `run` create topics at start.
func Kafka(f KafkaFacts, mayCreate bool) []Finding {
	if f.Err != nil {
		return scoped("kafka", []Finding{{Fail, "", "connection", fmt.Sprintf("the brokers at %s cannot be asked: %v", f.Bootstrap, f.Err),
			"check kafka.bootstrap.servers, security.protocol and the network from this host"}})
	}
	out := []Finding{{Level: OK, Check: "connection", What: fmt.Sprintf("cluster %s, brokers: %d", f.ClusterID, f.Brokers)}}
	for _, u := range f.Unread {
		out = append(out, Finding{Fail, "", "checkpoint", u, "mend what it says; until then a start fails in the same way"})
	}
	out = append(out, checkpointTopic(f.Checkpoint, mayCreate, f.Brokers)...)
	for _, t := range f.Topics {
		out = append(out, drifted(oneTopic(t, mayCreate, f.Brokers, "write", "describe"), t.Name, f.Drift)...)
	}
	for _, d := range f.DeadLetters {
		out = append(out, deadLetters(d, mayCreate, f.Brokers)...)
	}
	return scoped("kafka", out)
}

// drifted adds what differs from the topic's class.
func drifted(findings []Finding, topic string, drift []TopicDrift) []Finding {
	var out []Finding
	for _, d := range drift {
		if d.Topic != topic {
			continue
		}
		level, do := Warn, "cdc-relay topics plan"
		if d.Refused {
			level, do = Fail, DriftMended
		}
		out = append(out, Finding{Level: level, Check: "topic " + topic, What: d.What, Do: do})
	}
	if len(out) > 0 && findings[0].Level == OK {
		return out
	}
	return append(findings, out...)
}

func checkpointTopic(t KafkaTopic, mayCreate bool, brokers int) []Finding {
	general := oneTopic(t, mayCreate, brokers, "read", "write", "describe")
	if !t.Exists {
		return general
	}
	var out []Finding
	name := "topic " + t.Name
	switch policy, known := t.Config["cleanup.policy"]; {
	case !known:
		out = append(out, Finding{Fail, "", name, "its configuration cannot be read, so that nobody knows whether checkpoints are kept",
			"grant DescribeConfigs on the topic to the relay's user"})
	case policy != "compact":
		out = append(out, Finding{Fail, "", name, fmt.Sprintf("cleanup.policy is %q: checkpoints would be deleted", policy),
			"kafka-configs --alter --topic " + t.Name + " --add-config cleanup.policy=compact"})
	}
	if t.Partitions != checkpointPartitions {
		out = append(out, Finding{Warn, "", name, fmt.Sprintf("%d partitions instead of %d: never change their number while a checkpoint is in it", t.Partitions, checkpointPartitions), ""})
	}
	if len(out) > 0 && general[0].Level == OK {
		return out
	}
	return append(general, out...)
}

// oneTopic judges existence, rights and durability. brokers tells whether more
// replicas are possible at all; 0: do not ask.
func oneTopic(t KafkaTopic, mayCreate bool, brokers int, operations ...string) []Finding {
	name := "topic " + t.Name
	switch {
	case t.hidden():
		return []Finding{{Fail, "", name, "the relay's user may not see it", "grant " + strings.Join(operations, ", ") + " on the topic to the relay's user"}}
	case !t.Exists && mayCreate:
		return []Finding{{Level: OK, Check: name, What: "does not exist yet; cdc-relay run makes it at start in this environment"}}
	case !t.Exists:
		return []Finding{{Fail, "", name, "does not exist", "cdc-relay topics apply"}}
	}
	var out []Finding
	var missing []string
	for _, op := range operations {
		if !t.may(op) {
			missing = append(missing, op)
		}
	}
	if len(missing) > 0 {
		out = append(out, Finding{Fail, "", name, "the relay's user may not " + strings.Join(missing, ", "), "grant " + strings.Join(missing, ", ") + " on the topic to the relay's user"})
	}
	out = append(out, durability(t, brokers)...)
	if len(out) == 0 {
		out = append(out, Finding{Level: OK, Check: name, What: fmt.Sprintf("%d partitions, %d replicas", t.Partitions, t.Replicas)})
	}
	return out
}

// durability: with fewer than two copies an acknowledged commit can be lost
// with one broker, and exactly once with it.
func durability(t KafkaTopic, brokers int) []Finding {
	name := "topic " + t.Name
	var out []Finding
	warn := func(what, do string) { out = append(out, Finding{Warn, "", name, what, do}) }
	alter := "kafka-configs --alter --topic " + t.Name + " --add-config "
	if n, err := strconv.Atoi(t.Config["min.insync.replicas"]); err == nil && n < 2 {
		what := fmt.Sprintf("min.insync.replicas is %d: a committed record is lost with one broker", n)
		do := alter + "min.insync.replicas=2 (with at least 3 replicas)"
		if brokers == 1 {
			do = "a cluster of one broker cannot do better"
		}
		warn(what, do)
	}
	if t.Replicas == 1 && brokers != 1 {
		warn("it has one replica: while its broker is down nothing can be published", "kafka-reassign-partitions to 3 replicas")
	}
	if t.Config["unclean.leader.election.enable"] == "true" {
		warn("unclean.leader.election.enable is true: a broker that lags may become leader, and committed records are lost", alter+"unclean.leader.election.enable=false")
	}
	return out
}
