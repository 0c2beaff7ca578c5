package consumer

import (
	"fmt"
	"strconv"
	"time"
)

// Names of the headers of a record, in the order the relay writes them.
const (
	HeaderEventID       = "event_id"
	HeaderEventType     = "event_type"
	HeaderSchemaVersion = "schema_version"
	HeaderOccurredAt    = "occurred_at"
	HeaderContentType   = "content_type"
	HeaderTraceID       = "trace_id"
	HeaderCorrelationID = "correlation_id"
	HeaderTraceparent   = "traceparent"

	// HeaderDebeziumID is the event id of the preset debezium.
	HeaderDebeziumID = "id"
	// HeaderReplayID marks a record of `cdc-relay run --from-lsn`, which was
	// published before.
	HeaderReplayID = "cdc_replay_id"
	// HeaderRepairID marks a record of `cdc-relay repair`, which was missing:
	// it comes late, behind later events of its key.
	HeaderRepairID = "cdc_repair_id"
	// HeaderRedriveID marks a record of `cdc-relay dlq redrive`, which was a dead
	// letter: it comes late, too.
	HeaderRedriveID = "cdc_redrive_id"
)

// Pair is a header of a record as Kafka clients hold it: kafka.Header of
// confluent-kafka-go and segmentio/kafka-go, kgo.RecordHeader of franz-go.
type Pair interface {
	~struct {
		Key   string
		Value []byte
	}
}

// Message is a record as the inbox knows it: where it is, and its headers. It
// shares the values of the headers with the record.
type Message struct {
	Topic     string
	Partition int32
	Offset    int64
	Headers   Headers
}

// NewMessage makes the Message of a record.
func NewMessage[H Pair](topic string, partition int32, offset int64, headers []H) Message {
	return Message{Topic: topic, Partition: partition, Offset: offset, Headers: NewHeaders(headers)}
}

// String says where the record is: topic, partition and offset.
func (m Message) String() string {
	return m.Topic + "/" + strconv.FormatInt(int64(m.Partition), 10) + "@" + strconv.FormatInt(m.Offset, 10)
}

// Headers are the headers of a record. The zero value has none. Of headers with
// one name the last counts, as in Kafka's own clients.
type Headers struct{ list []header }

type header = struct {
	Key   string
	Value []byte
}

// NewHeaders takes headers as a Kafka client holds them; it copies no value.
func NewHeaders[H Pair](headers []H) Headers {
	list := make([]header, len(headers))
	for i, h := range headers {
		list[i] = header(h)
	}
	return Headers{list}
}

// Get returns the value of a header; ok: there is one.
func (h Headers) Get(name string) (value string, ok bool) {
	for i := len(h.list) - 1; i >= 0; i-- {
		if h.list[i].Key == name {
			return string(h.list[i].Value), true
		}
	}
	return "", false
}

// Names lists the names in the order of the record.
func (h Headers) Names() []string {
	names := make([]string, len(h.list))
	for i := range h.list {
		names[i] = h.list[i].Key
	}
	return names
}

func (h Headers) text(name string) string {
	v, _ := h.Get(name)
	return v
}

// EventID identifies the event, however often it is published: header event_id,
// else id (preset debezium); "" if there is neither.
func (h Headers) EventID() string {
	if v := h.text(HeaderEventID); v != "" {
		return v
	}
	return h.text(HeaderDebeziumID)
}

// EventType is what happened, as the contract names it; "": not given.
func (h Headers) EventType() string { return h.text(HeaderEventType) }

// ContentType is application/avro, application/json or
// application/octet-stream; "": not given.
func (h Headers) ContentType() string { return h.text(HeaderContentType) }

// TraceID is the trace the event belongs to, in whatever form the service
// that wrote it has; "": not given.
func (h Headers) TraceID() string { return h.text(HeaderTraceID) }

// CorrelationID is what belongs together across events; "": not given.
func (h Headers) CorrelationID() string { return h.text(HeaderCorrelationID) }

// Traceparent is the W3C trace context of who wrote the event; "": not given.
func (h Headers) Traceparent() string { return h.text(HeaderTraceparent) }

// ReplayID is the replay that published the record again; "": none did.
func (h Headers) ReplayID() string { return h.text(HeaderReplayID) }

// RepairID is the repair that published the record late; "": none did.
func (h Headers) RepairID() string { return h.text(HeaderRepairID) }

// RedriveID is the redrive that published the dead letter; "": none did.
func (h Headers) RedriveID() string { return h.text(HeaderRedriveID) }

// SchemaVersion is the version of the event's schema; 0: not given.
func (h Headers) SchemaVersion() (int, error) {
	text, ok := h.Get(HeaderSchemaVersion)
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("consumer: header %s is %.40q, not a number", HeaderSchemaVersion, text)
	}
	return n, nil
}

// OccurredAt is when the event happened, in UTC; zero: not given.
func (h Headers) OccurredAt() (time.Time, error) {
	text, ok := h.Get(HeaderOccurredAt)
	if !ok {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("consumer: header %s is %.40q, not a time as in 2026-02-03T04:05:06Z (RFC 3339)", HeaderOccurredAt, text)
	}
	return at.UTC(), nil
}
