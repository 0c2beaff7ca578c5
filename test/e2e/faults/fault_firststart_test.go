package faults

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// The first start is lock → fence → intent → publication and slot → first
// checkpoint. The relay is killed in each window between two of them, started
// again, and has to come to its end: no dead end, no refusal, and every event
// written from the slot on is there once. The windows are held open from
// outside: a slot waits for open transactions, a commit for the broker.

// firstStart is a lab whose servers may be held, and two hands to hold them.
type firstStart struct {
	*lab.Lab
	held pgx.Tx // a transaction that wrote and is still open
}

func TestFirstStartKilled(t *testing.T) {
	shop := lab.New(t, lab.OwnPostgres(), lab.OwnBroker())
	// What a relay would create at its first start in this cluster is there
	// already, so that only the pipeline's own windows are left.
	other := besides(shop)
	other.Stops(other.Start())
	windows := []struct {
		name string
		try  func(*firstStart)
	}{
		{"before the intent", killedBeforeTheIntent},
		{"between intent and slot", killedBetweenIntentAndSlot},
		{"slot made afterwards", killedAndItsSlotMadeAfterwards},
		{"between slot and checkpoint", killedBetweenSlotAndCheckpoint},
		{"after the checkpoint", killedAfterTheCheckpoint},
	}
	for _, w := range windows { // one after the other: what they hold, they hold for the whole server
		t.Run(w.name, func(t *testing.T) {
			w.try(&firstStart{Lab: lab.Second(t, on(shop))})
		})
	}
}

// holdSlots makes every creation of a slot wait, until letSlots.
func (f *firstStart) holdSlots() {
	f.Helper()
	tx, err := f.DB.Begin(f.Context())
	f.Check(err)
	f.Cleanup(func() { tx.Rollback(context.WithoutCancel(f.Context())) }) // it has ended where the test came that far
	f.held = tx
	f.Must(tx.Exec(f.Ctx(time.Minute), "select txid_current()"))
}

func (f *firstStart) letSlots() {
	f.Helper()
	f.Check(f.held.Rollback(f.Ctx(time.Minute)))
}

// slotState is "none", "in the making" or "made".
func (f *firstStart) slotState() string {
	f.Helper()
	return f.Ask(`select coalesce((select case when confirmed_flush_lsn is null then 'in the making' else 'made' end
		from pg_replication_slots where slot_name = $1), 'none')`, f.Slot())
}

func (f *firstStart) slotIs(state string) {
	f.Helper()
	f.Soon(30*time.Second, "the slot is "+state, func() bool { return f.slotState() == state })
}

// ends demands that r comes to stream, and that events written from now on, and
// those the truth has already, arrive exactly once.
func (f *firstStart) ends(r *rig.Relay) {
	f.Helper()
	f.Check(r.State(f.Ctx(time.Minute), f.Pipeline(), "RUNNING"))
	f.Writes("end", 60)
	f.Settled(time.Minute)
	f.Stops(r)
}

// Killed while it holds the lock and has committed nothing. Nothing holds this
// window open but the fence, which takes some hundred milliseconds: on a machine
// that was too busy it is tried again.
func killedBeforeTheIntent(f *firstStart) {
	f.Helper()
	for range 5 {
		r := f.Launch("run")
		f.Soon(time.Minute, "the lock of the first start is taken", func() bool {
			// A migration takes an advisory lock too; that of the first start is tried.
			return f.Ask(`select count(*)::text from pg_locks l join pg_stat_activity a using (pid)
				where l.locktype = 'advisory' and l.granted and a.datname = current_database() and a.query like '%pg_try_advisory_lock%'`) != "0"
		})
		r.Kill()
		if s := f.Saved(); !s.Exists() && f.slotState() == "none" {
			f.ends(f.Launch("run"))
			return
		}
		f.Lab = lab.Second(f.T, on(f.Lab))
	}
	f.Fatal("five kills came too late")
}

// Killed while its slot waits for a transaction. The server goes on making the
// slot for nobody: a relay that starts meanwhile must not take it for a
// stranger's.
func killedBetweenIntentAndSlot(f *firstStart) {
	f.Helper()
	f.holdSlots()
	r := f.Launch("run")
	f.Logged(r, "publication created", time.Minute)
	f.slotIs("in the making")
	r.Kill()
	if s := f.Saved(); s.State != event.StateCreating {
		f.Fatalf("checkpoint %+v, want the intent", s)
	}
	r = f.Launch("run")
	f.Check(r.State(f.Ctx(time.Minute), f.Pipeline(), "STANDBY"))
	f.letSlots()
	f.ends(r)
}

// The same, and nobody starts until the slot was made for nobody.
func killedAndItsSlotMadeAfterwards(f *firstStart) {
	f.Helper()
	f.holdSlots()
	r := f.Launch("run")
	f.slotIs("in the making")
	r.Kill()
	f.letSlots()
	f.slotIs("made")
	f.Writes("meanwhile", 40)
	f.ends(f.Launch("run"))
}

// Killed with the slot there and the first checkpoint not.
func killedBetweenSlotAndCheckpoint(f *firstStart) {
	f.Helper()
	f.holdSlots()
	r := f.Launch("run")
	f.slotIs("in the making")
	f.Check(f.Kafka.Pause())
	f.letSlots()
	f.slotIs("made")
	f.Writes("meanwhile", 40)
	r.Kill()
	f.Check(f.Kafka.Resume())
	if s := f.Saved(); s.State != event.StateCreating {
		f.Fatalf("checkpoint %+v, want the intent", s)
	}
	f.ends(f.Launch("run"))
}

// Killed with the first checkpoint there and the slot not taken yet, and once
// more as soon as it is taken.
func killedAfterTheCheckpoint(f *firstStart) {
	f.Helper()
	r := f.Launch("run")
	f.Logged(r, "safe_lsn=", time.Minute) // of "first checkpoint committed", the last line of the first start
	r.Kill()
	f.Writes("meanwhile", 40)
	r = f.Launch("run")
	f.Logged(r, "slot taken", time.Minute)
	r.Kill()
	f.ends(f.Launch("run"))
}

// Two relays make the first start of the same pipeline at the same time: one
// makes it, the other stands by, and takes over.
func TestTwoFirstStartsAtOnce(t *testing.T) {
	l := lab.New(t)
	a, b := l.Launch("run"), l.Launch("run")
	l.Check(a.Ready(l.Ctx(time.Minute)))
	l.Check(b.Ready(l.Ctx(time.Minute)))
	l.Soon(time.Minute, "one of them streams", func() bool { return l.Sender() != "" })
	l.Writes("a", 60)
	l.Delivered(l.Reader(), 60, time.Minute)
	first, second := a, b
	if strings.Contains(b.Log(), "msg=streaming") {
		first, second = b, a
	}
	l.Check(first.State(l.Ctx(10*time.Second), l.Pipeline(), "RUNNING"))
	l.Check(second.State(l.Ctx(10*time.Second), l.Pipeline(), "STANDBY"))
	first.Kill()
	l.Check(second.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))
	l.Writes("bb", 60)
	l.Settled(time.Minute)
	l.Stops(second)
}
