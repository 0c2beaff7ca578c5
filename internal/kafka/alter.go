package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// AlterConfig sets these settings of a topic, all or none, and leaves its
// others as they are.
func (c *Client) AlterConfig(ctx context.Context, topic string, settings map[string]string) error {
	ctx, cancel := within(ctx)
	defer cancel()
	res := ck.ConfigResource{Type: ck.ResourceTopic, Name: topic}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		res.Config = append(res.Config, ck.ConfigEntry{Name: key, Value: settings[key], IncrementalOperation: ck.AlterConfigOpTypeSet})
	}
	all, err := c.admin.IncrementalAlterConfigs(ctx, []ck.ConfigResource{res}, requestTimeout(ctx))
	if err == nil && len(all) == 1 && all[0].Error.Code() != ck.ErrNoError {
		err = all[0].Error
	}
	return c.altered(err, "AlterConfigs", "change the configuration of topic "+topic, topic)
}

// learntWithin is how long a broker may take to learn what its controller knows.
const learntWithin = 5 * time.Second

// AddPartitions raises a topic's partitions to n. Somebody else may have done
// so, or be doing it: a topic that has n or more is left as it is.
func (c *Client) AddPartitions(ctx context.Context, topic string, n int) error {
	ctx, cancel := within(ctx)
	defer cancel()
	res, err := c.admin.CreatePartitions(ctx, []ck.PartitionsSpecification{{Topic: topic, IncreaseTo: n}},
		requestTimeout(ctx), ck.SetAdminOperationTimeout(callTimeout))
	if err == nil && len(res) == 1 && res[0].Error.Code() != ck.ErrNoError {
		err = res[0].Error
	}
	if e, ok := AsError(err); ok && e.Code() == ck.ErrInvalidPartitions {
		// The controller knows of another's change before the broker we ask does.
		soon, cancel := context.WithTimeout(ctx, learntWithin)
		defer cancel()
		if c.Await(soon, []string{topic}, func(all map[string]Topic) bool { return all[topic].Partitions >= n }) == nil {
			return nil
		}
	}
	return c.altered(err, "Alter", "add partitions to topic "+topic, topic)
}

// altered words the error of a change. A right that lacks, or a value the
// brokers do not take, is a person's to mend.
func (c *Client) altered(err error, acl, doing, topic string) error {
	if err == nil {
		return nil
	}
	e, _ := AsError(err)
	switch e.Code() {
	case ck.ErrTopicAuthorizationFailed, ck.ErrClusterAuthorizationFailed:
		return refuse("give the relay's user the ACL "+acl+" on the topic, or let an administrator run cdc-relay topics apply", "no right to %s", doing)
	case ck.ErrInvalidConfig, ck.ErrInvalidRequest, ck.ErrPolicyViolation, ck.ErrInvalidPartitions:
		f := refuse("correct the topic class in the contract", "Kafka does not %s as it was asked to", doing)
		f.Err = e
		return f
	}
	return c.classify(err, doing, topic)
}

// Names lists the cluster's topics that begin with prefix and that we may see,
// sorted.
func (c *Client) Names(ctx context.Context, prefix string) ([]string, error) {
	left := callTimeout
	if t, ok := ctx.Deadline(); ok {
		left = min(left, max(time.Until(t), 2*time.Millisecond))
	}
	m, err := c.admin.GetMetadata(nil, true, int(left.Milliseconds()))
	if err != nil {
		return nil, c.classify(err, "ask Kafka for its topics", "")
	}
	var names []string
	for name := range m.Topics {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Await asks about topics until done says so: what a broker has answered
// spreads to the others afterwards.
func (c *Client) Await(ctx context.Context, names []string, done func(map[string]Topic) bool) error {
	ctx, cancel := within(ctx)
	defer cancel()
	for {
		all, err := c.Topics(ctx, names...)
		if err != nil || done(all) {
			return err
		}
		if err := pause(ctx); err != nil {
			return c.classify(err, "wait until the topics are as they were asked to be: "+strings.Join(names, ", "), "")
		}
	}
}
