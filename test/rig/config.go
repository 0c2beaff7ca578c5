package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Config is a relay's configuration as tests need it.
type Config struct {
	Name        string            // of the relay
	Environment string            // default testing
	Postgres    string            // URL of one database; or
	Server      string            // URL of the server, with
	Databases   map[string]string // name of the pipeline → its lines of YAML
	Bootstrap   string
	Registry    string
	Prefix      string            // of the topics, so that tests do not meet
	Kafka       map[string]string // further client properties
	Messages    string            // prefix of logical messages that are events
	Lines       []string          // further lines of YAML under postgres
	Extra       string            // further lines of YAML
	References  string            // registry.references
	Contract    string            // instead of Contract(Prefix)
	Schemas     string            // default: those that are shipped
}

// Write writes configuration and contract into dir and returns the
// configuration's path.
func (c Config) Write(dir string) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("name: %s", c.Name)
	line("environment: %s", or(c.Environment, "testing"))
	line("postgres:\n  url: %q", or(c.Postgres, c.Server))
	if c.Messages != "" {
		line("  message_prefix: %q", c.Messages)
	}
	for _, l := range c.Lines {
		line("%s", l)
	}
	if len(c.Databases) > 0 {
		line("databases:")
		for name, lines := range c.Databases {
			line("  %s: {%s}", name, lines)
		}
	}
	line("kafka:\n  bootstrap.servers: %q", c.Bootstrap)
	for k, v := range c.Kafka {
		line("  %s: %q", k, v)
	}
	line("registry:\n  url: %q", c.Registry)
	if c.References != "" {
		line("  references: %s", c.References)
	}
	line("schemas: %q", or(c.Schemas, filepath.Join(Root(), "schemas", "avro")))
	line("events: [events.yaml]")
	line("http:\n  listen: \"127.0.0.1:0\"")
	b.WriteString(c.Extra)
	contract := c.Contract
	if contract == "" {
		contract = Contract(c.Prefix)
	}
	path := filepath.Join(dir, "cdc-relay.yaml")
	if err := os.WriteFile(filepath.Join(dir, "events.yaml"), []byte(contract), 0o644); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Contract is the contract of the three types the services write; its topics
// begin with prefix.
func Contract(prefix string) string {
	return strings.ReplaceAll(`unknown_event: stop
defaults: {encoding: avro, key: [message_key, aggregate_id]}
events:
  - type: essay.state.changed
    topic: PREFIX.essay.state.changed.v1
    key: [payload.data.entity_ref, aggregate_id]
    schema: EssayStateChangedEvent
    topic_class: few
  - type: spellcheck.phase.completed
    topic: PREFIX.spellcheck.phase.completed.v1
    key: [payload.data.batch_id, aggregate_id]
    schema: SpellcheckPhaseCompletedEvent
    topic_class: few
  - type: assessment.result.published
    topic: PREFIX.assessment.result.published.v1
    key: [payload.data.cj_assessment_job_id, aggregate_id]
    schema: AssessmentResultEvent
    topic_class: few
topic_classes:
  few: {partitions: 3, cleanup.policy: delete}
`, "PREFIX", prefix)
}

// Topics are the topics of Contract, in the order of Types.
func Topics(prefix string) []string {
	topics := make([]string, len(Types))
	for i, t := range Types {
		topics[i] = prefix + "." + t + ".v1"
	}
	return topics
}
