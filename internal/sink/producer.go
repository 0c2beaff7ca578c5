package sink

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// producer is one transactional id.
type producer struct {
	id      string
	p       *ck.Producer
	drained *kafka.Drain
}

func openProducer(settings *kafka.Settings, id string, batchSize int, log *slog.Logger) (*producer, error) {
	d, cfg := kafka.NewDrain(settings.ProducerConfig(id, batchSize), log)
	p, err := ck.NewProducer(cfg)
	if err != nil {
		return nil, fmt.Errorf("make the producer of transactional id %q: %w", id, err)
	}
	d.Start(p.Events())
	return &producer{id: id, p: p, drained: d}, nil
}

// close drops what is queued and in flight and ends the producer and its
// goroutine. It never flushes; an open transaction is left to the next fence or
// to its timeout.
func (p *producer) close() {
	_ = p.p.Purge(ck.PurgeQueue | ck.PurgeInFlight | ck.PurgeNonBlocking) // fails only on wrong flags
	p.p.Close()
	p.drained.Wait()
}

// closeAll closes producers beside each other: each takes up to 100 ms, the
// period in which the library looks whether it should end.
func closeAll(ps []*producer) {
	var wg sync.WaitGroup
	for _, p := range ps {
		wg.Go(p.close)
	}
	wg.Wait()
}

// connect waits, for a moment, until the library has a connection to a broker
// it knows by number. Before that it changes from the bootstrap address to the
// broker behind it, and init, which looks for its coordinator meanwhile, finds
// nobody in every fifth start and asks again half a second later (2.15.1). A
// failure is left to init, which waits longer and says more.
func (p *producer) connect(ctx context.Context, topic string) {
	for range 3 {
		m, err := p.p.GetMetadata(&topic, false, int(connectSlice.Milliseconds()))
		if ctx.Err() != nil || err == nil && m.OriginatingBroker.ID >= 0 { // below 0: by the bootstrap address
			return
		}
	}
}

const connectSlice = 500 * time.Millisecond

func (p *producer) init(ctx context.Context) error { return patiently(ctx, p.p.InitTransactions) }

// begin starts a transaction on the client; no broker is asked.
func (p *producer) begin() error { return p.p.BeginTransaction() }

// commit flushes and commits. The error's flags say what it is: nothing but nil
// is a commit. within is how long ago its EndTxn can have been sent first: the
// time of the calls, without those that came back from the flush before it. (A
// commit is asked for only when every record was acknowledged; one call's share
// of the flush, a slice at most, stays in.)
func (p *producer) commit(ctx context.Context) (within time.Duration, err error) {
	var since time.Time
	asked := false
	err = patiently(ctx, func(ctx context.Context) error {
		if !asked {
			since = time.Now()
		}
		err := p.p.CommitTransaction(ctx)
		asked = asked || !flushing(err)
		return err
	})
	return time.Since(since), err
}

// flushing reports whether a call of CommitTransaction came back before it had
// asked for the commit. The library has no code for that, only a text; should it
// change, commits whose flush takes long are taken for asked twice.
func flushing(err error) bool {
	e, ok := kafka.AsError(err)
	return ok && e.IsRetriable() && strings.HasPrefix(e.String(), "Failed to flush ")
}

// abortWithin bounds the abort of a transaction that is given up: it only lets
// readers go on sooner, the next fence aborts it anyway.
const abortWithin = 2 * time.Second

func (p *producer) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
	defer cancel()
	return patiently(ctx, p.p.AbortTransaction)
}

// reason is why the library does not take records any more: a transaction that
// failed in the background answers Produce with a bare state error and keeps
// the reason for the transactional calls. Begin is the harmless one of these:
// inside a transaction it always fails.
func (p *producer) reason() error { return p.p.BeginTransaction() }

// slice is how long one call of the library runs before it is called again: it
// notices the end of ctx only between calls. The calls may be resumed.
const slice = 200 * time.Millisecond

// breath keeps answers that are retriable at once from spinning.
const breath = 10 * time.Millisecond

// patiently calls op until it succeeds, fails for good, or ctx is done. Only
// the flag IsRetriable means "call again".
func patiently(ctx context.Context, op func(context.Context) error) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		err := once(ctx, op)
		if err == nil {
			return nil
		}
		e, ok := kafka.AsError(err)
		if !ok || !e.IsRetriable() || e.IsFatal() || e.TxnRequiresAbort() {
			return err
		}
		t.Reset(breath)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-t.C:
		}
	}
}

func once(ctx context.Context, op func(context.Context) error) error {
	c, cancel := context.WithTimeout(ctx, slice)
	defer cancel()
	return op(c)
}

// queueFull is how long a full client queue is flushed before the next try.
const queueFull = 50 * time.Millisecond

// produce hands msg to the library, which copies it. A full queue is waited
// for; every other error means that the transaction must not be committed,
// because the library would commit it without the record.
func (p *producer) produce(ctx context.Context, msg *ck.Message) error {
	for {
		err := p.p.Produce(msg, nil)
		if err == nil {
			return nil
		}
		e, ok := kafka.AsError(err)
		if !ok || e.Code() != ck.ErrQueueFull {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		p.p.Flush(int(queueFull.Milliseconds()))
	}
}
