package contracts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/otel"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

const (
	thinType = "spellcheck.phase.completed"
	richType = "essay.spellcheck.completed"
)

// writing is a lab with the contract of docs/writing-events.md.
type writing struct {
	*lab.Lab
	thin, rich string // topics
	dec        *rig.Decoder
	reader     *rig.Reader
}

func example(t *testing.T, name string) string {
	t.Helper()
	text, err := rig.Example("docs/writing-events.md", name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newWriting(t *testing.T) *writing {
	t.Helper()
	w := &writing{}
	w.Lab = lab.New(t, func(l *lab.Lab, c *rig.Config) {
		c.Contract = strings.ReplaceAll(example(t, "contract"), "huleedu.", l.ID+".")
		_, prefix, ok := strings.Cut(strings.TrimSpace(example(t, "emit-config")), "message_prefix: ")
		if !ok {
			t.Fatal("the example emit-config names no prefix")
		}
		c.Messages = prefix
	})
	w.thin, w.rich = w.ID+"."+thinType+".v1", w.ID+"."+richType+".v1"
	w.Exec(`create table essays (id text primary key, state text)`)
	w.Exec(`insert into essays values ('essay-1', 'new')`)
	var err error
	w.dec, err = rig.NewDecoder(w.SR.URL())
	w.Check(err)
	w.reader = w.Reader(w.thin, w.rich)
	return w
}

// arrive reads the next records: thin ones first.
func (w *writing) arrive(n int) []rig.Record {
	w.Helper()
	before := len(w.reader.All)
	w.Check(w.reader.Read(w.Ctx(time.Minute), func(got int) bool { return got >= before+n }))
	got := slices.Clone(w.reader.All[before:])
	if len(got) != n {
		w.Fatalf("%d records arrived, want %d", len(got), n)
	}
	slices.SortStableFunc(got, func(a, b rig.Record) int { return -strings.Compare(a.Topic, b.Topic) })
	return got
}

// is demands of a record what the contract says, and returns its correlation id.
func (w *writing) is(r rig.Record, kind string) string {
	w.Helper()
	v, err := w.dec.Decode(w.Ctx(time.Minute), r.Value)
	w.Check(err)
	data, _ := v["data"].(map[string]any)
	h := r.Headers
	if r.Topic != w.ID+"."+kind+".v1" || r.Key != "batch-7" {
		w.Errorf("%s: topic %s, key %q", kind, r.Topic, r.Key)
	}
	if h["event_type"] != kind || h["schema_version"] != "1" || h["content_type"] != "application/avro" || h["occurred_at"] == "" {
		w.Errorf("%s: headers %v", kind, h)
	}
	// What the record says in its headers and what the envelope says is one thing.
	if fmt.Sprint(v["event_id"]) != h["event_id"] || fmt.Sprint(v["correlation_id"]) != h["correlation_id"] || v["event_type"] != kind {
		w.Errorf("%s: headers %v, value %v", kind, h, v)
	}
	if data["batch_id"] != "batch-7" || data["essay_id"] != "essay-1" || data["status"] != "SUCCEEDED" {
		w.Errorf("%s: data %v", kind, data)
	}
	return h["correlation_id"]
}

// sql runs statements as a person types them.
func (w *writing) sql(name string) {
	w.Helper()
	c, err := pgx.Connect(w.Ctx(time.Minute), w.URL)
	w.Check(err)
	defer c.Close(w.Ctx(time.Minute))
	if _, err := c.PgConn().Exec(w.Ctx(time.Minute), example(w.T, name)).ReadAll(); err != nil {
		w.Fatalf("%s: %v", name, err)
	}
}

// run runs a program of the page; the database is in DATABASE_URL.
func (w *writing) run(url string, cmd *exec.Cmd) {
	w.Helper()
	cmd.Env = append(os.Environ(), "DATABASE_URL="+url, "PYTHONPATH="+filepath.Join(rig.Root(), "clients", "python"))
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}

func (w *writing) python(name, url string) {
	w.Helper()
	w.run(url, exec.CommandContext(w.Ctx(time.Minute), stack.Python(w.T), "-c", example(w.T, name)))
}

// golang builds and runs an example as a package within the module, as a user's
// module would import ours.
func (w *writing) golang(name, file string, args ...string) {
	w.Helper()
	dir := filepath.Join(rig.Root(), "build", "e2e", w.ID+"-"+name)
	w.Check(os.MkdirAll(dir, 0o755))
	w.Cleanup(func() { os.RemoveAll(dir) })
	w.Check(os.WriteFile(filepath.Join(dir, file), []byte(example(w.T, name)), 0o644))
	cmd := exec.CommandContext(w.Ctx(5*time.Minute), "go", append(args, "./"+filepath.Base(dir))...)
	cmd.Dir = filepath.Dir(dir)
	w.run(w.URL, cmd)
}

// What a reader of docs/writing-events.md copies arrives as the contract says,
// whatever language it is written in.
func TestWritingEvents(t *testing.T) {
	w := newWriting(t)
	w.Start()
	alchemy, _, _ := strings.Cut(strings.Replace(w.URL, "postgres://", "postgresql+asyncpg://", 1), "?")
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"

	for _, one := range []struct {
		name    string
		write   func()
		id      string // "": made
		trace   bool
		changes bool // the example changes the essay too
	}{
		{"python-publish", func() { w.python("python-publish", alchemy) }, "", true, true},
		{"sql-publish", func() { w.sql("sql-publish") }, "0195d8d6-5b1c-7cc0-8000-000000000001", true, true},
		{"go-publish", func() { w.golang("go-publish", "main.go", "run") }, "", false, true},
		{"sql-emit", func() { w.sql("sql-emit") }, "0195d8d6-5b1c-7cc0-8000-000000000004", false, false},
	} {
		w.Exec(`update essays set state = 'new'`)
		one.write()
		r := w.arrive(1)[0]
		w.is(r, thinType)
		if one.id != "" && r.Headers["event_id"] != one.id || (r.Headers["trace_id"] == trace) != one.trace {
			t.Errorf("%s: headers %v", one.name, r.Headers)
		}
		if one.trace != strings.HasPrefix(r.Headers["traceparent"], "00-"+trace) {
			t.Errorf("%s: headers %v", one.name, r.Headers)
		}
		if changed := w.Ask(`select state from essays`) == "spellchecked"; changed != one.changes {
			t.Errorf("%s: the essay was changed: %v", one.name, changed)
		}
	}
	for name, write := range map[string]func(){
		"python-dual": func() { w.python("python-dual", w.URL) },
		"sql-dual":    func() { w.sql("sql-dual") },
	} {
		write()
		both := w.arrive(2)
		if w.is(both[0], thinType) != w.is(both[1], richType) {
			t.Errorf("%s: headers %v and %v", name, both[0].Headers, both[1].Headers)
		}
	}
	w.golang("go-test", "service_test.go", "test", "-vet=off", "-count=1") // it rolls back
	w.Check(w.reader.Settle(w.Ctx(time.Minute), 1500*time.Millisecond))
	if n := len(w.reader.All); n != 8 {
		t.Errorf("%d records arrived in all, want 8", n)
	}
}

// Rows and messages of one transaction, by every function that writes them,
// arrive in the order of writing; those of a transaction that was rolled back do
// not, and a span's trace goes with its event.
func TestRowsAndEmittedInOneOrder(t *testing.T) {
	n := lab.NewLane(t, lab.With(func(c *rig.Config) { c.Messages = "cdc_relay" }))
	r := n.Start()
	ctx := trace.ContextWithSpanContext(n.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: 1}))
	ways := []func(*lab.Open, rig.Event) error{
		func(o *lab.Open, e rig.Event) error {
			return outbox.Publish(n.Context(), o.Tx, otel.Trace(ctx, e.Outbox()))
		},
		func(o *lab.Open, e rig.Event) error {
			return outbox.Emit(n.Context(), o.Tx, otel.Trace(ctx, e.Outbox()))
		},
		func(o *lab.Open, e rig.Event) error {
			_, err := o.Tx.Exec(n.Context(), `select cdc_relay.publish_to_outbox('essay', $1, $2, $3)`, e.Key, e.Type, e.Payload())
			return err
		},
		func(o *lab.Open, e rig.Event) error {
			_, err := o.Tx.Exec(n.Context(), `select cdc_relay.emit_event('essay', $1, $2, $3)`, e.Key, e.Type, e.Payload())
			return err
		},
	}
	traced := map[string]bool{}
	write := func(o *lab.Open, count int) (events []rig.Event) {
		for i := range count {
			e, way := n.Next(), (i*7+i/4)%len(ways)
			n.Check(ways[way](o, e))
			events = append(events, e)
			traced[e.ID] = way < 2
		}
		return events
	}
	tx := n.Begin()
	all := write(tx, 16)
	tx.Exec("savepoint one")
	write(tx, 8)
	tx.Exec("rollback to one")
	all = append(all, write(tx, 8)...)
	gone := n.Begin()
	write(gone, 8)
	n.Check(gone.Tx.Rollback(n.Context()))
	tx.Commit()
	n.Committed(all...)
	n.Publish(1)
	n.Arrived(n.Reader(n.Topic))
	for _, rec := range n.Finished(r).Records {
		want := ""
		if traced[lab.Header(rec, "event_id")] {
			want = "00-01020000000000000000000000000000-0300000000000000-01"
		}
		if got := lab.Header(rec, "traceparent"); got != want {
			t.Errorf("offset %d: traceparent %q, want %q", rec.Offset, got, want)
		}
	}
}
