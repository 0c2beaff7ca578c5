package transform

import (
	"encoding/json"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// headerSet says which standard headers a form gets.
type headerSet uint8

const (
	headersOff headerSet = iota
	headersNative
	headersDebezium
)

func headerSetOf(f *contract.Form, mappingPreset string) headerSet {
	preset := f.Preset
	if preset == "" {
		preset = mappingPreset
	}
	switch {
	case f.HeadersOff:
		return headersOff
	case preset == contract.PresetDebezium:
		return headersDebezium
	}
	return headersNative
}

// bounds are the first and last of the standard headers in a set.
func (s headerSet) bounds() (first, last standard) {
	if s == headersDebezium {
		return stdDebeziumID, stdDebeziumID
	}
	return stdEventID, stdTraceparent
}

var (
	contentAvro  = []byte("application/avro")
	contentJSON  = []byte("application/json")
	contentBytes = []byte("application/octet-stream")
)

// derived are the standard headers of the row in hand; nil: not given and not
// derivable. schema_version and content_type depend on the form.
type derived struct {
	ready   headerSet // what was worked out so far; headersOff: nothing
	value   [standards][]byte
	missing [standards]bool // given neither by a header nor by a column

	uuid        [36]byte
	occurred    [len(rfc3339Micros) + 8]byte
	traceparent [55]byte
}

// loadHeaders reads the row's own headers.
func (t *Transformer) loadHeaders() error {
	const mend = `have the service write an object of strings, as in {"trace_id": "…"}`
	doc, what, err := t.row.raw(fieldHeaders)
	switch {
	case err != nil:
		return t.fault(err, "set it", "the headers cannot be read")
	case what == nothing, what == null, string(doc) == "null":
		return nil
	case what == unproved && !json.Valid(doc):
		return t.fault(errHeadersObject, mend, "the headers cannot be read")
	}
	if err := t.parseHeaders(doc); err != nil {
		return t.fault(err, mend, "the headers cannot be read")
	}
	return nil
}

// derive works out the standard headers of the row that a set asks for, once.
func (t *Transformer) derive(set headerSet) error {
	d := &t.derived
	if d.ready == headersOff {
		d.value, d.missing = [standards][]byte{}, [standards]bool{}
		for s := range standards {
			d.value[s], _ = t.row.given.text(s, "")
		}
		if err := t.deriveEventID(); err != nil {
			return err
		}
		d.ready = headersDebezium
	}
	if set != headersNative || d.ready == headersNative {
		return nil
	}
	d.ready = headersNative
	if d.value[stdEventType] == nil {
		d.value[stdEventType] = t.row.typ
	}
	if err := t.deriveOccurredAt(); err != nil {
		return err
	}
	t.deriveTrace()
	return nil
}

func (t *Transformer) deriveEventID() error {
	d := &t.derived
	id := d.value[stdEventID]
	if id == nil {
		if v, ok := t.row.scalar(fieldID); ok {
			id = v
		}
	}
	if id == nil {
		v, ok := t.deriveID(d.uuid[:0])
		if !ok {
			return t.fault(nil, "give the table a primary key, or name the column that identifies a row in the mapping (id: [COLUMN])",
				"the row has no id and its table no primary key to make one of")
		}
		id = v
		d.missing[stdEventID], d.missing[stdDebeziumID] = true, true
	}
	d.value[stdEventID] = id
	if d.value[stdDebeziumID] == nil {
		d.value[stdDebeziumID] = id
	} else {
		d.missing[stdDebeziumID] = false
	}
	return nil
}

func (t *Transformer) deriveOccurredAt() error {
	d := &t.derived
	if d.value[stdOccurredAt] != nil {
		return nil
	}
	at := time.UnixMicro(t.row.m.Time).UTC()
	if text, ok := t.row.scalar(fieldOccurredAt); ok {
		var err error
		if at, err = parseTimestamp(text); err != nil {
			return t.fault(err, "have the service write a time, or null for the time of the commit", "occurred_at %q is no time", clip(text))
		}
	} else {
		d.missing[stdOccurredAt] = true
	}
	d.value[stdOccurredAt] = appendMicros(d.occurred[:0], at)
	return nil
}

// deriveTrace fills trace_id, correlation_id and traceparent from one another.
func (t *Transformer) deriveTrace() {
	d := &t.derived
	trace, correlation, parent := d.value[stdTraceID], d.value[stdCorrelationID], d.value[stdTraceparent]
	d.missing[stdTraceID], d.missing[stdCorrelationID] = trace == nil, correlation == nil
	if correlation == nil {
		correlation, _ = t.row.inPayload(t.correlation)
	}
	if trace == nil && validTraceparent(parent) {
		trace = parent[3:35]
	}
	if trace == nil {
		trace = correlation
	}
	if correlation == nil {
		correlation = trace
	}
	if parent == nil && !d.missing[stdTraceID] {
		parent = t.makeTraceparent(trace)
		d.missing[stdTraceparent] = parent != nil
	}
	d.value[stdTraceID], d.value[stdCorrelationID], d.value[stdTraceparent] = trace, correlation, parent
}

// headers writes the headers of a form into the batch and returns them with the
// number of their bytes, names included. own: the event itself, whose missing
// headers are counted.
func (t *Transformer) headers(b *event.Batch, r *rule, f *form, own bool) ([]event.Header, error) {
	given := t.row.given.list
	hs := b.HeaderBuf(len(given) + int(standards) + len(f.add) + 2)
	first, last := f.set.bounds()
	if f.set != headersOff {
		if err := t.derive(f.set); err != nil {
			return nil, err
		}
		for s := first; s <= last; s++ {
			if v := t.standardValue(b, r, f, s); v != nil {
				hs = append(hs, event.Header{Key: standardNames[s], Value: v})
			}
		}
		some := own && t.countMissing(r, first, last)
		hs = t.appendAdditions(b, hs, f, own, &some)
		if some {
			r.metrics.missing.Inc()
		}
	}
	for i := range given {
		g := &given[i]
		if f.set != headersOff && (g.std != notStandard && g.std >= first && g.std <= last || f.adds(g.key)) {
			continue
		}
		if t.mark.key != "" && g.key == t.mark.key || t.claimed.header != nil && g.key == event.ClaimHeader {
			continue
		}
		hs = append(hs, event.Header{Key: g.key, Value: keepText(b, g.value)})
	}
	if t.claimed.header != nil {
		hs = append(hs, event.Header{Key: event.ClaimHeader, Value: keepText(b, t.claimed.header)})
	}
	if t.mark.key != "" {
		hs = append(hs, event.Header{Key: t.mark.key, Value: keepConst(b, t.mark.value)})
	}
	return b.KeepHeaders(hs), nil
}

// standardValue is the value of a standard header, kept in the batch.
func (t *Transformer) standardValue(b *event.Batch, r *rule, f *form, s standard) []byte {
	v := t.derived.value[s]
	switch s {
	case stdContentType:
		// What we encoded we know better than the row, a reference too; what
		// passes through, the row knows better.
		if t.claimed.payload && f.encoding != contract.Avro {
			return keepConst(b, contentJSON)
		}
		if v == nil || f.encoding == contract.Avro {
			return keepConst(b, f.contentType)
		}
	case stdSchemaVersion:
		if v = t.version; v == nil {
			return keepConst(b, f.defaultVersion)
		}
	case stdEventType:
		if string(v) == r.src.Type {
			return keepConst(b, r.typ)
		}
	}
	return keepText(b, v)
}

// countMissing counts the standard headers that were not given, and reports
// whether there are any.
func (t *Transformer) countMissing(r *rule, first, last standard) (some bool) {
	t.derived.missing[stdSchemaVersion] = t.version == nil
	for s := first; s <= last; s++ {
		if t.derived.missing[s] {
			r.metrics.missingBy[s].Inc()
			some = true
		}
	}
	return some
}

// keepText copies v into the batch; nil stays nil.
func keepText(b *event.Batch, v []byte) []byte {
	if v == nil {
		return nil
	}
	return b.Keep(append(b.Buf(len(v)), v...))
}

// keepConst counts a value that outlives every batch and need not be copied.
func keepConst(b *event.Batch, v []byte) []byte {
	b.Bytes += len(v)
	return v
}
