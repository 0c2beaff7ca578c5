package contract_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

const claimExample = `
defaults: {encoding: json, claim_check: {payload: true, over: 100KB, ttl: 720h, encryption: SSE-S3}}
events:
  - {type: a, topic: a.v1}
  - {type: b, topic: b.v1, claim_check: {fields: [data.text, 'data["a.b"]'], content_type: text/markdown, type: feedback_md, ttl: 0s}}
  - {type: c, topic: c.v1, claim_check: {payload: false}}
  - {type: d, topic: d.v1, claim_check: {fields: [x], over: 1KiB}, also: [{topic: d.v2, claim_check: {payload: true}}, {topic: d.v3}]}
`

func TestClaim(t *testing.T) {
	t.Parallel()
	c, err := contract.New(decode(t, "events.yaml", claimExample))
	if err != nil {
		t.Fatal(err)
	}
	claim := func(typ string, form int) contract.Claim {
		r, ok := c.Lookup([]byte(typ))
		if !ok {
			t.Fatal(typ)
		}
		return r.Forms[form].Claim
	}
	if a := claim("a", 0); !a.Payload || a.Over != 100_000 || a.TTL != 720*time.Hour || a.Encryption != "SSE-S3" || !a.On() {
		t.Errorf("a %+v", a)
	}
	if b := claim("b", 0); b.Payload || len(b.Fields) != 2 || b.Fields[1].String() != `data["a.b"]` || b.Over != 100_000 || b.TTL != 0 ||
		b.ContentType != "text/markdown" || b.Type != "feedback_md" {
		t.Errorf("b %+v", b)
	}
	if off := claim("c", 0); off.On() {
		t.Errorf("c %+v", off)
	}
	if d, also, same := claim("d", 0), claim("d", 1), claim("d", 2); d.Payload || d.Over != 1024 || !also.Payload || also.Fields != nil || also.Over != 1024 || len(same.Fields) != 1 {
		t.Errorf("d %+v %+v %+v", d, also, same)
	}
	if !c.Claims() || c.ClaimTopics() != nil {
		t.Error("claims, and none of them Avro")
	}
	none, err := contract.New(decode(t, "events.yaml", "defaults: {claim_check: {over: 1MB}}\nevents: [{type: a, topic: a.v1, schema: A}]"))
	if err != nil || none.Claims() {
		t.Errorf("parameters alone switch nothing on: %v", err)
	}
	avro, err := contract.New(decode(t, "events.yaml", "events: [{type: a, topic: a.v1, schema: A, claim_check: {payload: true}}]"))
	if err != nil || !slices.Equal(avro.ClaimTopics(), []string{"a.v1"}) {
		t.Error(err)
	}
	if got := avro.Rules()[0].Forms[0].Claim.Over; got != contract.DefaultClaimOver {
		t.Errorf("over %d by default", got)
	}
}

func TestClaimIsChecked(t *testing.T) {
	t.Parallel()
	event := func(claim string) string {
		return "events:\n  - {type: a, topic: a.v1, encoding: json, claim_check: {" + claim + "}}"
	}
	for text, want := range map[string]string{
		event("payload: true, fields: [a]"):                                             `events.yaml:2: events[0].claim_check: names fields and the payload`,
		event("fields: ['a[0].b']"):                                                     `"a[0].b" leads into an array`,
		event("fields: [a.b, a]"):                                                       `"a" and "a.b" lie inside one another`,
		event("fields: [a, a]"):                                                         `"a" and "a" lie inside one another`,
		event("fields: [a..b]"):                                                         `a name is empty`,
		event("payload: true, over: 50kg"):                                              `claim_check.over: "50kg" has the unknown unit`,
		event("payload: true, over: 10"):                                                `"10" is out of range; write a size from 512 to 1GiB`,
		event("payload: true, ttl: 30 days"):                                            `claim_check.ttl: "30 days" is not how long an object is kept`,
		event("payload: true, ttl: 1500ms"):                                             `whole seconds`,
		event("payload: true, content_type: text"):                                      ``,
		event("payload: true, content_type: ;"):                                         `is no media type`,
		"defaults: {claim_check: {fields: [a]}}":                                        `fields are an event's own`,
		"events:\n  - {type: a, topic: a, encoding: bytes, claim_check: {fields: [a]}}": `cannot be found in a payload with encoding: bytes`,
	} {
		_, err := contract.New(decode(t, "events.yaml", text))
		if want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %s", text, err, want)
		}
	}
	_, err := contract.New(decode(t, "a.yaml", "defaults: {claim_check: {over: 1MB}}"), decode(t, "b.yaml", "defaults: {claim_check: {over: 2MB}}"))
	if err == nil || !strings.Contains(err.Error(), `b.yaml:1: defaults.claim_check.over: "2MB" contradicts "1MB" in a.yaml:1`) {
		t.Error(err)
	}
}
