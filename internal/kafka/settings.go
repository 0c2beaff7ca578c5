package kafka

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// DefaultTransactionTimeout is transaction.timeout.ms when nothing is set: how
// long the broker leaves an open transaction of a dead relay alone. The
// deadlines of commits and of the checkpoint read derive from it.
const DefaultTransactionTimeout = 60 * time.Second

// DefaultBatchSize is batch.size when nothing is set, in bytes. It stays below
// max.message.bytes of a topic with the broker's defaults (1048588), because
// that limit counts whole batches.
const DefaultBatchSize = 1_000_000

// RetryBackoff is retry.backoff.ms and retry.backoff.max.ms of the transactional
// producers: the library asks again, by itself, for what it got no answer to,
// this long after it noticed, give or take 20 % (librdkafka 2.15,
// rd_kafka_broker_buf_retry). AskedOnce follows from it. A larger value makes
// batches wait longer when a partition gets another leader, a smaller one takes
// an ordinary slow commit for one that was asked for twice: docs/adr/0020.
const RetryBackoff = time.Second

// AskedOnce is how soon after a request was sent its answer must come to be
// known as the answer to the only one: before that the library cannot have asked
// again.
const AskedOnce = RetryBackoff * (100 - retryJitter) / 100

// retryJitter is the library's RD_KAFKA_RETRY_JITTER_PERCENT.
const retryJitter = 20

// maxMessageBytes is message.max.bytes when nothing is set. The topic's limit,
// which the sink checks before it produces, is the one that decides; this one
// only has to be out of its way.
const maxMessageBytes = 64 << 20

// Settings are the checked client properties. They are immutable and shared by
// all pipelines of a process.
type Settings struct {
	props      map[string]string // canonical names, the user's only
	txnTimeout time.Duration
	batchSize  int
	bootstrap  string
}

// canonical maps the second names librdkafka has for a property to the first,
// so that a default never meets a value of the user's under another name.
var canonical = map[string]string{
	"metadata.broker.list":           "bootstrap.servers",
	"request.required.acks":          "acks",
	"delivery.timeout.ms":            "message.timeout.ms",
	"max.in.flight":                  "max.in.flight.requests.per.connection",
	"message.send.max.retries":       "retries",
	"compression.codec":              "compression.type",
	"queue.buffering.max.ms":         "linger.ms",
	"auto.commit.enable":             "enable.auto.commit",
	"sasl.mechanism":                 "sasl.mechanisms",
	"sasl.oauthbearer.client.id":     "sasl.oauthbearer.client.credentials.client.id",
	"sasl.oauthbearer.client.secret": "sasl.oauthbearer.client.credentials.client.secret",
	"fetch.message.max.bytes":        "max.partition.fetch.bytes",
}

// refused are the properties exactly-once (or the promised order) depends on,
// each with the reason a user is told.
var refused = map[string]string{
	"transactional.id":           "the relay derives its transactional ids from name and pipeline; fencing depends on them",
	"enable.idempotence":         "transactions need the idempotent producer; it is always on",
	"acks":                       "a transaction is only safe when all in-sync replicas have it; acks is always all",
	"retries":                    "a record that is given up early aborts its transaction; message.timeout.ms is the bound",
	"retry.backoff.ms":           whyBackoff,
	"retry.backoff.max.ms":       whyBackoff,
	"isolation.level":            "the relay reads its checkpoint with read_committed, and knows where it does not",
	"enable.auto.commit":         "the checkpoint lives in the Kafka transaction, not in consumer offsets",
	"enable.auto.offset.store":   "the checkpoint lives in the Kafka transaction, not in consumer offsets",
	"auto.offset.reset":          "the checkpoint read must fail, not jump, when an offset is gone",
	"enable.partition.eof":       "the checkpoint read needs it to see that it reached the end",
	"group.id":                   "the checkpoint read belongs to no consumer group; nothing is committed under it",
	"group.instance.id":          "the checkpoint read belongs to no consumer group",
	"group.remote.assignor":      "the checkpoint read belongs to no consumer group",
	"group.protocol":             "the checkpoint read belongs to no consumer group",
	"partitioner":                "it is murmur2_random, so that a Java producer and the relay choose the same partition for a key; another one would also break the order per key",
	"queuing.strategy":           "lifo would reverse the order of records",
	"delivery.report.only.error": "the commit is the only acknowledgment; delivery reports are off",
	"allow.auto.create.topics":   "topics are created by `cdc-relay topics apply`, never by accident",
	"log.queue":                  "client logs go to the relay's log",
	"default.topic.config":       "write the topic property at the top level",
	"enabled_events":             "it is set by the relay",
	"opaque":                     "it is a pointer of the program",
}

const whyBackoff = "by it the relay knows a commit that may have been asked for twice from one that was not; it is one second"

// NewSettings checks the user's librdkafka properties and returns Settings.
// Nothing is connected. The error names every property that is refused, with
// its reason, in alphabetical order; it is a plain error (bad configuration).
// What librdkafka itself thinks of the rest is asked by Validate.
func NewSettings(properties map[string]string) (*Settings, error) {
	s := &Settings{props: make(map[string]string, len(properties)), txnTimeout: DefaultTransactionTimeout, batchSize: DefaultBatchSize}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		key := name
		if c, ok := canonical[name]; ok {
			key = c
		}
		if why := refusal(key); why != "" {
			errs = append(errs, fmt.Errorf("kafka property %q must not be set: %s", name, why))
			continue
		}
		if _, twice := s.props[key]; twice {
			errs = append(errs, fmt.Errorf("kafka property %q is set twice: it is another name of %q", name, key))
			continue
		}
		s.props[key] = properties[name]
	}
	errs = append(errs, s.limits()...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func refusal(key string) string {
	switch {
	case strings.HasPrefix(key, "go."):
		return "it belongs to the client library and is set by the relay"
	case strings.HasPrefix(key, "{topic}."):
		return "write the topic property at the top level, without {topic}"
	case strings.HasSuffix(key, "_cb"):
		return "it is a callback of the program"
	}
	return refused[key]
}

// limits reads the properties whose value, not whose presence, matters.
func (s *Settings) limits() []error {
	var errs []error
	number := func(key string, def, low, high int, why string) int {
		text, ok := s.props[key]
		if !ok {
			return def
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			errs = append(errs, fmt.Errorf("kafka property %q is %q: want a number from %d to %d: %s", key, text, low, high, why))
			return def
		}
		return n
	}
	ms := number("transaction.timeout.ms", int(DefaultTransactionTimeout.Milliseconds()), 1000, 900_000,
		"after it the broker aborts an open transaction (brokers refuse more than transaction.max.timeout.ms, 15 minutes unless raised)")
	s.txnTimeout = time.Duration(ms) * time.Millisecond
	number("message.timeout.ms", ms, 1, ms, "a record must be given up before its transaction times out (transaction.timeout.ms)")
	number("max.in.flight.requests.per.connection", 5, 1, 5, "more than 5 requests in flight break the idempotent producer's order")
	s.batchSize = number("batch.size", DefaultBatchSize, 1, 1<<31-1, "bytes in one batch")
	if s.bootstrap = s.props["bootstrap.servers"]; strings.TrimSpace(s.bootstrap) == "" {
		errs = append(errs, errors.New(`kafka property "bootstrap.servers" is missing: name at least one broker, host:port`))
	}
	return errs
}

// Bootstrap is bootstrap.servers, for messages to people.
func (s *Settings) Bootstrap() string { return s.bootstrap }

// TransactionTimeout is transaction.timeout.ms.
func (s *Settings) TransactionTimeout() time.Duration { return s.txnTimeout }

// Patience is how long a commit, a fence or a checkpoint read may take before
// it is given up: an orphaned transaction is aborted by the broker
// transaction.timeout.ms after its begin, looked for every 10 s.
func (s *Settings) Patience() time.Duration { return s.txnTimeout + 15*time.Second }

// BatchSize is batch.size: how many bytes the client puts in one batch at most.
func (s *Settings) BatchSize() int { return s.batchSize }

// ProducerConfig returns the configuration of the transactional producer id.
// batchSize, when positive, lowers batch.size below the smallest limit of the
// topics it produces to.
func (s *Settings) ProducerConfig(id string, batchSize int) *ck.ConfigMap {
	m := s.base()
	if batchSize <= 0 || batchSize > s.batchSize {
		batchSize = s.batchSize
	}
	setDefault(m, "message.timeout.ms", strconv.FormatInt(s.txnTimeout.Milliseconds(), 10))
	setDefault(m, "message.max.bytes", strconv.Itoa(maxMessageBytes))
	set(m, "batch.size", strconv.Itoa(batchSize))
	set(m, "transactional.id", id)
	set(m, "transaction.timeout.ms", strconv.FormatInt(s.txnTimeout.Milliseconds(), 10))
	set(m, "enable.idempotence", "true")
	set(m, "acks", "all")
	set(m, "partitioner", "murmur2_random")
	backoff := strconv.FormatInt(RetryBackoff.Milliseconds(), 10)
	set(m, "retry.backoff.ms", backoff)
	set(m, "retry.backoff.max.ms", backoff)
	// Without reports of success the library frees records as they are
	// acknowledged, and a commit need not wait until our side took the reports.
	set(m, "delivery.report.only.error", "true")
	producerChannels(m)
	return m
}

// plainConfig is a producer without a transactional id: the carrier of the
// admin client (its events are polled, an AdminClient's of its own are not and
// would pile up while a broker is away).
func (s *Settings) plainConfig() *ck.ConfigMap {
	m := s.base()
	delete(*m, "transaction.timeout.ms")
	delete(*m, "message.timeout.ms")
	producerChannels(m)
	return m
}

// readerConfig is the consumer of the checkpoint read. The group id only
// satisfies the library; no group is joined.
func (s *Settings) readerConfig() *ck.ConfigMap {
	m := s.base()
	for _, k := range []string{"linger.ms", "compression.type", "transaction.timeout.ms", "message.timeout.ms", "batch.size"} {
		delete(*m, k)
	}
	setDefault(m, "check.crcs", "true")
	set(m, "group.id", "cdc-relay.checkpoint-reader")
	set(m, "isolation.level", "read_committed")
	set(m, "enable.auto.commit", "false")
	set(m, "enable.auto.offset.store", "false")
	set(m, "enable.partition.eof", "true")
	set(m, "auto.offset.reset", "error")
	// The end of a partition is met often and briefly: do not let a fetch that
	// waits there hold back the next window.
	set(m, "fetch.wait.max.ms", "20")
	set(m, "fetch.min.bytes", "1")
	set(m, "fetch.queue.backoff.ms", "10")
	return m
}

// scanConfig is the consumer of a scan: like that of the checkpoint read, but
// for much data in little memory. By default the library alone would queue
// 100 000 messages or 64 MB of payload, each message with half a kilobyte of its
// own, and hold answers of brokers of up to 50 MB, compressed, beside them.
func (s *Settings) scanConfig() *ck.ConfigMap {
	m := s.readerConfig()
	set(m, "group.id", "cdc-relay.audit")
	set(m, "queued.min.messages", "20000")
	set(m, "queued.max.messages.kbytes", "16384")
	set(m, "fetch.max.bytes", "4194304")
	set(m, "max.partition.fetch.bytes", "524288") // a larger batch comes all the same, alone
	set(m, "fetch.wait.max.ms", "100")
	return m
}

// followConfig is the consumer of people who look on: as frugal as a scan. What
// retention deletes while it is behind is gone for it, and no reason to end.
func (s *Settings) followConfig() *ck.ConfigMap {
	m := s.scanConfig()
	set(m, "group.id", "cdc-relay.tail")
	set(m, "auto.offset.reset", "earliest")
	return m
}

// base is the user's properties and the defaults every client shares.
func (s *Settings) base() *ck.ConfigMap {
	m := &ck.ConfigMap{}
	for k, v := range s.props {
		set(m, k, v)
	}
	// A producer's default is true: a topic deleted while we run would come back
	// with the brokers' defaults, and its keys on other partitions.
	set(m, "allow.auto.create.topics", "false")
	setDefault(m, "client.id", "cdc-relay")
	setDefault(m, "compression.type", "lz4")
	setDefault(m, "linger.ms", "5")
	setDefault(m, "enable.metrics.push", "false")
	_, first := s.props["reconnect.backoff.ms"]
	_, most := s.props["reconnect.backoff.max.ms"]
	if !first {
		setDefault(m, "reconnect.backoff.max.ms", "500") // default 10 s: an outage would outlast the broker's
	}
	if !first && !most {
		// The library opens a connection at most every half of this, also the
		// second of a new client, which is the one it works with: at the default
		// of 100 ms every client is 50 ms late.
		set(m, "reconnect.backoff.ms", "20")
	}
	return m
}

// producerChannels sizes the Go side of a producer: by default its two channels
// alone take 24 MB. Delivery reports are off, the commit is the acknowledgment.
func producerChannels(m *ck.ConfigMap) {
	(*m)["go.delivery.reports"] = false
	(*m)["go.events.channel.size"] = 64
	(*m)["go.produce.channel.size"] = 1
}

func set(m *ck.ConfigMap, key, value string) { (*m)[key] = value }

func setDefault(m *ck.ConfigMap, key, value string) {
	if _, ok := (*m)[key]; !ok {
		(*m)[key] = value
	}
}

// Validate asks librdkafka whether it knows every property and value. Nothing
// is connected: the client that is made and thrown away has no brokers.
func (s *Settings) Validate() error {
	m := s.ProducerConfig("validate", 0)
	delete(*m, "bootstrap.servers")
	for k := range *m {
		if strings.HasPrefix(k, "go.") {
			delete(*m, k)
		}
	}
	logs := make(chan ck.LogEvent, 1024) // warnings about it being unconnected are of no interest
	(*m)["go.logs.channel.enable"] = true
	(*m)["go.logs.channel"] = logs
	c, err := ck.NewAdminClient(m)
	if err != nil {
		return fmt.Errorf("kafka properties: %w", err)
	}
	c.Close()
	return nil
}

// Redacted is what Redact puts in a secret's place.
const Redacted = "[redacted]"

// Redact returns a copy of properties that may be printed or logged.
func Redact(properties map[string]string) map[string]string {
	out := make(map[string]string, len(properties))
	for k, v := range properties {
		if v != "" && Secret(k) {
			v = Redacted
		}
		out[k] = v
	}
	return out
}

// Secret reports whether the value of a librdkafka property is a secret:
// passwords, private keys, tokens and what may hold one of them.
func Secret(name string) bool {
	for _, part := range []string{"password", "secret", "passphrase", "private.key", "token.value", "jaas"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	switch name {
	case "ssl.key.pem", "ssl_key", "sasl.oauthbearer.config", "sasl.oauthbearer.extensions":
		return true
	}
	return false
}
