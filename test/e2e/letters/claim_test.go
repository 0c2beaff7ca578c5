package letters

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/claimcheck"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/s3"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// claimLab is a lab whose relay has a claim check, by the examples of the page.
type claimLab struct {
	*lab.Lab
	s3    *s3.Server
	topic map[string]string // by event type
	want  []corrected
}

// The event types of the page.
const (
	textCorrected = "essay.text.corrected"
	essayArchived = "essay.archived"
)

// corrected is an event that was committed.
type corrected struct{ id, typ, essay, text string }

func (c corrected) payload() string {
	doc, err := json.Marshal(map[string]any{"essay_id": c.essay, "data": map[string]any{"corrected_text": c.text, "corrections": 3}})
	if err != nil {
		return err.Error()
	}
	return string(doc)
}

func claimExample(t *testing.T, name string) string {
	t.Helper()
	text, err := rig.Example("docs/claim-check.md", name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// newClaims makes the lab, with the contract of the page unless setups give one.
func newClaims(t *testing.T, setups ...lab.Setup) *claimLab {
	t.Helper()
	c := &claimLab{s3: s3.New(t), topic: map[string]string{}}
	schemas := filepath.Join(t.TempDir(), "avro")
	if err := os.CopyFS(schemas, os.DirFS(filepath.Join(rig.Root(), "schemas", "avro"))); err != nil {
		t.Fatal(err)
	}
	for file, name := range map[string]string{"EssayTextCorrectedEventV1.avsc": "schema", "ArtifactType.avsc": "artifact-type"} {
		if err := os.WriteFile(filepath.Join(schemas, file), []byte(claimExample(t, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.Lab = lab.New(t, append(append(slices.Clone(setups), lab.OwnCheckpoints), func(l *lab.Lab, conf *rig.Config) {
		l.Env = s3.Env()
		conf.Schemas = schemas
		conf.Extra += strings.Replace(claimExample(t, "relay"), "region=eu-north-1", strings.SplitN(c.s3.URL(), "?", 2)[1], 1)
		if conf.Contract == "" {
			conf.Contract = strings.NewReplacer("essays.", l.ID+".").Replace(claimExample(t, "contract"))
		}
		for typ, topic := range map[string]string{textCorrected: "text.corrected.v1", essayArchived: "archived.v1"} {
			c.topic[typ] = l.ID + "." + topic
		}
	})...)
	return c
}

// textOf is a text of n bytes that no other event has.
func textOf(n int) string {
	return strings.Repeat(uuid.NewString()+" Å\"\n", n/41+1)[:n]
}

// publish commits events of a type, a transaction each.
func (c *claimLab) publish(typ string, texts ...string) {
	c.Helper()
	for _, s := range texts {
		e := corrected{uuid.NewString(), typ, fmt.Sprintf("essay-%d", len(c.want)%3), strings.ToValidUTF8(s, "")}
		c.Check(pgx.BeginFunc(c.Ctx(time.Minute), c.DB, func(tx pgx.Tx) error {
			return outbox.Publish(c.Context(), tx, outbox.Event{
				ID: outbox.ID(uuid.MustParse(e.id)), AggregateType: "essay", AggregateID: e.essay, Type: typ, Payload: json.RawMessage(e.payload()),
			})
		}))
		c.want = append(c.want, e)
	}
}

// arrived reads until everything committed is there and nothing more comes, and
// demands each event once, whole, with what was claimed fetched and verified.
func (c *claimLab) arrived(r *rig.Reader) (claimed int) {
	c.Helper()
	c.Check(r.Read(c.Ctx(time.Minute), func(n int) bool { return n >= len(c.want) }))
	c.Check(r.Settle(c.Ctx(time.Minute), 1500*time.Millisecond))
	if len(r.All) != len(c.want) {
		c.Errorf("%d records, %d events were committed", len(r.All), len(c.want))
	}
	dec, err := rig.NewDecoder(c.SR.URL())
	c.Check(err)
	byID := map[string]corrected{}
	for _, e := range c.want {
		byID[e.id] = e
	}
	for i := range r.All {
		rec := &r.All[i]
		e, ok := byID[rec.Headers["event_id"]]
		if !ok {
			c.Errorf("event %s is not one that was committed, or comes twice", rec.Headers["event_id"])
			continue
		}
		delete(byID, e.id)
		if rec.Key != e.essay || rec.Topic != c.topic[e.typ] || rec.Headers["content_type"] != "application/avro" {
			c.Errorf("event %s: key %q, topic %s, headers %v", e.id, rec.Key, rec.Topic, rec.Headers)
		}
		if c.whole(dec, rec, e) {
			claimed++
		}
	}
	return claimed
}

// whole demands that a record is the event, and reports whether a part of it is
// an object.
func (c *claimLab) whole(dec *rig.Decoder, rec *rig.Record, e corrected) bool {
	c.Helper()
	v, err := dec.Decode(c.Ctx(time.Minute), rec.Value)
	c.Check(err)
	kind, fields := claimcheck.Of([]byte(rec.Headers["claim_check"]))
	switch kind {
	case claimcheck.Payload:
		v, err = dec.Decode(c.Ctx(time.Minute), c.fetch(v, "event_payload", "application/avro"))
		c.Check(err)
	case claimcheck.Fields:
		data, _ := v["data"].(map[string]any)
		if !slices.Equal(fields, []string{"data.corrected_text"}) {
			c.Errorf("claimed %v", fields)
		}
		m, _ := unwrapped(data["corrected_text"], "huleedu.events.ArtifactRef").(map[string]any)
		data["corrected_text"] = string(c.fetch(m, "corrected_text", "text/plain; charset=utf-8"))
	}
	data, _ := v["data"].(map[string]any)
	if v["essay_id"] != e.essay || unwrapped(data["corrected_text"], "string") != e.text {
		c.Errorf("event %s is not whole: %.80v", e.id, v)
	}
	return kind != claimcheck.None
}

// fetch reads the object of a reference from the server and verifies it.
func (c *claimLab) fetch(ref map[string]any, typ, media string) []byte {
	c.Helper()
	key, ok := strings.CutPrefix(fmt.Sprint(ref["uri"]), "s3://"+s3.Bucket+"/")
	if !ok {
		c.Fatalf("%v", ref)
	}
	data, contentType := c.s3.Object(key)
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	if key != "events/sha256/"+hash[:2]+"/"+hash || ref["sha256"] != hash || ref["bytes"] != int64(len(data)) ||
		ref["content_type"] != media || contentType != media || fmt.Sprint(unwrapped(ref["ttl_sec"], "int")) != "2592000" || ref["type"] != typ {
		c.Errorf("the object at %s (%s, %d bytes, %s) is not what its reference says: %v", key, contentType, len(data), hash, ref)
	}
	return data
}

// unwrapped is a value of a union, without the wrapper of the Avro JSON encoding.
func unwrapped(v any, branch string) any {
	if m, ok := v.(map[string]any); ok && len(m) == 1 {
		return m[branch]
	}
	return v
}

// objects are the keys of what was stored, without the probe.
func (c *claimLab) objects() []string { return c.s3.Keys("events/sha256/") }

func (c *claimLab) metric(r *rig.Relay, name string, parts ...string) float64 {
	c.Helper()
	v, err := r.Metric(c.Ctx(10*time.Second), name, parts...)
	c.Check(err)
	return v
}

// A field and a whole value over their limits come as references, what is small
// comes as ever, in one order; sizes, claims and uploads are counted.
func TestClaimCheck(t *testing.T) {
	c := newClaims(t)
	r := c.Start()
	c.publish(textCorrected, textOf(100), textOf(60_000), textOf(49_000), textOf(150_000))
	c.publish(essayArchived, textOf(100), textOf(190_000), textOf(300_000))
	same := textOf(70_000)
	c.publish(textCorrected, same, same)
	reader := c.Reader(c.topic[textCorrected], c.topic[essayArchived])
	if n := c.arrived(reader); n != 5 {
		t.Errorf("%d records were claimed, want 5", n)
	}
	if n := len(c.objects()); n != 4 { // the same text twice is one object
		t.Errorf("%d objects: %v", n, c.objects())
	}
	for name, want := range map[string]float64{
		"kafka_event_bytes_count": 9, "cdc_relay_event_claimed_total": 5,
	} {
		if got := c.metric(r, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := c.metric(r, "cdc_relay_event_claimed_total", `part="fields"`, `event_type="`+textCorrected+`"`); got != 4 {
		t.Errorf("%v records with claimed fields", got)
	}
	stored, present := c.metric(r, "cdc_relay_claim_objects_total", `"stored"`), c.metric(r, "cdc_relay_claim_objects_total", `"present"`)
	if stored != 4 || present > 1 || c.metric(r, "cdc_relay_claim_failures_total") != 0 || c.metric(r, "cdc_relay_claim_upload_seconds_count") != 4 {
		t.Errorf("%v stored, %v present", stored, present)
	}
	if got := c.metric(r, "cdc_relay_claim_stored_bytes_total"); got < 60_000+150_000+300_000+70_000 || got > 700_000 {
		t.Errorf("%v bytes stored", got)
	}
	c.Command("doctor").Exits(0).Says("claim check", "s3://artifacts/events can be written and read")
	c.Stops(r)
}

// What is over the target is counted, what is over the limit stops the pipeline
// and says how the claim check would help.
func TestSizes(t *testing.T) {
	c := newClaims(t, func(l *lab.Lab, conf *rig.Config) {
		conf.Contract = "events: [{type: " + textCorrected + ", topic: " + l.ID + ".text.corrected.v1, schema: EssayTextCorrectedEvent}]\n"
		conf.Extra += "max_event_bytes: 300KB\n"
	})
	r := c.Start()
	c.publish(textCorrected, textOf(1000), textOf(99_000), textOf(101_000), textOf(290_000))
	reader := c.Reader(c.topic[textCorrected])
	if n := c.arrived(reader); n != 0 {
		t.Errorf("%d claimed without a rule", n)
	}
	sum := 0
	for i := range reader.All {
		rec := &reader.All[i]
		sum += len(rec.Key) + len(rec.Value)
		for k, v := range rec.Headers {
			sum += len(k) + len(v)
		}
	}
	service := `service="`
	for name, want := range map[string]float64{
		"kafka_event_bytes_count": 4, "kafka_event_bytes_sum": float64(sum), "cdc_relay_event_over_target_total": 2,
	} {
		if got := c.metric(r, name, service, `event_type="`+textCorrected+`"`); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := c.metric(r, "kafka_event_bytes_bucket", `le="131072"`); got != 3 {
		t.Errorf("%v records of at most 128 KiB", got)
	}
	small := c.want
	c.publish(textCorrected, textOf(310_000))
	c.Gone(r, 1, time.Minute, "its limit is 300000", "claim_check: {payload: true}", c.want[len(small)].id)
	c.want = small
	c.arrived(reader)
}

// claimJSON publishes an event as JSON in two forms.
const claimJSON = `events:
  - type: essay.text.corrected
    topic: PREFIX.text.corrected.v1
    encoding: json
    claim_check: {fields: [data.corrected_text]}
    also: [{topic: PREFIX.archived.v1, claim_check: {payload: true}}]
`

// With encoding: json a reference is a JSON object, and the package claimcheck
// makes both forms whole again, over HTTP; no type is needed.
func TestClaimJSON(t *testing.T) {
	c := newClaims(t, func(l *lab.Lab, conf *rig.Config) { conf.Contract = strings.ReplaceAll(claimJSON, "PREFIX", l.ID) })
	store, err := claimcheck.Open(t.Context(), c.s3.URL()+"&anonymous=true")
	c.Check(err)
	defer store.Close()
	r := c.Start()
	c.publish(textCorrected, textOf(100), textOf(60_000))
	reader := c.Reader(c.topic[textCorrected], c.topic[essayArchived])
	c.Check(reader.Read(c.Ctx(time.Minute), func(n int) bool { return n >= 2*len(c.want) }))
	c.Stops(r)
	claimed := map[string]int{}
	for i := range reader.All {
		rec := &reader.All[i]
		header, value := rec.Headers["claim_check"], rec.Value
		kind, fields := claimcheck.Of([]byte(header))
		switch kind {
		case claimcheck.Payload:
			ref, err := claimcheck.ParseRef(value)
			c.Check(err)
			value, err = store.Fetch(t.Context(), ref)
			c.Check(err)
		case claimcheck.Fields:
			value, err = store.Inline(t.Context(), value, fields)
			c.Check(err)
		}
		claimed[rec.Topic+" "+header]++
		var v struct {
			Data struct {
				Text string `json:"corrected_text"`
			}
		}
		c.Check(json.Unmarshal(value, &v))
		if i := slices.IndexFunc(c.want, func(e corrected) bool { return e.id == rec.Headers["event_id"] }); i < 0 || v.Data.Text != c.want[i].text {
			t.Errorf("record %d of %s is not whole (%q)", i, rec.Topic, header)
		}
		if len(rec.Value) > 2000 || rec.Headers["content_type"] != "application/json" {
			t.Errorf("%d bytes, headers %v", len(rec.Value), rec.Headers)
		}
	}
	if want := map[string]int{
		c.topic[textCorrected] + " ": 1, c.topic[textCorrected] + " fields:data.corrected_text": 1, c.topic[essayArchived] + " ": 1, c.topic[essayArchived] + " payload": 1,
	}; !maps.Equal(claimed, want) {
		t.Errorf("%v, want %v", claimed, want)
	}
}

// Consumers in Python read it by the code of the page.
func TestClaimPython(t *testing.T) {
	c := newClaims(t)
	python := stack.Python(t)
	r := c.Start()
	c.publish(textCorrected, textOf(100), textOf(60_000))
	c.publish(essayArchived, textOf(300_000))
	c.arrived(c.Reader(c.topic[textCorrected], c.topic[essayArchived]))
	c.Stops(r)
	c.Check(os.WriteFile(filepath.Join(c.Dir, "claims.py"), []byte(claimExample(t, "python")), 0o600))
	cmd := exec.CommandContext(c.Ctx(time.Minute), python, filepath.Join(rig.Root(), "test", "e2e", "testdata", "claim.py"),
		c.Kafka.Bootstrap(), c.SR.URL(), "3", c.topic[textCorrected], c.topic[essayArchived])
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.Env = append(append(os.Environ(), s3.Env()...), "AWS_ENDPOINT_URL="+c.s3.Endpoint(), "PYTHONPATH="+c.Dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	got := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var v struct{ ID, Text string }
		c.Check(dec.Decode(&v))
		got[v.ID] = v.Text
	}
	for _, e := range c.want {
		if got[e.id] != e.text {
			t.Errorf("event %s: %d bytes of text, want %d", e.id, len(got[e.id]), len(e.text))
		}
	}
}
