package contract

import "strings"

// File is one decoded events.yaml. Several of them, one per team, make a
// Contract.
type File struct {
	// Name is the file's name as messages print it.
	Name string `yaml:"-"`
	// Lines gives the line of each place in the file, so that messages can name
	// it. The decoder fills it by a walk over the document: a key of a mapping
	// adds "." and the key to the path (no dot at the start), an element of a
	// list adds "[i]":
	//
	//	"unknown_event" → 1, "events[2].also[0].topic" → 31,
	//	"topic_classes.results.retention.ms" → 44
	//
	// A place that is not in it takes the line of the nearest one around it. Nil
	// is allowed: messages then name the file only.
	Lines map[string]int `yaml:"-"`

	// Unknown is what becomes of an event type no file describes: stop (the
	// default), default or dead_letter.
	Unknown      string                `yaml:"unknown_event"`
	Defaults     Defaults              `yaml:"defaults"`
	Events       []Event               `yaml:"events"`
	TopicClasses map[string]TopicClass `yaml:"topic_classes"`
	Naming       Naming                `yaml:"naming"`
}

// Defaults hold for every event of every file that does not say otherwise, and
// they are the whole rule of unknown events under unknown_event: default.
type Defaults struct {
	Topic      string   `yaml:"topic"`
	Key        []string `yaml:"key"`
	Schema     string   `yaml:"schema"` // of unknown events only
	Encoding   string   `yaml:"encoding"`
	TopicClass string   `yaml:"topic_class"`
	Headers    Headers  `yaml:"headers"`
	OnError    string   `yaml:"on_error"` // stop | dead_letter | dead_letter_and_hold_key
	// SubjectName names the registry's subjects: topic (the default), record or
	// topic_record; see SubjectNaming.
	SubjectName string `yaml:"subject_name"`
	// ClaimCheck may not name fields: those are an event's own.
	ClaimCheck ClaimCheck `yaml:"claim_check"`
}

// Event is one event type as a file describes it. What is empty is taken from
// Defaults.
type Event struct {
	Type       string   `yaml:"type"`
	Topic      string   `yaml:"topic"`
	Key        []string `yaml:"key"`
	Schema     string   `yaml:"schema"`
	Encoding   string   `yaml:"encoding"`
	Also       []Also   `yaml:"also"`
	TopicClass string   `yaml:"topic_class"`
	Headers    Headers  `yaml:"headers"`
	OnError    string   `yaml:"on_error"`

	SubjectName string     `yaml:"subject_name"`
	ClaimCheck  ClaimCheck `yaml:"claim_check"`
}

// Also is a second form of an event, produced in the same transaction. What is
// empty is taken from the event.
type Also struct {
	// Legacy: the topic keeps its name, which may break the naming rule, and its
	// settings (unless TopicClass is written here), until its last consumer has
	// moved and the form is deleted.
	Legacy     bool     `yaml:"legacy"`
	Topic      string   `yaml:"topic"`
	Key        []string `yaml:"key"`
	Schema     string   `yaml:"schema"`
	Encoding   string   `yaml:"encoding"`
	TopicClass string   `yaml:"topic_class"`
	Headers    Headers  `yaml:"headers"`

	SubjectName string     `yaml:"subject_name"`
	ClaimCheck  ClaimCheck `yaml:"claim_check"`
}

// Headers say which standard headers an event has. Enabled: false is the
// rollback flag: only the row's own headers are sent.
type Headers struct {
	Enabled *bool  `yaml:"enabled"`
	Preset  string `yaml:"preset"` // native | debezium; empty: that of the mapping
	// Add are headers besides the standard ones: name → sources, as in a key
	// rule. Those of an event lie over the defaults', name by name; an empty list
	// takes one away.
	Add map[string][]string `yaml:"add"`
}

// ClaimCheck says what of an event goes into object storage when it is large;
// the record then holds an ArtifactRef in its place. Sizes and durations are
// text: "50KB", "720h". What is empty is taken from the defaults.
type ClaimCheck struct {
	Payload     *bool    `yaml:"payload"`      // the whole value; false turns off what the defaults say
	Fields      []string `yaml:"fields"`       // paths in the payload, as in data.corrected_text
	Over        string   `yaml:"over"`         // more bytes than this; default 50KB
	TTL         string   `yaml:"ttl"`          // how long the object is needed; empty: for ever
	ContentType string   `yaml:"content_type"` // of the object
	Encryption  string   `yaml:"encryption"`   // what the bucket does, told to consumers; the relay encrypts nothing
	Type        string   `yaml:"type"`         // a symbol of ArtifactType
}

// TopicClass is how topics of a class are created.
type TopicClass struct {
	Partitions        int `yaml:"partitions"`
	ReplicationFactor int `yaml:"replication_factor"` // 0: the broker's default
	// Config holds topic-level settings under their Kafka names, as they are
	// sent: cleanup.policy, retention.ms, max.message.bytes, …
	Config map[string]string `yaml:",inline"`
}

// line is the line of path, or of the nearest place around it; 0: unknown.
func (f *File) line(path string) int {
	for path != "" {
		if n := f.Lines[path]; n > 0 {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return 0
		}
		path = path[:i]
	}
	return 0
}
