package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// sqlConn is the plain connection beside the stream. One caller at a time has
// it; it connects when it is first wanted and again when it was lost. A call of
// do makes a sleeping wait give way.
type sqlConn struct {
	dial func(context.Context) (*pgconn.PgConn, error)

	turn    chan struct{} // holds one token: the right to use pc
	waiting atomic.Int32  // callers of do that want their turn
	pc      *pgconn.PgConn

	mu     sync.Mutex
	cancel context.CancelFunc // of the call that has the turn
	asleep bool               // that call is a wait
	epoch  int                // counts shut
}

func newSQLConn(dial func(context.Context) (*pgconn.PgConn, error)) *sqlConn {
	return &sqlConn{dial: dial, turn: make(chan struct{}, 1)}
}

// do runs f on a live connection, within sqlTimeout once connected. f may run
// twice: when a connection made earlier turns out to be dead, it is made anew.
func (q *sqlConn) do(ctx context.Context, f func(context.Context, *pgconn.PgConn) error) error {
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	q.rouse()
	ctx, release, err := q.enter(ctx, false)
	if err != nil {
		return err
	}
	defer release()
	for {
		fresh := q.pc == nil || q.pc.IsClosed()
		if fresh {
			if q.pc, err = q.dial(ctx); err != nil {
				q.pc = nil
				return err
			}
		}
		err = q.call(ctx, f)
		if err == nil || fresh || ctx.Err() != nil || q.pc == nil || !q.pc.IsClosed() {
			return err
		}
	}
}

func (q *sqlConn) call(ctx context.Context, f func(context.Context, *pgconn.PgConn) error) error {
	ctx, cancel := context.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	err := f(ctx, q.pc)
	if err != nil && ctx.Err() != nil { // an answer may still be under way
		q.drop(ctx)
	}
	return err
}

// drop gives up a connection that did not answer in time.
func (q *sqlConn) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Millisecond)
	defer cancel()
	_ = q.pc.Close(ctx) // nobody is there to hear it
	q.pc = nil
}

// enter waits for the turn. The context it returns is cancelled by shut, and by
// rouse if the caller sleeps.
func (q *sqlConn) enter(ctx context.Context, asleep bool) (context.Context, func(), error) {
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("wait for the SQL connection: %w", ctx.Err())
	}
	ctx, cancel := context.WithCancel(ctx)
	q.mu.Lock()
	q.cancel, q.asleep = cancel, asleep
	q.mu.Unlock()
	return ctx, func() {
		q.mu.Lock()
		q.cancel, q.asleep = nil, false
		q.mu.Unlock()
		cancel()
		<-q.turn
	}, nil
}

// rouse makes a sleeping wait give the connection up for a while.
func (q *sqlConn) rouse() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asleep {
		q.cancel()
	}
}

func (q *sqlConn) now() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.epoch
}

// wait sleeps for d with a read open on the connection, so that the server's
// word of farewell is heard at once. It returns nil when d has passed. Other
// calls go before it.
func (q *sqlConn) wait(ctx context.Context, d time.Duration) error {
	epoch := q.now()
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		over, err := q.nap(ctx)
		switch {
		case q.now() != epoch:
			return errClosed
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case over || err != nil:
			return err
		}
	}
}

// nap is one piece of a wait; over says that there is no connection to wait on.
func (q *sqlConn) nap(ctx context.Context) (over bool, err error) {
	q.yield(ctx)
	nctx, release, err := q.enter(ctx, true)
	if err != nil {
		return false, nil //nolint:nilerr // wait looks at its context
	}
	defer release()
	if q.pc == nil || q.pc.IsClosed() {
		return true, nil
	}
	if q.waiting.Load() > 0 {
		return false, nil
	}
	err = q.pc.WaitForNotification(nctx)
	if nctx.Err() != nil && !q.pc.IsClosed() {
		return false, nil // a timeout: the connection is whole
	}
	return false, err
}

// yield lets callers of do take the turn first. They hold it or wait for it, so
// a turn taken after them is worth waiting for.
func (q *sqlConn) yield(ctx context.Context) {
	for q.waiting.Load() > 0 {
		_, release, err := q.enter(ctx, false)
		if err != nil {
			return
		}
		release()
	}
}

// shut ends the call that has the turn and closes the connection. The next call
// of do connects again.
func (q *sqlConn) shut(ctx context.Context) {
	q.mu.Lock()
	q.epoch++
	if q.cancel != nil {
		q.cancel()
	}
	q.mu.Unlock()
	q.turn <- struct{}{} // the cancelled call lets go at once
	defer func() { <-q.turn }()
	if q.pc != nil {
		_ = q.pc.Close(ctx) // the server sees the end of the socket in any case
		q.pc = nil
	}
}
