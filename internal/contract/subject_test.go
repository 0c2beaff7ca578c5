package contract

import (
	"slices"
	"strings"
	"testing"
)

func TestSubjects(t *testing.T) {
	t.Parallel()
	c, err := New(File{Name: "e.yaml", Defaults: Defaults{SubjectName: "record"}, Events: []Event{
		{Type: "a", Topic: "t1", Schema: "A", Also: []Also{{Topic: "t2", SubjectName: "topic_record"}, {Topic: "t3", Encoding: "json"}}},
		{Type: "b", Topic: "t1", Schema: "B", SubjectName: "topic"},
		{Type: "c", Topic: "t4", Schema: "A"},
		{Type: "d", Schema: "D"}, // rows name the topic
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Subject{{"", "A", RecordName}, {"", "D", RecordName}, {"t1", "B", TopicName}, {"t2", "A", TopicRecordName}}
	got := c.Subjects()
	if !slices.Equal(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	var names []string
	for _, s := range got {
		names = append(names, s.Name("shop."+s.Schema))
	}
	if !slices.Equal(names, []string{"shop.A", "shop.D", "t1-value", "t2-shop.A"}) {
		t.Errorf("names %q", names)
	}
	def, err := New(File{Name: "e.yaml", Events: []Event{{Type: "a", Topic: "t1", Schema: "A"}}})
	if err != nil || def.Subjects()[0].Naming != TopicName {
		t.Errorf("the default: %+v, %v", def, err)
	}
}

func TestSubjectNameIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ naming, topic, want string }{
		{"records", "t", `events[0].subject_name: "records" names no subjects; write topic (<topic>-value), record`},
		{"topic-record", "t", `"topic-record" is written topic_record`},
		{"topic_record", "", `events[0].topic: is empty, but the encoding is avro`},
	} {
		_, err := New(File{Name: "e.yaml", Events: []Event{{Type: "a", Topic: c.topic, Schema: "A", SubjectName: c.naming}}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.naming, err)
		}
	}
	_, err := New(File{Name: "a.yaml", Defaults: Defaults{SubjectName: "record"}}, File{Name: "b.yaml", Defaults: Defaults{SubjectName: "topic"}})
	if err == nil || !strings.Contains(err.Error(), `defaults.subject_name: "topic" contradicts "record" in a.yaml`) {
		t.Error(err)
	}
	// Unknown events whose topic the row names can be Avro under record names.
	if _, err := New(File{Name: "a.yaml", Unknown: "default", Defaults: Defaults{SubjectName: "record", Schema: "A"}}); err != nil {
		t.Error(err)
	}
}
