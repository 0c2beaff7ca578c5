package contracts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// shop is a lane with the schemas and the contract of docs/schemas.md, in an
// environment where a run creates nothing but topics, and names of its own in
// the registry that tests share.
type shop struct {
	*lab.Lane
	schemas string // folder
	space   string // namespace instead of shop
}

// example is a block of docs/schemas.md with the names of this test.
func (s *shop) example(name string) string {
	s.Helper()
	text, err := rig.Example("docs/schemas.md", name)
	s.Check(err)
	return strings.ReplaceAll(text, `"shop"`, strconv.Quote(s.space))
}

// file writes a schema file; change may be nil.
func (s *shop) file(name, example string, change func(string) string) {
	s.Helper()
	text := s.example(example)
	if change != nil {
		text = change(text)
	}
	s.Check(os.WriteFile(filepath.Join(s.schemas, name), []byte(text), 0o644))
}

func newShop(t *testing.T, naming string, more ...lab.Setup) *shop {
	t.Helper()
	s := &shop{schemas: t.TempDir(), space: "shop" + strings.ReplaceAll(uuid.NewString(), "-", "")[:8]}
	s.Lane = &lab.Lane{Lab: &lab.Lab{T: t}}
	s.file("OrderPlacedV1.avsc", "order-v1", nil)
	s.file("Line.avsc", "line", nil)
	contract := strings.ReplaceAll(s.example("order-events"), "shop.order.placed.v1", "TOPIC")
	contract = strings.Replace(contract, "subject_name: record", "subject_name: "+naming+"\n    topic_class: lane", 1) +
		"topic_classes:\n  lane: {partitions: 1, cleanup.policy: delete}\n"
	s.Lane = lab.NewLane(t, append(more, lab.With(func(c *rig.Config) { c.Contract, c.Schemas = contract, s.schemas }))...)
	return s
}

// production is what a relay runs in when it may register nothing.
func (s *shop) production() {
	s.Helper()
	s.Command("topics", "apply").Exits(0)
	s.Rewrite(func(c *rig.Config) { c.Environment = "production" })
}

// order inserts one order with its schema version in a header.
func (s *shop) order(version int, payload string) {
	s.Helper()
	s.Check(pgx.BeginFunc(s.Ctx(time.Minute), s.DB, func(tx pgx.Tx) error {
		return outbox.Publish(s.Context(), tx, outbox.Event{
			AggregateType: "order", AggregateID: "o-1", Type: "order.placed", Payload: json.RawMessage(payload),
			Headers: map[string]string{"schema_version": strconv.Itoa(version)},
		})
	}))
}

const (
	orderV1 = `{"order_id":"o-1","total":"99.50","lines":[{"sku":"pen","quantity":2}]}`
	orderV2 = `{"order_id":"o-2","customer_id":"c-7","total_ore":9950,"lines":[{"sku":"ink","quantity":1}]}`
)

// consumed reads the topic with Confluent's own deserializer.
func (s *shop) consumed(count int) []map[string]any {
	s.Helper()
	var out []map[string]any
	for _, f := range script(s.Lane, stack.Python(s.T), "confluent.py", s.Kafka.Bootstrap(), s.SR.URL(), s.Topic, strconv.Itoa(count)) {
		v, ok := f.Value.(map[string]any)
		if !ok {
			s.Fatalf("value %v", f.Value)
		}
		v["header"] = f.header("schema_version")
		out = append(out, v)
	}
	return out
}

// state is one line of `schemas check`, `register` or `diff`.
type state struct {
	Subject, Schema, State, Level, Against, Registry string
	Version, ID                                      int
	Reasons, Warnings                                []struct{ Path, Rule, What, Do string }
	Changes                                          []struct{ Path, Kind, Was, Now string }
}

// states runs a command of schemas and reads what it prints.
func states(l *lab.Lab, code int, args ...string) []state {
	l.Helper()
	c := l.Command(append([]string{"schemas"}, append(args, "-o", "json")...)...).Exits(code)
	var all []state
	if err := json.NewDecoder(strings.NewReader(c.Out)).Decode(&all); err != nil {
		l.Fatalf("%v: %s", err, c)
	}
	return all
}

// level sets the compatibility level of a subject.
func (s *shop) level(subject, level string) {
	s.Helper()
	s.Check(rig.Put(s.Ctx(time.Minute), s.SR.URL()+"/config/"+subject, fmt.Sprintf(`{"compatibility":%q}`, level)))
}

// The way of a schema from a file to the registry, as in CI: every command says
// what is, register may be repeated, and a relay in production finds it there.
func TestSchemasInCI(t *testing.T) {
	s := newShop(t, "topic")
	subject := s.Topic + "-value"
	s.production()
	s.Rewrite(func(c *rig.Config) { c.Extra += s.example("lint") })
	if got := states(s.Lab, 0, "check"); len(got) != 1 || got[0].State != "new" || got[0].Subject != subject || got[0].Schema != "OrderPlacedV1" {
		t.Fatalf("check: %+v", got)
	}
	if got := states(s.Lab, 5, "diff"); got[0].State != "absent" {
		t.Errorf("diff: %+v", got)
	}
	if got := states(s.Lab, 0, "register", "--dry-run"); got[0].State != "to register" || got[0].ID != 0 {
		t.Errorf("register --dry-run: %+v", got)
	}
	s.Command("run").Exits(3).Says("next: cdc-relay schemas register")
	for line := range strings.Lines(s.example("ci")) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), " #")
		s.Command(strings.Fields(command)[1:]...).Exits(0)
	}
	again := states(s.Lab, 0, "register")
	if again[0].State != "unchanged" || again[0].Version != 1 || again[0].ID == 0 {
		t.Errorf("register, again: %+v", again)
	}
	if got := states(s.Lab, 0, "check"); got[0].State != "registered" || got[0].ID != again[0].ID {
		t.Errorf("check: %+v", got)
	}
	s.Command("schemas", "diff").Exits(0).Says(subject + ": OrderPlacedV1 is version 1")
	s.Command("doctor").Says("ok    subject " + subject)
	r := s.Start()
	s.order(1, orderV1)
	if got := s.consumed(1); got[0]["total"] != "99.50" {
		t.Errorf("consumed %v", got)
	}
	s.Stopped(r, 0)

	// Only a doc changes: registers, and diff says so.
	s.file("Line.avsc", "line", func(x string) string { return strings.Replace(x, "How many.", "How many of it.", 1) })
	s.Command("schemas", "diff").Exits(5).Says("OrderPlacedV1 differs from version 1 in its documentation only", `~ lines[].quantity  doc: "How many." -> "How many of it."`, "next: cdc-relay schemas check")
	if got := states(s.Lab, 0, "register"); got[0].State != "registered" || got[0].Version != 2 {
		t.Errorf("register a doc: %+v", got)
	}

	// A field without a default is refused by the registry, and the reason names it.
	s.file("Line.avsc", "line", func(x string) string {
		return strings.Replace(x, `"fields": [`, `"fields": [{"name": "unit", "type": "string", "doc": "Of what."},`, 1)
	})
	bad := states(s.Lab, 3, "check")
	if bad[0].State != "incompatible" || bad[0].Level != "BACKWARD" || bad[0].Against != "version 2" || len(bad[0].Reasons) != 1 ||
		bad[0].Reasons[0].Path != "lines[].unit" || bad[0].Reasons[0].Rule != "field_default" || bad[0].Registry == "" {
		t.Errorf("check: %+v", bad)
	}
	s.Command("schemas", "check").Exits(3).Says("lines[].unit (field_default)", "next: give the new field a default", "the registry says: ")
	s.Command("schemas", "register").Exits(3).Says("OrderPlacedV1 under "+subject, "next: cdc-relay schemas check")
	s.Command("schemas", "diff").Exits(5).Says("+ lines[].unit  string")
	s.level(subject, "FORWARD")
	if got := states(s.Lab, 0, "check"); got[0].State != "compatible" || got[0].Level != "FORWARD" {
		t.Errorf("check at FORWARD: %+v", got)
	}
	s.level(subject, "BACKWARD_TRANSITIVE")
	if got := states(s.Lab, 3, "check"); got[0].Against != "version 1" {
		t.Errorf("check at BACKWARD_TRANSITIVE: %+v", got)
	}

	// What the registry lets pass although readers go wrong is told too.
	s.file("Line.avsc", "line", nil)
	s.file("OrderPlacedV1.avsc", "order-v1", func(x string) string { return strings.Replace(x, `"scale": 2`, `"scale": 3`, 1) })
	if got := states(s.Lab, 0, "check"); got[0].State != "compatible" || len(got[0].Warnings) == 0 || got[0].Warnings[0].Rule != "decimal" {
		t.Errorf("check of another scale: %+v", got)
	}
}

// Two versions that do not fit flow side by side on one topic when each record
// has a subject of its own, and a consumer that is not ours reads both. Under
// one subject they are refused before anything is published.
func TestTwoVersionsSideBySide(t *testing.T) {
	for _, naming := range []string{"record", "topic_record"} {
		t.Run(naming, func(t *testing.T) {
			s := newShop(t, naming)
			s.file("OrderPlacedV2.avsc", "order-v2", nil)
			s.Command("config", "validate").Exits(0)
			r := s.Start() // an environment that registers
			prefix := map[string]string{"record": "", "topic_record": s.Topic + "-"}[naming]
			got := states(s.Lab, 0, "check")
			if len(got) != 2 || got[0].Subject != prefix+s.space+".OrderPlacedV1" || got[1].Subject != prefix+s.space+".OrderPlacedV2" || got[0].State != "registered" || got[1].State != "registered" {
				t.Fatalf("check: %+v", got)
			}
			s.order(1, orderV1)
			s.order(2, orderV2)
			s.order(1, strings.Replace(orderV1, "pen", "nib", 1))
			values := s.consumed(3)
			if values[0]["total"] != "99.50" || values[0]["header"] != "1" || values[1]["total_ore"] != float64(9950) || values[1]["customer_id"] != "c-7" ||
				values[1]["header"] != "2" || values[2]["total"] != "99.50" {
				t.Errorf("consumed %v", values)
			}
			s.Stopped(r, 0)
		})
	}
}

func TestTwoVersionsUnderOneSubject(t *testing.T) {
	s := newShop(t, "topic")
	s.file("OrderPlacedV2.avsc", "order-v2", nil)
	// Before either is registered the first counts for the second, and none is.
	fresh := states(s.Lab, 3, "check")
	if fresh[0].State != "new" || fresh[1].State != "incompatible" || fresh[1].Against != "OrderPlacedV1, which would be registered first" || len(fresh[1].Reasons) != 3 {
		t.Errorf("check: %+v", fresh)
	}
	s.Command("schemas", "register").Exits(3).Says("OrderPlacedV2 under " + s.Topic + "-value")
	if got := states(s.Lab, 3, "check"); got[0].State != "new" {
		t.Errorf("register refused, and yet: %+v", got)
	}
	s.Check(os.Remove(filepath.Join(s.schemas, "OrderPlacedV2.avsc")))
	s.Stopped(s.Start(), 0)
	s.file("OrderPlacedV2.avsc", "order-v2", nil)
	says := []string{"topic " + s.Topic, "OrderPlacedV2 cannot follow OrderPlacedV1", "subject_name: record"}
	s.Command("config", "validate").Exits(0).Says(append(says, "warning: ")...)
	s.Command("schemas", "check", "--offline").Exits(3).Says(says...)
	got := states(s.Lab, 3, "check")
	var rules []string
	for _, r := range got[1].Reasons {
		rules = append(rules, r.Path+" "+r.Rule)
	}
	if got[0].State != "registered" || got[1].State != "incompatible" || !slices.Equal(rules, []string{"$ name", "customer_id field_default", "total_ore field_default"}) {
		t.Errorf("check: %+v", got)
	}
	s.Command("run").Exits(3).Says("this schema is not compatible", "OrderPlacedV2", "next: cdc-relay schemas check")

	// An alias and defaults are enough to have both under the topic's subject.
	s.file("OrderPlacedV2.avsc", "order-v2", func(x string) string {
		x = strings.Replace(x, `"namespace"`, `"aliases": ["OrderPlacedV1"], "namespace"`, 1)
		x = strings.Replace(x, `"doc": "Who placed it."`, `"doc": "Who placed it.", "default": ""`, 1)
		return strings.Replace(x, `"minimum": 0}`, `"minimum": 0, "default": 0}`, 1)
	})
	if out := s.Command("config", "validate").Exits(0); strings.Contains(out.Out, "warning") {
		t.Errorf("%s", out)
	}
	r := s.Start()
	s.order(2, orderV2)
	s.order(1, orderV1)
	if values := s.consumed(2); values[0]["total_ore"] != float64(9950) || values[1]["total"] != "99.50" {
		t.Errorf("consumed %v", values)
	}
	s.Stopped(r, 0)
}

// Types of sibling files become subjects of their own, in the order they need
// each other, and a consumer that is not ours puts the schema together.
func TestSchemaReferences(t *testing.T) {
	example, err := rig.Example("docs/schemas.md", "references")
	if err != nil {
		t.Fatal(err)
	}
	_, references, _ := strings.Cut(example, "references: ")
	s := newShop(t, "topic", lab.With(func(c *rig.Config) { c.References = strings.TrimSpace(references) }))
	s.production()
	if got := states(s.Lab, 0, "check"); len(got) != 2 || got[0].State != "new" || got[1].State != "new" {
		t.Fatalf("check: %+v", got)
	}
	s.Command("run").Exits(3).Says("it refers to "+s.space+".Line", "next: cdc-relay schemas register")
	first := states(s.Lab, 0, "register")
	if len(first) != 2 || first[0].Subject != s.space+".Line" || first[1].Subject != s.Topic+"-value" || first[0].State != "registered" || first[1].State != "registered" {
		t.Fatalf("register: %+v", first)
	}
	s.Command("schemas", "diff").Exits(0)
	s.Command("doctor").Says("ok    subject "+s.space+".Line", "ok    subject "+s.Topic+"-value")
	r := s.Start()
	s.order(1, orderV1)
	s.consumed(1)
	s.Stopped(r, 0)

	// A change below makes a new version of both; what came before stays readable.
	s.file("Line.avsc", "line", func(x string) string {
		return strings.Replace(x, `"fields": [`, `"fields": [{"name": "unit", "type": "string", "doc": "Of what.", "default": "piece"},`, 1)
	})
	s.Command("schemas", "diff").Exits(5).Says(s.space+".Line: "+s.space+".Line differs from version 1", "+ lines[].unit  string, default \"piece\"")
	second := states(s.Lab, 0, "register")
	if second[0].Version != 2 || second[1].Version != 2 || second[1].ID == first[1].ID {
		t.Errorf("register: %+v", second)
	}
	r = s.Start()
	s.order(1, orderV1)
	values := s.consumed(2)
	line := func(v map[string]any) any { return v["lines"].([]any)[0].(map[string]any)["unit"] }
	if values[0]["total"] != "99.50" || line(values[0]) != nil || line(values[1]) != "piece" {
		t.Errorf("consumed %v", values)
	}
	s.Stopped(r, 0)

	// What does not fit is refused, and named.
	s.file("Line.avsc", "line", func(x string) string { return strings.Replace(x, `"type": "int"`, `"type": "string"`, 1) })
	s.Command("schemas", "register").Exits(3).Says("Line under " + s.space + ".Line")
	bad := states(s.Lab, 3, "check")
	if bad[0].State != "incompatible" || len(bad[0].Reasons) != 1 || bad[0].Reasons[0].Path != "quantity" ||
		bad[1].State != "incompatible" || bad[1].Reasons[0].Path != "lines[].quantity" {
		t.Errorf("check: %+v", bad)
	}
}

// The shipped schemas, some of which share types, can be read through references.
func TestShippedSchemasByReference(t *testing.T) {
	n := lab.NewLane(t, lab.With(func(c *rig.Config) {
		c.References = "register"
		c.Contract = strings.NewReplacer("essay.state.changed", rig.Types[2], "EssayStateChangedEvent", "AssessmentResultEvent").Replace(lab.LaneContract)
	}))
	r := n.Start()
	e := n.Next()
	e.Type = rig.Types[2]
	n.Check(pgx.BeginFunc(n.Ctx(time.Minute), n.DB, func(tx pgx.Tx) error { return outbox.Publish(n.Context(), tx, e.Outbox()) }))
	got := script(n, stack.Python(t), "confluent.py", n.Kafka.Bootstrap(), n.SR.URL(), n.Topic, "1")
	data, _ := got[0].Value.(map[string]any)["data"].(map[string]any)
	if results, _ := data["essay_results"].([]any); len(results) != 2 || data["status"] != "COMPLETED" {
		t.Errorf("consumed %v", got[0].Value)
	}
	if all := states(n.Lab, 0, "check"); len(all) < 5 {
		t.Errorf("check: %+v", all)
	}
	n.Stopped(r, 0)
}

// A version there is no file of cannot be encoded: the fault says by which rule.
// With the file, the same event goes out.
func TestUnknownSchemaVersion(t *testing.T) {
	s := newShop(t, "record")
	r := s.Start()
	s.order(1, orderV1)
	s.order(2, orderV2)
	code, err := r.Exit(s.Ctx(time.Minute))
	if err != nil || code != 1 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, r.Log())
	}
	for _, want := range []string{"schema_version: 2 is not one of 1", "the relay knows no schema OrderPlacedV2", "add the file OrderPlacedV2.avsc"} {
		if !strings.Contains(r.Log(), want) {
			t.Errorf("does not say %q:\n%s", want, r.Log())
		}
	}
	s.file("OrderPlacedV2.avsc", "order-v2", nil)
	r = s.Start()
	if values := s.consumed(2); values[0]["header"] != "1" || values[1]["customer_id"] != "c-7" {
		t.Errorf("consumed %v", values)
	}
	s.Stopped(r, 0)
}
