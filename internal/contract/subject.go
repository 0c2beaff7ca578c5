package contract

import (
	"cmp"
	"slices"
)

// SubjectNaming says how the registry's subject of a schema is called. The names are
// those of Confluent's strategies TopicName, RecordName and TopicRecordName.
type SubjectNaming string

// The naming strategies.
const (
	// TopicName is <topic>-value: one line of versions per topic, each
	// compatible with those before it. Records of another name on the topic
	// break it.
	TopicName SubjectNaming = "topic"
	// RecordName is the record's full name: the topic may carry any mixture of
	// records, and one record has the same versions on every topic.
	RecordName SubjectNaming = "record"
	// TopicRecordName is <topic>-<full name of the record>: a mixture, and
	// versions per topic.
	TopicRecordName SubjectNaming = "topic_record"
)

// Subject is what the registry needs one Avro schema for: every version of
// Schema under the name that Naming gives it.
type Subject struct {
	Topic  string // empty: rows name it (RecordName only)
	Schema string // without version
	Naming SubjectNaming
}

// Name is the subject's name for a record of the full name.
func (s Subject) Name(fullName string) string {
	switch s.Naming {
	case RecordName:
		return fullName
	case TopicRecordName:
		return s.Topic + "-" + fullName
	}
	return s.Topic + "-value"
}

// Subjects are all Avro schemas the contract needs in the registry, by topic,
// schema and naming, each once. Under RecordName the topic is of no matter and
// empty.
func (c *Contract) Subjects() []Subject {
	var out []Subject
	for _, r := range c.all() {
		for _, f := range r.Forms {
			if f.Encoding != Avro {
				continue
			}
			s := Subject{Topic: f.Topic, Schema: f.Schema, Naming: f.SubjectNaming}
			if f.SubjectNaming == RecordName {
				s.Topic = ""
			}
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Subject) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Naming, b.Naming))
	})
	return slices.Compact(out)
}

func (m *merger) subjectNaming(at place, v string) SubjectNaming {
	switch SubjectNaming(v) {
	case TopicName, RecordName, TopicRecordName:
	case "topic-record":
		m.bad(at, "%q is written topic_record", v)
	default:
		m.bad(at, "%q names no subjects; write topic (<topic>-value), record (<full name>) or topic_record (<topic>-<full name>)", v)
	}
	return SubjectNaming(v)
}
