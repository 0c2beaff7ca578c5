package schema

import (
	"fmt"
	"strings"
)

// Line is what one subject of the registry is to hold: the versions of all
// schemas that go into it, in the order they are registered in.
type Line struct {
	Subject string
	Topic   string // empty: the subject belongs to no one topic
	Schemas []Named
}

// Conflict is two schemas that one subject cannot hold.
type Conflict struct {
	Subject string   `json:"subject"`
	Topic   string   `json:"topic,omitempty"`
	Level   Level    `json:"level"`
	Before  string   `json:"before"`
	After   string   `json:"after"`
	Reasons []Reason `json:"reasons"`
}

// Head says what cannot be, without the reasons.
func (c Conflict) Head() string {
	at := "subject " + c.Subject
	if c.Topic != "" {
		at = "topic " + c.Topic + ", " + at
	}
	return fmt.Sprintf("%s: %s cannot follow %s at the level %s", at, c.After, c.Before, c.Level)
}

// String is the whole finding in one line, with what to do.
func (c Conflict) String() string {
	var b strings.Builder
	b.WriteString(c.Head() + ":")
	for _, r := range c.Reasons {
		fmt.Fprintf(&b, " %s;", r)
	}
	if c.Topic != "" {
		b.WriteString(" to have both on one topic, write subject_name: record (or topic_record)")
	}
	return strings.TrimSuffix(b.String(), ";")
}

// SideBySide finds the schemas that cannot be registered one after the other
// under one subject, and so cannot flow side by side during a rollout under that
// naming of subjects. It asks nobody: level is the one to judge by. A schema
// that cannot be read is lint's to tell, and is left out.
func SideBySide(lines []Line, level Level) []Conflict {
	var out []Conflict
	for _, l := range lines {
		for i := 1; i < len(l.Schemas); i++ {
			from := i - 1
			if level.Transitive() {
				from = 0
			}
			for j := from; j < i; j++ {
				reasons, err := Compare(level, l.Schemas[i], l.Schemas[j])
				if err == nil && len(reasons) > 0 {
					out = append(out, Conflict{l.Subject, l.Topic, level, l.Schemas[j].Name, l.Schemas[i].Name, reasons})
				}
			}
		}
	}
	return out
}
