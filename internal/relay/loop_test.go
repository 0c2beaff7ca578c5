package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// rig is a Pipeline between a fake Source and a fake Sink, for what real ones
// cannot be made to do on demand; time is the bubble's of testing/synctest.
type rig struct {
	t *testing.T
	p *Pipeline

	mu     sync.Mutex
	calls  []string    // of Source and Sink, in order
	states []State     // without repetition
	saved  event.Saved // the checkpoint in "Kafka"
	rows   []event.Position
	status []event.LSN

	msgs    chan event.Msg
	woken   chan struct{}
	facts   event.Facts
	commit  func(context.Context, *event.Batch) error // before the batch lands
	doubt   error                                     // of the last commit; a start forgets it
	watch   chan error
	opened  func() // each Take
	fence   func() // each Fence
	beats   int
	asked   int          // whether the slot is taken
	unasked error        // the answer to that
	broken  error        // of Next
	settled *event.Saved // what Settled finds; nil: saved
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, msgs: make(chan event.Msg, 100), woken: make(chan struct{}, 1), watch: make(chan error),
		saved: event.Saved{V: 1, State: event.StateStreaming, Safe: 50},
		facts: event.Facts{Slot: event.Slot{Name: "s", Exists: true}, SenderPID: 7},
	}
	ok := func(event.Saved, event.Facts) error { return nil }
	r.p = &Pipeline{
		Name: "test", Source: (*fakeSource)(r), Sink: (*fakeSink)(r), Transformer: fakeTransformer{},
		Guards: Guards{Foreign: ok, Start: ok, Running: ok, Adopt: func(event.Facts) error { return nil }}, Limits: DefaultLimits, Pool: event.NewPool(1 << 20),
		Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry()),
		OnState: func(s State, _ error) { r.note(func() { r.states = append(r.states, s) }) },
	}
	return r
}

func (r *rig) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *rig) call(name string) { r.note(func() { r.calls = append(r.calls, name) }) }

func (r *rig) send(msgs []event.Msg) {
	for _, m := range msgs {
		r.msgs <- m
	}
}

type (
	fakeSource      rig
	fakeSink        rig
	fakeTransformer struct{}
)

func (fakeTransformer) Append(b *event.Batch, m *event.Msg) error {
	if m.XID == 13 {
		return &event.Fault{Verdict: event.Stop, What: "row 13 breaks its schema"}
	}
	b.Records = append(b.Records, event.Record{Key: b.Keep(append(b.Buf(16), name(m.Pos)...)), Time: int64(m.Pos.Commit)<<32 | int64(m.Pos.Ord)})
	return nil
}

func (f *fakeSource) rig() *rig { return (*rig)(f) }

func (f *fakeSource) Look(context.Context) (facts event.Facts, err error) {
	f.rig().note(func() { facts = f.facts })
	return facts, nil
}

func (f *fakeSource) Taken(context.Context) (taken bool, err error) {
	f.rig().note(func() { f.asked++; taken = f.facts.Slot.ActivePID != 0 })
	return taken, f.unasked
}

func (f *fakeSource) Watch(ctx context.Context) (event.Facts, error) {
	select {
	case err := <-f.watch:
		return f.facts, err
	case <-ctx.Done():
		return f.facts, ctx.Err()
	}
}

func (f *fakeSource) LockFirst(context.Context) (func(), error) {
	f.rig().call("lock")
	return func() { f.rig().call("unlock") }, nil
}

func (f *fakeSource) Create(context.Context) (event.LSN, error) {
	f.rig().call("create")
	f.facts.Slot.Exists = true
	return 70, nil
}

func (f *fakeSource) DropOlder(context.Context, string, event.LSN) error {
	f.rig().call("drop")
	return nil
}

func (f *fakeSource) Take(context.Context) error {
	if f.facts.Slot.ActivePID != 0 { // as the server says it
		return held(f.facts)
	}
	f.rig().call("take")
	if f.opened != nil {
		f.opened()
	}
	return nil
}

func (f *fakeSource) Beat() error {
	f.rig().note(func() { f.beats++ })
	return nil
}

func (f *fakeSource) Resume(event.Checkpoint) error { return nil }

func (f *fakeSource) Next(m *event.Msg) error {
	if f.broken != nil {
		return f.broken
	}
	select { // what is there goes first
	case *m = <-f.msgs:
	default:
		select {
		case *m = <-f.msgs:
		case <-f.woken:
			*m = event.Msg{Kind: event.Wake}
		case <-time.After(time.Second):
			*m = event.Msg{Kind: event.Wake}
		}
	}
	m.More = len(f.msgs) > 0
	return nil
}

func (f *fakeSource) Status(flush event.LSN) error {
	f.rig().note(func() { f.status = append(f.status, flush) })
	return nil
}

func (f *fakeSource) Wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

func (f *fakeSource) Close(context.Context) error {
	f.rig().call("close source")
	return nil
}

func (f *fakeSink) rig() *rig { return (*rig)(f) }

func (f *fakeSink) Look(context.Context) (event.Saved, error) {
	f.rig().call("look")
	return f.saved, nil
}

func (f *fakeSink) Settled(context.Context) (event.Saved, error) {
	f.rig().call("look to the end")
	if f.settled != nil {
		return *f.settled, nil
	}
	return f.saved, nil
}

func (f *fakeSink) Fence(context.Context) error {
	f.rig().call("fence")
	if f.fence != nil {
		f.fence()
	}
	return nil
}

func (f *fakeSink) Read(context.Context) (event.Saved, error) {
	f.rig().call("read")
	return f.saved, nil
}

func (f *fakeSink) Save(_ context.Context, s event.Saved) error {
	f.rig().call("save " + s.State)
	f.saved = s
	return nil
}

func (f *fakeSink) Resume(event.Saved) {}

func (f *fakeSink) Commit(ctx context.Context, b *event.Batch) error {
	if f.commit != nil {
		if err := f.commit(ctx, b); err != nil {
			return err
		}
	}
	f.rig().note(func() {
		for _, rec := range b.Records {
			f.rows = append(f.rows, event.Position{Commit: event.LSN(rec.Time >> 32), Ord: uint64(rec.Time & 0xffffffff)})
		}
		f.saved = f.saved.At(b.End)
	})
	return nil
}

func (f *fakeSink) Doubt() error { return f.doubt }

func (f *fakeSink) Close() {
	f.rig().call("close sink")
	f.doubt = nil
}

// pass lets d pass on the bubble's clock; no time is spent.
func pass(d time.Duration) { <-time.After(d) }

// run runs the pipeline to its end and asserts what holds at every end: the
// batches' memory is back.
func (r *rig) run(t *testing.T, ctx context.Context) error {
	t.Helper()
	err := r.p.Run(ctx)
	if n := r.p.Pool.InUse(); n != 0 {
		t.Errorf("%d bytes of the pool are lost", n)
	}
	return err
}

// play runs the pipeline until story returns, then cancels it.
func (r *rig) play(t *testing.T, story func()) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.run(t, ctx) }()
	story()
	cancel()
	return <-done
}

func TestStartOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if err := r.play(t, synctest.Wait); err != nil {
			t.Fatal(err)
		}
		want := "look take fence read close source close sink"
		if got := strings.Join(r.calls, " "); got != want {
			t.Errorf("calls\n have %s\n want %s", got, want)
		}
	})
}

func TestFirstStartOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.saved, r.facts.Slot.Exists = event.Saved{}, false
		if err := r.play(t, synctest.Wait); err != nil {
			t.Fatal(err)
		}
		want := "look lock look fence read save creating create save streaming unlock take fence read close source close sink"
		if got := strings.Join(r.calls, " "); got != want {
			t.Errorf("calls\n have %s\n want %s", got, want)
		}
		if r.saved.Safe != 70 || r.saved.Last != nil {
			t.Errorf("first checkpoint %+v, want safe = the consistent point and no last", r.saved)
		}
	})
}

func TestMissingSlotIsRefusedWithoutAFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.facts.Slot.Exists = false
		r.p.Guards.Start = func(event.Saved, event.Facts) error { return event.Refusef("recreate", "the slot is gone") }
		if err := r.run(t, t.Context()); event.VerdictOf(err) != event.Refuse {
			t.Errorf("ended with %v", err)
		}
		if got := strings.Join(r.calls, " "); got != "look look to the end close source close sink" {
			t.Errorf("calls %s", got)
		}
	})
}

func TestSlotIsKeptWhileKafkaIsSlowAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fence = func() { pass(time.Minute) }
		if err := r.play(t, func() { pass(2 * time.Minute) }); err != nil {
			t.Fatal(err)
		}
		if r.beats < 15 {
			t.Errorf("%d beats in a minute of waiting for the fence, want one every few seconds", r.beats)
		}
	})
}

func TestOneCommandFencesNobodyElse(t *testing.T) {
	t.Parallel()
	theirs := func(event.Saved, event.Facts) error { return event.Refusef("mend", "another cluster") }
	for name, do := range map[string]func(*rig) error{
		"adopt":    func(r *rig) error { _, err := r.p.Adopt(r.t.Context(), true); return err },
		"recreate": func(r *rig) error { _, err := r.p.Recreate(r.t.Context(), false); return err },
		"rebase":   func(r *rig) error { _, err := r.p.Rebase(r.t.Context(), AcceptTimeline); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.p.Guards.Foreign = theirs
			if err := do(r); event.VerdictOf(err) != event.Refuse {
				t.Errorf("ended with %v", err)
			}
			if slices.Contains(r.calls, "fence") || slices.Contains(r.calls, "take") {
				t.Errorf("calls %v: a foreign pipeline was touched", r.calls)
			}
		})
	}
}

func TestRecreate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.facts.Flush = 60
	gap, err := r.p.Recreate(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	want := "look lock fence read save creating drop create save streaming read unlock close source close sink"
	if got := strings.Join(r.calls, " "); got != want || gap.From != 50 || gap.To != 70 {
		t.Errorf("gap %+v, calls\n have %s\n want %s", gap, got, want)
	}
	// The new timeline left the checkpoint's before its position.
	r.facts.History, r.saved = []event.Switch{{Timeline: 1, At: 44}}, event.Saved{V: 1, State: event.StateStreaming, Timeline: 1, Safe: 50}
	if gap, err := r.p.Recreate(t.Context(), false); err != nil || gap.From != 44 {
		t.Errorf("gap %+v, %v; want it from the switch on", gap, err)
	}
}

func TestFailedCommitTakesTheOneRecoveryPath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		log := transaction(nil, 100, 2)
		tries := 0
		r.opened = func() { r.send(log) }
		r.commit = func(context.Context, *event.Batch) error {
			if tries++; tries == 1 {
				return errors.New("aborted")
			}
			return nil
		}
		if err := r.play(t, func() { pass(5 * time.Second) }); err != nil {
			t.Fatal(err)
		}
		if want := []event.Position{{Commit: 100, Ord: 1}, {Commit: 100, Ord: 2}}; !slices.Equal(r.rows, want) {
			t.Errorf("rows %v, want %v", r.rows, want)
		}
		want := "look take fence read close source close sink look take fence read close source close sink"
		if got := strings.Join(r.calls, " "); got != want {
			t.Errorf("calls\n have %s\n want %s", got, want)
		}
		if last := r.status[len(r.status)-1]; last != 108 {
			t.Errorf("last status %s, want the transaction's end", last)
		}
	})
}

// A commit that may have been asked for twice counts, at once, and the start it
// asks for does not wait for another event.
func TestCommitInDoubtCountsAndStartsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		first := true
		r.commit = func(context.Context, *event.Batch) error {
			if first {
				r.doubt = &event.Fault{What: "asked for twice"}
			}
			first = false
			return nil
		}
		err := r.play(t, func() {
			r.send(transaction(nil, 100, 2))
			pass(5 * time.Second)
			r.note(func() {
				if last := r.status[len(r.status)-1]; last != 108 {
					t.Errorf("last status %s, want the end of the transaction that was committed", last)
				}
			})
			r.send(transaction(nil, 100, 2)) // Postgres may send it again: it is known
			r.send(transaction(nil, 120, 1))
			pass(5 * time.Second)
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := []event.Position{{Commit: 100, Ord: 1}, {Commit: 100, Ord: 2}, {Commit: 120, Ord: 1}}; !slices.Equal(r.rows, want) {
			t.Errorf("rows %v, want %v", r.rows, want)
		}
		want := "look take fence read close source close sink look take fence read close source close sink"
		if got := strings.Join(r.calls, " "); got != want {
			t.Errorf("calls\n have %s\n want %s", got, want)
		}
	})
}

func TestHeartbeatWhileKafkaIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.p.Limits.Events = 1
		free := make(chan struct{})
		r.commit = func(context.Context, *event.Batch) error { <-free; return nil }
		err := r.play(t, func() {
			r.send(transaction(nil, 100, 1))
			r.send(transaction(nil, 120, 1)) // full: the loop may not read on
			pass(5 * time.Minute)
			r.note(func() {
				if len(r.status) < 60 {
					t.Errorf("%d statuses in five minutes without a commit, want one every few seconds", len(r.status))
				}
				for _, s := range r.status {
					if s != 50 {
						t.Errorf("status %s before any commit, want the checkpoint's 50", s)
					}
				}
			})
			close(free)
			synctest.Wait()
		})
		if err != nil || len(r.rows) != 2 {
			t.Errorf("err %v, rows %v", err, r.rows)
		}
	})
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.commit = func(context.Context, *event.Batch) error { pass(2 * time.Second); return nil }
		err := r.play(t, func() {
			r.send(transaction(nil, 100, 1))
			synctest.Wait() // in flight
			r.send(transaction(nil, 120, 1))
			half := transaction(nil, 140, 2)
			r.send(half[:2])
			synctest.Wait()
		})
		// The half transaction shares the batch with 120; only it is left to
		// the next start.
		if err != nil || len(r.rows) != 2 || r.saved.Safe != 128 || r.status[len(r.status)-1] != 128 {
			t.Errorf("err %v, rows %v, safe %s", err, r.rows, r.saved.Safe)
		}
	})
}

func TestStopGivesUpOnAKafkaThatIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.commit = func(ctx context.Context, _ *event.Batch) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		err := r.play(t, func() {
			r.send(transaction(nil, 100, 1))
			synctest.Wait()
			began = time.Now()
		})
		if took := time.Since(began); err != nil || took > drainWithin+closeWithin {
			t.Errorf("err %v after %s", err, took)
		}
	})
}

func TestPostgresShutdownIsNotHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.commit = func(ctx context.Context, _ *event.Batch) error { <-ctx.Done(); return ctx.Err() }
		err := r.play(t, func() {
			r.send(transaction(nil, 100, 1))
			synctest.Wait()
			r.watch <- event.ErrShutdown
			began := time.Now()
			for closed := false; !closed; {
				pass(100 * time.Millisecond)
				r.note(func() { closed = slices.Contains(r.calls, "close source") })
			}
			if took := time.Since(began); took > serverWithin+2*time.Second {
				t.Errorf("let go after %s", took)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestIdleCheckpointAtOnceWhenPostgresShutsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		err := r.play(t, func() {
			r.watch <- event.ErrShutdown
			r.send(keepalive(nil, 90))
			pass(1500 * time.Millisecond)
			r.note(func() {
				if r.saved.Safe != 90 || !slices.Contains(r.status, 90) {
					t.Errorf("safe %s, statuses %v; the server waits for 0/5A", r.saved.Safe, r.status)
				}
			})
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	fenced := &event.Fault{Verdict: event.Fenced, What: "fenced"}
	cases := []struct {
		name string
		err  error // of the watcher, again and again
		want string
		end  event.Verdict
	}{
		{"refused by a running guard", event.Refusef("do", "publication changed"), "STARTING RUNNING FAILED", event.Refuse},
		{"fenced three times", fenced, "STARTING RUNNING RECOVERING RUNNING RECOVERING RUNNING FAILED", event.Fenced},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() {
					for ctx.Err() == nil {
						select {
						case r.watch <- tc.err:
						case <-ctx.Done():
						}
					}
				}()
				err := r.run(t, ctx)
				if event.VerdictOf(err) != tc.end {
					t.Errorf("ended with %v", err)
				}
				var states []string
				for _, s := range r.states {
					states = append(states, string(s))
				}
				if got := strings.Join(states, " "); got != tc.want {
					t.Errorf("states %s, want %s", got, tc.want)
				}
			})
		})
	}
}

func TestPoisonStopsWithoutACommitPastIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var err error
		poisoned := transaction(nil, 120, 1)
		poisoned[1].XID = 13
		r.send(append(transaction(nil, 100, 1), poisoned...))
		err = r.run(t, t.Context())
		if event.VerdictOf(err) != event.Stop || !strings.Contains(err.Error(), "row 13") {
			t.Errorf("ended with %v", err)
		}
		if r.saved.Safe != 108 || len(r.rows) != 1 {
			t.Errorf("rows %v, safe %s: want all before the poisoned transaction and nothing of it", r.rows, r.saved.Safe)
		}
	})
}

func TestReplayEndsAndIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.saved = event.Saved{}
		r.p.Range = &Range{ID: "r1", From: 120, To: 140}
		var log []event.Msg
		for _, at := range []event.LSN{100, 120, 140, 160} {
			log = transaction(log, at, 1)
		}
		r.opened = func() { r.send(log) }
		if err := r.run(t, t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []event.Position{{Commit: 120, Ord: 1}, {Commit: 140, Ord: 1}}
		if !slices.Equal(r.rows, want) || r.saved.State != event.StateDone {
			t.Errorf("rows %v (want %v), state %s", r.rows, want, r.saved.State)
		}
		r.calls = nil
		if err := r.run(t, t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.calls, " "); got != "look close source close sink" || len(r.rows) != 2 {
			t.Errorf("a second run did %q and published %v", got, r.rows)
		}
	})
}
