package transform

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

const artifactRef = `{"type":"record","name":"ArtifactRef","namespace":"huleedu.events","fields":[
 {"name":"type","type":{"type":"enum","name":"ArtifactType","namespace":"huleedu.events","symbols":["corrected_text","event_payload"]}},
 {"name":"uri","type":"string","pattern":"^s3://"},
 {"name":"bytes","type":"long"},
 {"name":"content_type","type":"string"},
 {"name":"sha256","type":"string","pattern":"^[0-9a-f]{64}$"},
 {"name":"ttl_sec","type":["null","int"],"default":null},
 {"name":"encryption","type":["null","string"],"default":null}]}`

// textEvent is an event with a text, a file and a list that may be large.
const textEvent = `{"type":"record","name":"TextEventV%d","namespace":"huleedu.events","fields":[
 {"name":"id","type":"string"},
 {"name":"data","type":{"type":"record","name":"TextV1","fields":[
  {"name":"corrected_text","type":%s},
  {"name":"file","type":["null","bytes","ArtifactRef"],"encoding":"base64","default":null},
  {"name":"words","type":["null",{"type":"array","items":"string"},"ArtifactRef"],"default":null}]}}]}`

func textSchema(version int, text string) string { return fmt.Sprintf(textEvent, version, text) }

// claims is a transformer whose event "text" has the claim rule, with the
// schema of the text; "" is one that takes a reference.
func claims(t testing.TB, rule contract.ClaimCheck, encoding string, schemas ...string) *Transformer {
	t.Helper()
	tr, err := claimsErr(t, rule, encoding, schemas...)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func claimsErr(t testing.TB, rule contract.ClaimCheck, encoding string, schemas ...string) (*Transformer, error) {
	t.Helper()
	if len(schemas) == 0 {
		schemas = []string{textSchema(1, `["string",`+artifactRef+`]`)}
	}
	f := contract.File{Name: "events.yaml", Events: []contract.Event{{
		Type: "text", Topic: "text.v1", Schema: "TextEvent", Encoding: encoding, Key: []string{"payload.data.corrected_text", "aggregate_id"}, ClaimCheck: rule,
	}}}
	c, err := contract.New(f)
	if err != nil {
		t.Fatal(err)
	}
	return Compile(Options{
		Contract: c, Service: "svc", Database: "essays", SystemID: "7", ClaimBase: "s3://bucket/prefix",
		Versions: func(string) []int {
			var out []int
			for i := range schemas {
				out = append(out, i+1)
			}
			return out
		},
		Schemas: func(name string, v int) (Schema, bool) {
			if name == RefSchema && v == 0 {
				return Schema{ID: 99, Text: artifactRef}, true
			}
			return Schema{ID: 100 + v, Text: schemas[v-1]}, true
		},
	})
}

func yes() *bool { return new(true) }

// large is a text of n bytes of UTF-8 that JSON escapes.
func large(n int) string {
	return strings.Repeat("a\"\n\\å\t", n/7+1)[:n-n%7]
}

func textRow(payload any) *event.Msg {
	doc, err := json.Marshal(payload)
	if err != nil {
		doc = []byte(err.Error())
	}
	r := fine()
	r.typ, r.payload = "text", string(doc)
	return r.msg(nativeTable())
}

type jsonObject = map[string]any

// appended is the one record of a message and the batch it is in.
func appended(t testing.TB, tr *Transformer, m *event.Msg) (event.Record, *event.Batch) {
	t.Helper()
	b := event.NewBatch(event.NewPool(1 << 20))
	if err := tr.Append(b, m); err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Cols {
		for i := range c {
			c[i] = '#' // the socket buffer is dead now
		}
	}
	if len(b.Records) != 1 {
		t.Fatalf("%d records", len(b.Records))
	}
	return b.Records[0], b
}

func claimHeaderOf(r event.Record) string {
	for _, h := range r.Headers {
		if h.Key == event.ClaimHeader {
			return string(h.Value)
		}
	}
	return ""
}

// A field over the limit becomes a reference, in Avro and in JSON alike; what is
// stored is the text itself, and the reference says so.
func TestClaimFields(t *testing.T) {
	t.Parallel()
	text, file := large(60_000), []byte(strings.Repeat("\x00\xffPDF", 20_000))
	words := strings.Fields(strings.Repeat("word ", 12_000))
	doc := jsonObject{"id": "e1", "data": jsonObject{"corrected_text": text, "file": base64.StdEncoding.EncodeToString(file), "words": words}}
	rule := contract.ClaimCheck{Fields: []string{"data.words", "data.corrected_text", "data.file"}, TTL: "720h", Type: "corrected_text", Encryption: "SSE-S3"}
	list, err := json.Marshal(words)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []string{"avro", "json"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			tr := claims(t, rule, encoding)
			r, b := appended(t, tr, textRow(doc))
			stored := file
			if encoding == "json" { // nobody says that it is base64
				stored = []byte(base64.StdEncoding.EncodeToString(file))
			}
			want := []string{string(list), text, string(stored)}
			if len(b.Blobs) != len(want) {
				t.Fatalf("%d blobs", len(b.Blobs))
			}
			for i, w := range want {
				if blob := &b.Blobs[i]; string(blob.Data) != w || blob.Sum != sha256.Sum256([]byte(w)) || blob.TTL != 720*time.Hour {
					t.Errorf("blob %d: %d bytes, want %d", i, len(blob.Data), len(w))
				}
			}
			if b.Bytes < b.BlobBytes()+len(r.Value) { // what is to be stored counts against the batch's limit
				t.Errorf("%d bytes in the batch, %d in its blobs", b.Bytes, b.BlobBytes())
			}
			if media := b.Blobs[0].ContentType + " " + b.Blobs[1].ContentType; media != mediaJSON+" "+mediaText {
				t.Error(media)
			}
			if got := claimHeaderOf(r); got != "fields:data.words,data.corrected_text,data.file" {
				t.Errorf("header %q", got)
			}
			if string(r.Key) != text {
				t.Error("the key is not of the full payload")
			}
			if len(r.Value) > 2000 || strings.Contains(string(r.Value), "word word") {
				t.Errorf("the value has %d bytes", len(r.Value))
			}
			if encoding == "json" {
				checkJSONRefs(t, r.Value, b.Blobs)
			} else if !strings.Contains(string(r.Value), "s3://bucket/prefix/"+b.Blobs[1].Key()) {
				t.Errorf("%q", r.Value)
			}
		})
	}
}

func checkJSONRefs(t *testing.T, value []byte, blobs []event.Blob) {
	t.Helper()
	var got struct {
		ID   string
		Data map[string]struct {
			Type, URI, SHA256, Encryption string
			Bytes                         int
			ContentType                   string `json:"content_type"`
			TTL                           int    `json:"ttl_sec"`
		}
	}
	if err := json.Unmarshal(value, &got); err != nil || got.ID != "e1" || len(got.Data) != 3 {
		t.Fatalf("%v: %s", err, value)
	}
	for i, name := range []string{"words", "corrected_text", "file"} {
		ref, b := got.Data[name], &blobs[i]
		if ref.URI != "s3://bucket/prefix/"+b.Key() || ref.Bytes != len(b.Data) || ref.SHA256 != hex.EncodeToString(b.Sum[:]) ||
			ref.ContentType != b.ContentType || ref.TTL != 2592000 || ref.Type != "corrected_text" || ref.Encryption != "SSE-S3" {
			t.Errorf("%s: %+v", name, ref)
		}
	}
}

// What is as large as the limit stays; so do fields beside a large one, nulls,
// fields that are not there, and a text whose JSON is longer than itself.
func TestClaimStaysInline(t *testing.T) {
	t.Parallel()
	rule := contract.ClaimCheck{Fields: []string{"data.corrected_text", "data.words"}, Over: "1000", Type: "corrected_text"}
	for name, data := range map[string]jsonObject{
		"at the limit": {"corrected_text": strings.Repeat("x", 1000)},
		"escapes":      {"corrected_text": strings.Repeat("\"", 1000)},
		"elsewhere":    {"corrected_text": "short", "file": strings.Repeat("QUJD", 500)},
		"null":         {"corrected_text": "short", "words": nil, "file": strings.Repeat("QUJD", 500)},
	} {
		for _, encoding := range []string{"avro", "json"} {
			r, b := appended(t, claims(t, rule, encoding), textRow(jsonObject{"id": "e", "data": data}))
			if len(b.Blobs) > 0 || claimHeaderOf(r) != "" {
				t.Errorf("%s, %s: %d blobs, header %q", name, encoding, len(b.Blobs), claimHeaderOf(r))
			}
		}
	}
	r, b := appended(t, claims(t, rule, "json"), textRow(jsonObject{"id": "e", "data": jsonObject{"corrected_text": strings.Repeat("x", 1001)}}))
	if len(b.Blobs) != 1 || claimHeaderOf(r) != "fields:data.corrected_text" {
		t.Errorf("over the limit: %d blobs, header %q", len(b.Blobs), claimHeaderOf(r))
	}
}

// The whole value: what is stored is what the record's value would have been.
func TestClaimPayload(t *testing.T) {
	t.Parallel()
	doc := jsonObject{"id": "e1", "data": jsonObject{"corrected_text": strings.Repeat("x", 2000)}}
	for _, encoding := range []string{"avro", "json", "bytes"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			inline, _ := appended(t, claims(t, contract.ClaimCheck{}, encoding), textRow(doc))
			r, b := appended(t, claims(t, contract.ClaimCheck{Payload: yes(), Over: "1000", Type: "event_payload"}, encoding), textRow(doc))
			if len(b.Blobs) != 1 || string(b.Blobs[0].Data) != string(inline.Value) {
				t.Fatalf("%d blobs", len(b.Blobs))
			}
			if string(r.Key) != string(inline.Key) || claimHeaderOf(r) != "payload" {
				t.Errorf("key %.20q, header %q", r.Key, claimHeaderOf(r))
			}
			own, stored := "application/json", map[string]string{"avro": "application/avro", "json": "application/json", "bytes": "application/octet-stream"}[encoding]
			if encoding == "avro" {
				own = "application/avro"
				if string(r.Value[:5]) != "\x00\x00\x00\x00\x63" {
					t.Errorf("not framed with the id of references: %q", r.Value[:5])
				}
			} else if !json.Valid(r.Value) {
				t.Errorf("%s", r.Value)
			}
			if b.Blobs[0].ContentType != stored || !strings.Contains(headerText(r), "content_type="+own) {
				t.Errorf("stored as %s, headers %s", b.Blobs[0].ContentType, headerText(r))
			}
			if !strings.Contains(string(r.Value), "s3://bucket/prefix/"+b.Blobs[0].Key()) {
				t.Errorf("%q", r.Value)
			}
		})
	}
}

// A tombstone stays one, and a row's own claim_check header gives way to ours.
func TestClaimEdges(t *testing.T) {
	t.Parallel()
	tr := claims(t, contract.ClaimCheck{Payload: yes(), Over: "1000"}, "json")
	row := fine()
	row.typ, row.payload = "text", ""
	if r, b := appended(t, tr, row.msg(nativeTable())); r.Value != nil || len(b.Blobs) > 0 {
		t.Errorf("tombstone: %q", r.Value)
	}
	row.headers, row.payload = `{"claim_check":"payload","x":"y"}`, `"`+strings.Repeat("x", 2000)+`"`
	r, _ := appended(t, tr, row.msg(nativeTable()))
	if n := strings.Count(headerText(r), "claim_check="); n != 1 {
		t.Errorf("%d headers: %s", n, headerText(r))
	}
	row.payload = `{}`
	if r, _ = appended(t, tr, row.msg(nativeTable())); claimHeaderOf(r) != "payload" || string(r.Value) != "{}" {
		t.Errorf("a service that claims by itself keeps its header: %s", headerText(r))
	}
	if n := testutil.ToFloat64(tr.rules["text"].metrics.claimedPayload); n != 1 {
		t.Errorf("%v counted", n)
	}
}

// A field that breaks its schema stops the pipeline; it does not vanish in a
// bucket, and the batch is as before.
func TestClaimIsJudgedFirst(t *testing.T) {
	t.Parallel()
	schema := textSchema(1, `["string",`+artifactRef+`],"maxLength":1500`)
	tr := claims(t, contract.ClaimCheck{Fields: []string{"data.corrected_text"}, Over: "1000", Type: "corrected_text"}, "avro", schema)
	b := event.NewBatch(event.NewPool(1 << 20))
	if err := tr.Append(b, textRow(jsonObject{"id": "e", "data": jsonObject{"corrected_text": strings.Repeat("x", 1400)}})); err != nil || len(b.Blobs) != 1 {
		t.Fatal(err, len(b.Blobs))
	}
	for _, bad := range []any{strings.Repeat("x", 1600), []int{1, 2, len(strings.Repeat("x", 1600))}, jsonObject{"a": strings.Repeat("x", 1600)}} {
		err := tr.Append(b, textRow(jsonObject{"id": "e", "data": jsonObject{"corrected_text": bad}}))
		if err == nil || event.VerdictOf(err) != event.Stop || !strings.Contains(err.Error(), "corrected_text") {
			t.Errorf("%.40v: %v", bad, err)
		}
		// Another field breaks the schema after one was claimed.
		err = tr.Append(b, textRow(jsonObject{"id": 7, "data": jsonObject{"corrected_text": strings.Repeat("x", 1400)}}))
		if err == nil || len(b.Blobs) != 1 || len(b.Records) != 1 {
			t.Errorf("%v: %d blobs, %d records", err, len(b.Blobs), len(b.Records))
		}
	}
}

// Rows of the version before the schema was widened keep their text.
func TestClaimVersions(t *testing.T) {
	t.Parallel()
	old := strings.ReplaceAll(textSchema(1, `"string"`), `,"ArtifactRef"`, "")
	tr := claims(t, contract.ClaimCheck{Fields: []string{"data.corrected_text"}, Over: "1000", Type: "corrected_text"}, "avro",
		old, textSchema(2, `["string",`+artifactRef+`]`))
	for version, blobs := range map[int]int{1: 0, 2: 1} {
		m := textRow(jsonObject{"id": "e", "data": jsonObject{"corrected_text": strings.Repeat("x", 1400)}})
		m.Cols[6] = fmt.Appendf(nil, `{"schema_version":"%d"}`, version)
		if r, b := appended(t, tr, m); len(b.Blobs) != blobs || r.Value[4] != byte(100+version) {
			t.Errorf("version %d: %d blobs, id %d", version, len(b.Blobs), r.Value[4])
		}
	}
}

// What would not fit is found out before the first row.
func TestClaimCompile(t *testing.T) {
	t.Parallel()
	field := contract.ClaimCheck{Fields: []string{"data.corrected_text"}, Type: "corrected_text"}
	with := func(change func(*contract.ClaimCheck)) contract.ClaimCheck {
		c := field
		change(&c)
		return c
	}
	ref := func(old, new string) string {
		return textSchema(1, `["string",`+strings.Replace(artifactRef, old, new, 1)+`]`)
	}
	plain := strings.ReplaceAll(textSchema(1, `"string"`), `,"ArtifactRef"`, "")
	for name, c := range map[string]struct {
		rule   contract.ClaimCheck
		schema string
		want   string
	}{
		"no such field":    {with(func(c *contract.ClaimCheck) { c.Fields = []string{"data.corected_text"} }), "", "schema TextEventV1 has no field data.corected_text"},
		"no room":          {field, plain, `the field data.corrected_text of TextEventV1 is string, which takes no reference; add "ArtifactRef" to its union`},
		"only a reference": {field, textSchema(1, artifactRef), "is a reference already"},
		"no type":          {with(func(c *contract.ClaimCheck) { c.Type = "" }), "", "wants a type; write claim_check: {type: SYMBOL}"},
		"wrong type":       {with(func(c *contract.ClaimCheck) { c.Type = "essay" }), "", `"essay"`},
		"no sha256":        {field, ref(`{"name":"sha256","type":"string","pattern":"^[0-9a-f]{64}$"},`, ""), "has no field sha256"},
		"one more":         {field, ref(`{"name":"bytes"`, `{"name":"owner","type":"string"},{"name":"bytes"`), "wants a field owner, which the relay does not know"},
		"uri pattern":      {field, ref(`^s3://`, `^https://`), "uri"},
		"map first": {field, textSchema(1, `[{"type":"map","values":["null","int","long","string"]},`+artifactRef+`]`),
			"a reference fits the branch map of its union"},
		"payload without its type": {contract.ClaimCheck{Payload: yes()}, "", "wants a type"},
	} {
		var schemas []string
		if c.schema != "" {
			schemas = append(schemas, c.schema)
		}
		if _, err := claimsErr(t, c.rule, "avro", schemas...); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "events.yaml") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := contract.New(contract.File{Events: []contract.Event{{Type: "a", Topic: "a", Encoding: "json", ClaimCheck: contract.ClaimCheck{Payload: yes()}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(Options{Contract: c}); err == nil || !strings.Contains(err.Error(), "there is no bucket") {
		t.Error(err)
	}
}

// Events below the limit cost nothing, with a claim rule or without.
func TestClaimDoesNotAllocate(t *testing.T) {
	for name, rule := range map[string]contract.ClaimCheck{
		"fields": {Fields: []string{"data.corrected_text"}, Type: "corrected_text"}, "payload": {Payload: yes(), Type: "event_payload"},
	} {
		for _, encoding := range []string{"avro", "json"} {
			tr := claims(t, rule, encoding)
			m := textRow(jsonObject{"id": "e", "data": jsonObject{"corrected_text": strings.Repeat("x", 1000)}})
			b := event.NewBatch(event.NewPool(64 << 20))
			fill := func() {
				b.Reset()
				for range 100 {
					if err := tr.Append(b, m); err != nil {
						t.Fatal(err)
					}
				}
			}
			fill()
			if n := testing.AllocsPerRun(50, fill); n != 0 {
				t.Errorf("%s, %s: %v allocations per 100 rows", name, encoding, n)
			}
		}
	}
}

func BenchmarkClaim(b *testing.B) {
	for name, n := range map[string]int{"inline": 40_000, "claimed": 60_000} {
		b.Run(name, func(b *testing.B) {
			tr := claims(b, contract.ClaimCheck{Fields: []string{"data.corrected_text"}, Type: "corrected_text"}, "avro")
			benchAppend(b, tr, textRow(jsonObject{"id": "e", "data": jsonObject{"corrected_text": strings.Repeat("x", n)}}))
		})
	}
}
