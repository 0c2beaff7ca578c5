package replication

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// shortSender is wal_sender_timeout where its end is the subject: a test that is
// not given a processor for so long loses its walsender.
const shortSender = 3 * time.Second

// While the server decodes a large transaction of others it answers nothing.
func TestUnrelatedHugeTransaction(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.Postgres(t))
	o.SenderTimeout = shortSender
	s := take(t, o)
	d.exec("create table huge (i int)")
	done := make(chan error, 1)
	go func() { // Next serves the session meanwhile
		_, err := d.conn.Exec(within(t), "insert into huge select generate_series(1, 1500000); insert into outbox values (1, 'after')", pgx.QueryExecModeSimpleProtocol)
		done <- err
	}()
	same(t, lines(read(t, s, commits(1))), []string{"1 public.outbox [1 after]"})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFrozenServerIsNoticed(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t)
	_, o := pipe(t, pg)
	o.SenderTimeout = shortSender
	s := take(t, o)
	if err := pg.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.Resume() }()
	began := time.Now()
	for {
		var m event.Msg
		if err := s.Next(&m); err != nil {
			if !strings.Contains(err.Error(), "silent for") {
				t.Errorf("got %v", err)
			}
			break
		}
		if time.Since(began) > patience {
			t.Fatalf("%s of silence and no error", patience)
		}
	}
	began = time.Now()
	ctx, cancel := context.WithTimeout(within(t), time.Second)
	defer cancel()
	_ = s.Close(ctx) // its bound is the claim
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("Close took %s", took)
	}
}

func TestFastShutdown(t *testing.T) {
	t.Parallel()
	pg := stack.NewPostgres(t)
	d, o := pipe(t, pg)
	s := take(t, o)
	if _, err := s.Look(within(t)); err != nil {
		t.Fatal(err)
	}
	d.exec("insert into outbox values (1, 'a')")
	watched := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := s.Watch(within(t))
		watched <- err
	}()
	stopped := make(chan error, 1)
	read(t, s, commits(1))
	go func() { stopped <- pg.Stop("fast") }()
	if err := <-watched; !errors.Is(err, event.ErrShutdown) {
		t.Fatalf("Watch: %v, want ErrShutdown", err)
	}
	if took := time.Since(began); took > watchInterval/2 {
		t.Errorf("Watch took %s", took)
	}
	// Confirming what was read lets the server go.
	for {
		var m event.Msg
		err := s.Next(&m)
		if errors.Is(err, event.ErrShutdown) {
			break
		}
		if err != nil {
			t.Fatalf("Next: %v, want ErrShutdown", err)
		}
		if m.Kind == event.Alive {
			if err := s.Status(m.End); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Take(within(t)); err != nil {
		t.Fatalf("the same Source after the restart: %v", err)
	}
}

// Not parallel: it looks at every goroutine there is.
func TestWatchTellsAKilledSessionFromAShutdown(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d, o := pipe(t, stack.Postgres(t))
	o.ApplicationName = o.Slot
	s := New(o)
	if _, err := s.Look(within(t)); err != nil {
		t.Fatal(err)
	}
	watched := make(chan error, 1)
	go func() {
		_, err := s.Watch(within(t))
		watched <- err
	}()
	// Look goes before a waiting Watch.
	began := time.Now()
	for range 20 {
		if _, err := s.Look(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("20 looks beside Watch took %s", took)
	}
	d.exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name = '" + o.Slot + "'")
	if err := <-watched; err != nil {
		t.Fatalf("Watch: %v, want facts over a new connection", err)
	}
	go func() {
		_, err := s.Watch(within(t))
		watched <- err
	}()
	shut(t, s)
	if err := <-watched; err != nil && !errors.Is(err, errClosed) {
		t.Fatalf("Watch while Close: %v", err)
	}
	shut(t, s)
	_ = d.conn.Close(within(t))
}
