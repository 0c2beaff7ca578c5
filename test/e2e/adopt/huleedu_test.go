package adopt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// school is examples/huleedu: eleven databases restored from their dumps, with
// their workers and services, and one relay for all of them. Names of databases,
// slots and topics are those of the example, so it has servers of its own.
type school struct {
	*lab.Lab
	services  map[string]*oldService
	order     []*oldService
	reference *reference
	vars      map[string]string // of the page, for the service in hand
	known     map[string]string // variables a reader would know by now
	files     []string          // further configuration files
	output    string            // of the page's commands; "": as they say
	relay     *rig.Relay
}

func newSchool(t *testing.T) *school {
	t.Helper()
	s := &school{Lab: lab.New(t, lab.OwnPostgres(), lab.OwnBroker()), services: map[string]*oldService{}, order: oldServices(), known: map[string]string{}}
	s.reference = newReference(s.Lab)
	example := filepath.Join(rig.Root(), "examples", "huleedu")
	s.Config = filepath.Join(example, "cdc-relay.yaml")
	s.file("here.yaml", fmt.Sprintf("postgres: {url: %q}\nkafka: {bootstrap.servers: %q, transaction.timeout.ms: \"10000\"}\n"+
		"registry: {url: %q}\nhttp: {listen: \"127.0.0.1:0\"}\nidle_checkpoint: {interval: 300ms}\n", s.PG.URL(""), s.Kafka.Bootstrap(), s.SR.URL()))
	for _, o := range s.order {
		dump, err := os.ReadFile(filepath.Join(example, "dump", o.name+".sql"))
		s.Check(err)
		s.services[o.name] = o
		s.restore(o, string(dump))
		for _, topic := range o.topics {
			s.Check(s.Kafka.CreateTopic(s.Ctx(time.Minute), topic, 3, nil))
		}
	}
	return s
}

// file adds a configuration file, or replaces it.
func (s *school) file(name, text string) {
	s.Helper()
	path := filepath.Join(s.Dir, name)
	s.Check(os.WriteFile(path, []byte(text), 0o600))
	if !slices.Contains(s.files, path) {
		s.files = append(s.files, path)
	}
}

// flags are the configuration files as flags. A page's own -c names one of them.
func (s *school) flags(args []string) []string {
	var out []string
	for _, f := range s.files {
		out = append(out, "-c", f)
	}
	if len(args) > 1 && args[0] == "-c" && args[1] == "examples/huleedu/cdc-relay.yaml" {
		args = args[2:]
	} else if len(args) > 1 && args[0] == "-c" {
		if !slices.Contains(s.files, filepath.Join(s.Dir, args[1])) {
			s.Fatalf("the page's -c %s is not there", args[1])
		}
		args = args[2:]
	}
	if s.output != "" {
		out = append(out, "-o", s.output)
	}
	return append(out, args...)
}

// relayed runs a one-shot command.
func (s *school) relayed(args ...string) *lab.Command {
	s.Helper()
	return s.Command(s.flags(args)...)
}

// start starts the relay and waits until all of its pipelines stream.
func (s *school) start(args ...string) {
	s.Helper()
	s.relay = s.Launch(append(s.flags(args), "run")...)
	s.Check(s.relay.Ready(s.Ctx(2 * time.Minute)))
}

// asItSays runs the commands of the example's README; the dumps are restored.
func (s *school) asItSays() {
	s.Helper()
	text, err := rig.Example("examples/huleedu/README.md", "restore")
	s.Check(err)
	if !strings.HasPrefix(text, "for dump in examples/huleedu/dump/*.sql; do\n") {
		s.Fatalf("the README restores something else: %s", text)
	}
	ran := 0
	for line := range strings.Lines(text) {
		if args, ok := strings.CutPrefix(line, "cdc-relay "); ok {
			s.relayed(strings.Fields(args)...).Exits(0)
			ran++
		}
	}
	if ran != 3 {
		s.Fatalf("the README runs %d commands", ran)
	}
}

// shadow publishes a service's rows beside its worker, into topics nobody reads,
// and compares the two.
func (s *school) shadow(o *oldService) {
	s.Helper()
	files := slices.Clone(s.files)
	off := s.block("shadow")
	for _, other := range s.order {
		if other != o {
			off += "  " + other.name + ": {enabled: false}\n"
		}
	}
	s.file("shadow.yaml", off)
	s.Check(os.WriteFile(filepath.Join(s.Dir, "shadow.yml"), []byte(s.block("shadow-events")), 0o600))
	s.followed(o, "shadow-start")
	s.more(o, 20)
	s.Stopped(s.relay, 0)
	// Its writers go on, so there are always rows that it has not published yet.
	stopped := s.count(o, "select (extract(epoch from clock_timestamp()) * 1000)::bigint")
	behind := fmt.Sprintf("select count(*) from event_outbox where published_at is null and created_at < to_timestamp(%d / 1000.0)", stopped)
	s.Until("the worker has published what the shadow has", func() bool { return s.count(o, behind) == 0 })
	worker := map[string]*kgo.Record{}
	for _, r := range s.Tape(o.topics[0]).Records {
		worker[ref(r.Value)] = r
	}
	same := 0
	for _, r := range s.Tape("shadow.class.roster.updated").Records {
		w := worker[ref(r.Value)]
		if w == nil {
			continue // not yet
		}
		if same++; !bytes.Equal(w.Key, r.Key) || !bytes.Equal(w.Value, r.Value) || w.Key != nil && w.Partition != r.Partition {
			s.Errorf("the shadow of %s is %q %s", w.Value, r.Key, r.Value)
		}
	}
	if same < 15 {
		s.Errorf("%d records could be compared", same)
	}
	s.followed(o, "shadow-end")
	s.Check(o.exec(s.Lab, "drop publication cdc_relay")) // the page makes it anew
	s.files = files
}

// handOver takes a service's table over, as the page says, while it is written.
func (s *school) handOver(o *oldService) {
	s.Helper()
	s.followed(o, "take-over")
	s.Until("the worker of "+o.name+" has published what is its own", func() bool {
		_, err := s.follow(o, "settle")
		if err != nil && !strings.Contains(err.Error(), "are still the worker's") {
			s.Fatalf("settle %s: %v", o.name, err)
		}
		return err == nil
	})
	s.more(o, 3) // that neither publishes yet
	s.rest(o)
}

// sound audits what the relay had to publish of a service since the line.
func (s *school) sound(o *oldService) audit.Report {
	s.Helper()
	s.output = "json"
	done, err := s.follow(o, "check")
	s.output = ""
	s.Check(err)
	var r audit.Report
	done[0].JSON(&r)
	if r.TableRows == 0 || r.ExpectedRecords != r.TableRows {
		s.Errorf("the audit of %s compared nothing: %+v", o.name, r)
	}
	return r
}

// topics are those of the old workers.
func (s *school) topics() []string {
	var all []string
	for _, o := range s.order {
		all = append(all, o.topics...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// exactly reads all topics to their end and demands that they hold every event
// that was committed, once, in the order of its key, as the old worker would have
// produced it: the same topic, key and value, byte for byte.
func (s *school) exactly() {
	s.Helper()
	byRef := map[string][]*kgo.Record{}
	for _, topic := range s.topics() {
		for i, r := range s.Tape(topic).Records {
			r.Offset = int64(i) // of the tape: the order of partitions and offsets
			byRef[ref(r.Value)] = append(byRef[ref(r.Value)], r)
		}
	}
	committed := 0
	for _, o := range s.order {
		committed += len(o.wrote)
		s.once(o, byRef)
		s.asTheWorker(o, byRef)
	}
	if len(byRef) != committed {
		s.Errorf("%d events are in Kafka, %d were committed", len(byRef), committed)
	}
	s.Logf("%d events of %d services", committed, len(s.order))
}

func (s *school) once(o *oldService, byRef map[string][]*kgo.Record) {
	s.Helper()
	last := map[string]wrote{}
	by := map[bool]int{} // by the relay, or not
	for _, w := range o.wrote {
		got := byRef[w.ref]
		if len(got) != 1 {
			s.Errorf("%s: event %s (%s) is there %d times", o.name, w.ref, w.key, len(got))
			continue
		}
		by[lab.Header(got[0], "event_id") != ""]++
		if w.key == "" || dumped(w.ref) {
			continue
		}
		before, some := last[w.key]
		if r := byRef[before.ref]; some && (r[0].Partition != got[0].Partition || r[0].Offset >= got[0].Offset || before.seq >= w.seq) {
			s.Errorf("%s: event %s of key %s is not behind %s", o.name, w.ref, w.key, before.ref)
		}
		last[w.key] = w
	}
	for _, undone := range o.undone {
		if len(byRef[undone]) != 0 {
			s.Errorf("%s: event %s was rolled back, and published", o.name, undone)
		}
	}
	if by[true] < 20 || by[false] < 20 {
		s.Errorf("%s: %d events by the relay, %d by its worker: too few to say anything", o.name, by[true], by[false])
	}
}

// asTheWorker compares every record with what the old worker makes of its row.
func (s *school) asTheWorker(o *oldService, byRef map[string][]*kgo.Record) {
	s.Helper()
	rows, err := o.rows(s.Ctx(time.Minute), "true")
	s.Check(err)
	wrong := 0
	for _, row := range rows {
		want, err := s.reference.record(o.name, row.columns)
		s.Check(err)
		for _, r := range byRef[ref(want.Value)] {
			if r.Topic != want.Topic || !bytes.Equal(r.Key, want.Key) || (r.Key == nil) != (want.Key == nil) || !bytes.Equal(r.Value, want.Value) {
				if wrong++; wrong < 3 {
					s.Errorf("%s, row %s (by the relay: %v):\n got  %s %q %s\n want %s %q %s", o.name, row.id, lab.Header(r, "event_id") != "", r.Topic, r.Key, r.Value, want.Topic, want.Key, want.Value)
				}
			}
			s.headed(o, row, r)
		}
	}
}

// headed looks at the headers of a record by the relay.
func (s *school) headed(o *oldService, row row, r *kgo.Record) {
	s.Helper()
	if lab.Header(r, "event_id") == "" {
		return
	}
	var e struct {
		EventID   string `json:"event_id"`
		EventType string `json:"event_type"`
		Headers   map[string]any
	}
	text := row.columns["event_data"]
	if text == nil {
		text = row.columns["envelope"]
	}
	s.Check(json.Unmarshal([]byte(*text), &e))
	want := map[string]string{"event_id": e.EventID, "event_type": e.EventType, "schema_version": "1", "content_type": "application/json"}
	for name, v := range e.Headers {
		want[name] = fmt.Sprint(v) // numbers and booleans as JSON writes them
	}
	if o.mark == "published_at" {
		want["occurred_at"] = lab.Header(r, "occurred_at")
		if !strings.HasPrefix(want["occurred_at"], "20") {
			s.Errorf("%s, row %s: occurred_at %q", o.name, row.id, want["occurred_at"])
		}
	}
	for name := range maps.Keys(want) {
		if got := lab.Header(r, name); got != want[name] {
			s.Errorf("%s, row %s: header %s is %q, want %q", o.name, row.id, name, got, want[name])
		}
	}
}
