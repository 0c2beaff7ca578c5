package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// stream is one run between a start and its end. Two goroutines carry data:
// the loop (this one) owns the socket, the core and the batch being filled; the
// committer does everything that blocks on Kafka. Two batches go back and forth
// between them by pointer. A third goroutine watches the server's facts.
type stream struct {
	*Pipeline
	core *Core

	fill     *event.Batch      // owned by the loop
	spare    *event.Batch      // owned by the loop while nothing commits
	work     chan *event.Batch // loop → committer
	news     chan news         // committer, watcher → loop
	quit     <-chan struct{}   // SIGTERM
	deadline time.Time         // when to let go; zero: not ending
	letGo    error             // what to say then
	last     time.Time         // of the last commit
	fillFrom int64             // commit time of the first row in fill, µs
	workFrom int64             // the same of the batch being committed
}

// news wakes the loop.
type news struct {
	batch *event.Batch // its commit ended, err says how
	err   error        // else: why the watcher or the committer wants the stream to end
}

// stream runs until the end of the stream: nil when ctx is done or the Range is
// at its end, an error for the recovery path otherwise.
func (p *Pipeline) stream(ctx context.Context, saved event.Saved) error {
	// Commits outlive ctx for a while (an orderly end finishes them), so they
	// run under a context of the stream's own.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &stream{
		Pipeline: p, core: NewCore(p.Limits),
		fill: event.NewBatch(p.Pool), spare: event.NewBatch(p.Pool),
		work: make(chan *event.Batch, 1), news: make(chan news, 5), quit: ctx.Done(), last: time.Now(),
	}
	s.now.Store(&saved)
	s.core.Restart(saved.Checkpoint())
	p.Metrics.at(saved.Safe)
	p.Metrics.oldest.Store(0) // what is not in Kafka is read again now
	ended := make(chan struct{}, 3)
	go func() { s.commits(inner); ended <- struct{}{} }()
	go func() { s.watch(inner); ended <- struct{}{} }()
	go func() { s.wakeAtQuit(inner); ended <- struct{}{} }()
	defer func() {
		cancel()
		for range cap(ended) {
			<-ended
		}
		s.forget()
	}()
	err := s.run()
	if errors.Is(err, errEnded) {
		return s.finish(inner)
	}
	return err
}

// commits is the committer: one Kafka transaction after the other.
func (s *stream) commits(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-s.work:
			err := s.check(ctx, b)
			if err == nil {
				err = s.Sink.Commit(ctx, b)
			}
			s.tell(news{batch: b, err: err})
			if err := s.Sink.Doubt(); err != nil {
				s.tell(news{err: err}) // the batch counts; the start it asks for need not wait for the next one
			}
		}
	}
}

// check asks the running guards before a checkpoint that carries no rows: it
// would say that nothing is missing up to its LSN.
func (s *stream) check(ctx context.Context, b *event.Batch) error {
	if len(b.Records) > 0 {
		return nil
	}
	facts, err := s.Source.Look(ctx)
	if err != nil {
		// Postgres is going: the checkpoint keeps its fingerprint of the
		// publication, so the next start compares it.
		return nil //nolint:nilerr // see above
	}
	return s.Guards.Running(*s.now.Load(), facts)
}

// watch looks at the server's facts again and again. That they cannot be read
// for a while is no reason to end a stream that flows.
func (s *stream) watch(ctx context.Context) {
	for misses := 0; ctx.Err() == nil; {
		facts, err := s.Source.Watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			misses = 0
			s.Metrics.Facts(facts)
			err = s.Guards.Running(*s.now.Load(), facts)
		} else if misses++; misses < missesAtMost && event.VerdictOf(err) == event.Restart && !errors.Is(err, event.ErrShutdown) {
			s.Log.Warn("cannot look at postgres beside the stream; trying again", "attempt", misses, "err", err)
			s.wait(ctx, missEvery)
			continue
		}
		if err != nil {
			s.tell(news{err: err})
			return
		}
	}
}

func (s *stream) wakeAtQuit(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.quit:
		s.Source.Wake()
	}
}

// tell hands n to the loop and wakes it from a blocked read. It never blocks:
// there is room for one batch and its doubt, for a second batch that was handed
// over between the two, with its own, and for the one error of the watcher; a
// loop that has ended finds what is left (forget).
func (s *stream) tell(n news) {
	s.news <- n
	s.Source.Wake()
}

// run is the straight line: read, decide, transcode, hand over.
func (s *stream) run() error {
	var m event.Msg
	for {
		if err := s.Source.Next(&m); err != nil {
			if !s.deadline.IsZero() {
				return s.letGo // the server ended the stream, as expected
			}
			return fmt.Errorf("read the replication stream after %s: %w", s.core.Received().Safe, err)
		}
		if s.Range != nil && s.Range.endsBefore(&m, s.core.Inside()) {
			return s.settle()
		}
		if err := s.take(&m); err != nil {
			return s.before(err)
		}
		if err := s.serve(m.Kind, m.More); err != nil {
			return err
		}
		if s.stopping() {
			return s.drain(drainWithin)
		}
	}
}

// take appends the row of m, if it is one that Kafka does not know yet.
func (s *stream) take(m *event.Msg) error {
	keep := s.core.Saw(m)
	if m.Kind == event.Begin {
		crash.Point(crash.StreamBegin)
	}
	if !keep {
		return nil
	}
	if s.fillFrom == 0 {
		s.fillFrom = m.Time
		s.Metrics.oldest.CompareAndSwap(0, m.Time)
	}
	events, bytes := len(s.fill.Records), s.fill.Bytes
	if err := s.Transformer.Append(s.fill, m); err != nil {
		return err
	}
	s.core.Grew(len(s.fill.Records)-events, s.fill.Bytes-bytes)
	crash.Point(crash.StreamRow)
	return nil
}

// before commits what came before the transaction that err stops at, so that a
// person finds everything delivered but what they have to mend.
func (s *stream) before(err error) error {
	if event.VerdictOf(err) == event.Stop {
		if derr := s.drain(drainWithin); derr != nil {
			s.Log.Warn("the events before the one that stops the pipeline were not committed; they are read again at the next start", "err", derr)
		}
	}
	return err
}

// serve gives the committer what is due and takes its outcome. While the batch
// is full and the other one still commits, the loop may not read: it keeps the
// connection alive and waits.
func (s *stream) serve(kind event.Kind, more bool) error {
	if err := s.poll(); err != nil {
		return err
	}
	if s.core.Committing() && s.core.Full(s.fill.Short()) {
		if err := s.await(func() bool { return !s.core.Committing() }); err != nil {
			return err
		}
	}
	if end, ok := s.core.Close(more, s.fill.Short()); ok {
		s.hand(end)
		return nil
	}
	if kind == event.Wake || kind == event.Alive {
		if end, ok := s.core.CloseIdle(time.Since(s.last)); ok {
			s.hand(end)
		}
	}
	if !s.deadline.IsZero() && time.Now().After(s.deadline) {
		return s.letGo
	}
	return nil
}

// hand passes the filled batch to the committer.
func (s *stream) hand(end event.Checkpoint) {
	s.fill.End = end
	s.work <- s.fill // never blocks: one batch is out at a time
	s.fill, s.spare = s.spare, nil
	s.workFrom, s.fillFrom = s.fillFrom, 0
	if s.core.Inside() {
		crash.Point(crash.SplitHanded)
	}
	crash.Point(crash.StreamHanded)
}

// poll takes news without waiting.
func (s *stream) poll() error {
	select {
	case n := <-s.news:
		return s.heed(n)
	default:
		return nil
	}
}

// heed acts on news: only a clean commit moves anything.
func (s *stream) heed(n news) error {
	if n.batch == nil {
		if errors.Is(n.err, event.ErrShutdown) {
			s.Log.Info("postgres is shutting down: committing what is in hand and letting go", "within", serverWithin)
			s.core.Drain()
			s.deadline, s.letGo = time.Now().Add(serverWithin), errShuttingDown
			return nil
		}
		return n.err
	}
	if n.err != nil {
		defer n.batch.Reset()
		if len(n.batch.Records) == 0 {
			return fmt.Errorf("commit the checkpoint at %s: %w", n.batch.End.Safe, n.err)
		}
		return fmt.Errorf("commit %d events up to %s: %w", len(n.batch.Records), n.batch.End.Last, n.err)
	}
	crash.Point(crash.AckBefore)
	ack := s.core.Committed()
	now := s.now.Load().At(s.core.At())
	s.now.Store(&now) // before the acknowledgement: the guards compare the slot with it
	s.committed()
	s.last = time.Now()
	s.Metrics.at(ack)
	s.Metrics.oldest.Store(s.fillFrom)
	n.batch.Reset()
	s.spare = n.batch
	if err := s.Source.Status(ack); err != nil {
		return fmt.Errorf("acknowledge %s: %w", ack, err)
	}
	crash.Point(crash.AckAfter)
	return nil
}

// await waits for news until done says so, sending a status every few seconds
// so that Postgres does not take us for dead, however long Kafka takes.
func (s *stream) await(done func() bool) error {
	beat := time.NewTicker(s.beat())
	defer beat.Stop()
	quit := s.quit
	for !done() {
		var late <-chan time.Time
		if !s.deadline.IsZero() {
			late = time.After(time.Until(s.deadline))
		}
		select {
		case n := <-s.news:
			if err := s.heed(n); err != nil {
				return err
			}
		case <-beat.C:
			if err := s.Source.Status(s.core.Acked()); err != nil {
				return fmt.Errorf("heartbeat while kafka is slow: %w", err)
			}
		case <-quit:
			quit = nil
			if s.deadline.IsZero() {
				s.deadline, s.letGo = time.Now().Add(drainWithin), errUnfinished
			}
		case <-late:
			return s.letGo
		}
	}
	return nil
}

func (s *stream) stopping() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// drain is the orderly end: the commit in flight is finished, whole
// transactions in hand are committed, a half one is left to the next start, and
// the slot is told.
func (s *stream) drain(within time.Duration) error {
	s.fill.Records = s.fill.Records[:s.core.Retreat()]
	s.core.Drain()
	if by := time.Now().Add(within); s.deadline.IsZero() || by.Before(s.deadline) {
		s.deadline, s.letGo = by, errUnfinished
	}
	idle := func() bool { return !s.core.Committing() }
	if err := s.await(idle); err != nil {
		return err
	}
	if end, ok := s.core.Close(false, false); ok {
		s.hand(end)
	} else if end, ok := s.core.CloseIdle(0); ok {
		s.hand(end)
	}
	if err := s.await(idle); err != nil {
		return err
	}
	at := s.core.At()
	s.Log.Info("stopped", "safe_lsn", at.Safe, "last", at.Last, "events", at.Events)
	return s.Source.Status(s.core.Acked())
}

// forget gives the batches' memory back.
func (s *stream) forget() {
	s.fill.Reset()
	if s.spare != nil {
		s.spare.Reset()
	}
	select {
	case b := <-s.work:
		b.Reset()
	default:
	}
	for {
		select {
		case n := <-s.news:
			if n.batch != nil {
				n.batch.Reset()
			}
		default:
			return
		}
	}
}
