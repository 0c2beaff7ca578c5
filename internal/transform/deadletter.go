package transform

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
)

// DeadLetters say where events go that cannot be published.
type DeadLetters struct {
	Topic        string
	RelayVersion string
	Limit        deadletter.Limit
	MaxHeld      int // keys that may be held; 0: any number
}

// letters are what a Transformer knows of its dead letters.
type letters struct {
	*DeadLetters
	window *deadletter.Window
	held   *deadletter.Held
}

func newLetters(d *DeadLetters) *letters {
	return &letters{DeadLetters: d, window: deadletter.NewWindow(d.Limit), held: deadletter.NewHeld()}
}

// step is what is being worked out of a row. The name of the one that failed is
// the class of the dead letter.
type step uint8

const (
	stepRow step = iota
	stepType
	stepPayload
	stepHeaders
	stepTopic
	stepKey
	stepVersion
	stepSchema
	stepSize
)

var classes = [...]string{"row", "unknown_type", "payload", "headers", "topic", "key", "schema_version", "schema", "size"}

// Hold says what is held from now on, as read from the dead letter topic with
// the authority of the fence. What this Transformer held before is forgotten: the
// batch that would have said so may have been discarded. share is what was counted
// up to the last letter.
func (t *Transformer) Hold(h *deadletter.Held, share deadletter.Share) {
	if t.letters == nil {
		return
	}
	t.letters.held = h
	t.letters.window.Resume(share)
	t.metrics.held.Set(float64(h.Len()))
}

// pass lets the records of the row through, those in b from before on (and the
// objects they refer to, from blobs on), unless
// one of them has to wait behind a dead letter: then all of them are parked, for
// the forms of an event are published together or not at all. In the ordinary
// case, nothing held, it costs nothing.
func (t *Transformer) pass(b *event.Batch, before, blobs int) error {
	d := t.letters
	if d == nil {
		return nil
	}
	d.window.Saw(false)
	if d.held.Len() == 0 || t.opts.ReplayID != "" {
		return nil
	}
	behind, held := "", false
	for i := before; i < len(b.Records) && !held; i++ {
		if r := &b.Records[i]; r.Key != nil {
			behind, held = d.held.Behind(*r.Topic, r.Key)
		}
	}
	var aggregate []byte
	if d.held.Aggregates() {
		if id, ok := t.row.scalar(fieldAggregateID); ok {
			if head, ok := d.held.Behind("", id); ok {
				behind, held, aggregate = head, true, id
			}
		}
	}
	if !held {
		return nil
	}
	l := t.letter(deadletter.Parked, t.rule.src.OnError)
	l.Behind = behind
	for i := before; i < len(b.Records); i++ {
		if r := &b.Records[i]; r.Key != nil {
			l.Holds = append(l.Holds, deadletter.Hold{Topic: *r.Topic, Key: string(r.Key)})
		}
	}
	l.Key = string(b.Records[before].Key)
	if aggregate != nil {
		l.Holds = append(l.Holds, deadletter.Hold{Key: string(aggregate)})
	}
	b.Records, b.Blobs = b.Records[:before], b.Blobs[:blobs]
	t.metrics.parked.WithLabelValues(t.opts.Service, t.label()).Inc()
	return t.post(b, &l)
}

// bury makes the dead letter of the row that err is about, where its policy
// allows it; err otherwise.
func (t *Transformer) bury(b *event.Batch, err error) error {
	d := t.letters
	if d == nil || !t.aboutRow(err) {
		return err
	}
	policy := t.policy()
	if policy == contract.Stop {
		return err
	}
	if t.opts.ReplayID != "" {
		policy = contract.DeadLetter // a copy holds up nobody
	}
	l := t.letter(deadletter.Dead, policy)
	t.explain(&l)
	if err := t.seat(&l, err); err != nil {
		return err
	}
	if d.window.Saw(true) {
		return t.tooMany(err)
	}
	l.Share = d.window.Share()
	if err := t.post(b, &l); err != nil {
		return err
	}
	t.metrics.letters.WithLabelValues(t.opts.Service, t.label(), l.Class).Inc()
	return nil
}

// explain says in l why the row in hand cannot be published.
func (t *Transformer) explain(l *deadletter.Letter) {
	l.Class, l.Reason, l.Next, l.Path, l.Rule = classes[t.step], t.blame.what, t.blame.mend, "", ""
	if t.blame.err != nil {
		l.Reason += ": " + t.blame.err.Error()
	}
	if e, ok := errors.AsType[*avrojson.Error](t.blame.err); ok {
		l.Path, l.Rule = e.Path, e.Rule
	}
}

// Explain says in l, a letter that was appended again, why err, what Append
// answered, keeps it one. False: err is not about the letter.
func (t *Transformer) Explain(l *deadletter.Letter, err error) bool {
	if !t.aboutRow(err) {
		return false
	}
	t.explain(l)
	return true
}

// aboutRow reports whether err is about the row in hand. Another one, such as a
// column the mapping names and the table has not, is about all rows.
func (t *Transformer) aboutRow(err error) bool {
	f, ok := errors.AsType[*event.Fault](err)
	return ok && f == t.blame.fault && !errors.Is(err, errByteaFormat)
}

// policy is what the contract says about the row in hand.
func (t *Transformer) policy() contract.OnError {
	c := t.opts.Contract
	switch {
	case t.rule != nil:
		return t.rule.src.OnError
	case t.step != stepType:
		return c.OnError() // its type cannot be told
	case c.Unknown() != contract.UnknownDeadLetter:
		return contract.Stop
	case c.OnError() == contract.HoldKey:
		return contract.HoldKey
	}
	return contract.DeadLetter
}

// label is the event type as a metric has it: types no rule knows come from rows.
func (t *Transformer) label() string {
	if t.rule == nil || t.rule.src.Type == "" {
		return unknownLabel
	}
	return t.rule.src.Type
}

// letter is a letter about the row in hand, without reason and places.
func (t *Transformer) letter(state deadletter.State, policy contract.OnError) deadletter.Letter {
	r := &t.row
	l := deadletter.Letter{
		State: state, Policy: string(policy), EventType: string(r.typ), Table: r.m.Rel.Name(), First: -1,
		Pos: r.m.Pos, XID: r.m.XID, Commit: r.m.Time, Database: t.opts.Database, Relay: t.letters.RelayVersion,
	}
	if id, ok := r.scalar(fieldID); ok {
		l.RowID = string(id)
	}
	l.EventID, _ = t.EventID()
	return l
}

// EventID is the event_id of the row that was appended last, whether it could be
// published or not. False: it has none, or not even that could be told.
func (t *Transformer) EventID() (string, bool) {
	r := &t.row
	if r.m == nil || r.plan == nil {
		return "", false
	}
	rel := r.m.Rel
	if rel == nil {
		rel = messageRelation
	}
	if r.plan.rel != rel || len(r.cols) != len(rel.Columns) {
		return "", false // its table is not what the mapping says
	}
	if id, ok := r.given.text(stdEventID, ""); ok {
		return string(id), true
	}
	if id, ok := t.foreignID(); ok {
		return string(id), true
	}
	if id, ok := r.scalar(fieldID); ok {
		return string(id), true
	}
	id, ok := t.deriveID(t.derived.uuid[:0])
	return string(id), ok
}

// foreignID is the id in the headers of an event that has not the native set: an
// event_id the contract adds, or an id the row gives.
func (t *Transformer) foreignID() ([]byte, bool) {
	if t.rule == nil || t.rule.forms[0].set == headersNative {
		return nil, false
	}
	for i := range t.rule.forms[0].add {
		if a := &t.rule.forms[0].add[i]; a.std == stdEventID {
			if id, at := t.resolve(a.sources); at >= 0 {
				return id, true
			}
		}
	}
	return t.row.given.text(stdDebeziumID, "")
}

// seat works out the key of a dead letter, and what it holds: the places its
// records would have had, when its policy says so, or when somebody holds one of
// them already. cause is why it is one.
func (t *Transformer) seat(l *deadletter.Letter, cause error) error {
	hold := contract.OnError(l.Policy) == contract.HoldKey
	seats, sure := t.seats()
	if len(seats) > 0 && seats[0].Topic != "" {
		l.Key = seats[0].Key
	}
	if !sure {
		id, ok := t.row.scalar(fieldAggregateID)
		switch {
		case ok:
			seats = append(seats, deadletter.Hold{Key: string(id)})
		case hold && t.rule != nil:
			return t.keyless(cause)
		}
	}
	_, behind, held := t.letters.held.First(seats)
	if held {
		l.Behind = behind
	}
	if hold || held {
		l.Holds = seats
	}
	return nil
}

// seats are the topic and key of each form of the row in hand, as far as they can
// be told. sure: they are what they would be if the row were sound. A key that is
// read from a payload or headers that cannot be read is not.
func (t *Transformer) seats() (seats []deadletter.Hold, sure bool) {
	if t.rule == nil {
		return nil, false
	}
	said := t.blame
	defer func() { t.blame = said }()
	// Without a payload, a tombstone, there is nothing that could not be read.
	readable := t.step >= stepHeaders && (t.row.payload == nil || json.Valid(t.row.payload))
	if t.step == stepHeaders { // those of the row, or those of a record
		readable = readable && t.loadHeaders() == nil
	}
	sure = true
	for i := range t.rule.forms {
		f := &t.rule.forms[i]
		topic, err := t.route(f, i == 0)
		if err != nil {
			sure = false
			continue
		}
		if !readable && t.looksInside(f) {
			sure = false
		}
		if key, _ := t.key(f); key != nil {
			seats = append(seats, deadletter.Hold{Topic: *topic, Key: string(key)})
		}
	}
	return seats, sure
}

// looksInside reports whether the key of a form may come from payload or headers.
func (t *Transformer) looksInside(f *form) bool {
	rule := &t.defaultKey
	if f.key != nil {
		rule = f.key
	}
	if _, given := t.row.scalar(fieldKey); given && !rule.places {
		return false
	}
	for i := range rule.sources {
		switch rule.sources[i].kind {
		case contract.KeyMessageKey, contract.KeyAggregateID, contract.KeyColumn, contract.KeyConst:
		default:
			return true
		}
	}
	return false
}

// post writes a letter and notes what it holds.
func (t *Transformer) post(b *event.Batch, l *deadletter.Letter) error {
	d, m := t.letters, t.row.m
	if n := d.held.Fresh(l.Holds); d.MaxHeld > 0 && n > 0 && d.held.Len()+n > d.MaxHeld {
		return stopf("cdc-relay dlq list names the letters that hold keys: mend what they say and cdc-relay dlq redrive, or cdc-relay dlq discard; then cdc-relay run. dead_letters.max_held raises the limit",
			"%s would hold more keys than the limit of %d (dead_letters.max_held)", t.where(), d.MaxHeld)
	}
	rec := event.Record{Topic: &d.Topic}
	rec.Key = b.Keep(deadletter.AppendID(b.Buf(64), deadletter.Origin{Pos: m.Pos, XID: m.XID, Time: m.Time, Replay: t.opts.ReplayID}))
	l.ID = string(rec.Key)
	size := len(m.Content)
	for _, c := range m.Cols {
		size += len(c)
	}
	rec.Value = b.Keep(deadletter.AppendRow(b.Buf(size+2048), m))
	rec.Headers = l.Headers()
	for i := range rec.Headers {
		b.Bytes += len(rec.Headers[i].Value)
	}
	b.Records = append(b.Records, rec)
	if len(l.Holds) > 0 {
		d.held.Add(l.ID, l.Holds)
		t.metrics.held.Set(float64(d.held.Len()))
	}
	return nil
}

// tooMany stops the pipeline at a row that would be one dead letter too many.
func (t *Transformer) tooMany(cause error) error {
	d := t.letters
	f := stopf("cdc-relay dlq list says what the others were; mend the service, the schema or the contract, then cdc-relay run; "+
		"to put them all aside without a limit: dead_letters: {max_share: 1}",
		"%s: %s cannot be published, more than the limit (%g %%, at least %d; dead_letters.max_share, at_least): this is no single event any more",
		t.where(), d.window, 100*d.Limit.Share, d.Limit.AtLeast)
	f.Err = cause
	return f
}

// keyless stops the pipeline at a row whose key should be held and is not known.
func (t *Transformer) keyless(cause error) error {
	f := stopf("mend the service so that the row has an aggregate id, or give the event on_error: dead_letter, which lets later events of its key pass; then: "+again,
		"%s cannot be published, and which key to hold (on_error: dead_letter_and_hold_key) cannot be told: its key is inside what cannot be read, and the row names no aggregate", t.where())
	f.Err = fmt.Errorf("why it cannot be published: %w", cause)
	return f
}
