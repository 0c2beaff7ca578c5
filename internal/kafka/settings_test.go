package kafka

import (
	"strings"
	"testing"
	"time"
)

func TestPropertiesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, value, want string }{
		{"transactional.id", "x", "derives its transactional ids"},
		{"enable.idempotence", "false", "always on"},
		{"acks", "1", "acks is always all"},
		{"request.required.acks", "1", "acks is always all"},
		{"retries", "3", "message.timeout.ms is the bound"},
		{"message.send.max.retries", "3", "message.timeout.ms is the bound"},
		{"isolation.level", "read_uncommitted", "read_committed"},
		{"enable.auto.commit", "true", "checkpoint lives in the Kafka transaction"},
		{"auto.commit.enable", "true", "checkpoint lives in the Kafka transaction"},
		{"enable.auto.offset.store", "true", "checkpoint lives in the Kafka transaction"},
		{"auto.offset.reset", "latest", "must fail, not jump"},
		{"enable.partition.eof", "false", "reached the end"},
		{"group.id", "x", "no consumer group"},
		{"partitioner", "random", "murmur2_random"},
		{"queuing.strategy", "lifo", "order"},
		{"delivery.report.only.error", "true", "commit is the only acknowledgment"},
		{"retry.backoff.ms", "100", "a commit that may have been asked for twice"},
		{"retry.backoff.max.ms", "1000", "a commit that may have been asked for twice"},
		{"go.batch.producer", "true", "set by the relay"},
		{"{topic}.acks", "1", "without {topic}"},
		{"dr_msg_cb", "x", "callback"},
		{"max.in.flight", "6", "1 to 5"},
		{"max.in.flight.requests.per.connection", "100", "1 to 5"},
		{"message.timeout.ms", "60001", "1 to 60000"},
		{"message.timeout.ms", "0", "1 to 60000"},
		{"delivery.timeout.ms", "70000", "1 to 60000"},
		{"transaction.timeout.ms", "1m", "want a number"},
		{"transaction.timeout.ms", "900001", "1000 to 900000"},
		{"batch.size", "0", "want a number"},
	} {
		_, err := NewSettings(map[string]string{"bootstrap.servers": "b:1", tc.name: tc.value})
		if err == nil {
			t.Errorf("%s=%s was taken", tc.name, tc.value)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) || strings.Count(err.Error(), "\n") != 0 {
			t.Errorf("%s=%s: %v, want one line with %q", tc.name, tc.value, err, tc.want)
		}
	}
	_, err := NewSettings(map[string]string{"acks": "1", "group.id": "g"})
	if err == nil || strings.Count(err.Error(), "\n") != 2 || !strings.Contains(err.Error(), `"bootstrap.servers" is missing`) {
		t.Errorf("every refusal should be named: %v", err)
	}
	_, err = NewSettings(map[string]string{"bootstrap.servers": "b:1", "linger.ms": "1", "queue.buffering.max.ms": "2"})
	if err == nil || !strings.Contains(err.Error(), "set twice") {
		t.Errorf("two names of one property: %v", err)
	}
}

func TestDefaultsGiveWayToTheUser(t *testing.T) {
	t.Parallel()
	s, err := NewSettings(map[string]string{
		"metadata.broker.list": "b:1", "transaction.timeout.ms": "30000", "compression.codec": "zstd",
		"queue.buffering.max.ms": "1", "reconnect.backoff.ms": "2000", "sasl.mechanism": "PLAIN", "batch.size": "5000",
	})
	if err != nil {
		t.Fatal(err)
	}
	p := *s.ProducerConfig("n/p/0", 4000)
	for k, want := range map[string]any{
		"bootstrap.servers": "b:1", "transactional.id": "n/p/0", "transaction.timeout.ms": "30000", "message.timeout.ms": "30000",
		"compression.type": "zstd", "linger.ms": "1", "acks": "all", "enable.idempotence": "true", "partitioner": "murmur2_random",
		"batch.size": "4000", "sasl.mechanisms": "PLAIN", "enable.metrics.push": "false", "client.id": "cdc-relay", "go.delivery.reports": false,
	} {
		if p[k] != want {
			t.Errorf("producer %s = %v, want %v", k, p[k], want)
		}
	}
	if v, ok := p["reconnect.backoff.max.ms"]; ok {
		t.Errorf("reconnect.backoff.max.ms = %v below the user's reconnect.backoff.ms", v)
	}
	if got := (*s.ProducerConfig("x", 1<<30))["batch.size"]; got != "5000" {
		t.Errorf("batch.size %v, want the user's 5000", got)
	}
	r := *s.readerConfig()
	if r["isolation.level"] != "read_committed" || r["enable.partition.eof"] != "true" || r["enable.auto.commit"] != "false" {
		t.Errorf("reader: %v", r)
	}
	if s.TransactionTimeout() != 30*time.Second || s.Patience() != 45*time.Second {
		t.Errorf("timeouts %s %s", s.TransactionTimeout(), s.Patience())
	}
}

func TestValidateAsksTheLibrary(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, value, want string }{
		{"socket.keepalive.enable", "true", ""},
		{"fetch.min.bytes", "7", ""}, // a consumer's, which the producer only ignores
		{"no.such.property", "1", "no.such.property"},
		{"compression.type", "rar", "compression"},
	} {
		s, err := NewSettings(map[string]string{"bootstrap.servers": "127.0.0.1:1", tc.name: tc.value})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s=%s: %v, want %q", tc.name, tc.value, err, tc.want)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	in := map[string]string{
		"sasl.password": "s3", "ssl.key.password": "s3", "ssl.keystore.password": "s3", "ssl.key.pem": "s3", "sasl.oauthbearer.client.secret": "s3",
		"sasl.oauthbearer.config": "s3", "sasl.oauthbearer.assertion.private.key.pem": "s3", "sasl.oauthbearer.assertion.private.key.passphrase": "s3",
		"ssl.certificate.pem": "public", "sasl.username": "public", "ssl.ca.location": "public", "ssl.key.location": "public", "sasl.jaas.config": "s3",
		"bootstrap.servers": "",
	}
	for k, v := range Redact(in) {
		if want := map[string]string{"s3": Redacted, "public": "public", "": ""}[in[k]]; v != want {
			t.Errorf("%s = %q, want %q", k, v, want)
		}
	}
	if in["sasl.password"] != "s3" {
		t.Error("Redact changed its argument")
	}
}

// The figures are those of Kafka's own UtilsTest.
func TestMurmur2IsJavas(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
		if p := Partition([]byte(key), 25); p != (want&0x7fffffff)%25 {
			t.Errorf("Partition(%q) = %d", key, p)
		}
	}
}
