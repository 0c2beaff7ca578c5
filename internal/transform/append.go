package transform

import (
	"errors"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

var errNotRow = errors.New("transform: the message is no row")

// Append adds the records of the row in m to b: one, and one more for each
// `also` form of its event. Nothing of m is kept. On error b.Records and
// b.Blobs are as before; the error is a Fault that says what to do.
//
// A logical message whose prefix is not ours gives no record and is counted.
func (t *Transformer) Append(b *event.Batch, m *event.Msg) error {
	if m.Kind != event.Row {
		return errNotRow
	}
	if m.Rel == nil && m.Prefix != t.opts.MessagePrefix {
		t.metrics.ignored.Inc()
		return nil
	}
	before, blobs := len(b.Records), len(b.Blobs)
	if err := t.append(b, m); err != nil {
		b.Records, b.Blobs = b.Records[:before], b.Blobs[:blobs]
		return err
	}
	return nil
}

func (t *Transformer) append(b *event.Batch, m *event.Msg) error {
	t.derived.ready = headersOff
	if err := t.load(m); err != nil {
		return err
	}
	r, err := t.ruleOf(t.row.typ)
	if err != nil {
		return err
	}
	t.row.places = r.places
	if err := t.loadPayload(r.needJSON); err != nil {
		return err
	}
	if err := t.loadHeaders(); err != nil {
		return err
	}
	t.loadVersion()
	for i := range r.forms {
		if err := t.record(b, r, i); err != nil {
			return err
		}
	}
	return nil
}

// ruleOf is the rule of an event type.
func (t *Transformer) ruleOf(typ []byte) (*rule, error) {
	if r, ok := t.rules[string(typ)]; ok {
		return r, nil
	}
	if t.unknown != nil {
		return t.unknown, nil
	}
	meant := "no known type looks like it"
	if best, ok := t.opts.Contract.Nearest(string(typ)); ok {
		meant = "did you mean \"" + best + "\"?"
	}
	return nil, t.fault(nil, "describe the event in events.yaml, or write unknown_event: default to publish such events by the defaults",
		"the contract knows no event type %q; %s", clip(typ), meant)
}

// record adds the record of form i.
func (t *Transformer) record(b *event.Batch, r *rule, i int) error {
	f, own := &r.forms[i], i == 0
	topic, err := t.route(f, own)
	if err != nil {
		return err
	}
	key, fell := t.key(f)
	if fell && own {
		t.keyFell(r, key)
	}
	if key == nil && f.compacted {
		return t.fault(nil, "name a key that is always there: key: [payload.PATH, aggregate_id], "+f.at,
			"no key resolved, and topic %s is compacted: Kafka refuses a record without a key", *topic)
	}
	rec := event.Record{Topic: topic, Key: keepText(b, key), Time: t.row.m.Time}
	if t.mark.key != "" {
		rec.Time = 0
	}
	if rec.Value, err = t.value(b, f); err != nil {
		return err
	}
	if rec.Headers, err = t.headers(b, r, f, own); err != nil {
		return err
	}
	if err := t.size(&rec, r, f); err != nil {
		return err
	}
	if t.claimed.header != nil {
		r.metrics.claim(t.claimed.payload)
	}
	b.Records = append(b.Records, rec)
	return nil
}

// What a record costs on the wire besides key, value and headers: the record
// batch around it when it is alone (61), and its own lengths, deltas and
// attributes at their longest (36); two lengths per header.
const (
	recordOverhead = 61 + 36
	headerOverhead = 2 * 5
)

// size measures a record and refuses one its topic cannot take.
func (t *Transformer) size(rec *event.Record, r *rule, f *form) error {
	n := len(rec.Key) + len(rec.Value)
	for i := range rec.Headers {
		n += len(rec.Headers[i].Key) + len(rec.Headers[i].Value)
	}
	r.metrics.bytes.Observe(float64(n))
	if n > TargetBytes {
		r.metrics.over.Inc()
	}
	wire := n + recordOverhead + headerOverhead*len(rec.Headers)
	if wire <= f.maxBytes {
		return nil
	}
	mend := "have the relay put it into object storage (claim_check: {payload: true} or fields, " + f.at + "), or raise the topic's " +
		"max.message.bytes and max_event_bytes of the relay's configuration"
	if f.encoding == contract.Avro {
		mend += "; the limit counts the Avro form"
	}
	return t.fault(nil, mend, "the record for topic %s has %d bytes, its limit is %d", *rec.Topic, wire, f.maxBytes)
}
