package adopt

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

const (
	oldTopic = "huleedu.assessment.results.v1"
	newTopic = "huleedu.assessment.result.published.v1"
)

// fresh publishes n events as the service does from phase 2 on, and returns
// their refs.
func (s *school) fresh(n int) []string {
	s.Helper()
	o := s.services["cj_assessment"]
	var refs []string
	for i := range n {
		ref, job := "fresh-"+uuid.NewString(), fmt.Sprintf("job-%d", i%3)
		payload := fmt.Sprintf(`{"event_id": %q, "event_type": "assessment.result.published", "event_timestamp": "2026-03-01T10:00:00Z", "schema_version": 1, `+
			`"source_service": "cj_assessment_service", "correlation_id": %q, "metadata": {"ref": %q}, "data": %s}`, uuid.NewString(), uuid.NewString(), ref, assessment(job))
		_, err := o.db.Exec(s.Ctx(time.Minute), `select cdc_relay.publish_to_outbox('cj_job', $1, 'assessment.result.published', $2::json, null, $1, $3::json)`,
			job, payload, `{"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "tenant": "acme"}`)
		s.Check(err)
		refs = append(refs, ref)
	}
	return refs
}

// holds waits until a topic holds events, and demands each of them once there,
// and none of others.
func (s *school) holds(topic string, refs, others []string, get func(*kgo.Record) string) {
	s.Helper()
	var times map[string]int
	s.Until(fmt.Sprintf("%d events are in %s", len(refs), topic), func() bool {
		times = map[string]int{}
		for _, r := range s.Tape(topic).Records {
			times[get(r)]++
		}
		return !slices.ContainsFunc(refs, func(ref string) bool { return times[ref] == 0 })
	})
	for _, ref := range refs {
		if times[ref] != 1 {
			s.Errorf("%s: event %s is there %d times", topic, ref, times[ref])
		}
	}
	for _, ref := range others {
		if times[ref] != 0 {
			s.Errorf("%s: event %s is there %d times, want none", topic, ref, times[ref])
		}
	}
}

func inJSON(r *kgo.Record) string { return ref(r.Value) }

// inAvro is the ref of an Avro record; decoding it is the check that it is one.
func (s *school) inAvro() func(*kgo.Record) string {
	s.Helper()
	dec, err := rig.NewDecoder(s.SR.URL())
	s.Check(err)
	ctx := s.Ctx(10 * time.Minute)
	return func(r *kgo.Record) string {
		v, err := dec.Decode(ctx, r.Value)
		s.Check(err)
		data, _ := v["data"].(map[string]any)
		meta, _ := v["metadata"].(map[string]any)
		if string(r.Key) != data["cj_assessment_job_id"] || lab.Header(r, "content_type") != "application/avro" {
			s.Errorf("key %q, headers %v, value %v", r.Key, r.Headers, v)
		}
		text, _ := meta["ref"].(string)
		return text
	}
}

// phase2: one service writes by the library into the second table, while old
// instances of it go on with the old one.
func (s *school) phase2() {
	s.Helper()
	o := s.services["cj_assessment"]
	s.Stopped(s.relay, 0)
	s.Check(os.CopyFS(filepath.Join(s.Dir, "events"), os.DirFS(filepath.Join(rig.Root(), "examples", "huleedu", "events"))))
	s.file("phase2.yaml", s.block("second-table"))
	s.followed(o, "second-table-start")
	was := len(o.wrote)
	s.writes(o)
	fresh := s.fresh(30)
	s.more(o, 20)
	o.silent()
	old := make([]string, 0, len(o.wrote)-was)
	for _, w := range o.wrote[was:] {
		old = append(old, w.ref)
	}
	s.holds(oldTopic, slices.Concat(old, fresh), nil, inJSON)
	for _, r := range s.Tape(oldTopic).Records {
		if slices.Contains(fresh, ref(r.Value)) && (lab.Header(r, "trace_id") != "4bf92f3577b34da6a3ce929d0e0e4736" || lab.Header(r, "tenant") != "acme" || lab.Header(r, "traceparent") == "") {
			s.Errorf("headers %v", r.Headers)
		}
	}
	done, err := s.follow(o, "headers")
	s.Check(err)
	done[0].Exits(0)
	done[1].Exits(0).Says("EVENT_TYPE", "assessment.result.published")
	var counts []audit.HeaderCount
	s.relayed("audit", "--pipeline", o.name+"_outbox", "--headers", "-o", "json").JSON(&counts)
	if i := slices.IndexFunc(counts, func(c audit.HeaderCount) bool { return c.Type == "assessment.result.published" }); i < 0 ||
		counts[i].Records < 50 || counts[i].With["event_id"] != counts[i].Records || counts[i].With["trace_id"] != counts[i].Records {
		s.Errorf("headers: %+v", counts)
	}
	// The old table's end.
	s.Stopped(s.relay, 0)
	s.file("ended.yaml", "databases: {cj_assessment: {enabled: false}}\n")
	s.followed(o, "old-table-end")
	if n := s.count(o, "select count(*) from pg_trigger where tgname = 'cdc_relay_handover'"); n != 0 {
		s.Errorf("the trigger is still there")
	}
}

// phase3: JSON and Avro beside each other, swapped, Avro alone, and back.
func (s *school) phase3() {
	s.Helper()
	o := s.services["cj_assessment"]
	s.file("phase3.yaml", "environment: development\ndatabases: {cj_assessment_outbox: {events: [assessment.yml]}}\n")
	s.relay = nil
	step := func(name string, events int) []string {
		s.Helper()
		if s.relay != nil {
			s.Stopped(s.relay, 0)
		}
		s.Check(os.WriteFile(filepath.Join(s.Dir, "assessment.yml"), []byte(s.block(name)), 0o600))
		s.followed(o, "step")
		return s.fresh(events)
	}
	inAvro := s.inAvro()
	beside := step("beside", 12)
	s.holds(oldTopic, beside, nil, inJSON)
	s.holds(newTopic, beside, nil, inAvro)
	swap := step("swap", 12)
	s.holds(oldTopic, slices.Concat(beside, swap), nil, inJSON)
	s.holds(newTopic, slices.Concat(beside, swap), nil, inAvro)
	s.known["ALONE"] = time.Now().UTC().Format(time.RFC3339Nano)
	alone := step("alone", 12)
	s.holds(newTopic, slices.Concat(beside, swap, alone), nil, inAvro)
	s.holds(oldTopic, slices.Concat(beside, swap), alone, inJSON)
	back := step("swap", 6)
	s.holds(newTopic, slices.Concat(beside, swap, alone, back), nil, inAvro)
	s.holds(oldTopic, slices.Concat(beside, swap, back), alone, inJSON)
	done, err := s.follow(o, "alone-back")
	s.Check(err)
	done[0].Exits(0).Says("12 records missing", "topic "+oldTopic)
	done[1].Exits(0).Says("healed")
	s.holds(oldTopic, slices.Concat(beside, swap, alone, back), nil, inJSON)
	s.holds(newTopic, slices.Concat(beside, swap, alone, back), nil, inAvro)
	// The contract before "beside" again: nothing comes to the new topic.
	s.Stopped(s.relay, 0)
	text, err := json.Marshal(map[string]any{"events": []any{map[string]string{"type": "assessment.result.published", "topic": oldTopic}}})
	s.Check(err)
	s.Check(os.WriteFile(filepath.Join(s.Dir, "assessment.yml"), text, 0o600))
	s.start()
	first := s.fresh(6)
	s.holds(oldTopic, slices.Concat(back, first), nil, inJSON)
	s.holds(newTopic, back, first, inAvro)
	s.Stopped(s.relay, 0)
	if log := s.relay.Log(); strings.Contains(log, "level=ERROR") {
		s.Errorf("the relay's log:\n%s", log)
	}
}
