package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The checks of single values. Each reports what is wrong and returns the value
// nevertheless, so that one slip makes one message.

func (m *merger) topic(at place, v string) string {
	if err := CheckTopic(v); err != nil {
		m.bad(at, "%q: %v; write for instance %q", v, err, legalTopic(v))
	}
	return v
}

// legalTopic is v with every character Kafka refuses replaced.
func legalTopic(v string) string {
	b := []byte(strings.Trim(v, " \t"))
	for i := range b {
		if !topicChar(b[i]) {
			b[i] = '-'
		}
	}
	if s := string(b[:min(len(b), MaxTopicLength)]); CheckTopic(s) == nil {
		return s
	}
	return "company.domain.event.v1"
}

func (m *merger) encoding(at place, v string) Encoding {
	switch Encoding(v) {
	case Avro, JSON, Bytes:
	default:
		m.bad(at, "%q is no encoding; write avro, json or bytes", v)
	}
	return Encoding(v)
}

func (m *merger) onError(at place, v string) OnError {
	switch OnError(v) {
	case Stop, DeadLetter, HoldKey:
	default:
		m.bad(at, "%q is no policy for events that cannot be published; write stop, dead_letter or dead_letter_and_hold_key", v)
	}
	return OnError(v)
}

func (m *merger) preset(at place, v string) string {
	switch v {
	case PresetNative, PresetDebezium:
	case "cloudevents":
		m.bad(at, "%q is not available yet in this version; write native or debezium", v)
	default:
		m.bad(at, "%q is no header preset; write native or debezium", v)
	}
	return v
}

func (m *merger) key(at place, sources []string) []KeySource {
	out := make([]KeySource, 0, len(sources))
	for i, s := range sources {
		src, err := ParseKeySource(s)
		switch {
		case err != nil:
			m.bad(at, "source %d: %v", i+1, err)
			continue
		case src.Kind == KeyConst && i < len(sources)-1:
			m.bad(at, "source %d: %q always gives a value, so what follows it is never tried; put it last", i+1, s)
		case slices.ContainsFunc(out, func(other KeySource) bool { return other.String() == src.String() }):
			m.bad(at, "source %d: %q is in the list already; leave it out", i+1, s)
		}
		out = append(out, src)
	}
	return out
}

func (m *merger) class(at place, v string) string {
	if _, ok := m.c.classes[v]; ok {
		return v
	}
	names := slices.Sorted(maps.Keys(m.c.classes))
	switch best, ok := Nearest(v, names); {
	case ok:
		m.bad(at, "%q is not among topic_classes; did you mean %q?", v, best)
	case len(names) > 0:
		m.bad(at, "%q is not among topic_classes; write one of %s, or define it there", v, strings.Join(names, ", "))
	default:
		m.bad(at, "%q is not defined; write topic_classes: {%s: {partitions: 12}}", v, v)
	}
	return v
}

// classes checks the topic classes, and that each topic has one class only.
func (m *merger) classes() {
	for _, name := range slices.Sorted(maps.Keys(m.c.classes)) {
		at, cl := m.classAt[name].at, m.c.classes[name]
		if cl.Partitions <= 0 {
			m.bad(at.sub("partitions"), "%d: a topic has at least one partition; write partitions: 12", cl.Partitions)
		}
		if cl.ReplicationFactor < 0 {
			m.bad(at.sub("replication_factor"), "%d: write a number of brokers, or leave it out for the broker's default", cl.ReplicationFactor)
		}
		for _, key := range slices.Sorted(maps.Keys(cl.Config)) {
			m.config(at.sub(key), key, cl.Config[key])
		}
	}
	owner := map[string]*Rule{}
	class := map[string]string{}
	for _, r := range m.c.all() {
		for _, f := range r.Forms {
			first, seen := owner[f.Topic]
			if f.Topic == "" || f.TopicClass == "" {
				continue
			}
			if !seen {
				owner[f.Topic], class[f.Topic] = r, f.TopicClass
				continue
			}
			if class[f.Topic] != f.TopicClass {
				m.errs = append(m.errs, classConflict(r, first, f, class[f.Topic]))
			}
		}
	}
}

// config checks one topic-level setting. Which names exist is the broker's
// matter and changes with its version; only what cannot be one is refused.
func (m *merger) config(at place, key, value string) {
	known := []string{"partitions", "replication_factor"}
	if !strings.Contains(key, ".") && key != "preallocate" {
		if best, ok := Nearest(key, known); ok {
			m.bad(at, "is no setting of a topic class; did you mean %s?", best)
			return
		}
		m.bad(at, "is no setting of a topic class; write partitions, replication_factor or a topic-level setting of Kafka such as retention.ms")
		return
	}
	if value == "" {
		m.bad(at, "has no value; write one or leave the setting out")
		return
	}
	if key != "cleanup.policy" {
		return
	}
	for p := range strings.SplitSeq(value, ",") {
		if p = strings.TrimSpace(p); p != "compact" && p != "delete" {
			m.bad(at, "%q is no clean-up policy; write delete, compact or \"compact,delete\"", value)
			return
		}
	}
}

func classConflict(r, first *Rule, f Form, class string) error {
	return fmt.Errorf("%s: topic %q has the class %q here and %q in %s; a topic is created once: write the same topic_class in both",
		r.At, f.Topic, f.TopicClass, class, first.At)
}
