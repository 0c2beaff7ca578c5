package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/test/fault"
)

// BrokerOption is a wish about a Kafka cluster.
type BrokerOption func(*brokerConfig)

type brokerConfig struct {
	brokers  int
	settings map[string]string
	bench    bool
	killable bool // brokers may be killed: see apache
	proxied  bool // a fault proxy before each broker
}

// BrokerSetting sets a broker property (server.properties), over those of this
// package. Kind external ignores it and says so.
func BrokerSetting(name, value string) BrokerOption {
	return func(c *brokerConfig) { c.settings[name] = value }
}

// Brokers asks for a cluster of n brokers: replication factor 3 and
// min.insync.replicas 2 from three on. Only the kinds apache and embedded can.
func Brokers(n int) BrokerOption { return func(c *brokerConfig) { c.brokers = n } }

// Benchmark gives the broker's Java the collector and the compiler of
// production (G1, all tiers, 1 GB), instead of what starts soonest.
func Benchmark() BrokerOption { return func(c *brokerConfig) { c.bench = true } }

func newBrokerConfig(opts []BrokerOption) (brokerConfig, error) {
	c := brokerConfig{brokers: 1, settings: map[string]string{}}
	for _, o := range opts {
		o(&c)
	}
	if c.brokers < 1 || c.brokers > 9 {
		return c, fmt.Errorf("%d brokers: 1 to 9", c.brokers)
	}
	return c, nil
}

// Kafka is a Kafka cluster. Its methods may be called by several goroutines.
type Kafka struct {
	info    KafkaInfo
	server  kafkaServer
	own     bool
	proxies []*fault.Proxy // by broker number; with Proxied

	mu   sync.Mutex
	down bool // own, and stopped, killed or frozen
}

// KafkaInfo says where a cluster is.
type KafkaInfo struct {
	Bootstrap string `json:"bootstrap"`          // host:port, separated by commas
	Kind      string `json:"kind"`               // apache, redpanda, external, embedded
	Registry  string `json:"registry,omitempty"` // the registry the broker brings
	// Logs are the files with the brokers' messages, where they are here.
	Logs []string `json:"logs,omitempty"`
}

// kafkaServer is the way a cluster is run. nodes are broker numbers from 1;
// none means all.
type kafkaServer interface {
	start(ctx context.Context, nodes []int) error
	stop(ctx context.Context, nodes []int) error
	kill(nodes []int) error
	pause(nodes []int) error
	resume(nodes []int) error
	close() error
}

// Bootstrap returns the addresses for clients: host:port, separated by commas.
func (k *Kafka) Bootstrap() string { return k.info.Bootstrap }

// Kind returns apache, redpanda, external or embedded.
func (k *Kafka) Kind() string { return k.info.Kind }

// Info returns everything known about the cluster.
func (k *Kafka) Info() KafkaInfo { return k.info }

// Stop ends the brokers in order (controlled shutdown) and waits for their end.
// nodes are broker numbers from 1; none means all.
func (k *Kafka) Stop(nodes ...int) error {
	return k.do("stop", nodes, func(ctx context.Context) error { return k.server.stop(ctx, nodes) })
}

// Start starts stopped or killed brokers on the same ports and data, and waits
// until the cluster answers with all its running brokers.
func (k *Kafka) Start(nodes ...int) error {
	return k.do("start", nodes, func(ctx context.Context) error { return k.server.start(ctx, nodes) })
}

// Kill ends brokers with SIGKILL.
func (k *Kafka) Kill(nodes ...int) error {
	return k.do("kill", nodes, func(context.Context) error { return k.server.kill(nodes) })
}

// Pause freezes brokers: connections stay open, and nothing answers.
func (k *Kafka) Pause(nodes ...int) error {
	return k.do("pause", nodes, func(context.Context) error { return k.server.pause(nodes) })
}

// Resume continues frozen brokers.
func (k *Kafka) Resume(nodes ...int) error {
	return k.do("resume", nodes, func(context.Context) error { return k.server.resume(nodes) })
}

// do runs one verb on an own cluster, bounded, one at a time.
func (k *Kafka) do(verb string, nodes []int, f func(context.Context) error) error {
	if !k.own {
		return fmt.Errorf("%s the broker: %w", verb, ErrNotOwned)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		return fmt.Errorf("%s the broker (%s, nodes %v): %w", verb, k.info.Kind, nodes, err)
	}
	k.down = verb != "start" && verb != "resume"
	return nil
}

func (k *Kafka) isDown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.down
}

// Topic creates a topic with a fresh name and waits until each partition has a
// leader. config holds topic properties; nil is fine. The topic is deleted with
// the test's end.
func (k *Kafka) Topic(t testing.TB, partitions int, config map[string]string) string {
	t.Helper()
	name := topicName(t.Name()) + "-" + randomHex()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := k.CreateTopic(ctx, name, partitions, config); err != nil {
		t.Fatalf("stack: %v", err)
	}
	t.Cleanup(func() {
		if k.isDown() {
			return // an own cluster: it ends with the test
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := k.DeleteTopic(ctx, name); err != nil {
			t.Errorf("stack: %v", err)
		}
	})
	return name
}

// topicName keeps what a topic name may hold of a test's name.
func topicName(test string) string {
	legal := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, test)
	return legal[:min(len(legal), 100)]
}

// CreateTopic creates a topic and waits until each partition has a leader.
func (k *Kafka) CreateTopic(ctx context.Context, name string, partitions int, config map[string]string) error {
	cl, err := k.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, int32(partitions), -1
	for key, value := range maps.All(config) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = key, &value
		topic.Configs = append(topic.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 15000
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	for _, r := range resp.Topics {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			detail := ""
			if r.ErrorMessage != nil {
				detail = ": " + *r.ErrorMessage
			}
			return fmt.Errorf("create topic %s: %w%s", name, err, detail)
		}
	}
	var last error
	led := poll(patience, 10*time.Millisecond, func() bool {
		last = topicLed(ctx, cl, name, partitions)
		return last == nil || ctx.Err() != nil
	})
	if !led || last != nil {
		return fmt.Errorf("topic %s is created but not ready: %w", name, errors.Join(last, ctx.Err()))
	}
	return nil
}

// topicLed asks for the topic's metadata and tells what it still lacks.
func topicLed(ctx context.Context, cl *kgo.Client, name string, partitions int) error {
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return err
		}
		if len(t.Partitions) != partitions {
			return fmt.Errorf("%d of %d partitions", len(t.Partitions), partitions)
		}
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil || p.Leader < 0 {
				return fmt.Errorf("partition %d has no leader: %w", p.Partition, err)
			}
		}
	}
	return nil
}

// DeleteTopic deletes a topic and waits until the broker knows: the controller
// answers before, and a record sent meanwhile would still be taken. One that is
// gone already is fine.
func (k *Kafka) DeleteTopic(ctx context.Context, name string) error {
	cl, err := k.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 15000
	req.TopicNames = []string{name}
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = &name
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	for _, r := range resp.Topics {
		err := kerr.ErrorForCode(r.ErrorCode)
		if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("delete topic %s: %w", name, err)
		}
	}
	var last error
	gone := poll(patience, 10*time.Millisecond, func() bool {
		last = topicLed(ctx, cl, name, 0)
		return errors.Is(last, kerr.UnknownTopicOrPartition) || ctx.Err() != nil
	})
	if !gone || ctx.Err() != nil {
		return fmt.Errorf("topic %s is deleted but still served: %w", name, errors.Join(last, ctx.Err()))
	}
	return nil
}

// client returns a client for a few requests; it connects at the first.
func (k *Kafka) client() (*kgo.Client, error) { return newClient(k.info.Bootstrap) }

func newClient(bootstrap string) (*kgo.Client, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.DialTimeout(10*time.Second),
		kgo.RetryTimeout(patience),
		kgo.MetadataMinAge(10*time.Millisecond),
	)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", bootstrap, err)
	}
	return cl, nil
}

// brokersReady waits until the cluster's metadata lists want brokers (at least
// one when want is 0). check is asked in between and ends the wait early.
func brokersReady(ctx context.Context, bootstrap string, want int, check func() error) error {
	var last error
	ok := poll(patience, 20*time.Millisecond, func() bool {
		if last = errors.Join(ctx.Err(), check()); last != nil {
			return true
		}
		last = brokersListed(ctx, bootstrap, want)
		return last == nil
	})
	if !ok {
		return fmt.Errorf("the broker at %s does not answer within %s: %w", bootstrap, patience, last)
	}
	return last
}

// brokersListed asks each address by a client of its own: a cluster whose first
// broker is up answers for all, and the others may still refuse.
func brokersListed(ctx context.Context, bootstrap string, want int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.RequestRetries(0),
		kgo.DialTimeout(10*time.Second), kgo.RequestTimeoutOverhead(10*time.Second))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Ping(ctx); err != nil {
		return err
	}
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	if len(resp.Brokers) < max(want, 1) {
		return fmt.Errorf("%d of %d brokers", len(resp.Brokers), want)
	}
	return nil
}
