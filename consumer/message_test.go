package consumer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/consumer"
)

// plain is a header of a client we never heard of.
type plain struct {
	Key   string
	Value []byte
}

// pairs are the headers of one record as three clients hold them.
func pairs(kv ...string) (confluent []kafka.Header, franz []kgo.RecordHeader, other []plain) {
	for at := 0; at < len(kv); at += 2 {
		confluent = append(confluent, kafka.Header{Key: kv[at], Value: []byte(kv[at+1])})
		franz = append(franz, kgo.RecordHeader{Key: kv[at], Value: []byte(kv[at+1])})
		other = append(other, plain{kv[at], []byte(kv[at+1])})
	}
	return confluent, franz, other
}

func headers(kv ...string) consumer.Headers {
	_, franz, _ := pairs(kv...)
	return consumer.NewHeaders(franz)
}

func TestHeadersOfEveryClient(t *testing.T) {
	t.Parallel()
	confluent, franz, other := pairs("event_id", "e1", "event_type", "essay.done", "schema_version", "2",
		"occurred_at", "2026-02-03T05:05:06.000007+01:00", "content_type", "application/avro", "trace_id", "t", "correlation_id", "c",
		"traceparent", "tp", "cdc_replay_id", "r-1", "cdc_repair_id", "p-1", "cdc_redrive_id", "d-1", "tenant", "a", "tenant", "b")
	for name, h := range map[string]consumer.Headers{
		"confluent-kafka-go": consumer.NewHeaders(confluent), "franz-go": consumer.NewHeaders(franz), "plain": consumer.NewHeaders(other),
	} {
		got := []string{h.EventID(), h.EventType(), h.ContentType(), h.TraceID(), h.CorrelationID(), h.Traceparent(), h.ReplayID(), h.RepairID(), h.RedriveID()}
		if want := []string{"e1", "essay.done", "application/avro", "t", "c", "tp", "r-1", "p-1", "d-1"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if v, err := h.SchemaVersion(); v != 2 || err != nil {
			t.Errorf("%s: schema version %d, error %v", name, v, err)
		}
		if at, err := h.OccurredAt(); err != nil || !at.Equal(time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)) || at.Location() != time.UTC {
			t.Errorf("%s: occurred at %v, error %v", name, at, err)
		}
		if v, ok := h.Get("tenant"); v != "b" || !ok { // the last, as Kafka's lastHeader
			t.Errorf("%s: tenant %q %t", name, v, ok)
		}
		if n := h.Names(); len(n) != 13 || n[0] != "event_id" || n[12] != "tenant" {
			t.Errorf("%s: names %q", name, n)
		}
	}
	m := consumer.NewMessage("essay.v1", 3, 17, franz)
	if m.String() != "essay.v1/3@17" || m.Headers.EventID() != "e1" {
		t.Errorf("message %s, id %s", m, m.Headers.EventID())
	}
}

func TestHeadersThatAreNotThere(t *testing.T) {
	t.Parallel()
	for _, h := range []consumer.Headers{{}, headers("other", "x")} {
		v, verr := h.SchemaVersion()
		at, aerr := h.OccurredAt()
		if h.EventID()+h.EventType()+h.ContentType()+h.TraceID()+h.CorrelationID()+h.Traceparent()+h.ReplayID()+h.RepairID()+h.RedriveID() != "" ||
			v != 0 || verr != nil || !at.IsZero() || aerr != nil {
			t.Errorf("something out of %q", h.Names())
		}
	}
	if got := headers("id", "d1").EventID(); got != "d1" {
		t.Errorf("debezium: %q", got)
	}
	if got := headers("id", "d1", "event_id", "e1").EventID(); got != "e1" {
		t.Errorf("both: %q", got)
	}
	if _, err := headers("schema_version", "two").SchemaVersion(); err == nil || !strings.Contains(err.Error(), `schema_version is "two"`) {
		t.Errorf("schema version: %v", err)
	}
	if _, err := headers("occurred_at", "yesterday").OccurredAt(); err == nil || !strings.Contains(err.Error(), "RFC 3339") {
		t.Errorf("occurred at: %v", err)
	}
}
