package matrix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// hotKeys are shared by all writers.
const hotKeys = 5

// load is several services that write multi-row transactions, some of which
// they roll back, all with the same few keys. What was committed is asked of
// Postgres afterwards, so a server that goes away in the middle of a COMMIT is
// no matter: they connect again.
type load struct {
	over chan struct{}
	done sync.WaitGroup
	once sync.Once

	ahead int          // events the relay may be behind; then the writers wait
	wrote atomic.Int64 // events that were committed, as far as the writers know
}

// writers is how many services write at a time.
const writers = 3

// startLoad starts the writers; each commits a transaction every so often, as
// long as consumers are not further behind than so many events (0: whatever).
func (l *lab) startLoad(every time.Duration, ahead int) *load {
	w := &load{over: make(chan struct{}), ahead: ahead}
	for i := range writers {
		random := rand.New(rand.NewPCG(l.seed, uint64(i)+1)) //nolint:gosec // repeatable by its seed
		w.done.Go(func() { w.write(l.ctx, l, random, every) })
	}
	return w
}

// stop lets each writer end its transaction and waits: a COMMIT that is cut off
// may still be done, behind everything the relay was waited for.
func (w *load) stop() {
	w.once.Do(func() { close(w.over) })
	w.done.Wait()
}

func (w *load) write(ctx context.Context, l *lab, random *rand.Rand, every time.Duration) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx)) // the server may be gone
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.over:
			return
		case <-tick.C:
		}
		if w.ahead > 0 && int(w.wrote.Load())-l.watch.seen() > w.ahead {
			continue
		}
		bound, cancel := context.WithTimeout(ctx, 5*time.Second) // a server may freeze
		var err error
		if conn == nil || conn.IsClosed() {
			if conn, err = pgx.Connect(bound, l.url); err != nil {
				conn = nil // the server is down: the next tick tries again
			}
		}
		if conn != nil {
			n, _ := transaction(bound, conn, random) // the server may go away: its log is the truth
			w.wrote.Add(int64(n))
		}
		cancel()
	}
}

// errBack rolls a transaction back.
var errBack = errors.New("rolled back on purpose")

// transaction commits, or in one of seven cases rolls back, one to six events, and
// returns how many were committed for sure.
func transaction(ctx context.Context, conn *pgx.Conn, random *rand.Rand) (int, error) {
	events := make([]outbox.Event, 1+random.IntN(6))
	for i := range events {
		events[i] = newEvent(fmt.Sprintf("hot-%d", random.IntN(hotKeys)), rig.Types[random.IntN(2)], i)
	}
	back := random.IntN(7) == 0
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := outbox.Publish(ctx, tx, events...); err != nil {
			return err
		}
		if back {
			return errBack
		}
		return nil
	})
	if errors.Is(err, errBack) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return len(events), nil
}

func newEvent(key, kind string, seq int) outbox.Event {
	e := rig.Event{ID: uuid.NewString(), Type: kind, Key: key, Seq: seq + 1, Tx: 1, Of: 1}
	return e.Outbox()
}

// publish commits events in one transaction and returns their ids.
func (l *lab) publish(n int) ([]string, error) {
	ctx, cancel := context.WithTimeout(l.ctx, recoverWithin)
	defer cancel()
	conn, err := pgx.Connect(ctx, l.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // nothing is lost with it
	events, ids := make([]outbox.Event, n), make([]string, n)
	for i := range events {
		events[i] = newEvent(fmt.Sprintf("hot-%d", i%hotKeys), rig.Types[i%2], i)
		ids[i] = events[i].ID.String()
	}
	return ids, pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return outbox.Publish(ctx, tx, events...) })
}

// sql runs statements, one by one, in the cell's database.
func (l *lab) sql(statements ...string) error {
	conn, err := pgx.Connect(l.ctx, l.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(l.ctx)) // nothing is lost with it
	for _, s := range statements {
		if _, err := conn.Exec(l.ctx, s); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(strings.Fields(s), " "), err)
		}
	}
	return nil
}

// ask returns the one text value of a query.
func (l *lab) ask(sql string, args ...any) (string, error) {
	conn, err := pgx.Connect(l.ctx, l.url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(l.ctx)) // nothing is lost with it
	var s string
	err = conn.QueryRow(l.ctx, sql, args...).Scan(&s)
	return s, err
}
