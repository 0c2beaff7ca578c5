package replication

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestAnchorsAndReplay(t *testing.T) {
	t.Parallel()
	everyVersion(t, stack.Ends(), func(t *testing.T, pg *stack.PG) {
		d, o := pipe(t, pg)
		live := take(t, o)
		d.exec("insert into outbox values (1, 'a')")
		anchor := o.Slot + "_anchor"
		at, err := live.CopySlot(within(t), o.Slot, anchor, false) // of a slot in use
		if err != nil || at == 0 {
			t.Fatal(at, err)
		}
		t.Cleanup(func() { _ = source(t, o).DropSlot(within(t), anchor) })
		all := read(t, live, commits(1))
		end := all[len(all)-1].End
		if err := live.Status(end); err != nil {
			t.Fatal(err)
		}
		shut(t, live)
		again := o
		again.CopyOf, again.Slot = anchor, o.Slot+"_replay"
		replay := take(t, again)
		same(t, lines(read(t, replay, commits(1))), []string{"1 public.outbox [1 a]"})
		f, err := replay.Look(within(t))
		if err != nil || !f.Slot.Temporary || f.Slot.ActivePID != f.SenderPID || f.SenderPID == 0 {
			t.Errorf("temporary copy: %+v, %v", f.Slot, err)
		}
		shut(t, replay)
		checkAnchorList(t, source(t, o), o.Slot, anchor, end)
	})
}

func checkAnchorList(t *testing.T, s *Source, slot, anchor string, end event.LSN) {
	t.Helper()
	if to, err := s.AdvanceSlot(within(t), anchor, end); err != nil || to != end {
		t.Fatalf("advanced to %s, %v; want %s", to, err, end)
	}
	found := slotsByName(t, s)
	// The temporary copy goes with its session, which the server ends after it
	// has answered.
	for ctx := within(t); found[slot+"_replay"].Exists && ctx.Err() == nil; {
		found = slotsByName(t, s)
	}
	if i := found[anchor]; !i.Exists || i.ConfirmedFlush != end || i.Plugin != "pgoutput" || i.Temporary || i.Retained < 0 || i.RestartLSN == 0 {
		t.Errorf("anchor %+v", i)
	}
	if _, ok := found[slot+"_replay"]; ok || !found[slot].Exists {
		t.Errorf("slots %v", found)
	}
	if err := s.DropOlder(within(t), anchor, end); err != nil {
		t.Fatal(err)
	}
	if at := anchorPosition(t, s, anchor); at != end {
		t.Fatalf("the anchor at %s is at %q after a drop of what is older", end, at)
	}
	if err := s.DropOlder(within(t), anchor, end+1); err != nil {
		t.Fatal(err)
	}
	if at := anchorPosition(t, s, anchor); at != 0 {
		t.Errorf("the anchor stands at %s still", at)
	}
	for range 2 { // there is none there is none
		if err := s.DropSlot(within(t), anchor); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CopySlot(within(t), slot, "tmp_"+slot, true); err != nil {
		t.Fatal(err)
	}
}

// anchorPosition is where a slot stands; zero: it does not exist.
func anchorPosition(t *testing.T, s *Source, name string) event.LSN {
	t.Helper()
	return slotsByName(t, s)[name].ConfirmedFlush
}

// slotsByName are all slots of the server, by name.
func slotsByName(t *testing.T, s *Source) map[string]SlotInfo {
	t.Helper()
	list, err := s.ListSlots(within(t))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]SlotInfo{}
	for _, i := range list {
		found[i.Name] = i
	}
	return found
}

func TestLockFirstIsHeldOnce(t *testing.T) {
	t.Parallel()
	_, o := pipe(t, stack.Postgres(t))
	a, b := source(t, o), source(t, o)
	unlock, err := a.LockFirst(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.LockFirst(within(t)); event.VerdictOf(err) != event.Standby {
		t.Fatalf("second lock: %v, want Standby", err)
	}
	unlock()
	unlock()
	// The server notices the end of a session in its own time.
	for end := time.Now().Add(patience); ; {
		unlock, err = b.LockFirst(within(t))
		if err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// Making a slot waits for running transactions. Giving up must leave nothing
// behind that comes to be later.
func TestCreateHonoursItsContext(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.NewPostgres(t))
	d.exec("begin", "insert into other values (1, 'x')") // holds an xid
	o.Slot += "_b"
	s := source(t, o)
	ctx, cancel := context.WithTimeout(within(t), time.Second)
	defer cancel()
	if _, err := s.Create(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Create beside a running transaction: %v, want DeadlineExceeded", err)
	}
	d.exec("commit")
	f, err := s.Look(within(t))
	if err != nil || f.Slot.Exists {
		t.Fatalf("slot %+v after Create gave up, %v", f.Slot, err)
	}
	if _, err := s.Create(within(t)); err != nil {
		t.Fatal(err)
	}
}

func TestCreateQuotesAndReportsPrivileges(t *testing.T) {
	t.Parallel()
	url := stack.Postgres(t).Database(t)
	d := connect(t, url)
	d.exec(`create schema "S x"`, `create table "S x"."T""y" (i int)`)
	o := Options{URL: url, Slot: slotOf(d), Publication: `it's "me"`, Tables: []string{`S x.T"y`}}
	s := source(t, o)
	if _, err := s.Create(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Take(within(t)); err != nil {
		t.Fatal(err)
	}
	d.exec(`insert into "S x"."T""y" values (5)`)
	same(t, lines(read(t, s, commits(1))), []string{`1 S x.T"y [5]`})
	role := "r_" + o.Slot
	d.exec("create role " + role + " login replication")
	t.Cleanup(func() { d.exec("drop role " + role) })
	weak := o
	weak.URL = "postgres://" + role + "@" + url[strings.LastIndexAny(url, "@")+1:]
	weak.Publication = "mine"
	if _, err := source(t, weak).Create(within(t)); event.VerdictOf(err) != event.Refuse {
		t.Errorf("publication of a table that is not ours: %v, want Refuse", err)
	}
}
