package rig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Truth is what was committed and what was rolled back. It is safe for
// concurrent use.
type Truth struct {
	mu         sync.Mutex
	committed  map[string]Event
	rolledBack map[string]bool
	doubtful   [][]Event // transactions whose COMMIT got no answer
	txs        int
}

// NewTruth returns an empty Truth.
func NewTruth() *Truth {
	return &Truth{committed: map[string]Event{}, rolledBack: map[string]bool{}}
}

// Committed is the number of events committed so far.
func (t *Truth) Committed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.committed)
}

// RolledBack is the number of events whose transaction was rolled back.
func (t *Truth) RolledBack() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rolledBack)
}

// Has reports whether the event was committed.
func (t *Truth) Has(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.committed[id]
	return ok
}

// Resolve asks the table about the transactions whose COMMIT got no answer,
// because the server went down: their rows are there, or they are not.
func (t *Truth) Resolve(ctx context.Context, db *pgxpool.Pool) error {
	t.mu.Lock()
	doubtful := t.doubtful
	t.doubtful = nil
	t.mu.Unlock()
	for _, events := range doubtful {
		var there bool
		err := db.QueryRow(ctx, "select exists (select 1 from cdc_relay.outbox where id = $1)", events[0].ID).Scan(&there)
		if err != nil {
			return fmt.Errorf("ask for event %s: %w", events[0].ID, err)
		}
		t.note(events, there)
	}
	return nil
}

func (t *Truth) number() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.txs++
	return t.txs
}

func (t *Truth) doubt(events []Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubtful = append(t.doubtful, events)
}

func (t *Truth) note(events []Event, committed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range events {
		if committed {
			t.committed[e.ID] = e
		} else {
			t.rolledBack[e.ID] = true
		}
	}
}

// Service writes events in transactions of its own, as a user's service would.
// Each has its own keys, so that the order per key is the order of its commits.
type Service struct {
	Name     string
	Truth    *Truth
	Keys     int // default 8
	MaxTx    int // events in one transaction at most; default 5
	Rollback int // every so many transactions one is rolled back; 0: none
	Seed     uint64

	seq  map[string]int
	rand *rand.Rand
	made int
}

// Write commits transactions until n events are committed, calling after (may
// be nil) behind each. After an error the Service must not be used again: see
// Truth.Resolve.
func (s *Service) Write(ctx context.Context, db *pgxpool.Pool, n int, after func(committed int)) error {
	for done := 0; done < n; {
		events := s.next(n - done)
		back := s.Rollback > 0 && s.made%s.Rollback == 0
		if err := s.commit(ctx, db, events, back); err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
		if !back {
			done += len(events)
		}
		if after != nil {
			after(done)
		}
	}
	return nil
}

// next makes the events of one transaction.
func (s *Service) next(atMost int) []Event {
	if s.rand == nil {
		s.rand, s.seq = rand.New(rand.NewPCG(s.Seed, 1)), map[string]int{} //nolint:gosec // a test's load, repeatable by its seed
		s.Keys, s.MaxTx = max(s.Keys, 1), max(s.MaxTx, 1)
	}
	s.made++
	events := make([]Event, 1+s.rand.IntN(min(s.MaxTx, atMost)))
	tx := s.Truth.number()
	for i := range events {
		e := Event{ID: uuid.NewString(), Type: Types[s.rand.IntN(len(Types))], Key: fmt.Sprintf("%s-k%d", s.Name, s.rand.IntN(s.Keys)), Tx: tx, Of: len(events)}
		s.seq[e.Type+e.Key]++
		e.Seq = s.seq[e.Type+e.Key]
		events[i] = e
	}
	return events
}

func (s *Service) commit(ctx context.Context, db *pgxpool.Pool, events []Event, back bool) error {
	rows := make([]outbox.Event, len(events))
	for i, e := range events {
		rows[i] = e.Outbox()
	}
	tx, err := db.BeginTx(ctx, pgx.TxOptions{})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after Commit it says so
	if err := outbox.Publish(ctx, tx, rows...); err != nil {
		return err
	}
	if back {
		for _, e := range events {
			s.seq[e.Type+e.Key]--
		}
		s.Truth.note(events, false)
		return tx.Rollback(ctx)
	}
	if err := tx.Commit(ctx); err != nil {
		s.Truth.doubt(events)
		return err
	}
	s.Truth.note(events, true)
	return nil
}
