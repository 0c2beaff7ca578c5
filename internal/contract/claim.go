package contract

import (
	"fmt"
	"mime"
	"slices"
	"time"
)

// Claim is what of a form goes into object storage, the defaults applied. The
// zero Claim is none.
type Claim struct {
	Payload bool   // the whole value
	Fields  []Path // or these members of the payload; none is inside another

	Over        int           // only what has more bytes
	TTL         time.Duration // how long the object is needed, whole seconds; 0: for ever
	ContentType string        // empty: by what it is
	Encryption  string        // empty: none
	Type        string        // empty: the reference has none
}

// On reports whether anything is to be claimed.
func (c *Claim) On() bool { return c.Payload || len(c.Fields) > 0 }

const (
	// DefaultClaimOver is the size above which a claim rule acts.
	DefaultClaimOver = 50_000
	// minClaimOver is what a reference takes: replacing less makes a record larger.
	minClaimOver = 512
	maxTTL       = (1<<31 - 1) * time.Second // ttl_sec is an int
)

// Claims reports whether any event uses the claim check.
func (c *Contract) Claims() bool {
	for _, r := range c.all() {
		for i := range r.Forms {
			if r.Forms[i].Claim.On() {
				return true
			}
		}
	}
	return false
}

// ClaimTopics are the topics, by name, on which the whole value of an Avro
// record may become a reference, so that the schema of references needs an id.
func (c *Contract) ClaimTopics() []string {
	var out []string
	for _, r := range c.all() {
		for i := range r.Forms {
			if f := &r.Forms[i]; f.Claim.Payload && f.Encoding == Avro {
				out = append(out, f.Topic)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// setting is one key of claim_check and what is written there.
type setting struct{ key, value string }

// settings are the keys of one value that are written.
func (c *ClaimCheck) settings() []setting {
	payload := ""
	if c.Payload != nil {
		payload = fmt.Sprint(*c.Payload)
	}
	all := []setting{
		{"payload", payload}, {"over", c.Over}, {"ttl", c.TTL}, {"content_type", c.ContentType},
		{"encryption", c.Encryption}, {"type", c.Type},
	}
	return slices.DeleteFunc(all, func(s setting) bool { return s.value == "" })
}

func (m *merger) collectClaim(f *File) {
	const path = "defaults.claim_check."
	for _, s := range f.Defaults.ClaimCheck.settings() {
		m.say(f, path+s.key, s.value)
	}
	if len(f.Defaults.ClaimCheck.Fields) > 0 {
		m.bad(place{f, path + "fields"}, "fields are an event's own; write them on the events that have them")
	}
}

// claimDefaults makes the claim rule of the defaults.
func (m *merger) claimDefaults() {
	m.base.Claim.Over = DefaultClaimOver
	for _, key := range []string{"payload", "over", "ttl", "content_type", "encryption", "type"} {
		if s, ok := m.said["defaults.claim_check."+key]; ok {
			m.claimSetting(&m.base.Claim, s.at, setting{key, s.value})
		}
	}
}

// claim lays what a form says about the claim check over what it inherits.
func (m *merger) claim(f *Form, at place, said *ClaimCheck) {
	for _, s := range said.settings() {
		m.claimSetting(&f.Claim, at.sub(s.key), s)
	}
	if len(said.Fields) > 0 {
		if said.Payload != nil && *said.Payload {
			m.bad(at, "names fields and the payload; keep one of them: a payload that is claimed has its fields in it")
		}
		f.Claim.Payload, f.Claim.Fields = false, m.claimFields(at.sub("fields"), said.Fields)
	}
	if len(f.Claim.Fields) > 0 && f.Encoding == Bytes {
		m.bad(at, "fields cannot be found in a payload with encoding: bytes; write payload: true, or payload: false for none")
	}
}

func (m *merger) claimSetting(c *Claim, at place, s setting) {
	switch s.key {
	case "payload":
		c.Payload, c.Fields = s.value == "true", nil
	case "over":
		n, err := ParseSize(s.value)
		if err != nil {
			m.bad(at, "%v", err)
		} else if n < minClaimOver || n > 1<<30 {
			m.bad(at, "%q is out of range; write a size from %d to 1GiB, such as 50KB: a reference itself takes about %[2]d bytes", s.value, minClaimOver)
		}
		c.Over = int(n)
	case "ttl":
		d, err := time.ParseDuration(s.value)
		if err != nil || d < time.Second && d != 0 || d > maxTTL || d%time.Second != 0 {
			m.bad(at, "%q is not how long an object is kept; write whole seconds as in 720h (30 days), or 0s for ever", s.value)
		}
		c.TTL = d
	case "content_type":
		if _, _, err := mime.ParseMediaType(s.value); err != nil {
			m.bad(at, "%q is no media type (%v); write for instance text/markdown", s.value, err)
		}
		c.ContentType = s.value
	case "encryption":
		c.Encryption = s.value
	case "type":
		c.Type = s.value
	}
}

func (m *merger) claimFields(at place, fields []string) []Path {
	var out []Path
	for i, s := range fields {
		p, err := ParsePath(s)
		if err != nil {
			m.bad(at, "field %d: %v; write names with dots between, as in data.corrected_text", i+1, err)
			continue
		}
		if slices.ContainsFunc(p, func(s Step) bool { return !s.Member }) {
			m.bad(at, "field %d: %q leads into an array; name the array itself, or write payload: true", i+1, s)
			continue
		}
		if j := slices.IndexFunc(out, func(o Path) bool { return inside(o, p) || inside(p, o) }); j >= 0 {
			m.bad(at, "field %d: %q and %q lie inside one another; keep one of them", i+1, s, out[j])
			continue
		}
		out = append(out, p)
	}
	return out
}

// inside reports whether p is outer or lies in it.
func inside(p, outer Path) bool {
	return len(p) >= len(outer) && slices.Equal(p[:len(outer)], outer)
}
