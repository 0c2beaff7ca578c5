package transform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// route is the topic of a form: the row's own (of the event itself, not of its
// `also` forms), else the rule's, else the mapping's default.
func (t *Transformer) route(f *form, own bool) (*string, error) {
	if !own {
		return f.topic, nil
	}
	name, given := t.row.scalar(fieldTopic)
	if !given && f.topic != nil {
		return f.topic, nil
	}
	from := "the row"
	if !given {
		from = "the mapping's default_topic"
		if name, given = t.templateTopic(); !given {
			return nil, t.fault(nil, "write topic: NAME for the event in events.yaml, or have the service name one",
				"neither the row nor the contract names a topic")
		}
	}
	if topic, ok := t.topics[string(name)]; ok {
		return topic, nil
	}
	if err := contract.CheckTopic(string(name)); err != nil {
		return nil, t.fault(err, "have the service write a legal name, or leave it null and write topic: NAME for the event in events.yaml",
			"the topic %q of %s is no Kafka topic", clip(name), from)
	}
	if slices.Contains(t.opts.Reserved, string(name)) {
		return nil, t.fault(nil, "have the service name another topic", "the topic %q of %s is the relay's own", clip(name), from)
	}
	if len(t.topics) >= maxInterned {
		clear(t.topics)
	}
	topic := string(name)
	t.topics[topic] = &topic
	return &topic, nil
}

// maxInterned bounds how many topics and header names of rows are remembered.
const maxInterned = 4096

// topicTemplate is a topic name with places for what the row says.
type topicTemplate []templatePart

type templatePart struct {
	text  string
	field field // used when text is empty
}

func parseTopicTemplate(s string) (topicTemplate, error) {
	var out topicTemplate
	for rest := s; rest != ""; {
		text, after, ok := strings.Cut(rest, "${")
		if text != "" {
			out = append(out, templatePart{text: text})
		}
		if !ok {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		switch {
		case closed && name == "aggregate_type":
			out = append(out, templatePart{field: fieldAggregateType})
		case closed && name == "event_type":
			out = append(out, templatePart{field: fieldType})
		default:
			return nil, fmt.Errorf("mapping: default_topic %q: ${%s is no place; write ${aggregate_type} or ${event_type}", s, name)
		}
		rest = after
	}
	for _, p := range out {
		if err := contract.CheckTopic("x" + p.text); err != nil {
			return nil, fmt.Errorf("mapping: default_topic %q: %w", s, err)
		}
	}
	return out, nil
}

// templateTopic fills the mapping's default topic into scratch. False: there is
// none, or the row lacks what it asks for.
func (t *Transformer) templateTopic() ([]byte, bool) {
	buf := t.topicBuf[:0]
	for _, p := range t.mapping.topic {
		if p.text != "" {
			buf = append(buf, p.text...)
			continue
		}
		v, ok := t.row.scalar(p.field)
		if !ok {
			return nil, false
		}
		buf = append(buf, v...)
	}
	t.topicBuf = buf
	return buf, len(buf) > 0
}
