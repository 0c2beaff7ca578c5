package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/sink"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// maxRepair is how many records one repair produces at most: a reference of
// each, 24 bytes, is held in memory.
const maxRepair = 4_000_000

// fetchRows is how many rows are fetched by one statement.
const fetchRows = 500

// Repair is what a repair did, or would do.
type Repair struct {
	Pipeline string           `json:"pipeline"`
	ID       string           `json:"repair_id,omitempty"` // value of the header cdc_repair_id; "" nothing was produced
	DryRun   bool             `json:"dry_run"`
	Topics   map[string]int64 `json:"topics"`   // records that are missing, by topic
	Produced int64            `json:"produced"` // records
	Order    string           `json:"order"`    // by what they were produced: commit_time or transaction_id
	Healed   bool             `json:"healed"`   // nothing is missing any more, nor was anything before
	Before   *audit.Report    `json:"before"`
	After    *audit.Report    `json:"after,omitempty"` // "": nothing was produced
}

// Repair finds by an audit what is missing in Kafka and, unless dry, produces
// just that, in order, in transactions on a transactional id of its own.
//
// The order of the steps is what makes it exact. The fence comes before Kafka
// is read: what an earlier repair had open is aborted by it, what it had
// committed is seen. The relay has to be past the snapshot: a row that is under
// way would come twice. A repair that dies in between is simply run again.
func (f *Fleet) Repair(ctx context.Context, req AuditRequest, dry bool) (*Repair, error) {
	p, err := f.one(req.Pipeline)
	if err != nil {
		return nil, err
	}
	r := &repairer{unit: f.unit(p), req: req, out: Repair{Pipeline: p.Name, DryRun: dry, Topics: map[string]int64{}}}
	if err := r.run(ctx, dry); err != nil {
		return nil, named(p.Name, err)
	}
	return &r.out, nil
}

// repairer is one repair.
type repairer struct {
	*unit
	req   AuditRequest
	out   Repair
	sink  *sink.Sink
	audit *auditor
	tr    *transform.Transformer
	batch *event.Batch

	// The Postgres transaction in hand. A savepoint gives rows of one transaction
	// different ids, and the same commit time, if that is tracked.
	xid        uint32
	commitTime int64
	whole      int // records of it that the batch holds
}

func (r *repairer) run(ctx context.Context, dry bool) error {
	if err := r.find(ctx, dry); err != nil {
		return err
	}
	defer r.audit.close(ctx)
	if r.sink != nil {
		defer r.sink.Close()
	}
	before := &r.audit.report
	r.out.Before, r.out.Healed = before, before.Missing == 0
	for _, m := range r.audit.result.Missing {
		r.out.Topics[r.audit.cmp.TopicName(m.Topic)]++
	}
	r.out.Order = "transaction_id"
	if r.audit.snap.Tracked {
		r.out.Order = "commit_time"
	}
	if dry || before.Missing == 0 {
		return nil
	}
	if err := r.produceAll(ctx); err != nil {
		return err
	}
	r.audit.close(ctx) // Postgres need not keep two moments
	return r.verify(ctx)
}

// find compares, with the right to produce unless dry.
func (r *repairer) find(ctx context.Context, dry bool) (err error) {
	// The snapshot is taken before the fence, which is fine; it is Kafka that
	// has to be read after it. Whether the topics are ours at all is asked first.
	if r.audit, err = r.auditor(ctx, r.req, maxRepair); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.audit.close(ctx)
			if r.sink != nil {
				r.sink.Close()
			}
		}
	}()
	if !dry {
		if err = r.seize(ctx); err != nil {
			return err
		}
	}
	if err = r.audit.compare(ctx); err != nil {
		return err
	}
	if err = r.audit.describe(ctx); err != nil {
		return err
	}
	return r.permitted(dry)
}

// seize fences every earlier repair of the pipeline.
func (r *repairer) seize(ctx context.Context) error {
	r.sink = sink.New(sink.Options{
		Name: r.Config.Name, Pipeline: r.cfg.Name + "/repair", Settings: r.settings, CheckpointTopic: r.Config.CheckpointTopic,
		IDs: 1, Topics: r.topicNames(), RelayVersion: r.Version, Logger: r.log,
	})
	if _, err := r.sink.Look(ctx); err != nil {
		return fmt.Errorf("look at the checkpoint of an earlier repair: %w", err)
	}
	if err := r.sink.Fence(ctx); err != nil {
		return err
	}
	_, err := r.sink.Read(ctx)
	return err
}

// permitted refuses what could not be exact, or not be held.
func (r *repairer) permitted(dry bool) error {
	rep := &r.audit.report
	switch {
	case r.audit.result.Overflow:
		return event.Refusef("repair a part of it: --since and --until; cdc-relay audit says where the first rows are",
			"%d records are missing, and a repair holds at most %d", rep.Missing, maxRepair)
	case rep.SafeLSN == 0 && !dry:
		return event.Refusef("cdc-relay run, and repair when it has caught up",
			"there is no checkpoint: no relay has published anything yet")
	case rep.RelayBehind && !dry:
		return event.Refusef("start the relay (cdc-relay run), which may need cdc-relay slots recreate --accept-gap first, and repair when it has caught up; --wait 5m waits longer",
			"the relay is at %s and the rows reach to %s: a row that is under way would be published twice", rep.SafeLSN, rep.SnapshotLSN)
	}
	return nil
}

// job is one missing record, and what it is sorted by.
type job struct {
	audit.Ref
	at int64 // commit time, or the age of the transaction
}

// jobs are the missing records in the order they are produced: by commit time
// where Postgres tracks it, else by transaction id, which is given at the first
// write; within a transaction by place in the table, the order of writing unless
// space was used again. Nothing better is known of a row.
func (r *repairer) jobs(ctx context.Context) ([]job, error) {
	refs := r.audit.result.Missing
	jobs := make([]job, len(refs))
	for i, ref := range refs {
		// Ids are compared modulo 2^32, relative to one that is among them.
		jobs[i] = job{Ref: ref, at: int64(int32(ref.XID - refs[0].XID))}
	}
	r.audit.result.Missing = nil
	if r.audit.snap.Tracked {
		for i := range jobs {
			jobs[i].at = 0 // older than what Postgres knows of: first
		}
		err := r.audit.snap.CommitTimes(ctx, len(jobs), func(i int) uint32 { return jobs[i].XID }, func(i int, at int64) { jobs[i].at = at })
		if err != nil {
			return nil, err
		}
	}
	first := jobs[0].XID
	slices.SortFunc(jobs, func(a, b job) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(int32(a.XID-first), int32(b.XID-first)),
			cmp.Compare(a.Part, b.Part), cmp.Compare(a.Block, b.Block), cmp.Compare(a.Tuple, b.Tuple), cmp.Compare(a.Topic, b.Topic))
	})
	return jobs, nil
}

// produceAll produces every missing record.
func (r *repairer) produceAll(ctx context.Context) error {
	jobs, err := r.jobs(ctx)
	if err != nil {
		return err
	}
	r.out.ID = "repair-" + time.Now().UTC().Format("20060102T150405.000000Z")
	if r.tr, err = r.repairTransformer(ctx); err != nil {
		return err
	}
	r.sink.Resume(event.Saved{State: event.StateRepairing, SystemID: r.audit.system, Database: r.cfg.Database, Slot: r.cfg.Slot})
	r.batch = event.NewBatch(r.pool)
	defer r.batch.Reset()
	total := int64(len(jobs))
	for len(jobs) > 0 {
		n := piece(jobs)
		if err := r.fetch(ctx, jobs[:n]); err != nil {
			return err
		}
		jobs = jobs[n:]
		r.req.progress("records produced", r.out.Produced, total)
	}
	return r.commit(ctx)
}

// progress tells, if there is somebody to tell.
func (q *AuditRequest) progress(stage string, done, total int64) {
	if q.Progress != nil {
		q.Progress(stage, done, total)
	}
}

// piece is how many jobs are fetched at once: the records of one row together.
func piece(jobs []job) int {
	n := min(len(jobs), fetchRows)
	for n < len(jobs) && jobs[n].Place == jobs[n-1].Place {
		n++
	}
	return n
}

func (r *repairer) repairTransformer(ctx context.Context) (*transform.Transformer, error) {
	known := schemaIDs{}
	if err := r.resolve(ctx, known); err != nil {
		return nil, err
	}
	o := r.compile(known, r.audit.system, "")
	o.RepairID, o.Logger = r.out.ID, nil
	return transform.Compile(o)
}

// fetch reads the rows of some jobs and adds their missing records to the batch.
func (r *repairer) fetch(ctx context.Context, jobs []job) error {
	var places []replication.TableRow
	var topics [][]string // by place: the topics that lack it
	for i, j := range jobs {
		if i == 0 || j.Place != jobs[i-1].Place {
			places, topics = append(places, placeOf(j.Place)), append(topics, nil)
		}
		last := len(topics) - 1
		topics[last] = append(topics[last], r.audit.cmp.TopicName(j.Topic))
	}
	n := 0
	return r.audit.snap.Fetch(ctx, places, func(row *replication.TableRow) error {
		if row.XID != r.xid && (row.Commit == 0 || row.Commit != r.commitTime) {
			if err := r.between(ctx); err != nil {
				return err
			}
		}
		r.xid, r.commitTime = row.XID, row.Commit
		n++
		return r.add(ctx, row, topics[n-1])
	})
}

// between is called between two Postgres transactions, where a batch may end.
func (r *repairer) between(ctx context.Context) error {
	r.whole = 0
	if len(r.batch.Records) >= r.Config.Batch.Events || r.batch.Bytes >= int(r.Config.Batch.Bytes) || r.batch.Short() {
		return r.commit(ctx)
	}
	return nil
}

// add adds the records of a row for some topics. Only a Postgres transaction
// that alone reaches the limit is cut.
func (r *repairer) add(ctx context.Context, row *replication.TableRow, topics []string) error {
	if r.whole >= r.Config.Batch.Events || r.whole > 0 && r.whole == len(r.batch.Records) && r.batch.Bytes >= int(r.Config.Batch.Bytes) {
		if err := r.commit(ctx); err != nil {
			return err
		}
		r.whole = 0
	}
	from := len(r.batch.Records)
	m := event.Msg{Kind: event.Row, Rel: r.audit.snap.Rel, XID: row.XID, Time: cmp.Or(row.Commit, row.At), Cols: row.Columns}
	if err := r.tr.Append(r.batch, &m); err != nil {
		return err
	}
	made := r.batch.Records[from:]
	r.batch.Records = r.batch.Records[:from]
	for _, rec := range made {
		if slices.Contains(topics, *rec.Topic) {
			r.batch.Records = append(r.batch.Records, rec)
			r.whole++
		}
	}
	return nil
}

// commit commits the batch, if it holds something.
func (r *repairer) commit(ctx context.Context) error {
	n := len(r.batch.Records)
	if n == 0 {
		return nil
	}
	r.batch.End = event.Checkpoint{Safe: r.audit.report.SnapshotLSN, Events: uint64(r.out.Produced) + uint64(n)}
	if err := r.store(ctx, r.batch); err != nil {
		return fmt.Errorf("after %d records were committed (run it again: what is there is not produced twice): %w", r.out.Produced, err)
	}
	if err := r.sink.Commit(ctx, r.batch); err != nil {
		return fmt.Errorf("after %d records were committed (run it again: what is there is not produced twice): %w", r.out.Produced, err)
	}
	r.out.Produced += int64(n)
	r.batch.Reset()
	return nil
}

// verify audits again: the word of a repair is worth what a reader finds.
func (r *repairer) verify(ctx context.Context) error {
	a, err := r.auditor(ctx, r.req, 0)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	if err := a.compare(ctx); err != nil {
		return err
	}
	if err := a.describe(ctx); err != nil {
		return err
	}
	r.out.After = &a.report
	r.out.Healed = a.report.Missing == 0 && a.report.Duplicate <= r.out.Before.Duplicate
	return nil
}
