package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// State is where a pipeline is in its life.
type State string

// The states. A pipeline ends in FAILED or STOPPED.
const (
	Starting   State = "STARTING"   // taking slot and producers
	Running    State = "RUNNING"    // streaming
	Waiting    State = "STANDBY"    // another process holds the slot, or the server is not promoted
	Recovering State = "RECOVERING" // between a failure and the next start
	Failed     State = "FAILED"     // stopped by a guard, a fence or an event; a person has to act
	Stopped    State = "STOPPED"    // asked to
)

// Waits between attempts, and the bounds of an orderly end.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	drainWithin  = 10 * time.Second // SIGTERM: finish the commit in flight, or leave it
	// Postgres' fast shutdown waits for us, and may not be held up over 5 s:
	// what is left of them is for letting go, which waits for the client
	// library's present call (0.2 s) and for the ends of the connections.
	serverWithin  = 4 * time.Second
	closeWithin   = 2 * time.Second
	reasonWithin  = time.Second     // to hear why a walsender ended
	statusEvery   = 3 * time.Second // heartbeat while the loop may not read
	createWithin  = time.Minute     // for the slot, which waits for running transactions
	missEvery     = 3 * time.Second // between looks at a server that does not answer
	missesAtMost  = 3
	fencedPause   = time.Second // for whoever fenced us, a redrive, to do what it came for
	fencedAtMost  = 3           // in a row, without a commit between
	minorRestarts = 3           // restarts in a row that are logged as warnings, then errors
)

// Pipeline moves the events of one database. All fields but OnState and
// Metrics are required.
type Pipeline struct {
	Name        string
	Identity    event.Saved // Database, Slot and Options of every checkpoint
	Source      Source
	Sink        Sink
	Transformer Transformer
	Guards      Guards
	Limits      Limits
	// SenderTimeout is after how long without a word from us the server ends
	// our walsender; default 10 s.
	SenderTimeout time.Duration
	Pool          *event.Pool
	Log           *slog.Logger
	Metrics       *Metrics
	// OnState is told every change of state; err is why.
	OnState func(s State, err error)
	// Recall reads again, with the authority of the fence, what the pipeline knows
	// besides its checkpoint: the keys that dead letters hold. What was held in
	// memory only is gone with its batch. Nil: nothing.
	Recall func(ctx context.Context) error
	// Range makes this a replay of a part of the log, which ends by itself.
	Range *Range

	now      atomic.Pointer[event.Saved] // the checkpoint in Kafka; written by the loop only
	seenOurs bool                        // Guards.Foreign has passed once: a standby need not ask Kafka while the slot is held
	redrive  string                      // the last redrive seen in the checkpoint
	fenced   int                         // in a row
	restarts int                         // in a row
	waits    string                      // what it waits for, as it was logged
}

// Run runs the pipeline until ctx is done (nil: what was in flight was
// committed or left to the next start) or until it cannot go on, with the
// error that says why. A Pipeline with a Range returns nil at its end.
func (p *Pipeline) Run(ctx context.Context) error {
	p.say(Starting, nil)
	for {
		err := p.once(ctx)
		switch {
		case ctx.Err() != nil, err == nil:
			if err != nil {
				p.Log.Warn("stopped before everything in hand was committed; the next start goes on from the checkpoint", "err", err)
			}
			p.say(Stopped, nil)
			return nil
		case p.final(&err):
			p.say(Failed, err)
			return err
		}
		crash.Point(crash.RecoverClosed)
		if !p.again(ctx, err) {
			p.say(Stopped, nil)
			return nil
		}
	}
}

// Checkpoint is the last one known to be in Kafka; the zero one before the
// first start. It is safe for concurrent use.
func (p *Pipeline) Checkpoint() event.Checkpoint {
	if s := p.now.Load(); s != nil {
		return s.Checkpoint()
	}
	return event.Checkpoint{}
}

// once takes everything, streams, and gives everything back: the one recovery
// path is to do so again. Nothing that was received survives it.
func (p *Pipeline) once(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			crash.Point(crash.RecoverFailed)
		}
		// The source first: Postgres may be waiting for it, and a producer's end
		// may take a while. What is left in flight is the next fence's.
		c, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		cerr := p.Source.Close(c)
		p.Sink.Close()
		if err == nil && cerr != nil {
			p.Log.Warn("the replication connection did not end in good order; the next start goes on from the checkpoint", "err", cerr)
		}
	}()
	saved, err := p.start(ctx)
	if errors.Is(err, errEnded) {
		p.Log.Info("this range was published before; nothing to do", "replay", p.Range.ID)
		return nil
	}
	if err != nil {
		return err
	}
	p.waits = ""
	p.say(Running, nil)
	return p.stream(ctx, saved)
}

// final reports whether err ends the pipeline. Being fenced is final only when
// it happens again and again while we hold the slot: somebody else owns the
// transactional ids.
func (p *Pipeline) final(err *error) bool {
	switch event.VerdictOf(*err) {
	case event.Refuse, event.Stop:
		return true
	case event.Fenced:
		p.fenced++
		if p.fenced < fencedAtMost {
			return false
		}
		*err = &event.Fault{
			Verdict: event.Fenced,
			What:    fmt.Sprintf("pipeline %s: fenced %d times in a row without a commit between, while holding the slot: another producer uses the transactional ids of this pipeline", p.Name, p.fenced),
			Do:      "find the other relay with the same `name` (cdc-relay checkpoint show names the last writer) and stop it, or give this one another `name`",
			Err:     *err,
		}
		return true
	}
	return false
}

// again waits until the next start is due; false: ctx was done before.
func (p *Pipeline) again(ctx context.Context, err error) bool {
	if event.VerdictOf(err) == event.Standby {
		return p.standBy(ctx, err)
	}
	return p.wait(ctx, p.pause(err))
}

// pause says how long to wait before the next start, and tells why.
func (p *Pipeline) pause(err error) time.Duration {
	p.say(Recovering, err)
	d := min(backoffFirst<<min(p.restarts, 10), backoffMost)
	if event.VerdictOf(err) == event.Fenced {
		d = max(d, fencedPause)
	}
	p.restarts++
	p.Metrics.restarts.Inc()
	level := slog.LevelWarn
	if p.restarts > minorRestarts {
		level = slog.LevelError
	}
	p.Log.Log(context.Background(), level, "starting again from the checkpoint", "after", d, "attempt", p.restarts, "err", err)
	return d
}

func (p *Pipeline) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// beat is how often a status goes out while nothing is read.
func (p *Pipeline) beat() time.Duration {
	if p.SenderTimeout <= 0 {
		return statusEvery
	}
	return min(statusEvery, p.SenderTimeout/3)
}

func (p *Pipeline) say(s State, err error) {
	if p.OnState != nil {
		p.OnState(s, err)
	}
}

// committed notes that a commit returned success: the failures before it are
// over.
func (p *Pipeline) committed() { p.fenced, p.restarts = 0, 0 }

// errShuttingDown ends a stream because Postgres does.
var errShuttingDown = fmt.Errorf("%w: let go of the replication connection", event.ErrShutdown)

// errUnfinished ends an orderly end that took too long.
var errUnfinished = errors.New("kafka did not answer in time")

// errEnded ends a stream at the end of its Range; not a failure.
var errEnded = errors.New("the end of the range was reached")
