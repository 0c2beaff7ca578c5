package transform

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// Mapping says where a row holds what. Each field is a list of sources; the
// first that gives a value that is not null and not empty counts. A source is
//
//	column                  a column
//	column.a.b, column[0].x a place inside a JSON column (contract.ParsePath)
//	"any name".a            a column whose name is no plain word
//	const:TEXT              this text
//
// A nil field is that of Preset, an empty list is "the row does not say".
type Mapping struct {
	// Preset is native (cdc_relay.outbox), debezium (the defaults of Debezium's
	// outbox event router) or empty: native.
	Preset string `yaml:"preset"`

	ID            []string `yaml:"id"`
	Type          []string `yaml:"type"`
	AggregateType []string `yaml:"aggregate_type"`
	AggregateID   []string `yaml:"aggregate_id"`
	Topic         []string `yaml:"topic"`
	Key           []string `yaml:"key"`
	Headers       []string `yaml:"headers"`
	Payload       []string `yaml:"payload"`
	// PayloadOmit are members of the payload that are no part of the event: the
	// topic and the headers in the envelope of a polling outbox.
	PayloadOmit []string `yaml:"payload_omit"`
	OccurredAt  []string `yaml:"occurred_at"`
	// SchemaVersion, when nil, is the member schema_version of the payload,
	// wherever the payload is.
	SchemaVersion []string `yaml:"schema_version"`

	// DefaultTopic is the topic of events for which neither the row nor the
	// contract names one. It may hold ${aggregate_type} and ${event_type}, written
	// with two dollars in a file, where one stands for the environment.
	DefaultTopic string `yaml:"default_topic"`
}

// Native is the mapping of the table cdc_relay.outbox, and of the JSON object in
// a logical message, whose members have the names of that table's columns.
func Native() Mapping {
	return Mapping{
		Preset: contract.PresetNative,
		ID:     []string{"id"}, Type: []string{"event_type"},
		AggregateType: []string{"aggregate_type"}, AggregateID: []string{"aggregate_id"},
		Topic: []string{"topic"}, Key: []string{"message_key"},
		Headers: []string{"headers"}, Payload: []string{"payload"},
		OccurredAt: []string{"occurred_at"},
	}
}

// Debezium is the mapping of the table Debezium's outbox event router reads by
// default: key aggregateid, topic outbox.event.<aggregatetype>.
func Debezium() Mapping {
	return Mapping{
		Preset: contract.PresetDebezium,
		ID:     []string{"id"}, Type: []string{"type"},
		AggregateType: []string{"aggregatetype"}, AggregateID: []string{"aggregateid"},
		Topic: []string{}, Key: []string{}, Headers: []string{},
		Payload: []string{"payload"}, OccurredAt: []string{},
		DefaultTopic: "outbox.event.${aggregate_type}",
	}
}

// Check says what is wrong with a mapping, all at once; nil: nothing.
func (m Mapping) Check() error {
	_, err := compileMapping(m)
	return err
}

// field is one thing a row says about its event.
type field uint8

const (
	fieldID field = iota
	fieldType
	fieldAggregateType
	fieldAggregateID
	fieldTopic
	fieldKey
	fieldHeaders
	fieldPayload
	fieldOccurredAt
	fieldSchemaVersion
	fields
)

var fieldNames = [fields]string{
	"id", "type", "aggregate_type", "aggregate_id", "topic", "key", "headers", "payload", "occurred_at", "schema_version",
}

func (m *Mapping) field(f field) *[]string {
	return [fields]*[]string{
		&m.ID, &m.Type, &m.AggregateType, &m.AggregateID, &m.Topic, &m.Key,
		&m.Headers, &m.Payload, &m.OccurredAt, &m.SchemaVersion,
	}[f]
}

// source is one compiled source.
type source struct {
	spec   string // as written
	column string
	path   *jsonPath // nil: the whole column
	text   []byte    // const; nil: none
}

// mapping is a compiled Mapping.
type mapping struct {
	preset string
	fields [fields][]source
	topic  topicTemplate
	omit   omitted
	// versionInPayload: the schema version is looked for in the payload.
	versionInPayload bool
}

func compileMapping(m Mapping) (*mapping, error) {
	base := Native()
	switch m.Preset {
	case "", contract.PresetNative:
	case contract.PresetDebezium:
		base = Debezium()
	default:
		return nil, fmt.Errorf("mapping: preset %q is none; write native or debezium", m.Preset)
	}
	out := &mapping{preset: base.Preset, versionInPayload: m.SchemaVersion == nil}
	var errs []error
	for f := range fields {
		specs := *m.field(f)
		if specs == nil {
			specs = *base.field(f)
		}
		for _, spec := range specs {
			s, err := parseSource(spec)
			if err != nil {
				errs = append(errs, fmt.Errorf("mapping: %s: %w", fieldNames[f], err))
			}
			out.fields[f] = append(out.fields[f], s)
		}
	}
	for _, f := range []field{fieldType, fieldPayload} {
		if len(out.fields[f]) == 0 {
			errs = append(errs, fmt.Errorf("mapping: %s has no source; name the column that holds it", fieldNames[f]))
		}
	}
	var err error
	if out.omit, err = compileOmit(m.PayloadOmit); err != nil {
		errs = append(errs, err)
	}
	if m.DefaultTopic == "" {
		m.DefaultTopic = base.DefaultTopic
	}
	if out.topic, err = parseTopicTemplate(m.DefaultTopic); err != nil {
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

func parseSource(spec string) (source, error) {
	if text, ok := strings.CutPrefix(spec, "const:"); ok {
		if text == "" {
			return source{}, fmt.Errorf("%q has no text; write const:TEXT", spec)
		}
		return source{spec: spec, text: []byte(text)}, nil
	}
	column, rest, err := cutColumn(spec)
	if err != nil {
		return source{}, err
	}
	s := source{spec: spec, column: column}
	if rest == "" {
		return s, nil
	}
	p, err := contract.ParsePath(strings.TrimPrefix(rest, "."))
	if err != nil || rest == "." {
		return s, fmt.Errorf("%q: what follows the column is no path into its JSON; write column.a.b or column[0].a", spec)
	}
	s.path = newPath(p)
	return s, nil
}

// cutColumn splits a source after its column name.
func cutColumn(spec string) (column, rest string, err error) {
	if strings.HasPrefix(spec, `"`) {
		quoted, err := strconv.QuotedPrefix(spec)
		if err != nil {
			return "", "", fmt.Errorf("%s: the quote of the column name is not closed", spec)
		}
		if column, err = strconv.Unquote(quoted); err != nil || column == "" {
			return "", "", fmt.Errorf("%s is no column name", quoted)
		}
		return column, spec[len(quoted):], nil
	}
	end := strings.IndexAny(spec, ".[")
	if end < 0 {
		end = len(spec)
	}
	if end == 0 {
		return "", "", fmt.Errorf("%q names no column; write column, column.path or const:TEXT", spec)
	}
	return spec[:end], spec[end:], nil
}
