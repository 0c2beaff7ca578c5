package transform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
)

// Schema is one version of a schema and the id the registry gave it.
type Schema struct {
	ID   int
	Text string // self-contained: named types of other files are inlined
}

// encoder appends the Avro body of JSON text; avrojson.Encoder is it.
type encoder interface {
	Append(dst, json []byte) ([]byte, error)
}

// version is one version of a schema, compiled. The encoder belongs to the
// Transformer.
type version struct {
	number int
	text   []byte
	id     uint32
	enc    encoder
}

// schemaBook compiles each schema version once.
type schemaBook struct {
	opts  *Options
	books map[string][]*version
}

func compileAvro(schema string) (encoder, error) {
	p, err := avrojson.Compile(schema)
	if err != nil {
		return nil, err
	}
	return p.NewEncoder(), nil
}

// versions are the compiled versions of a schema in ascending order.
func (s *schemaBook) versions(name string) ([]*version, error) {
	if v, ok := s.books[name]; ok {
		return v, nil
	}
	var out []*version
	var errs []error
	if s.opts.Versions == nil || s.opts.Schemas == nil {
		return nil, fmt.Errorf("schema %s: no schemas were loaded", name)
	}
	numbers := slices.Sorted(slices.Values(s.opts.Versions(name)))
	for _, n := range slices.Compact(numbers) {
		v, err := s.version(name, n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, v)
	}
	if len(numbers) == 0 {
		errs = append(errs, fmt.Errorf("schema %s: there is no file of it; write schemas/avro/%sV1.avsc", name, name))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.books[name] = out
	return out, nil
}

func (s *schemaBook) version(name string, n int) (*version, error) {
	schema, ok := s.opts.Schemas(name, n)
	if !ok {
		return nil, fmt.Errorf("schema %sV%d: it is listed but not there", name, n)
	}
	if schema.ID <= 0 || schema.ID > 1<<31-1 {
		return nil, fmt.Errorf("schema %sV%d: id %d is none of a schema registry", name, n, schema.ID)
	}
	enc, err := s.opts.compile(schema.Text)
	if err != nil {
		return nil, fmt.Errorf("schema %sV%d: %w", name, n, err)
	}
	return &version{
		number: n, text: strconv.AppendInt(nil, int64(n), 10),
		id: uint32(schema.ID), enc: enc,
	}, nil
}

// defaultVersion is what a row that names no version means: the only one, else
// version 1 (nil: there is none).
func defaultVersion(all []*version) *version {
	if len(all) == 1 {
		return all[0]
	}
	for _, v := range all {
		if v.number == 1 {
			return v
		}
	}
	return nil
}

// loadVersion finds the schema version the row names: in its header, else by
// the mapping, else in the payload; nil: it names none.
func (t *Transformer) loadVersion() {
	if v, ok := t.row.given.text(stdSchemaVersion, ""); ok {
		t.version = v
		return
	}
	m := t.mapping
	if t.row.m.Rel == nil {
		m = t.message
	}
	if m.versionInPayload {
		t.version, _ = t.row.inPayload(t.schemaVersion)
		return
	}
	t.version, _ = t.row.scalar(fieldSchemaVersion)
}

// pick is the schema version of the row in a form's schema.
func (t *Transformer) pick(f *form) (*version, error) {
	if t.version == nil {
		if v := f.byDefault; v != nil {
			return v, nil
		}
		return nil, t.fault(versionError(nil, "missing, and there is no version 1"), "have the service write schema_version",
			"the row names no schema version, and schema %s has no version 1 but %s", f.schema, f.known())
	}
	n, err := parseVersion(t.version)
	if err != nil {
		return nil, t.fault(versionError(t.version, "is not a whole number from 1 on"), "have the service write a whole number from 1 on",
			"schema_version %q is no version", clip(t.version))
	}
	for _, v := range f.versions {
		if v.number == n {
			return v, nil
		}
	}
	return nil, t.fault(versionError(t.version, "is not one of "+f.known()),
		fmt.Sprintf("add the file %sV%d.avsc to the schemas, register it (cdc-relay schemas register) and start the relay again", f.schema, n),
		"the relay knows no schema %sV%d, only the versions %s", f.schema, n, f.known())
}

// versionError is the cause of a fault about schema_version in the form the
// payload's are in, so that a dead letter has a path and a rule.
func versionError(value []byte, rule string) *avrojson.Error {
	return &avrojson.Error{Path: "schema_version", Value: clip(value), Rule: rule}
}

func (f *form) known() string {
	var out []string
	for _, v := range f.versions {
		out = append(out, strconv.Itoa(v.number))
	}
	return strings.Join(out, ", ")
}

var errVersion = errors.New("no version")

// parseVersion reads a decimal number from 1 to 999999 without allocating.
func parseVersion(b []byte) (int, error) {
	if len(b) > 6 {
		return 0, errVersion
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, errVersion
		}
		n = n*10 + int(c-'0')
	}
	if n == 0 {
		return 0, errVersion
	}
	return n, nil
}

// wireMagic opens a value in Confluent's wire format: zero, the schema id in four
// bytes, big-endian, then the Avro body.
const wireMagic = 0

// value writes the value of a form into the batch; nil is a tombstone.
func (t *Transformer) value(b *event.Batch, f *form) ([]byte, error) {
	t.claimed.reset()
	if t.row.payload == nil {
		return nil, nil
	}
	if f.encoding != contract.Avro {
		payload, err := t.claimFields(b, f, nil)
		if err != nil {
			return nil, err
		}
		return t.claimValue(b, f, keepText(b, payload))
	}
	t.step = stepVersion
	v, err := t.pick(f)
	if err != nil {
		return nil, err
	}
	payload, err := t.claimFields(b, f, v)
	if err != nil {
		return nil, err
	}
	t.step = stepSchema
	buf := append(b.Buf(len(payload)+5), wireMagic)
	buf = binary.BigEndian.AppendUint32(buf, v.id)
	if buf, err = v.enc.Append(buf, payload); err != nil {
		return nil, t.fault(err,
			fmt.Sprintf("mend the service for the events to come; this one is in the log as it is, so allow it in the schema (%sV%d.avsc and the types it names) or publish the type unencoded (encoding: json, %s)",
				f.schema, v.number, f.at),
			"the payload breaks its schema %sV%d (topic %s)", f.schema, v.number, f.topicName())
	}
	return t.claimValue(b, f, b.Keep(buf))
}
