package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func named(topic, eventType string, n Naming) File {
	return File{
		Name: "events.yaml", Lines: map[string]int{"naming": 1, "events[0].topic": 5, "events[0].also[0].topic": 6},
		Defaults: Defaults{Encoding: "json"}, Naming: n,
		Events: []Event{{Type: eventType, Topic: topic}},
	}
}

var huleedu = Naming{Prefix: "huleedu", Singular: map[string]string{"results": "result", "essays": "essay"}}

// The first is the rename that is shipped; the message says it whole.
func TestNamingProposesTheRightName(t *testing.T) {
	t.Parallel()
	_, err := New(named("huleedu.assessment.results.v1", "assessment.result.published", huleedu))
	want := `events.yaml:5: events[0].topic: "huleedu.assessment.results.v1" breaks the naming rule prefix.domain.entity.event.vN: ` +
		`it has 2 of the 3 words domain, entity, event, "results" is a plural of "result"; write huleedu.assessment.result.published.v1, ` +
		`and publish both until its consumers have moved: also: [{topic: huleedu.assessment.results.v1, legacy: true}]`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	for _, c := range []struct{ topic, eventType, why, right string }{
		{"huleedu.assessment.results.v1", "ASSESSMENT_RESULT_PUBLISHED", "2 of the 3", "huleedu.assessment.result.published.v1"},
		{"huleedu.assessment.results.v2", "AssessmentResultPublished", "2 of the 3", "huleedu.assessment.result.published.v2"},
		{"huleedu.assessment.results.v1", "huleedu.assessment.result.published.v1", "2 of the 3", "huleedu.assessment.result.published.v1"},
		{"huleedu.assessment.results.v1", "result_published", "2 of the 3", "huleedu.assessment.result.published.v1"},
		{"huleedu.assessment.results.v1", "published", "2 of the 3", "huleedu.assessment.result.published.v1"},
		{"huleedu.assessment.results.v1", "huleedu.assessment.results.v1", "2 of the 3", "huleedu.assessment.result.EVENT.v1 with the right word"},
		{"huleedu.assessment.results.published.v1", "x", `"results" is a plural of "result"`, "huleedu.assessment.result.published.v1"},
		{"huleedu.assessment.cj-results.published.v1", "x", `"cj-results" is a plural of "cj-result"`, "huleedu.assessment.cj-result.published.v1"},
		{"huleedu.Assessment.result.published.v1", "x", `"Assessment" is not lower case`, "huleedu.assessment.result.published.v1"},
		{"huleedu.cj_assessment.result.published.v1", "x", `"cj_assessment" is not lower case with hyphens`, "huleedu.cj-assessment.result.published.v1"},
		{"assessment.result.published.v1", "x", "it does not begin with huleedu.", "huleedu.assessment.result.published.v1"},
		{"huleedu.assessment.result.published", "x", "it does not end in a version such as .v1", "huleedu.assessment.result.published.v1"},
		{"huleedu.assessment.result.published.v0", "assessment.result.published", "it does not end in a version", "huleedu.assessment.result.published.v1"},
		{"assessment-results", "AssessmentResultPublished", "does not begin", "huleedu.assessment.result.published.v1"},
		{"huleedu.cj.assessment.result.published.v1", "CJAssessmentResultPublished", "it has 4 of the 3 words", "huleedu.cj-assessment.result.published.v1"},
		{"huleedu.essay.lifecycle.state.changed.v1", "x", "4 of the 3", "huleedu.essay-lifecycle.state.changed.v1"},
		{"huleedu.v1", "essay.state.changed", "0 of the 3", "huleedu.essay.state.changed.v1"},
		{"huleedu.1.2.3.v1", "4.5.6", `"1" is not lower case`, "a name such as huleedu.domain.entity.event.v1, or list it under naming.exceptions"},
	} {
		_, err := New(named(c.topic, c.eventType, huleedu))
		if err == nil || !strings.Contains(err.Error(), c.why) || !strings.Contains(err.Error(), "; write "+c.right) {
			t.Errorf("%s, type %s:\n got  %v\n want %s; write %s", c.topic, c.eventType, err, c.why, c.right)
		}
	}
}

// What ends in an s is no plural; what is a plural may be a domain.
func TestNamingTakes(t *testing.T) {
	t.Parallel()
	for _, topic := range []string{
		"huleedu.assessment.result.published.v1", "huleedu.assessment.status.changed.v12", "huleedu.nlp.analysis.completed.v1",
		"huleedu.results.analysis.completed.v1", "huleedu.cj-assessment.job-2.done.v1", "huleedu.assessment.batches.closed.v1",
	} {
		if _, err := New(named(topic, "x", huleedu)); err != nil {
			t.Errorf("%s: %v", topic, err)
		}
	}
	if _, err := New(named("Any_Thing", "x", Naming{})); err != nil {
		t.Errorf("without a naming section: %v", err)
	}
	off := huleedu
	off.Level = "off"
	if c, err := New(named("Any_Thing", "x", off)); err != nil || len(c.Misnamed()) > 0 {
		t.Errorf("level off: %v", err)
	}
	own := Naming{Rule: "team.what.vN"}
	if _, err := New(named("essays.published.v1", "x", own)); err != nil {
		t.Errorf("another rule: %v", err)
	}
	dotted := Naming{Rule: "prefix.event", Prefix: "com.huleedu"}
	if _, err := New(named("com.huleedu.published", "x", dotted)); err != nil {
		t.Errorf("a prefix of two words: %v", err)
	}
	if _, err := New(named("huleedu.published", "x", dotted)); err == nil || !strings.Contains(err.Error(), "write com.huleedu.") {
		t.Errorf("without the prefix: %v", err)
	}
}

// An old name stays while it is a second form that is marked, or an exception;
// without a mark it is wrong, also as a second form.
func TestNamingLetsAnOldNameLive(t *testing.T) {
	t.Parallel()
	f := named("huleedu.assessment.result.published.v1", "assessment.result.published", huleedu)
	f.Events[0].Also = []Also{{Topic: "huleedu.assessment.results.v1"}}
	_, err := New(f)
	if want := "events.yaml:6: events[0].also[0].topic: "; err == nil || !strings.HasPrefix(err.Error(), want) ||
		!strings.HasSuffix(err.Error(), "or write legacy: true beside it until its consumers have moved") {
		t.Errorf("unmarked: %v", err)
	}
	f.Events[0].Also[0].Legacy = true
	if c, err := New(f); err != nil || len(c.Misnamed()) > 0 || c.TopicPrefix() != "huleedu" {
		t.Errorf("marked: %v", err)
	}
	f.Events[0].TopicClass, f.TopicClasses = "a", map[string]TopicClass{"a": {Partitions: 1}}
	legacy := func() (all []bool) {
		t.Helper()
		c, err := New(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range c.Topics() {
			all = append(all, topic.Legacy)
		}
		return all
	}
	if got := legacy(); !slices.Equal(got, []bool{false, true}) {
		t.Errorf("legacy %v: the old topic is made like the new one, and left as it is", got)
	}
	f.Events[0].Also[0].TopicClass = "a"
	if got := legacy(); !slices.Equal(got, []bool{false, false}) {
		t.Errorf("legacy %v: an old topic with a class of its own is held against it", got)
	}
	f.Events[0].Also[0].Legacy = false
	other := File{Name: "other.yaml", Naming: Naming{Prefix: "huleedu", Exceptions: []string{"huleedu.assessment.results.v1"}}}
	if _, err := New(f, other); err != nil {
		t.Errorf("an exception in another file: %v", err)
	}
}

func TestNamingWarns(t *testing.T) {
	t.Parallel()
	n := huleedu
	n.Level = "warn"
	f := named("huleedu.assessment.results.v1", "assessment.result.published", n)
	f.Defaults.Topic = "Rest"
	c, err := New(f)
	if err != nil || len(c.Misnamed()) != 2 || !strings.Contains(c.Misnamed()[0], `defaults.topic: "Rest"`) ||
		!strings.Contains(c.Misnamed()[1], "write huleedu.assessment.result.published.v1, and publish both") {
		t.Errorf("%v, %q", err, c.Misnamed())
	}
}

func TestNamingRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    Naming
		want string
	}{
		{Naming{Level: "warn"}, `events.yaml:1: naming.prefix: is empty, and the rule is prefix.domain.entity.event.vN; write the first word`},
		{Naming{Rule: "prefix.vN", Prefix: "a"}, `naming.rule: "prefix.vN" is no naming rule; write the names of the parts`},
		{Naming{Rule: "a.prefix", Prefix: "a"}, `is no naming rule`},
		{Naming{Rule: "a.a"}, `is no naming rule`},
		{Naming{Rule: "a..b"}, `is no naming rule`},
		{Naming{Rule: "a.b", Prefix: "x"}, `naming.prefix: "x" is not asked for: the rule is a.b; begin the rule with prefix`},
		{Naming{Prefix: "Hule.edu"}, `naming.prefix: "Hule.edu" is no prefix; write words in lower case`},
		{Naming{Prefix: "a", Level: "loud"}, `naming.level: "loud" is no level of the naming rule; write error, warn or off`},
		{Naming{Prefix: "a", Singular: map[string]string{"Results": "result"}}, `naming.singular.Results: "Results: result": write two words in lower case`},
		{Naming{Prefix: "a", Singular: map[string]string{"status": "status"}}, `naming.singular.status: is its own singular; delete the line`},
		{Naming{Prefix: "a", Exceptions: []string{"a b"}}, `naming.exceptions[0]: "a b": a topic name holds only`},
	} {
		_, err := New(named("", "x", c.n))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v:\n got  %v\n want %s", c.n, err, c.want)
		}
	}
	other := File{Name: "b.yaml", Naming: Naming{Prefix: "hule", Singular: map[string]string{"results": "outcome"}}}
	_, err := New(named("", "x", huleedu), other)
	for _, want := range []string{`b.yaml: naming.prefix: "hule" contradicts "huleedu" in events.yaml:1`, `naming.singular.results: "outcome" contradicts "result"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("missing %s in %v", want, err)
		}
	}
}

func TestHyphens(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"resultPublished": "result-published", "CJAssessment": "cj-assessment", "NLPResult2Event": "nlp-result2-event",
		"RESULT__PUBLISHED_": "result-published", "a b": "a-b", "": "", "v1": "v1", "V1": "v1",
	} {
		if got := hyphens(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Whatever the names are, a proposal keeps the rule or shows its form.
func FuzzNaming(f *testing.F) {
	f.Add("huleedu.assessment.results.v1", "assessment.result.published")
	f.Add("A_b..C", "X")
	f.Fuzz(func(t *testing.T, topic, eventType string) {
		if CheckTopic(topic) != nil || eventType == "" {
			t.Skip()
		}
		_, err := New(named(topic, eventType, huleedu))
		if err == nil {
			return
		}
		_, do, _ := strings.Cut(err.Error(), "; write ")
		right, _, _ := strings.Cut(strings.TrimPrefix(do, "a name such as "), " ")
		right = strings.ToLower(strings.TrimSuffix(right, ","))
		if _, err := New(named(right, "x", huleedu)); err != nil {
			t.Error(fmt.Errorf("%q, %q: proposes %q: %w", topic, eventType, right, err))
		}
	})
}
