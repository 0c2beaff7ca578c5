package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/deadletter"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/sink"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

const (
	// redriveTimeout is transaction.timeout.ms of a redrive: one that dies leaves
	// a transaction open, and behind it no reader of its topics comes further.
	redriveTimeout = 15 * time.Second
	// fewLetters is how many may be left when keys are released.
	fewLetters   = 500
	mostRounds   = 20
	mostReleases = 6
	mostAttempts = 4
	releaseWaits = 10 // seconds for the relay to commit something
)

// RedriveRequest says what a redrive (or a discard) is to do.
type RedriveRequest struct {
	Pipeline string
	Filter   LetterFilter
	DryRun   bool
	Discard  bool   // give the letters up instead
	By       string // who does it
	Progress Progress
}

// Redrive is what a redrive did, or would do.
type Redrive struct {
	Pipeline string         `json:"pipeline"`
	Topic    string         `json:"topic"`
	ID       string         `json:"redrive_id"` // value of the header cdc_redrive_id
	DryRun   bool           `json:"dry_run"`
	Redriven int            `json:"redriven"` // letters
	Records  int            `json:"records"`  // that came of them
	Discard  int            `json:"discarded"`
	Failed   int            `json:"failed"`  // still cannot be published
	Waiting  int            `json:"waiting"` // behind one that stays
	Failures []LetterCount  `json:"failures,omitempty"`
	Dead     int            `json:"dead"` // that are left
	Parked   int            `json:"parked"`
	Released bool           `json:"released"` // the relay was made to look anew at what is held
	Left     []ListedLetter `json:"left,omitempty"`
}

// Redrive publishes letters, by the contract and the schemas as they are now, and
// resolves them, in Kafka transactions that carry both. It may run beside a relay.
//
// Everything is published on transactional ids of its own (<pipeline>/redrive),
// which no two redrives have at once. A relay goes on meanwhile, and because it
// knows nothing of it, goes on parking what comes for a held key, behind what is
// being redriven. At last the relay is fenced (see releasing), so that it takes
// its one recovery path and reads anew what is held. There is no moment at which
// an event of the key could overtake another: what a relay takes for held is
// always at least what the letters hold.
//
// What was committed is never done again: a redrive that dies is simply run
// again.
func (f *Fleet) Redrive(ctx context.Context, req RedriveRequest) (*Redrive, error) {
	p, err := f.one(req.Pipeline)
	if err != nil {
		return nil, err
	}
	r := &redriver{unit: f.unit(p), req: req, failed: map[string]bool{}, failures: map[LetterCount]*LetterCount{}, gone: map[string]bool{}}
	verb := "redrive-"
	if req.Discard {
		verb = "discard-"
	}
	r.out = Redrive{Pipeline: p.Name, Topic: p.DeadLetterTopic, DryRun: req.DryRun, ID: verb + time.Now().UTC().Format("20060102T150405.000000Z")}
	if err := r.persistently(ctx); err != nil {
		return nil, named(p.Name, err)
	}
	return &r.out, nil
}

// persistently begins again, from what is resolved by then, when Kafka or Postgres
// was away for a moment.
func (r *redriver) persistently(ctx context.Context) error {
	for r.attempt = 1; ; r.attempt++ {
		r.index, r.queue, r.kept, r.waits = deadletter.NewIndex(), deadletter.NewQueue(), map[string][]byte{}, map[string]bool{}
		r.next, r.keeping, r.pending, r.made = 0, false, nil, 0
		err := r.run(ctx)
		r.close()
		_, usage := errors.AsType[*UsageError](err)
		if err == nil || usage || event.VerdictOf(err) != event.Restart || r.attempt == mostAttempts || ctx.Err() != nil {
			return err
		}
		wait := time.Second << r.attempt
		r.log.Warn("not done, beginning again from what is resolved", "after", wait, "attempt", r.attempt, "err", err)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// redriver is one redrive.
type redriver struct {
	*unit
	req     RedriveRequest
	out     Redrive
	live    *sink.Sink // the pipeline's; reads, and fences only to release keys
	own     *sink.Sink
	attempt int
	found   bool // the IDs asked for
	tr      *transform.Transformer
	batch   *event.Batch
	facts   event.Facts
	saved   event.Saved // the pipeline's checkpoint

	index    *deadletter.Index
	queue    *deadletter.Queue
	rows     deadletter.Rows
	kept     map[string][]byte // values that are at hand, by ID
	keeping  bool
	next     int64               // the topic was read up to here
	pending  []*deadletter.Entry // resolved by the batch
	made     int                 // records of events in the batch
	failed   map[string]bool
	waits    map[string]bool
	failures map[LetterCount]*LetterCount
	gone     map[string]bool // IDs of what was resolved
	release  bool            // keys are held in the memory of a relay that may be free
}

func (r *redriver) close() {
	if r.live != nil {
		r.live.Close()
	}
	if r.own != nil {
		r.own.Close()
	}
	if r.batch != nil {
		r.batch.Reset()
	}
	r.own, r.batch = nil, nil
}

// open makes the sink of the pipeline, once: a later attempt opens it again, and
// its metrics can be registered only once.
func (r *redriver) open() {
	if r.live == nil {
		r.live = r.pipeline(role{}).Sink.(*sink.Sink)
	}
}

func (r *redriver) run(ctx context.Context) error {
	if err := r.permitted(ctx); err != nil {
		return err
	}
	if !r.req.Discard {
		if err := r.compileNow(ctx); err != nil {
			return err
		}
	}
	if !r.req.DryRun {
		if err := r.seize(ctx); err != nil {
			return err
		}
	}
	r.batch = event.NewBatch(r.pool)
	if err := r.read(ctx); err != nil {
		return err
	}
	if !r.found { // in a later attempt they may be resolved
		if err := r.req.Filter.resolve(r.index.Open()); err != nil {
			return err
		}
		r.found = true
	}
	r.keeping = true // what comes from now on is little, and needed soon
	if err := r.bulk(ctx); err != nil {
		return err
	}
	if !r.req.DryRun {
		if r.release {
			if err := r.releasing(ctx); err != nil {
				return err
			}
		}
		if err := r.own.Save(ctx, r.progressState(event.StateDone)); err != nil {
			return r.another(err)
		}
	}
	r.count()
	return nil
}

// permitted looks at the checkpoint, without fencing anyone: whose topics these
// are, and that a relay has published something.
func (r *redriver) permitted(ctx context.Context) error {
	opts := r.source()
	src := replication.New(opts)
	defer func() { _ = src.Close(context.WithoutCancel(ctx)) }() // nothing is streamed
	var err error
	if r.facts, err = src.Look(ctx); err != nil {
		return fmt.Errorf("look at postgres: %w", err)
	}
	r.open()
	if r.saved, err = r.live.Look(ctx); err != nil {
		return fmt.Errorf("look at the checkpoint: %w", err)
	}
	return r.ours(r.saved)
}

// ours refuses a checkpoint that is not this pipeline's.
func (r *redriver) ours(saved event.Saved) error {
	if saved.State != event.StateStreaming {
		return event.Refusef("cdc-relay run", "there is no checkpoint of a pipeline that streams: nothing was published yet, so there are no dead letters")
	}
	opts := r.source()
	guard := doctor.Guard{Pipeline: r.cfg.Name, Slot: opts.Slot, Publication: opts.Publication, Options: opts.Fingerprint()}
	return guard.Foreign(saved, r.facts)
}

// compileNow compiles the contract as it is now.
func (r *redriver) compileNow(ctx context.Context) error {
	known := schemaIDs{}
	if err := r.resolve(ctx, known); err != nil {
		return err
	}
	o := r.compile(known, r.facts.SystemID, "")
	o.RedriveID, o.Logger = r.out.ID, nil
	var err error
	if r.tr, err = transform.Compile(o); err != nil {
		return &event.Fault{Verdict: event.Refuse, What: "the contract cannot be compiled", Do: "cdc-relay config validate", Err: err}
	}
	return nil
}

// seize fences every earlier redrive of the pipeline, but not the relay.
func (r *redriver) seize(ctx context.Context) error {
	settings, err := r.hasty()
	if err != nil {
		return err
	}
	r.own = sink.New(sink.Options{
		Name: r.Config.Name, Pipeline: r.cfg.Name + "/redrive", Settings: settings, CheckpointTopic: r.Config.CheckpointTopic,
		Topics: r.topicNames(), DeadLetters: r.cfg.DeadLetterTopic, LettersNeeded: true, RelayVersion: r.Version, Logger: r.log,
	})
	if _, err := r.own.Look(ctx); err != nil {
		return fmt.Errorf("look at the checkpoint of an earlier redrive: %w", err)
	}
	if err := r.own.Fence(ctx); err != nil {
		return err
	}
	earlier, err := r.own.Read(ctx)
	if err != nil {
		return err
	}
	// One that died may have resolved what a relay still holds in its memory.
	r.release = r.release || earlier.State == event.StateRedriving
	r.own.Resume(r.progressState(event.StateRedriving))
	return nil
}

// hasty are the settings with a short transaction timeout, where the user's allow
// that.
func (r *redriver) hasty() (*kafka.Settings, error) {
	if r.settings.TransactionTimeout() <= redriveTimeout {
		return r.settings, nil
	}
	props := maps.Clone(r.Config.Kafka)
	props["transaction.timeout.ms"] = strconv.FormatInt(redriveTimeout.Milliseconds(), 10)
	for _, name := range []string{"message.timeout.ms", "delivery.timeout.ms"} {
		delete(props, name) // bounds that of a transaction
	}
	return kafka.NewSettings(props)
}

// progressState is the checkpoint of a redrive's own key.
func (r *redriver) progressState(state string) event.Saved {
	return event.Saved{State: state, SystemID: r.facts.SystemID, Timeline: r.facts.Timeline, Database: r.cfg.Database, Slot: r.cfg.Slot,
		Safe: r.saved.Safe, Redrive: r.out.ID}
}

// read reads what is new in the topic. After the fence of own it has authority
// over letters that are resolved, after that of live over those that are written.
func (r *redriver) read(ctx context.Context) error {
	var headers []event.Header
	next, err := r.live.Letters(ctx, r.next, func(s *kafka.Scanned) error {
		headers = s.Headers(headers[:0])
		e, err := r.index.Add(s.Key, s.Value, headers, s.Offset, s.Time)
		if err == nil && r.keeping && e.State.Open() && len(r.kept) < keepLetters {
			r.kept[e.ID] = s.Value
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read the dead letters: %w", err)
	}
	r.next = next
	return nil
}

// bulk redrives what there is, again and again while a relay parks more, until
// little is left to come.
func (r *redriver) bulk(ctx context.Context) error {
	for range mostRounds {
		before := r.out.Redriven + r.out.Discard
		if err := r.pass(ctx, r.queue.Undecided(r.index.Open())); err != nil || r.req.DryRun {
			return err
		}
		if err := r.read(ctx); err != nil {
			return err
		}
		if r.out.Redriven+r.out.Discard-before < fewLetters {
			return nil
		}
	}
	return nil
}

// commit commits the batch on the redrive's own ids.
func (r *redriver) commit(ctx context.Context) error {
	if len(r.batch.Records) == 0 || r.req.DryRun {
		r.settle()
		return nil
	}
	r.batch.End = event.Checkpoint{Safe: r.saved.Safe, Events: uint64(r.out.Redriven + len(r.pending))}
	err := r.store(ctx, r.batch)
	if err == nil {
		err = r.own.Commit(ctx, r.batch)
	}
	if err != nil {
		return r.another(fmt.Errorf("after %d letters were resolved (run it again: what is resolved is not done twice): %w", r.out.Redriven+r.out.Discard, err))
	}
	r.settle()
	return nil
}

// another says who has fenced us on the redrive's own ids.
func (r *redriver) another(err error) error {
	if event.VerdictOf(err) != event.Fenced {
		return err
	}
	f := event.Refusef("wait for its end, then run this again", "another redrive or discard of the pipeline has begun; %d letters were resolved before", r.out.Redriven+r.out.Discard)
	f.Err = err
	return f
}

// settle notes that the batch was committed.
func (r *redriver) settle() {
	for _, e := range r.pending {
		if r.req.Discard {
			r.out.Discard++
		} else {
			r.out.Redriven++
		}
		r.gone[e.ID] = true
		r.index.Resolve(e.ID)
		delete(r.kept, e.ID)
		r.release = r.release || len(e.Holds) > 0
	}
	r.pending = r.pending[:0]
	r.batch.Reset()
	r.out.Records += r.made
	r.made = 0
	if r.req.Progress != nil {
		r.req.Progress("letters resolved", int64(r.out.Redriven+r.out.Discard), 0)
	}
}
