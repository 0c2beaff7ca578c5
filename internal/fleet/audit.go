package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// AuditRequest says what an audit compares.
type AuditRequest struct {
	Pipeline     string
	Since, Until time.Time     // of the rows' time column; zero: open
	TimeColumn   string        // "": created_at, or the mapping's occurred_at
	Dir          string        // of the temporary files; "": the system's
	Wait         time.Duration // for the relay to pass the snapshot
	Tolerance    time.Duration // of order
	Limit        int           // findings of each kind with their details
	Progress     Progress
}

// Progress is told how far a stage is; total 0: not known.
type Progress func(stage string, done, total int64)

// sinceSlack is how much earlier than its row a record may be: the column may
// hold the time of another clock than Postgres'.
const sinceSlack = time.Minute

// visibleWithin is how soon after the time of its commit a transaction can be
// seen by a snapshot. A record younger than that has no row in ours, and is no
// stranger's for that.
const visibleWithin = time.Second

// Audit compares the outbox table of one pipeline with its topics. It reads and
// changes nothing, and fences nobody.
func (f *Fleet) Audit(ctx context.Context, req AuditRequest) (*audit.Report, error) {
	p, err := f.one(req.Pipeline)
	if err != nil {
		return nil, err
	}
	a, err := f.unit(p).auditor(ctx, req, 0)
	if err != nil {
		return nil, named(p.Name, err)
	}
	defer a.close(ctx)
	if err := a.compare(ctx); err != nil {
		return nil, named(p.Name, err)
	}
	if err := a.describe(ctx); err != nil {
		return nil, named(p.Name, err)
	}
	return &a.report, nil
}

// auditor is one audit. Its snapshot stays open until close, so that rows can be
// fetched by their place.
type auditor struct {
	*unit
	req     AuditRequest
	system  string
	began   time.Time
	snap    *replication.Snapshot
	client  *kafka.Client
	tr      *transform.Transformer
	cmp     *audit.Audit
	batch   *event.Batch
	msg     event.Msg
	report  audit.Report
	result  *audit.Result
	numbers map[*string]uint16 // topics of records, interned by the transformer
}

// auditor connects both sides. missing is how many references of missing rows
// are to be kept.
func (u *unit) auditor(ctx context.Context, req AuditRequest, missing int) (*auditor, error) {
	a := &auditor{unit: u, req: req, began: time.Now(), batch: event.NewBatch(u.pool), numbers: map[*string]uint16{}}
	if a.req.Progress == nil {
		a.req.Progress = func(string, int64, int64) {}
	}
	err := a.open(ctx, missing)
	if err != nil {
		a.close(ctx)
		return nil, err
	}
	return a, nil
}

func (a *auditor) open(ctx context.Context, missing int) error {
	facts, err := a.foreign(ctx)
	if err != nil {
		return err
	}
	a.system = facts.SystemID
	if a.client, err = kafka.Open(a.settings, a.log); err != nil {
		return err
	}
	// Before the snapshot: asking about topics may take a while.
	spans, err := a.spans(ctx, a.topicNames())
	if err != nil {
		return err
	}
	var records int64
	for _, s := range spans {
		records += s.Until - s.From
	}
	if a.snap, err = replication.OpenSnapshot(ctx, a.source(), a.timeColumns()...); err != nil {
		return err
	}
	if err := a.timed(); err != nil {
		return err
	}
	if err := a.newTransformer(); err != nil {
		return err
	}
	o := audit.Options{
		Dir: a.req.Dir, Events: max(records, a.rowsExpected()), Limit: a.req.Limit, Missing: missing,
		Tolerance: a.req.Tolerance.Milliseconds(), Until: a.snap.Taken.Add(-visibleWithin).UnixMicro(),
	}
	if !a.req.Since.IsZero() {
		o.Since = a.req.Since.UnixMicro()
	}
	if !a.req.Until.IsZero() {
		o.Until = min(o.Until, a.req.Until.UnixMicro())
	}
	a.cmp, err = audit.New(o)
	return err
}

func (a *auditor) close(ctx context.Context) {
	if a.cmp != nil {
		a.cmp.Close()
	}
	if a.snap != nil {
		a.snap.Close(ctx)
	}
	if a.client != nil {
		a.client.Close()
	}
	a.batch.Reset()
}

// foreign refuses to compare a table with the topics of another one: the
// checkpoint, where there is one, says whose they are.
func (a *auditor) foreign(ctx context.Context) (event.Facts, error) {
	opts := a.source()
	src := replication.New(opts)
	defer func() { _ = src.Close(context.WithoutCancel(ctx)) }() // nothing is streamed
	facts, err := src.Look(ctx)
	if err != nil {
		return facts, fmt.Errorf("look at postgres: %w", err)
	}
	saved, err := a.checkpoint(ctx, a.cfg)
	if err != nil {
		return facts, fmt.Errorf("look at the checkpoint: %w", err)
	}
	if saved.State != event.StateStreaming {
		return facts, nil
	}
	guard := doctor.Guard{Pipeline: a.cfg.Name, Slot: opts.Slot, Publication: opts.Publication, Options: opts.Fingerprint()}
	return facts, guard.Foreign(saved, facts)
}

// timeColumns are the columns that may say when a row was written.
func (a *auditor) timeColumns() []string {
	if a.req.TimeColumn != "" {
		return []string{a.req.TimeColumn}
	}
	names := []string{"created_at"}
	for _, s := range a.cfg.Mapping.OccurredAt {
		if !strings.ContainsAny(s, ".[\":") {
			names = append(names, s)
		}
	}
	return append(names, "occurred_at")
}

// timed refuses a range where the table has no time.
func (a *auditor) timed() error {
	if len(a.snap.Rel.Columns) == 0 {
		return event.Refusef("cdc-relay doctor", "table %s has no columns the role may see", a.cfg.Table)
	}
	if a.snap.TimeColumn != "" {
		return nil
	}
	if a.req.TimeColumn != "" {
		return &UsageError{fmt.Sprintf("table %s has no column %q (--time-column)", a.cfg.Table, a.req.TimeColumn)}
	}
	if !a.req.Since.IsZero() || !a.req.Until.IsZero() {
		return &UsageError{fmt.Sprintf("table %s has no column created_at or occurred_at: name the one that holds the time with --time-column, or leave --since and --until out", a.cfg.Table)}
	}
	return nil
}

func (a *auditor) rowsExpected() int64 {
	if a.req.Since.IsZero() && a.req.Until.IsZero() {
		return a.snap.Rows
	}
	return 0 // the planner's number is of the whole table
}

// newTransformer makes the one that says what the relay would have produced. No
// value of it is ever written, so any schema id will do, and the registry is not
// asked.
func (a *auditor) newTransformer() error {
	known := schemaIDs{}
	wants, err := a.wants()
	if err != nil {
		return err
	}
	for _, w := range wants {
		known.add(w, 1)
	}
	o := a.compile(known, a.system, "")
	o.Logger = nil // key rules that fell through were warned about by the relay
	a.tr, err = transform.Compile(o)
	return err
}

// compare reads both sides and compares them.
func (a *auditor) compare(ctx context.Context) error {
	if err := a.readRows(ctx); err != nil {
		return err
	}
	facts, err := a.catchUp(ctx)
	if err != nil {
		return err
	}
	// Only now: whatever the relay has published by the checkpoint just read is
	// before these ends.
	names := slices.Concat(a.topicNames(), a.cmp.Topics())
	if err := a.readRecords(ctx, names, &facts); err != nil {
		return err
	}
	a.result, err = a.cmp.Compare(ctx, facts, func(i, n int) { a.req.Progress("comparing", int64(i), int64(n)) })
	if err != nil {
		return err
	}
	a.fill()
	return nil
}

// readRows turns every row into the records the relay makes of it.
func (a *auditor) readRows(ctx context.Context) error {
	total, n := a.rowsExpected(), int64(0)
	return a.snap.Read(ctx, a.req.Since, a.req.Until, func(r *replication.TableRow) error {
		if n++; n%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			a.req.Progress("rows read", n, max(total, n))
		}
		a.report.TableRows++
		records, err := a.records(r)
		if err != nil {
			return a.unencodable(r, err)
		}
		for i := range records {
			if err := a.addRow(r, &records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// records are those the relay makes of a row. They live until the next call.
func (a *auditor) records(r *replication.TableRow) ([]event.Record, error) {
	if a.batch.Bytes > event.ChunkBytes {
		a.batch.Reset()
	}
	a.batch.Records = a.batch.Records[:0]
	a.msg = event.Msg{Kind: event.Row, Rel: a.snap.Rel, XID: r.XID, Time: r.At, Cols: r.Columns}
	if r.Commit != 0 {
		a.msg.Time = r.Commit
	}
	if err := a.tr.Append(a.batch, &a.msg); err != nil {
		return nil, err
	}
	return a.batch.Records, nil
}

// unencodable notes a row the relay would have stopped at.
func (a *auditor) unencodable(r *replication.TableRow, err error) error {
	fault, ok := errors.AsType[*event.Fault](err)
	if !ok || fault.Verdict != event.Stop {
		return err
	}
	a.report.Unencodable++
	if a.report.Unencodable > int64(a.req.Limit) {
		return nil
	}
	why := strings.ReplaceAll(fault.What, " at LSN "+event.Position{}.String(), "") // not known here
	if fault.Err != nil {
		why += ": " + fault.Err.Error()
	}
	a.report.Details = append(a.report.Details, audit.Detail{
		Kind: audit.Unencodable, RowID: a.rowID(r), Created: audit.Time(r.At), XID: r.XID, Why: why,
	})
	return nil
}

// rowID is the row's id as the mapping names it, else its place in the table.
func (a *auditor) rowID(r *replication.TableRow) string {
	id := a.cfg.Mapping.ID
	if id == nil {
		id = []string{"id"}
	}
	for i, c := range a.snap.Rel.Columns {
		if len(id) > 0 && c.Name == id[0] && r.Columns[i] != nil {
			return string(r.Columns[i])
		}
	}
	return fmt.Sprintf("ctid (%d,%d)", r.Block, r.Tuple)
}

// identity is the header a consumer tells events apart by: event_id, or the id
// of the debezium preset.
func identity(header func(string) ([]byte, bool)) []byte {
	if v, ok := header("event_id"); ok && len(v) > 0 {
		return v
	}
	v, _ := header("id")
	return v
}

// headersOf looks headers of a record up by name.
func headersOf(r *event.Record) func(string) ([]byte, bool) {
	return func(name string) ([]byte, bool) {
		for i := range r.Headers {
			if r.Headers[i].Key == name {
				return r.Headers[i].Value, true
			}
		}
		return nil, false
	}
}

func (a *auditor) addRow(r *replication.TableRow, rec *event.Record) error {
	id := identity(headersOf(rec))
	if len(id) == 0 {
		a.report.Unidentified++
		return nil
	}
	topic, ok := a.numbers[rec.Topic]
	if !ok {
		var err error
		if topic, err = a.cmp.Topic(*rec.Topic); err != nil {
			return err
		}
		if len(a.numbers) > 1<<16 {
			clear(a.numbers)
		}
		a.numbers[rec.Topic] = topic
	}
	row := audit.Row{
		Key: audit.KeyOf(rec.Key), Created: r.At, XID: r.XID, Topic: topic,
		Place: audit.Place{Part: r.Part, Block: r.Block, Tuple: r.Tuple},
	}
	if row.ID, row.Hashed = audit.IDOf(id); rec.Key != nil {
		row.KeyHash = kafka.KeyHash(rec.Key)
	}
	return a.cmp.AddRow(&row)
}

// catchUp waits until the relay has passed the snapshot, at most Wait, and says
// how far it is.
func (a *auditor) catchUp(ctx context.Context) (audit.Facts, error) {
	facts := audit.Facts{Topics: map[string]audit.TopicFacts{}}
	end, err := a.snap.End(ctx)
	if err != nil {
		return facts, err
	}
	a.report.SnapshotLSN = end
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; {
		saved, err := a.checkpoint(ctx, a.cfg)
		if err != nil {
			return facts, fmt.Errorf("look at the checkpoint: %w", err)
		}
		streaming := saved.State == event.StateStreaming
		a.report.SafeLSN = saved.Safe
		if facts.Behind = !streaming || saved.Safe < end; !facts.Behind || time.Since(begun) >= a.req.Wait || !saved.Exists() {
			break
		}
		a.req.Progress("waiting for the relay to pass "+end.String(), 0, 0)
		select {
		case <-ctx.Done():
			return facts, ctx.Err()
		case <-tick.C:
		}
	}
	a.report.RelayBehind = facts.Behind
	// Asked before the ends of the topics: what the slot's reader confirmed is
	// committed in Kafka by then.
	facts.OldestXID, facts.OldestKnown, err = a.snap.Passed(ctx)
	return facts, err
}

// spans asks what is to be read of some topics.
func (a *auditor) spans(ctx context.Context, names []string) ([]kafka.Span, error) {
	topics, err := a.client.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	return a.client.Spans(ctx, a.from(), topics)
}

func (a *auditor) from() time.Time {
	if a.req.Since.IsZero() {
		return time.Time{}
	}
	return a.req.Since.Add(-sinceSlack)
}

// readRecords reads the topics and learns what was deleted from them.
func (a *auditor) readRecords(ctx context.Context, names []string, facts *audit.Facts) error {
	slices.Sort(names)
	topics, err := a.client.Topics(ctx, slices.Compact(names)...)
	if err != nil {
		return err
	}
	spans, err := a.client.Spans(ctx, a.from(), topics)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		t := topics[name]
		if !t.Exists {
			a.report.AbsentTopics = append(a.report.AbsentTopics, name)
			continue
		}
		facts.Topics[name] = audit.TopicFacts{Partitions: t.Partitions, Compacted: t.Compacted(), From: make([]int64, t.Partitions)}
	}
	return a.scan(ctx, spans, facts)
}

// scan gives every record of the spans to the comparison.
func (a *auditor) scan(ctx context.Context, spans []kafka.Span, facts *audit.Facts) error {
	numbers, total := make([]uint16, len(spans)), int64(0)
	for i, s := range spans {
		var err error
		if numbers[i], err = a.cmp.Topic(s.Topic); err != nil {
			return err
		}
		total += s.Until - s.From
		if s.Cut { // until its first record is seen
			facts.Topics[s.Topic].From[s.Partition] = 1<<63 - 1
		}
	}
	return a.client.Scan(ctx, spans, func(s *kafka.Scanned) error {
		if a.report.KafkaRecords++; a.report.KafkaRecords%4096 == 0 {
			a.req.Progress("records read", a.report.KafkaRecords, total)
		}
		sp := &spans[s.Span]
		if from := &facts.Topics[sp.Topic].From[sp.Partition]; *from == 1<<63-1 {
			*from = s.Time * 1000
		}
		id := identity(s.Header)
		if len(id) == 0 {
			a.report.Unidentified++
			return nil
		}
		r := audit.Record{Key: audit.KeyOf(s.Key), Offset: s.Offset, Time: s.Time, Partition: sp.Partition, Topic: numbers[s.Span]}
		r.ID, r.Hashed = audit.IDOf(id)
		if _, ok := s.Header(event.ReplayHeader); ok {
			r.Mark = audit.Replayed
		} else if _, ok := s.Header(event.RepairHeader); ok {
			r.Mark = audit.Repaired
		}
		return a.cmp.AddRecord(&r)
	})
}

// fill makes the report, but the details.
func (a *auditor) fill() {
	r := &a.report
	r.Pipeline, r.Table = a.cfg.Name, a.cfg.Table
	if !a.req.Since.IsZero() {
		r.Since = a.req.Since.UTC().Format(time.RFC3339Nano)
	}
	if !a.req.Until.IsZero() {
		r.Until = a.req.Until.UTC().Format(time.RFC3339Nano)
	}
	r.SnapshotTime = a.snap.Taken.Format(time.RFC3339)
	r.CommitTimestamps, r.OrderTolerance = a.snap.Tracked, a.req.Tolerance.Milliseconds()
	r.Take(a.result)
	r.Seconds = time.Since(a.began).Seconds()
}

// Headers counts the standard headers of a pipeline's topics by event type.
func (f *Fleet) Headers(ctx context.Context, req AuditRequest) ([]audit.HeaderCount, error) {
	p, err := f.one(req.Pipeline)
	if err != nil {
		return nil, err
	}
	counts, err := f.unit(p).headers(ctx, req)
	return counts, err
}

func (u *unit) headers(ctx context.Context, req AuditRequest) ([]audit.HeaderCount, error) {
	client, err := kafka.Open(u.settings, u.log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	topics, err := client.Topics(ctx, u.topicNames()...)
	if err != nil {
		return nil, err
	}
	spans, err := client.Spans(ctx, req.Since, topics)
	if err != nil {
		return nil, err
	}
	var total, done int64
	for _, s := range spans {
		total += s.Until - s.From
	}
	counts := audit.NewHeaders()
	err = client.Scan(ctx, spans, func(s *kafka.Scanned) error {
		if done++; done%4096 == 0 && req.Progress != nil {
			req.Progress("records read", done, total)
		}
		if at := time.UnixMilli(s.Time); (req.Since.IsZero() || !at.Before(req.Since)) && (req.Until.IsZero() || at.Before(req.Until)) {
			counts.Add(s.Header)
		}
		return nil
	})
	return counts.Counts(), err
}
