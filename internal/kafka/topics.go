package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// DefaultMaxMessageBytes is the brokers' default of max.message.bytes, assumed
// where the relay may not read a topic's configuration.
const DefaultMaxMessageBytes = 1048588

// Topic is what the cluster says about a topic.
type Topic struct {
	Name       string
	Exists     bool
	Partitions int
	Replicas   int // of the partition with the fewest
	// Allowed are the operations our user may do, lower case; nil: not told.
	Allowed []string
	// Config is the topic's whole configuration, defaults included; nil when
	// we have no right to read it.
	Config map[string]string
	// MaxMessageBytes is the limit of one batch, headers included.
	MaxMessageBytes int
}

// Compacted reports whether records without a key are refused by the broker.
func (t *Topic) Compacted() bool { return strings.Contains(t.Config["cleanup.policy"], "compact") }

// May reports whether our user may do op ("write"). Not told is yes: the first
// use will tell.
func (t *Topic) May(op string) bool { return t.Allowed == nil || slices.Contains(t.Allowed, op) }

// Topics asks the cluster about topics. One that does not exist is in the
// answer with Exists false; one we may not see too, with Allowed empty and not
// nil. Nothing is created by asking.
func (c *Client) Topics(ctx context.Context, names ...string) (map[string]Topic, error) {
	out := make(map[string]Topic, len(names))
	if len(names) == 0 {
		return out, nil
	}
	ctx, cancel := within(ctx)
	defer cancel()
	// The library refuses a name that comes twice: pipelines may share topics.
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	res, err := c.admin.DescribeTopics(ctx, ck.NewTopicCollectionOfTopicNames(names),
		ck.SetAdminOptionIncludeAuthorizedOperations(true), requestTimeout(ctx))
	if err != nil {
		return nil, c.classify(err, "ask Kafka about topics", "")
	}
	var there []ck.ConfigResource
	for _, d := range res.TopicDescriptions {
		t, err := c.describe(d)
		if err != nil {
			return nil, err
		}
		out[d.Name] = t
		if t.Exists {
			there = append(there, ck.ConfigResource{Type: ck.ResourceTopic, Name: d.Name})
		}
	}
	return out, c.configs(ctx, there, out)
}

func (c *Client) describe(d ck.TopicDescription) (Topic, error) {
	t := Topic{Name: d.Name, MaxMessageBytes: DefaultMaxMessageBytes}
	switch d.Error.Code() {
	case ck.ErrNoError:
	case ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic, ck.ErrTopicException: // the last: no legal name
		return t, nil
	case ck.ErrTopicAuthorizationFailed:
		t.Allowed = []string{}
		return t, nil
	default:
		return t, c.classify(d.Error, "ask Kafka about topic "+d.Name, d.Name)
	}
	t.Exists, t.Partitions = true, len(d.Partitions)
	for i, p := range d.Partitions {
		if i == 0 || len(p.Replicas) < t.Replicas {
			t.Replicas = len(p.Replicas)
		}
	}
	for _, op := range d.AuthorizedOperations {
		t.Allowed = append(t.Allowed, strings.ToLower(op.String()))
	}
	return t, nil
}

// configs fills Config and MaxMessageBytes where we may read them.
func (c *Client) configs(ctx context.Context, resources []ck.ConfigResource, out map[string]Topic) error {
	if len(resources) == 0 {
		return nil
	}
	res, err := c.admin.DescribeConfigs(ctx, resources, requestTimeout(ctx))
	if err != nil {
		return c.classify(err, "ask Kafka for the configuration of topics", "")
	}
	for _, r := range res {
		switch r.Error.Code() {
		case ck.ErrNoError:
		case ck.ErrTopicAuthorizationFailed:
			continue // the callers say what that means for them
		default:
			return c.classify(r.Error, "ask Kafka for the configuration of topic "+r.Name, r.Name)
		}
		t := out[r.Name]
		t.Config = make(map[string]string, len(r.Config))
		for k, e := range r.Config {
			t.Config[k] = e.Value
		}
		if n, err := strconv.Atoi(t.Config["max.message.bytes"]); err == nil {
			t.MaxMessageBytes = n
		}
		out[r.Name] = t
	}
	return nil
}

// Concern is what is allowed, but not what one would choose.
type Concern struct{ Topic, What string }

// CheckTopics judges the topics a pipeline produces to. The error is a Fault
// (Refuse) that names every topic that is missing or closed to us. Pure.
func CheckTopics(topics map[string]Topic) (concerns []Concern, err error) {
	var missing, closed []string
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		t := topics[name]
		switch {
		case !t.Exists && t.Allowed == nil:
			missing = append(missing, strconv.Quote(name))
		case !t.May("write") || !t.May("describe"):
			closed = append(closed, strconv.Quote(name))
		default:
			concerns = append(concerns, concernsOf(t)...)
		}
	}
	switch {
	case len(missing) > 0:
		return concerns, refuse("cdc-relay topics apply", "Kafka has no topic %s", strings.Join(missing, ", "))
	case len(closed) > 0:
		return concerns, refuse("give the relay's user the ACLs Write and Describe on each of them", "no right to write to topic %s", strings.Join(closed, ", "))
	}
	return concerns, nil
}

func (t *Topic) concern(format string, args ...any) Concern {
	return Concern{Topic: t.Name, What: fmt.Sprintf(format, args...)}
}

func concernsOf(t Topic) []Concern {
	switch {
	case t.Config == nil:
		return []Concern{t.concern("its configuration may not be read (ACL DescribeConfigs); max.message.bytes is taken to be %d", DefaultMaxMessageBytes)}
	case t.Compacted():
		return append(durability(t), t.concern("cleanup.policy is %s: every event needs a key, and a later event with the same key replaces it", t.Config["cleanup.policy"]))
	}
	return durability(t)
}

// durability lists settings with which brokers lose what they acknowledged.
func durability(t Topic) []Concern {
	var out []Concern
	say := func(format string, args ...any) { out = append(out, t.concern(format, args...)) }
	if n, err := strconv.Atoi(t.Config["min.insync.replicas"]); err == nil && n < 2 {
		say("min.insync.replicas is %d: an acknowledged record is lost with one broker", n)
	}
	if t.Replicas == 1 {
		say("it has one replica: an acknowledged record is lost with its broker")
	}
	if t.Config["unclean.leader.election.enable"] == "true" {
		say("unclean.leader.election.enable is true: committed records may be lost")
	}
	return out
}

// NewTopic is a topic to be created.
type NewTopic struct {
	Name       string
	Partitions int
	Replicas   int // 0: the brokers' default.replication.factor
	Config     map[string]string
}

// CreateTopics creates the topics that do not exist and returns their names.
// One that exists is left as it is, whatever its configuration.
func (c *Client) CreateTopics(ctx context.Context, topics ...NewTopic) (created []string, err error) {
	if len(topics) == 0 {
		return nil, nil
	}
	ctx, cancel := within(ctx)
	defer cancel()
	specs := make([]ck.TopicSpecification, len(topics))
	for i, t := range topics {
		specs[i] = ck.TopicSpecification{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replicas, Config: t.Config}
		if t.Replicas == 0 {
			specs[i].ReplicationFactor = -1
		}
	}
	res, err := c.admin.CreateTopics(ctx, specs, requestTimeout(ctx), ck.SetAdminOperationTimeout(callTimeout))
	if err != nil {
		return nil, c.classify(err, "create topics", "")
	}
	var others []string // that were there, or that somebody else makes at this moment
	for _, r := range res {
		switch r.Error.Code() {
		case ck.ErrNoError:
			created = append(created, r.Topic)
		case ck.ErrTopicAlreadyExists:
			others = append(others, r.Topic)
		case ck.ErrTopicAuthorizationFailed, ck.ErrClusterAuthorizationFailed:
			return created, refuse("give the relay's user the ACL Create on the topic, or let an administrator create it",
				"no right to create topic %q", r.Topic)
		case ck.ErrInvalidConfig, ck.ErrInvalidPartitions, ck.ErrInvalidReplicationFactor, ck.ErrTopicException, ck.ErrPolicyViolation:
			f := refuse("correct the topic class in the contract", "Kafka does not create topic %q as it was asked to", r.Topic)
			f.Err = r.Error
			return created, f
		default:
			return created, c.classify(r.Error, "create topic "+r.Topic, r.Topic)
		}
	}
	return created, c.settled(ctx, created, others)
}

// settled waits until every created topic has a leader for each partition, and
// until each of others can be seen at all: the metadata of a new topic spreads
// after the answer to its creation, and after the answer that it exists.
func (c *Client) settled(ctx context.Context, created, others []string) error {
	for names := slices.Concat(created, others); len(names) > 0; {
		res, err := c.admin.DescribeTopics(ctx, ck.NewTopicCollectionOfTopicNames(names), requestTimeout(ctx))
		if err != nil {
			return c.classify(err, "wait for the created topics", "")
		}
		names = names[:0:0]
		for _, d := range res.TopicDescriptions {
			if slices.Contains(created, d.Name) && !led(d) || unseen(d) {
				names = append(names, d.Name)
			}
		}
		if len(names) == 0 {
			return nil
		}
		if err := pause(ctx); err != nil {
			return c.classify(err, "wait for the created topics "+strings.Join(names, ", "), "")
		}
	}
	return nil
}

func unseen(d ck.TopicDescription) bool {
	return d.Error.Code() == ck.ErrUnknownTopicOrPart || d.Error.Code() == ck.ErrUnknownTopic
}

func led(d ck.TopicDescription) bool {
	if d.Error.Code() != ck.ErrNoError || len(d.Partitions) == 0 {
		return false
	}
	return !slices.ContainsFunc(d.Partitions, func(p ck.TopicPartitionInfo) bool { return p.Leader == nil || p.Leader.ID < 0 })
}

// Size is the number of bytes a record takes in a batch of its own, without
// compression: what a broker holds against max.message.bytes. It is an upper
// bound (format v2: 61 bytes of batch, then varints of at most 5 or 10 bytes).
func Size(r *event.Record) int {
	n := 61 + 1 + 5 + 10 + 5 + 5 + 5 + 5 + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 10 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}
