package adopt

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// reference is examples/huleedu/old_worker.py: what the polling workers made of
// a row. It is safe for concurrent use.
type reference struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

func newReference(l *lab.Lab) *reference {
	l.Helper()
	python, err := exec.LookPath("python3")
	l.Check(err)
	cmd := exec.Command(python, filepath.Join(rig.Root(), "examples", "huleedu", "old_worker.py"))
	in, err := cmd.StdinPipe()
	l.Check(err)
	out, err := cmd.StdoutPipe()
	l.Check(err)
	l.Check(cmd.Start())
	l.Cleanup(func() {
		in.Close() // its end
		if err := cmd.Wait(); err != nil {
			l.Errorf("old_worker.py: %v", err)
		}
	})
	return &reference{in: in, out: bufio.NewReader(out)}
}

// record is the record of a row.
func (r *reference) record(service string, row map[string]*string) (*kgo.Record, error) {
	ask, err := json.Marshal(map[string]any{"service": service, "row": row})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := fmt.Fprintf(r.in, "%s\n", ask); err != nil {
		return nil, err
	}
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("old_worker.py: %w", err)
	}
	var got struct {
		Topic string
		Key   *string
		Value string
	}
	if err := json.Unmarshal(line, &got); err != nil {
		return nil, err
	}
	rec := &kgo.Record{Topic: got.Topic}
	if rec.Value, err = base64.StdEncoding.DecodeString(got.Value); err == nil && got.Key != nil {
		rec.Key, err = base64.StdEncoding.DecodeString(*got.Key)
	}
	return rec, err
}

// row is a row of an old outbox as its worker reads it.
type row struct {
	id      string
	columns map[string]*string
}

// rows reads rows, oldest first.
func (o *oldService) rows(ctx context.Context, where string) ([]row, error) {
	all, err := o.db.Query(ctx, fmt.Sprintf("select id::text, %s from %s where %s order by %s, id", o.columns, o.table, where, o.made))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(all, func(r pgx.CollectableRow) (row, error) {
		values := make([]*string, len(r.FieldDescriptions()))
		into := make([]any, len(values))
		for i := range values {
			into[i] = &values[i]
		}
		out := row{columns: map[string]*string{}}
		err := r.Scan(into...)
		for i, d := range r.FieldDescriptions() {
			out.columns[d.Name] = values[i]
		}
		if err == nil {
			out.id = *values[0]
		}
		return out, err
	})
}

// oldWorker polls the table of a service and publishes what it finds.
type oldWorker struct {
	service   *oldService
	reference *reference
	client    *kgo.Client
	stop      chan struct{}
	done      chan error
	attempts  int
}

// work starts the service's worker.
func (s *school) work(o *oldService) {
	s.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka.Bootstrap()), kgo.ProducerLinger(0))
	s.Check(err)
	w := &oldWorker{service: o, reference: s.reference, client: c, stop: make(chan struct{}), done: make(chan error, 1)}
	o.worker = w
	ctx := s.Ctx(10 * time.Minute)
	go func() { w.done <- w.run(ctx) }()
	s.Cleanup(func() { c.Close() })
}

// rest stops the service's worker, as its deployment would: between two rows.
func (s *school) rest(o *oldService) {
	s.Helper()
	if o.worker == nil {
		return
	}
	close(o.worker.stop)
	if err := <-o.worker.done; err != nil {
		s.Fatalf("the worker of %s: %v", o.name, err)
	}
	o.worker = nil
}

func (w *oldWorker) run(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := w.poll(ctx); err != nil {
			return err
		}
		select {
		case <-w.stop:
			return nil
		case <-tick.C:
		}
	}
}

// poll publishes what is to publish. A row that fails is tried again, before any
// after it.
func (w *oldWorker) poll(ctx context.Context) error {
	o := w.service
	found, err := o.rows(ctx, fmt.Sprintf("%s is null and not (%s)", o.mark, o.givenUp))
	if err != nil {
		return err
	}
	for _, r := range found {
		select {
		case <-w.stop:
			return nil
		default:
		}
		if w.attempts++; w.attempts%29 == 0 {
			return o.update(ctx, r.id, o.failed)
		}
		rec, err := w.reference.record(o.name, r.columns)
		if err != nil {
			return err
		}
		if err := w.client.ProduceSync(ctx, rec).FirstErr(); err != nil {
			return err
		}
		if err := o.update(ctx, r.id, o.published); err != nil {
			return err
		}
	}
	return nil
}

func (o *oldService) update(ctx context.Context, id, set string) error {
	_, err := o.db.Exec(ctx, fmt.Sprintf("update %s set %s where id::text = $1", o.table, set), id)
	return err
}

// ref is what tells events apart in every form of them: it is in the metadata of
// an envelope, and of the older services in the data.
func ref(value []byte) string {
	var v struct {
		Ref      string
		Metadata struct{ Ref string }
	}
	if json.Unmarshal(value, &v) != nil {
		return ""
	}
	return v.Metadata.Ref + v.Ref
}

// dumped reports whether an event was in the service's table from the first.
func dumped(ref string) bool { return strings.HasPrefix(ref, "dump-") }
