package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// edit replaces text that is there exactly once in a file of the repository.
type edit struct{ file, old, now string }

// Mutant is a relay with one clause of the protocol left out. The matrix has
// teeth if some cell fails with it.
type Mutant struct {
	Name  string
	edits []edit
	cells []string // tried in this order
}

const (
	atCore     = "internal/relay/core.go"
	atLoop     = "internal/relay/loop.go"
	atPipeline = "internal/relay/pipeline.go"
	atStart    = "internal/relay/start.go"
	atSink     = "internal/sink/sink.go"
	atCommit   = "internal/sink/commit.go"
	atProducer = "internal/sink/producer.go"
	atRead     = "internal/kafka/read.go"
	atClient   = "internal/kafka/client.go"
	atSettings = "internal/kafka/settings.go"
	atSource   = "internal/replication/source.go"
)

// lazily initialises a producer's id when it begins its first transaction.
var lazily = []edit{
	{atProducer, "	drained *kafka.Drain\n}", "	drained *kafka.Drain\n	done    bool\n}"},
	{atProducer, "func (p *producer) begin() error { return p.p.BeginTransaction() }", `func (p *producer) begin() error {
	if !p.done {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := p.init(ctx); err != nil {
			return err
		}
		p.done = true
	}
	return p.p.BeginTransaction()
}`},
}

// Mutants returns all of them.
func Mutants() []Mutant {
	return []Mutant{
		{"acknowledge-before-commit", []edit{
			{atLoop, "	s.work <- s.fill // never blocks: one batch is out at a time\n", "	s.work <- s.fill\n	_ = s.Source.Status(end.Safe)\n"},
		}, []string{"stream/txn.checkpoint/kill-relay", "stream/txn.records/kill-relay"}},
		{"skip-the-checkpoint", []edit{
			{atCommit, "	crash.Point(crash.TxnRecords)\n", "	crash.Point(crash.TxnRecords)\n	if len(records) > 0 {\n		return nil\n	}\n"},
		}, []string{"stream/ack.before/kill-relay"}},
		{"read-uncommitted", []edit{
			{atSettings, `set(m, "isolation.level", "read_committed")`, `set(m, "isolation.level", "read_uncommitted")`},
		}, []string{"stream/txn.checkpoint/kill-relay", "stream/txn.checkpoint/zombie"}},
		{"read-to-the-last-stable-offset", []edit{
			{atRead, "	f, err := r.atHome(ctx, ck.IsolationLevelReadUncommitted)\n", "	f, err := r.atHome(ctx, ck.IsolationLevelReadCommitted)\n"},
		}, []string{"checkpoint-partition/held/committed", "checkpoint-partition/held/aborted"}},
		{"skip-the-fence", append([]edit{
			{atSink, "	if err := p.init(ctx); err != nil {\n", "	if err := ctx.Err(); err != nil {\n"},
		}, lazily...), []string{"late-zombie/id-0/start.read", "late-zombie/id-0/start.judged"}},
		{"fence-one-of-two", []edit{
			{atSink, "	for i := range s.opt.IDs {\n", "	for i := range 1 {\n"},
		}, []string{"late-zombie/id-1/start.read", "late-zombie/id-1/start.judged"}},
		{"fence-lazily", append([]edit{
			{atSink, "	if err := p.init(ctx); err != nil {\n", "	if p.done = i == 0; !p.done {\n		return p, nil\n	}\n	if err := p.init(ctx); err != nil {\n"},
		}, lazily...), []string{"late-zombie/id-1/start.read", "late-zombie/id-1/start.judged"}},
		{"begin-before-the-commit-returned", []edit{
			// A commit that takes longer than a moment goes on in the background; only
			// the next transaction on the same id waits for it.
			{atProducer, "	drained *kafka.Drain\n}", "	drained *kafka.Drain\n	pending chan error\n}\n\n" + `func (p *producer) settled() error {
	if p.pending == nil {
		return nil
	}
	err := <-p.pending
	p.pending = nil
	return err
}`},
			{atProducer, "func (p *producer) begin() error { return p.p.BeginTransaction() }", `func (p *producer) begin() error {
	if err := p.settled(); err != nil {
		return err
	}
	return p.p.BeginTransaction()
}`},
			{atProducer, "func (p *producer) commit(ctx context.Context) (within time.Duration, err error) {", `func (p *producer) commit(ctx context.Context) (within time.Duration, err error) {
	done := make(chan error, 1)
	ctx = context.WithoutCancel(ctx)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		_, err := p.committed(ctx)
		done <- err
	}()
	select {
	case err := <-done:
		return 0, err
	case <-time.After(50 * time.Millisecond):
		p.pending = done
		return 0, nil
	}
}

func (p *producer) committed(ctx context.Context) (within time.Duration, err error) {`},
			{atProducer, "	_ = p.p.Purge(", "	_ = p.settled()\n	_ = p.p.Purge("},
		}, []string{"commit-under-way/id-0/kill-relay", "commit-under-way/id-1/kill-relay"}},
		{"drop-by-safe", []edit{
			{atCore, "drop: cp.Last, seen: cp,", "drop: event.Position{Commit: cp.Safe, Ord: 1 << 62}, seen: cp,"},
		}, []string{"postgres/commit-at-the-keepalive"}},
		{"highest-lsn", []edit{
			{atRead, "		if off < s.until && string(ev.Key) == r.q.Key {\n", "		if off < s.until && string(ev.Key) == r.q.Key && !lower(ev.Value, found[p].Value) {\n"},
			{atRead, "// pollSlice is how long", `func lower(a, b []byte) bool {
	safe := func(v []byte) event.LSN {
		var s event.Saved
		_ = json.Unmarshal(v, &s)
		return s.Safe
	}
	return safe(a) < safe(b)
}

// pollSlice is how long`},
			{atRead, "import (\n	\"context\"\n", "import (\n	\"context\"\n	\"encoding/json\"\n"},
		}, []string{"rebase/lower-lsn"}},
		{"end-before-the-fence", []edit{
			{atRead, "	for length := int64(firstWindow); until > low[r.home]; length *= 2 {\n", `	if r.q.Visible {
		before, err := r.offsets(ctx, ck.LatestOffsetSpec, ck.IsolationLevelReadUncommitted, r.home)
		if err != nil {
			return Found{}, err
		}
		r.c.before = before
	} else if r.c.before != nil {
		until = r.c.before[r.home]
	}
	for length := int64(firstWindow); until > low[r.home]; length *= 2 {
`},
			{atClient, "type Client struct {\n", "type Client struct {\n	before map[int32]int64\n"},
		}, []string{"late-zombie/id-0/start.taken", "late-zombie/id-1/start.taken"}},
		{"keep-the-connection", []edit{
			{atPipeline, "		cerr := p.Source.Close(c)\n", "		var cerr error\n		if err == nil || !strings.Contains(err.Error(), \"commit \") {\n			cerr = p.Source.Close(c)\n		}\n"},
			{atPipeline, "	\"log/slog\"\n", "	\"log/slog\"\n	\"strings\"\n"},
			{atStart, "	if p.seenOurs && facts.Slot.ActivePID != 0 {\n", "	if p.seenOurs && facts.Slot.ActivePID != 0 && facts.SenderPID == 0 {\n"},
			{atSource, "		return fmt.Errorf(\"slot %q is taken already: close the source first\", s.opts.Slot)\n", "		return nil\n"},
		}, []string{"abort/txn.aborted/cut-kafka", "stream/txn.records/freeze-kafka", "stream/txn.records/pause-broker"}},
		{"skip-the-intent", []edit{
			{atStart, "		if err := p.Sink.Save(ctx, saved); err != nil {\n			return fmt.Errorf(\"commit the intent of the first start: %w\", err)\n		}\n", ""},
		}, []string{"first/first.slot/kill-relay"}},
		{"fence-before-looking", []edit{
			{atStart, "	saved, err := p.Sink.Look(ctx)\n	if err != nil {\n		return event.Saved{}, fmt.Errorf(\"look at the checkpoint: %w\", err)\n	}\n	if err := p.Guards.Foreign(saved, facts); err != nil {\n		return event.Saved{}, err\n	}\n	p.seenOurs",
				"	if err := p.Sink.Fence(ctx); err != nil {\n		return event.Saved{}, err\n	}\n	saved, err := p.Sink.Look(ctx)\n	if err != nil {\n		return event.Saved{}, fmt.Errorf(\"look at the checkpoint: %w\", err)\n	}\n	if err := p.Guards.Foreign(saved, facts); err != nil {\n		return event.Saved{}, err\n	}\n	p.seenOurs"},
		}, []string{"twins/copied-slot"}},
		{"ignore-a-produce-error", []edit{
			{atProducer, "		if !ok || e.Code() != ck.ErrQueueFull {\n			return err\n", "		if !ok || e.Code() != ck.ErrQueueFull {\n			return nil\n"},
		}, []string{"produce/refused-by-the-client"}},
		{"commit-asked-twice", []edit{
			{atCommit, "	if within >= kafka.AskedOnce {\n", "	if within < 0 { // never in doubt\n"},
		}, []string{"late-commit/reset/middle", "late-commit/reset/kill", "late-commit/timeout/middle"}},
	}
}

// overlay writes the mutant's files into dir, for go build -overlay.
func (m *Mutant) overlay(dir string) (string, error) {
	replace := map[string]string{}
	texts := map[string]string{}
	for _, e := range m.edits {
		path := filepath.Join(rig.Root(), e.file)
		text, known := texts[path]
		if !known {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("mutant %s: the text it replaces is %d times in %s, not once: adapt test/matrix/mutants.go\n%s", m.Name, n, e.file, e.old)
		}
		texts[path] = strings.Replace(text, e.old, e.now, 1)
	}
	for path, text := range texts {
		file := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(path, rig.Root()+"/"), "/", "_"))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[path] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o644)
}

// build builds the mutant.
func (m *Mutant) build(ctx context.Context, dir string) (string, error) {
	dir = filepath.Join(dir, m.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	return Build(ctx, dir, overlay)
}

// original is the relay as it is: it must pass every cell that is to catch a
// mutant.
const original = "original"

// Mutants builds and runs every mutant whose name matches, and writes which cell
// caught it (null: none) to path. A mutant that lives is an error, and so is a
// cell that fails without a mutant.
func (r *Runner) Mutants(ctx context.Context, name *regexp.Regexp, path string) error {
	caught := map[string]*string{}
	control := Mutant{Name: original}
	var tasks []task
	cells := Cells()
	var failed string
	for _, m := range Mutants() {
		if !name.MatchString(m.Name) {
			continue
		}
		caught[m.Name] = nil
		for _, c := range m.cells {
			if !slices.Contains(control.cells, c) {
				control.cells = append(control.cells, c)
			}
		}
		tasks = append(tasks, task{Single, func(ctx context.Context, w *World) (bool, error) {
			cell, err := r.hunt(ctx, w, &m, cells)
			r.mu.Lock()
			defer r.mu.Unlock()
			if cell != "" {
				caught[m.Name] = &cell
			}
			return true, err // what it broke is broken
		}})
	}
	tasks = append([]task{{Single, func(ctx context.Context, w *World) (_ bool, err error) {
		failed, err = r.hunt(ctx, w, &control, cells)
		return true, err
	}}}, tasks...)
	if err := errors.Join(r.each(ctx, tasks), write(path, caught)); err != nil {
		return err
	}
	if failed != "" {
		return fmt.Errorf("%s fails without a mutant: it proves nothing", failed)
	}
	var alive []string
	for name, by := range caught {
		if by == nil {
			alive = append(alive, name)
		}
	}
	if len(alive) > 0 {
		slices.Sort(alive)
		return fmt.Errorf("%d of %d mutants live: %s", len(alive), len(caught), strings.Join(alive, ", "))
	}
	return nil
}

// hunt runs the mutant's cells until one fails, and returns its name.
func (r *Runner) hunt(ctx context.Context, w *World, m *Mutant, cells []Cell) (string, error) {
	if len(m.edits) > 0 {
		binary, err := m.build(ctx, filepath.Join(filepath.Dir(r.Binary), "_mutants"))
		if err != nil {
			return "", err
		}
		w.Binary = binary // the world is not used again
	}
	for _, name := range m.cells {
		i := slices.IndexFunc(cells, func(c Cell) bool { return c.Name == name })
		if i < 0 {
			return "", fmt.Errorf("mutant %s: there is no cell %q", m.Name, name)
		}
		res := r.cell(ctx, w, cells[i], filepath.Join(r.Dir, m.Name))
		why := res.why()
		r.mu.Lock()
		if res.broken {
			fmt.Fprintf(r.Out, "mutant %-34s %s could not be run: %s\n", m.Name, name, why)
		} else if res.Failed() {
			fmt.Fprintf(r.Out, "mutant %-34s fails %s: %s\n", m.Name, name, why)
		} else {
			fmt.Fprintf(r.Out, "mutant %-34s passes %s\n", m.Name, name)
		}
		r.mu.Unlock()
		if res.broken {
			return "", res.Err
		}
		if res.Failed() {
			return name, nil
		}
	}
	return "", nil
}

// why says in one line what a cell found. What a story that failed had not waited
// for yet counts as lost, so its error comes first.
func (r *Result) why() string {
	var all []string
	if r.Err != nil {
		line, _, _ := strings.Cut(r.Err.Error(), "\n")
		all = append(all, line)
	}
	if len(r.Verdict.Complaints) > 0 {
		all = append(all, r.Verdict.Complaints[0])
	}
	return strings.Join(all, "; ")
}
