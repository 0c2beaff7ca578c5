package transform

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

var errNotRow = errors.New("transform: the message is no row")

// Append adds the records of the row in m to b: one, and one more for each
// `also` form of its event; or, instead of all of them, one dead letter. Nothing
// of m is kept. On error b.Records and b.Blobs are as before; the error is a Fault
// that says what to do.
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
		return t.bury(b, err)
	}
	return t.pass(b, before, blobs)
}

func (t *Transformer) append(b *event.Batch, m *event.Msg) error {
	t.derived.ready = headersOff
	t.step, t.rule = stepRow, nil
	if err := t.load(m); err != nil {
		return err
	}
	t.step = stepType
	r, err := t.ruleOf(t.row.typ)
	if err != nil {
		return err
	}
	t.row.places, t.rule, t.step = r.places, r, stepPayload
	if err := t.loadPayload(r.needJSON); err != nil {
		return err
	}
	t.step = stepHeaders
	if err := t.loadHeaders(); err != nil {
		return err
	}
	t.timed, t.fell = r.seen%measureEvery == 0, false
	r.seen++
	for i := range r.forms {
		if err := t.record(b, r, i); err != nil {
			return err
		}
	}
	if t.fell {
		t.keyFell(r)
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
	return nil, t.fault(nil, "describe the event in events.yaml, or write unknown_event: default to publish such events by the defaults, or dead_letter to put them aside",
		"the contract knows no event type %q; %s", clip(typ), meant)
}

// record adds the record of form i.
func (t *Transformer) record(b *event.Batch, r *rule, i int) error {
	f, own := &r.forms[i], i == 0
	t.step = stepTopic
	topic, err := t.route(f, own)
	if err != nil {
		return err
	}
	t.step = stepKey
	key := t.keyOf(f, r, own)
	if key == nil && f.compacted {
		return t.fault(nil, "name a key that is always there: key: [payload.PATH, aggregate_id], "+f.at,
			"no key resolved, and topic %s is compacted: Kafka refuses a record without a key", *topic)
	}
	rec := event.Record{Topic: topic, Key: keepText(b, key), Time: t.row.m.Time}
	if own { // after the key, which then pays for the walk over the payload
		t.loadVersion()
	}
	if t.mark.key != "" {
		rec.Time = 0
	}
	if rec.Value, err = t.value(b, f); err != nil {
		return err
	}
	t.step = stepHeaders
	began := t.begin(own)
	if rec.Headers, err = t.headers(b, r, f, own); err != nil {
		return err
	}
	t.took(began, r.metrics.headerSeconds)
	t.step = stepSize
	if err := t.size(&rec, r, f); err != nil {
		return err
	}
	if t.claimed.header != nil {
		r.metrics.claim(t.claimed.payload)
	}
	b.Records = append(b.Records, rec)
	return nil
}

// measureEvery is how many rows of a type pass for one whose key and headers
// are measured: a look at the clock takes longer than many a key.
const measureEvery = 64

// begin is the time, when the row's own form is measured; else zero.
func (t *Transformer) begin(own bool) time.Time {
	if !own || !t.timed {
		return time.Time{}
	}
	return t.now()
}

// took notes how long what began then has taken.
func (t *Transformer) took(began time.Time, in prometheus.Observer) {
	if !began.IsZero() {
		in.Observe(t.now().Sub(began).Seconds())
	}
}

// keyOf is the key of a form, measured, and counted when its rule fell through.
func (t *Transformer) keyOf(f *form, r *rule, own bool) []byte {
	began := t.begin(own)
	key, fell := t.key(f)
	t.took(began, r.metrics.keySeconds)
	if fell && !t.fell {
		t.fell, t.hasKey = true, key != nil
	}
	return key
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
