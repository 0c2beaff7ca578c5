package fleet

import (
	"context"
	"fmt"
	"slices"
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
	Anchor       string        // whose log says at which LSN rows were committed; "": none
	Progress     Progress
}

// Progress is told how far a stage is; total 0: not known.
type Progress func(stage string, done, total int64)

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
// fetched by their place. Closing it twice does nothing.
type auditor struct {
	*unit
	req     AuditRequest
	system  string
	anchor  string // the slot of req.Anchor
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
	bad     []badRow           // that no record can be made of
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
	a.cmp, a.snap, a.client = nil, nil, nil
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
	if err := a.anchored(ctx, src); err != nil {
		return facts, err
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

// compare reads both sides and compares them.
func (a *auditor) compare(ctx context.Context) error {
	if err := a.readRows(ctx); err != nil {
		return err
	}
	facts, err := a.catchUp(ctx)
	if err != nil {
		return err
	}
	// Before the topics: a letter that is redriven in between is found there.
	if err := a.readDeadLetters(ctx, &facts); err != nil {
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
