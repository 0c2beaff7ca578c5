package contract

import (
	"strings"
	"testing"
)

func results() File {
	on := true
	return File{
		Name: "events.yaml",
		Lines: map[string]int{
			"unknown_event": 1, "defaults": 2, "defaults.encoding": 2, "events[0]": 4, "events[0].topic": 5,
			"events[1]": 9, "events[1].also[0]": 12, "topic_classes.result": 15, "topic_classes.result.partitions": 16,
		},
		Unknown:  "default",
		Defaults: Defaults{Encoding: "json", Topic: "other.v1", Key: []string{"message_key", "aggregate_id"}},
		Events: []Event{{
			Type: "result.published", Topic: "huleedu.assessment.result.published.v1",
			Key: []string{"payload.data.cj_assessment_job_id", "aggregate_id"}, Schema: "AssessmentResultEvent", Encoding: "avro",
			Also:       []Also{{Topic: "huleedu.assessment.results.v1", Encoding: "json"}},
			TopicClass: "result", Headers: Headers{Enabled: &on, Preset: "debezium"},
		}, {Type: "plain"}},
		TopicClasses: map[string]TopicClass{"result": {Partitions: 12, Config: map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "604800000"}}},
	}
}

func TestNewAppliesDefaults(t *testing.T) {
	t.Parallel()
	off := false
	second := File{Name: "b.yaml", Defaults: Defaults{Headers: Headers{Enabled: &off}}}
	c, err := New(results(), second)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := c.Lookup([]byte("result.published"))
	if !ok || len(r.Forms) != 2 || r.At != "events.yaml:4" {
		t.Fatalf("rule %+v, %v", r, ok)
	}
	main, also := r.Forms[0], r.Forms[1]
	if main.Encoding != Avro || main.HeadersOff || main.Preset != PresetDebezium || main.Key[0].String() != "payload.data.cj_assessment_job_id" {
		t.Errorf("own form %+v", main)
	}
	if also.Topic != "huleedu.assessment.results.v1" || also.Encoding != JSON || also.TopicClass != "result" || len(also.Key) != 2 {
		t.Errorf("second form does not inherit: %+v", also)
	}
	p, _ := c.Lookup([]byte("plain"))
	if f := p.Forms[0]; f.Topic != "other.v1" || f.Encoding != JSON || f.Key != nil || !f.HeadersOff {
		t.Errorf("defaults are not applied: %+v", f)
	}
	if _, ok := c.Lookup([]byte("nobody")); ok {
		t.Error("an unknown type was found")
	}
	if got := c.Subjects(); len(got) != 1 || got[0] != (Subject{"huleedu.assessment.result.published.v1", "AssessmentResultEvent", TopicName}) {
		t.Errorf("subjects %v", got)
	}
	if got := c.Topics(); len(got) != 3 || got[0].Class != "result" || got[2].Name != "other.v1" || got[2].Types[0] != "plain" {
		t.Errorf("topics %+v", got)
	}
	if best, ok := c.Nearest("result.publishd"); !ok || best != "result.published" {
		t.Errorf("nearest %q, %v", best, ok)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	c, err := New(results())
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("result.published")
	if n := testing.AllocsPerRun(100, func() { c.Lookup(key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNewRefuses changes one thing at a time and wants the whole message.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 250)
	cases := []struct {
		name   string
		change func(*File)
		want   string
	}{
		{"on error", func(f *File) { f.Events[0].OnError = "hold" }, `events[0].on_error: "hold" is no policy for events that cannot be published; write stop, dead_letter or dead_letter_and_hold_key`},
		{"default on error", func(f *File) { f.Defaults.OnError = "skip" }, `defaults.on_error: "skip" is no policy for events`},
		{"policy", func(f *File) { f.Unknown = "skip" }, `"skip" is no policy for unknown events; write stop, default or dead_letter`},
		{"default avro", func(f *File) { f.Defaults.Encoding = "" }, `write defaults.encoding: json (or bytes), or defaults.schema and defaults.topic`},
		{"encoding", func(f *File) { f.Defaults.Encoding = "avr0" }, `events.yaml:2: defaults.encoding: "avr0" is no encoding; write avro, json or bytes`},
		{"topic", func(f *File) { f.Events[0].Topic = "a b/c" }, `events.yaml:5: events[0].topic: "a b/c": a topic name holds only a-z, A-Z, 0-9, '.', '_' and '-'; write for instance "a-b-c"`},
		{"long topic", func(f *File) { f.Events[0].Topic = long }, `at most 249 characters`},
		{"dots", func(f *File) { f.Events[0].Topic = ".." }, `a topic is called neither . nor .. in Kafka; write for instance "company.domain.event.v1"`},
		{"no type", func(f *File) { f.Events[1].Type = "" }, `events.yaml:9: events[1].type: is empty`},
		{"twice", func(f *File) { f.Events[1].Type = "result.published" }, `events.yaml:9: events[1].type: "result.published" is defined already in events.yaml:4`},
		{"no schema", func(f *File) { f.Events[0].Schema = "" }, `events[0].schema: is empty, but the encoding is avro; write schema: NAME`},
		{"avro without topic", func(f *File) { f.Events[1].Encoding, f.Events[1].Schema, f.Defaults.Topic = "avro", "X", "" }, `events[1].topic: is empty, but the encoding is avro`},
		{"key", func(f *File) { f.Events[0].Key = []string{"payload"} }, `source 1: "payload" is no source; write message_key, aggregate_id, aggregate_type, event_type, payload.PATH`},
		{"key path", func(f *File) { f.Events[0].Key = []string{"payload.a..b"} }, `path "a..b": a name is empty; write payload.PATH`},
		{"key after const", func(f *File) { f.Events[0].Key = []string{"const:x", "aggregate_id"} }, `"const:x" always gives a value`},
		{"key twice", func(f *File) { f.Events[0].Key = []string{"column.a", "column.a"} }, `"column.a" is in the list already`},
		{"class", func(f *File) { f.Events[0].TopicClass = "resul" }, `events[0].topic_class: "resul" is not among topic_classes; did you mean "result"?`},
		{"partitions", func(f *File) { f.TopicClasses["result"] = TopicClass{} }, `events.yaml:16: topic_classes.result.partitions: 0: a topic has at least one partition`},
		{"setting", func(f *File) {
			f.TopicClasses["result"] = TopicClass{Partitions: 1, Config: map[string]string{"partition": "3"}}
		}, `topic_classes.result.partition: is no setting of a topic class; did you mean partitions?`},
		{"policy value", func(f *File) {
			f.TopicClasses["result"] = TopicClass{Partitions: 1, Config: map[string]string{"cleanup.policy": "compacted"}}
		}, `"compacted" is no clean-up policy`},
		{"replication", func(f *File) { f.TopicClasses["result"] = TopicClass{Partitions: 1, ReplicationFactor: -1} }, `replication_factor: -1: write a number of brokers`},
		{"preset", func(f *File) { f.Events[0].Headers.Preset = "cloudevents" }, `events[0].headers.preset: "cloudevents" is not available yet`},
		{"also topic", func(f *File) { f.Events[1].Also = []Also{{}} }, `events.yaml:12: events[1].also[0].topic: is empty; a second form needs a topic of its own`},
		{"also same topic", func(f *File) { f.Events[1].Also = []Also{{Topic: "other.v1"}} }, `also[0].topic: "other.v1" gets this event already`},
		{"two classes", func(f *File) {
			f.TopicClasses["b"] = TopicClass{Partitions: 1}
			f.Events[1].Topic, f.Events[1].TopicClass = f.Events[0].Topic, "b"
		}, `topic "huleedu.assessment.result.published.v1" has the class "b" here and "result" in events.yaml:4`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := results()
			tc.change(&f)
			_, err := New(f)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got:  %v\nwant: %s", err, tc.want)
			}
		})
	}
}

func TestNewComparesFiles(t *testing.T) {
	t.Parallel()
	a, b := results(), results()
	b.Name = "team-b.yaml"
	b.Unknown = "stop"
	b.Defaults.Encoding = "bytes"
	b.TopicClasses["result"] = TopicClass{Partitions: 6}
	_, err := New(a, b)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`team-b.yaml:1: unknown_event: "stop" contradicts "default" in events.yaml:1`,
		`team-b.yaml:2: defaults.encoding: "bytes" contradicts "json" in events.yaml:2`,
		`team-b.yaml:15: topic_classes.result: is different in events.yaml:15`,
		`team-b.yaml:4: events[0].type: "result.published" is defined already in events.yaml:4`,
		`team-b.yaml:9: events[1].type: "plain" is defined already in events.yaml:9`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("missing: %s\nin: %v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 5 {
		t.Errorf("%d messages, want 5:\n%v", n, err)
	}
}

func TestPathRoundTrip(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "a.b", "items[0].id", "[3]", `metadata["http.method"]`, `a[""][1][2].c`, "räv.b"} {
		p, err := ParsePath(s)
		if err != nil || p.String() != s {
			t.Errorf("%q → %q, %v", s, p, err)
		}
	}
	for _, s := range []string{"", ".a", "a.", "a..b", "a[", "a[-1]", "a[x]", "a[1", `a["x]`, "a]b", "a[0]b", `a"b`, "a[99999999999]"} {
		if p, err := ParsePath(s); err == nil {
			t.Errorf("%q was read as %q", s, p)
		}
	}
	for _, s := range []string{"message_key", "aggregate_id", "payload.a.b", "payload[0]", "header.x-y.z", "column.order id", "const:a,b"} {
		k, err := ParseKeySource(s)
		if err != nil || k.String() != s {
			t.Errorf("%q → %q, %v", s, k, err)
		}
	}
}

func TestOnError(t *testing.T) {
	t.Parallel()
	f := results()
	c, err := New(f)
	if err != nil || c.DeadLetters() || c.OnError() != Stop || c.Rules()[0].OnError != Stop {
		t.Fatalf("by default events stop the pipeline: %v %+v", err, c)
	}
	f.Defaults.OnError, f.Events[0].OnError, f.Unknown = "dead_letter", "dead_letter_and_hold_key", "dead_letter"
	if c, err = New(f); err != nil {
		t.Fatal(err)
	}
	if !c.DeadLetters() || c.OnError() != DeadLetter || c.Rules()[0].OnError != HoldKey || c.Rules()[1].OnError != DeadLetter ||
		c.Unknown() != UnknownDeadLetter || c.Default().OnError != DeadLetter {
		t.Errorf("%+v", c)
	}
	other := File{Name: "other.yaml", Defaults: Defaults{OnError: "stop"}}
	if _, err := New(f, other); err == nil || !strings.Contains(err.Error(), `"stop" contradicts "dead_letter"`) {
		t.Errorf("two files that do not agree: %v", err)
	}
}
