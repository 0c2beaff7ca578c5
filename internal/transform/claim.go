package transform

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"mime"
	"slices"
	"strconv"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
)

// claim is a compiled contract.Claim of one form.
type claim struct {
	rule   contract.Claim
	over   int
	places *places // of rule.Fields, in that order; nil: none
	at     map[*version][]*claimSlot
	ref    refShape
	avro   *version // of the reference itself, for whole Avro values
}

// claimSlot is a field in one version of a schema. Nil where that version takes
// no reference: there the field stays inline.
type claimSlot struct {
	field *avrojson.Field
	enc   *avrojson.Encoder
	ref   refShape
}

// claimed is what of the record in hand went into a Blob.
type claimed struct {
	header  []byte // value of the header; nil: nothing did
	payload bool

	buf   []byte   // header's room
	doc   []byte   // the payload with references in it
	ref   []byte   // the reference in the making
	avro  []byte   // a field's value, encoded
	found [][]byte // fields of the payload
	cuts  []cut
}

// cut is a part of the payload that a reference takes the place of.
type cut struct {
	field, from, to int
	blob            int // in the batch
}

// Media types of what is claimed.
const (
	mediaText  = "text/plain; charset=utf-8"
	mediaJSON  = "application/json"
	mediaBytes = "application/octet-stream"
)

// reset forgets the last record, and scratch that one large event made.
func (s *claimed) reset() {
	const most = 1 << 20
	s.header, s.payload = nil, false
	if cap(s.doc) > most {
		s.doc = nil
	}
	if cap(s.avro) > most {
		s.avro = nil
	}
}

// claimValue puts a value that was encoded already into a blob if it is too
// large, and returns the reference in its place.
func (t *Transformer) claimValue(b *event.Batch, f *form, value []byte) ([]byte, error) {
	c := f.claim
	if c == nil || !c.rule.Payload || len(value) <= c.over {
		return value, nil
	}
	at := addBlob(b, value, t.mediaOf(f), c)
	t.claimed.payload, t.claimed.header = true, claimPayload
	buf := b.Buf(1024)
	if c.avro == nil {
		return b.Keep(c.ref.append(buf, t.opts.ClaimBase, &b.Blobs[at])), nil
	}
	t.claimed.ref = c.ref.append(t.claimed.ref[:0], t.opts.ClaimBase, &b.Blobs[at])
	buf = binary.BigEndian.AppendUint32(append(buf, wireMagic), c.avro.id)
	buf, err := c.avro.enc.Append(buf, t.claimed.ref)
	if err != nil { // Compile has tried it
		return nil, t.fault(err, "mend ArtifactRef.avsc", "the reference to the value of topic %s cannot be encoded", f.topicName())
	}
	return b.Keep(buf), nil
}

var claimPayload = []byte("payload")

// mediaOf is the media type of a whole value: what the header content_type of
// the record would say.
func (t *Transformer) mediaOf(f *form) string {
	if s := f.claim.rule.ContentType; s != "" {
		return s
	}
	if v, ok := t.row.given.text(stdContentType, ""); ok && f.encoding != contract.Avro {
		if _, _, err := mime.ParseMediaType(string(v)); err == nil {
			return string(v)
		}
	}
	return string(f.contentType)
}

// addBlob adds data, which lies in the batch already.
func addBlob(b *event.Batch, data []byte, media string, c *claim) int {
	b.Blobs = append(b.Blobs, event.Blob{Sum: sha256.Sum256(data), Data: data, ContentType: media, TTL: c.rule.TTL})
	return len(b.Blobs) - 1
}

// claimFields puts the large fields of the payload into blobs and returns the
// payload with references in their place. A field is judged first: what breaks
// the schema stops the pipeline, it does not vanish in a bucket.
func (t *Transformer) claimFields(b *event.Batch, f *form, v *version) ([]byte, error) {
	payload, c, s := t.row.payload, f.claim, &t.claimed
	if c == nil || c.places == nil || len(payload) <= c.over {
		return payload, nil
	}
	s.found = slices.Grow(s.found[:0], len(c.rule.Fields))[:len(c.rule.Fields)]
	c.places.find(payload, s.found)
	s.cuts = s.cuts[:0]
	for i, raw := range s.found {
		if len(raw) <= c.over {
			continue
		}
		data, media, err := t.claimData(c, v, i, raw)
		if err != nil {
			return nil, err
		}
		if len(data) <= c.over {
			continue
		}
		from := cap(payload) - cap(raw) // raw is a part of payload and has its end
		s.cuts = append(s.cuts, cut{field: i, from: from, to: from + len(raw), blob: addBlob(b, b.Keep(append(b.Buf(len(data)), data...)), media, c)})
	}
	if len(s.cuts) == 0 {
		return payload, nil
	}
	t.claimHeader(c)
	return t.withReferences(b, f, v), nil
}

// claimData is what of a field would be stored, in scratch or in the payload,
// and its media type; nil: the version takes no reference there.
func (t *Transformer) claimData(c *claim, v *version, i int, raw []byte) ([]byte, string, error) {
	media := func(kind string) string {
		if c.rule.ContentType != "" {
			return c.rule.ContentType
		}
		return kind
	}
	if v == nil {
		if raw[0] != '"' {
			return raw, media(mediaJSON), nil
		}
		text, grown, _ := stringText(raw, t.row.scratch)
		t.row.scratch = grown
		return text, media(mediaText), nil
	}
	slot := c.at[v][i]
	if slot == nil {
		return nil, "", nil
	}
	var err error
	if t.claimed.avro, err = slot.enc.Append(t.claimed.avro[:0], raw); err != nil {
		return nil, "", t.fault(err, "mend the service for the events to come, or allow the value in the schema",
			"the field %s of the payload breaks its type %s (schema version %d)", c.rule.Fields[i], slot.field.Type(), v.number)
	}
	branch, n := binary.Varint(t.claimed.avro)
	if !slot.field.Text(int(branch)) {
		return raw, media(mediaJSON), nil
	}
	_, m := binary.Varint(t.claimed.avro[n:])
	kind := mediaText
	if slot.field.Name(int(branch)) == "bytes" {
		kind = mediaBytes
	}
	return t.claimed.avro[n+m:], media(kind), nil
}

// withReferences is the payload with the cuts filled by references, in scratch.
func (t *Transformer) withReferences(b *event.Batch, f *form, v *version) []byte {
	s, payload, c := &t.claimed, t.row.payload, f.claim
	slices.SortFunc(s.cuts, func(a, b cut) int { return a.from - b.from })
	s.doc = s.doc[:0]
	at := 0
	for _, k := range s.cuts {
		shape := &c.ref
		if v != nil {
			shape = &c.at[v][k.field].ref
		}
		s.doc = append(s.doc, payload[at:k.from]...)
		s.doc = shape.append(s.doc, t.opts.ClaimBase, &b.Blobs[k.blob])
		at = k.to
	}
	s.doc = append(s.doc, payload[at:]...)
	return s.doc
}

// claimHeader names the fields that were claimed.
func (t *Transformer) claimHeader(c *claim) {
	s := &t.claimed
	s.buf = append(s.buf[:0], "fields:"...)
	for i, k := range s.cuts {
		if i > 0 {
			s.buf = append(s.buf, ',')
		}
		s.buf = append(s.buf, c.rule.Fields[k.field].String()...)
	}
	s.header = s.buf
}

// refShape writes references: the members its schema has, by what the rule says.
type refShape struct {
	members []refMember
}

// refMember is one member of a reference: text that stands, and what follows it.
type refMember struct {
	name string
	text string // the value as JSON; empty: it is of the blob
}

// refNames are the members a reference can have, in the order JSON shows them.
var refNames = []string{"type", "uri", "bytes", "content_type", "sha256", "ttl_sec", "encryption"}

// newRefShape makes the shape of references under a rule. want says which
// members the schema has; nil: all.
func newRefShape(rule *contract.Claim, want func(name string) bool) refShape {
	fixed := map[string]string{"type": string(appendJSONText(nil, rule.Type)), "encryption": "null", "ttl_sec": "null"}
	if rule.Encryption != "" {
		fixed["encryption"] = string(appendJSONText(nil, rule.Encryption))
	}
	if rule.TTL > 0 {
		fixed["ttl_sec"] = strconv.FormatInt(int64(rule.TTL.Seconds()), 10)
	}
	var r refShape
	for _, name := range refNames {
		if name == "type" && rule.Type == "" || want != nil && !want(name) {
			continue
		}
		r.members = append(r.members, refMember{name, fixed[name]})
	}
	return r
}

// append appends the reference to blob as a JSON object. base is where keys
// begin; like the names it needs no escapes.
func (r *refShape) append(dst []byte, base string, blob *event.Blob) []byte {
	for i := range r.members {
		m := &r.members[i]
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), m.name...), '"', ':')
		switch {
		case m.text != "":
			dst = append(dst, m.text...)
		case m.name == "uri":
			dst = append(append(append(dst, '"'), base...), '/')
			dst = append(event.AppendBlobKey(dst, &blob.Sum), '"')
		case m.name == "bytes":
			dst = strconv.AppendInt(dst, int64(len(blob.Data)), 10)
		case m.name == "sha256":
			dst = append(hex.AppendEncode(append(dst, '"'), blob.Sum[:]), '"')
		case m.name == "content_type":
			dst = appendJSONText(dst, blob.ContentType)
		}
	}
	return append(dst, '}')
}

// appendJSONText appends s as a JSON string.
func appendJSONText(dst []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return strconv.AppendQuote(dst, s)
	}
	return append(dst, quoted...)
}
