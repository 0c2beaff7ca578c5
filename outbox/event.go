package outbox

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Event is one row of the outbox.
type Event struct {
	// ID identifies the event for every consumer. Zero: the one it carries (the
	// header event_id, else that of an envelope, which is a Payload whose
	// event_type is Type), if it is a UUID; else Publish makes one. To know it,
	// set it with NewID, or pass a slice (events...), in which it is filled in.
	ID ID
	// AggregateType and AggregateID say which thing the event is about, as in
	// "essay" and its id. AggregateID is the record's key when neither Key nor
	// the contract gives another. Both required.
	AggregateType string
	AggregateID   string
	Type          string // what happened, as the contract names it; required
	Topic         string // "": the contract decides
	Key           string // "": the contract decides
	// Headers go to the record as they are, over those the relay makes of the
	// same name.
	Headers map[string]string
	// Payload is the event: []byte, json.RawMessage or string hold JSON and are
	// kept as they are, any other value is marshalled. It must be a JSON object.
	Payload any
	// OccurredAt is when it happened. Zero: now, filled in as ID is.
	OccurredAt time.Time
}

// ID is a UUID. Any [16]byte type converts to it: outbox.ID(uuid.New()).
type ID [16]byte

// NewID returns a new UUID of version 7: it begins with the time, so that the
// primary key grows at its end.
func NewID() ID {
	var id ID
	ms := time.Now().UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	_, _ = rand.Read(id[6:]) // never fails: it ends the program if the system has no randomness
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// String is the usual form of a UUID, in lower case.
func (id ID) String() string {
	var b [36]byte
	at := 0
	for i, part := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			b[at] = '-'
			at++
		}
		at += hex.Encode(b[at:], part)
	}
	return string(b[:])
}

// EventError says what is wrong with one of the events given to Publish. The
// database was not asked.
type EventError struct {
	Index  int    // among the events of the call, from 0
	Type   string // of the event
	Field  string // of Event
	Reason string
	Err    error // cause, may be nil
}

func (e *EventError) Error() string {
	return fmt.Sprintf("outbox: event %d (type %q): %s %s", e.Index, e.Type, e.Field, e.Reason)
}

func (e *EventError) Unwrap() error { return e.Err }

// topicName is what Kafka takes; the table has the same rule.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// prepared is an event as the table takes it.
type prepared struct {
	headers, payload []byte
}

// prepare checks e and fills in what it leaves to us.
func (e *Event) prepare(index int) (prepared, error) {
	fail := func(field, reason string, err error) (prepared, error) {
		return prepared{}, &EventError{Index: index, Type: e.Type, Field: field, Reason: reason, Err: err}
	}
	for _, f := range []struct{ name, value string }{{"AggregateType", e.AggregateType}, {"AggregateID", e.AggregateID}, {"Type", e.Type}} {
		if f.value == "" {
			return fail(f.name, "is empty", nil)
		}
	}
	for _, f := range []struct{ name, value string }{{"AggregateType", e.AggregateType}, {"AggregateID", e.AggregateID}, {"Type", e.Type}, {"Key", e.Key}} {
		if !isText(f.value) {
			return fail(f.name, "holds a zero byte or is not UTF-8; Postgres cannot store that", nil)
		}
	}
	if e.Topic != "" && (!topicName.MatchString(e.Topic) || e.Topic == "." || e.Topic == "..") {
		return fail("Topic", fmt.Sprintf("%q is not the name of a Kafka topic: letters, digits, dot, underscore and hyphen, at most 249", e.Topic), nil)
	}
	for name, value := range e.Headers {
		if name == "" || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return fail("Headers", fmt.Sprintf("has the entry %q: %q; names must not be empty and both must be UTF-8", name, value), nil)
		}
	}
	headers := []byte("{}")
	if len(e.Headers) > 0 {
		var err error
		if headers, err = json.Marshal(e.Headers); err != nil {
			return fail("Headers", "cannot be written as JSON: "+err.Error(), err)
		}
	}
	payload, err := payloadOf(e.Payload)
	if err != nil {
		return fail("Payload", err.Error(), err)
	}
	if e.ID == (ID{}) {
		e.ID = e.carried(payload)
	}
	if e.OccurredAt.IsZero() {
		e.OccurredAt = time.Now()
	}
	if y := e.OccurredAt.UTC().Year(); y < 1 || y > 9999 {
		return fail("OccurredAt", fmt.Sprintf("is in the year %d", y), nil)
	}
	return prepared{headers: headers, payload: payload}, nil
}

// carried is the id that e carries, else a new one.
func (e *Event) carried(payload []byte) ID {
	if id, ok := parseID(e.Headers["event_id"]); ok {
		return id
	}
	if bytes.Contains(payload, []byte(`"event_id"`)) { // most are not parsed again
		var envelope struct {
			ID   any `json:"event_id"`
			Type any `json:"event_type"`
		}
		if json.Unmarshal(payload, &envelope) == nil && envelope.Type == e.Type {
			text, _ := envelope.ID.(string)
			if id, ok := parseID(text); ok {
				return id
			}
		}
	}
	return NewID()
}

// parseID reads the usual form of a UUID.
func parseID(s string) (id ID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, false
	}
	n, err := hex.Decode(id[:], []byte(strings.ReplaceAll(s, "-", "")))
	return id, err == nil && n == len(id)
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// payloadOf returns the JSON of an event.
func payloadOf(v any) ([]byte, error) {
	var raw []byte
	switch v := v.(type) {
	case nil:
		return nil, fmt.Errorf("is missing")
	case []byte:
		raw = v
	case json.RawMessage:
		raw = v
	case string:
		raw = []byte(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("cannot be written as JSON: %w", err)
		}
		raw = b
	}
	if !json.Valid(raw) {
		return nil, fmt.Errorf("is not valid JSON: %.60q", raw)
	}
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("is not UTF-8")
	}
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); trimmed[0] != '{' {
		return nil, fmt.Errorf("is not a JSON object: %.60q", raw)
	}
	return raw, nil
}
