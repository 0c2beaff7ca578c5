package contract

import (
	"errors"
	"maps"
	"slices"
)

// Encoding is what the value of a record is.
type Encoding string

// The encodings.
const (
	Avro  Encoding = "avro"  // Confluent wire format; the payload is checked against its schema
	JSON  Encoding = "json"  // the payload unchanged
	Bytes Encoding = "bytes" // the payload unchanged, and not necessarily JSON
)

// Unknown is what becomes of an event type no file describes.
type Unknown string

// The policies for unknown events.
const (
	UnknownStop    Unknown = "stop"    // the pipeline stops
	UnknownDefault Unknown = "default" // it is published by the defaults
	// UnknownDeadLetter writes it to the dead letter topic. Under the default
	// on_error dead_letter_and_hold_key it holds its aggregate.
	UnknownDeadLetter Unknown = "dead_letter"
)

// OnError is what becomes of an event that cannot be published.
type OnError string

// The policies for events that cannot be published.
const (
	Stop       OnError = "stop"        // the pipeline stops
	DeadLetter OnError = "dead_letter" // it goes to the dead letter topic; what comes later goes on
	// HoldKey is DeadLetter, and later events with its topic and key are parked
	// behind it, so that a redrive publishes all of them in order.
	HoldKey OnError = "dead_letter_and_hold_key"
)

// The header presets.
const (
	PresetNative   = "native"
	PresetDebezium = "debezium"
)

// MaxTopicLength is the longest topic name Kafka takes, in bytes.
const MaxTopicLength = 249

// Contract is the checked meaning of all files. It never changes; it is safe
// for concurrent use.
type Contract struct {
	unknown  Unknown
	onError  OnError
	rules    []*Rule
	byType   map[string]*Rule
	def      *Rule
	key      []KeySource
	classes  map[string]TopicClass
	prefix   string   // of topic names; "" none is prescribed
	misnamed []string // names that break the naming rule, under level: warn
}

// Rule is what an event type is. Forms[0] is the event itself, the others its
// `also` forms; each becomes one record.
type Rule struct {
	Type  string // empty: the defaults
	Forms []Form
	At    string // where it is written: "events.yaml:12"

	OnError OnError // never empty
}

// Form is one form in which an event is published, with all defaults applied.
type Form struct {
	Topic      string // empty: the row or the mapping must name it
	Encoding   Encoding
	Schema     string      // name without version; Avro only needs it
	Key        []KeySource // the form's own rule; nil: Contract.DefaultKey
	TopicClass string      // empty: none
	Preset     string      // of headers; empty: that of the mapping
	HeadersOff bool        // only the row's own headers; Add is not sent either
	Legacy     bool        // the topic's class is how it is created; an existing one is left as it is
	Add        []HeaderAdd // by name
	Claim      Claim

	SubjectNaming SubjectNaming // of the registry's subject; Avro only
}

// HeaderAdd is a header that a form has besides the standard ones. One that the
// row gives wins over it.
type HeaderAdd struct {
	Name    string
	Sources []KeySource // the first that gives a value; none: no header
}

// Unknown is the policy for event types no file describes.
func (c *Contract) Unknown() Unknown { return c.unknown }

// OnError is the default policy for events that cannot be published: that of
// rows whose event type cannot be told.
func (c *Contract) OnError() OnError { return c.onError }

// DeadLetters reports whether any event can become a dead letter.
func (c *Contract) DeadLetters() bool {
	return c.unknown == UnknownDeadLetter || c.onError != Stop ||
		slices.ContainsFunc(c.rules, func(r *Rule) bool { return r.OnError != Stop })
}

// Lookup finds the rule of an event type without an allocation.
func (c *Contract) Lookup(eventType []byte) (*Rule, bool) {
	r, ok := c.byType[string(eventType)]
	return r, ok
}

// Default is the rule unknown events follow under UnknownDefault.
func (c *Contract) Default() *Rule { return c.def }

// DefaultKey is the key rule of forms without one of their own, and what is
// tried last for the others. It is never empty.
func (c *Contract) DefaultKey() []KeySource { return c.key }

// Rules are all event types, in the order of the files.
func (c *Contract) Rules() []*Rule { return c.rules }

// Class is the topic class of that name.
func (c *Contract) Class(name string) (TopicClass, bool) {
	cl, ok := c.classes[name]
	return cl, ok
}

// Topic is a topic the contract names.
type Topic struct {
	Name  string
	Class string // empty: none
	Types []string
	// Legacy: only second forms that are marked so go there, and none has a class
	// of its own. An existing topic is left as it is.
	Legacy bool
}

// Topics are all topics the contract names, by name.
func (c *Contract) Topics() []Topic {
	found := map[string]*Topic{}
	for _, r := range c.all() {
		for _, f := range r.Forms {
			if f.Topic == "" {
				continue
			}
			t := found[f.Topic]
			if t == nil {
				t = &Topic{Name: f.Topic, Legacy: true}
				found[f.Topic] = t
			}
			t.Legacy = t.Legacy && f.Legacy
			if t.Class == "" {
				t.Class = f.TopicClass
			}
			if r.Type != "" && !slices.Contains(t.Types, r.Type) {
				t.Types = append(t.Types, r.Type)
			}
		}
	}
	var out []Topic
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, *found[name])
	}
	return out
}

// all are the rules that can come to pass: the default rule only if unknown
// events follow it.
func (c *Contract) all() []*Rule {
	if c.unknown != UnknownDefault {
		return c.rules
	}
	return append(slices.Clone(c.rules), c.def)
}

// Nearest is the known event type that looks most like eventType, if any is
// near enough to be a slip of the pen.
func (c *Contract) Nearest(eventType string) (string, bool) {
	return Nearest(eventType, slices.Sorted(maps.Keys(c.byType)))
}

// CheckTopic says why name is no legal Kafka topic name; nil: it is one.
func CheckTopic(name string) error {
	switch {
	case name == "":
		return errors.New("a topic name is empty")
	case len(name) > MaxTopicLength:
		return errors.New("a topic name has at most 249 characters")
	case name == "." || name == "..":
		return errors.New("a topic is called neither . nor .. in Kafka")
	}
	for i := range len(name) {
		if !topicChar(name[i]) {
			return errors.New("a topic name holds only a-z, A-Z, 0-9, '.', '_' and '-'")
		}
	}
	return nil
}

func topicChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}
