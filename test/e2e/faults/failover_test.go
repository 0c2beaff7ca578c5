package faults

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// pair is a lab with a primary and a standby, both of which its relay knows.
type pair struct {
	*lab.Lab
	standby  *stack.PG
	database string
}

// newPair makes a lab of a version, 17 or later, and a standby of its server.
// params are added to the relay's connection string (&name=value).
func newPair(t *testing.T, version int, params string, setups ...lab.Setup) *pair {
	t.Helper()
	// A slot comes in step when the relay confirms a position after the standby
	// began to: without traffic that is at the next idle checkpoint.
	often := lab.With(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" })
	f := &pair{Lab: lab.New(t, append(setups, often, lab.OwnPostgres(stack.Version(version)))...)}
	f.database = f.Pipeline()
	f.standby = f.PG.Standby(t)
	f.Change(func(c *rig.Config) {
		c.Postgres = fmt.Sprintf("postgres://postgres@%s,%s/%s?sslmode=disable%s", f.host(f.PG), f.host(f.standby), f.database, params)
	})
	return f
}

func (f *pair) host(p *stack.PG) string {
	f.Helper()
	u, err := url.Parse(p.Info().Address)
	f.Check(err)
	return u.Host
}

// set sets a parameter of the primary.
func (f *pair) set(name, value string) {
	f.Helper()
	f.Exec(fmt.Sprintf("alter system set %s = '%s'", name, value))
	f.Exec("select pg_reload_conf()")
	f.Until(name+" is "+value, func() bool { return f.Ask("select current_setting($1)", name) == value })
}

// synced waits until the standby has the relay's slot as a promotion keeps it.
func (f *pair) synced() {
	f.Helper()
	since := time.Now()
	f.Check(f.standby.SlotSynced(f.Ctx(time.Minute), f.PG, f.Slot()))
	f.Logf("the slot was in step after %s", time.Since(since))
}

// promoted makes the standby the lab's server.
func (f *pair) promoted() {
	f.Helper()
	f.Check(f.standby.Promote())
	f.PG, f.URL = f.standby, f.standby.URL(f.database)
	f.DB = f.Pool(f.URL)
	f.Check(f.Truth.Resolve(f.Ctx(time.Minute), f.DB))
}

// vanished makes a host one that answers nothing any more: connections to it
// neither fail nor go on.
func (f *pair) vanished(address string) {
	f.Helper()
	l, err := net.Listen("tcp", address)
	f.Check(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.Cleanup(func() { c.Close() }) // the relay may have gone
		}
	}()
	f.Cleanup(func() { l.Close(); <-ended })
}

// The primary dies under load, the standby is promoted: the relay goes on by
// itself, exactly once, on whatever host is the primary. Until then it waits.
func TestFailover(t *testing.T) {
	for version, params := range map[int]string{17: "", 18: "&target_session_attrs=read-write"} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			f := newPair(t, version, params)
			// No commit that a service was told of is lost, and no event is
			// published before the standby has it.
			f.set("synchronous_standby_names", f.standby.StandbyName())
			f.set("synchronized_standby_slots", f.standby.StandbyName())
			r := f.Start()
			f.synced()
			w := f.Traffic("a", 5*time.Millisecond)
			f.Wrote(300)
			f.Check(f.PG.Kill())
			w.Broken()
			if version == 18 {
				f.vanished(f.host(f.PG))
			}
			f.Check(r.State(f.Ctx(time.Minute), f.database, "STANDBY"))
			if code := f.ReadyCode(r); code != 200 {
				t.Errorf("/readyz of a relay that waits for a promotion: %d", code)
			}
			second := f.Launch("run") // and one that starts now waits too
			f.Check(second.State(f.Ctx(time.Minute), f.database, "STANDBY"))
			second.Kill()

			f.promoted()
			since := time.Now()
			f.Check(r.State(f.Ctx(time.Minute), f.database, "RUNNING"))
			t.Logf("running %s after the promotion", time.Since(since))
			w = f.Traffic("bb", 5*time.Millisecond)
			f.Wrote(300)
			w.End()
			t.Log(f.Settled(time.Minute))
			f.Stops(r)
			if s := f.Saved(); s.Timeline != 2 {
				t.Errorf("checkpoint %+v: want it on timeline 2", s)
			}
		})
	}
}

// The promoted standby lacks the last transactions, and their events are
// published: refused with both LSNs. The documented command goes on: what was
// undone stays in Kafka, what the new timeline has comes exactly once.
func TestFailoverThatUndoesEvents(t *testing.T) {
	f := newPair(t, 17, "")
	r := f.Start()
	f.synced()
	f.Writes("common", 60)
	f.Delivered(f.Reader(), 60, time.Minute)
	f.Check(f.standby.CaughtUp(f.Ctx(time.Minute), f.PG))
	f.Check(f.standby.CutOff(f.Ctx(time.Minute)))
	f.Writes("undone", 40)
	f.Delivered(f.Reader(), 100, time.Minute)
	f.Check(f.PG.Kill())
	f.promoted()
	before := f.Saved()
	at := strings.Fields(f.Ask("select pg_read_file('pg_wal/00000002.history')"))[1]
	says := []string{"a failover undid events that are published: timeline 1 ended at " + at + " (the server is on timeline 2 now)",
		"Kafka holds everything up to " + before.Safe.String(), "cdc-relay checkpoint rebase --pipeline " + f.database + " --accept-timeline"}
	f.Gone(r, 3, time.Minute, says...)
	f.Refused(says...)
	f.Writes("waiting", 50)

	f.Command("checkpoint", "rebase").Exits(2).Says("say exactly one of --accept-timeline, --accept-new-cluster, --accept-publication")
	f.Command("checkpoint", "rebase", "--accept-timeline", "--accept-publication").Exits(2).Says("say exactly one of")
	f.Command("checkpoint", "rebase", "--accept-new-cluster").Exits(3).Says("there is nothing to accept: the checkpoint belongs to the cluster that is reached now")
	f.Command("checkpoint", "rebase", "--accept-publication").Exits(3).Says("there is nothing to accept: publication cdc_relay is what it was at the checkpoint")
	done := f.Command("checkpoint", "rebase", "--accept-timeline").Exits(0).Says("timeline 2 is accepted; it left timeline 1 at "+at,
		"before: timeline 1, safe "+before.Safe.String(), "now:    timeline 2, safe "+at+", last before "+at, "next: cdc-relay run")
	t.Log(done)
	if s := f.Saved(); s.Safe.String() != at || s.Timeline != 2 || s.Events != before.Events || s.Safe >= before.Safe {
		t.Errorf("rebased to %+v", s)
	}
	f.Command("checkpoint", "rebase", "--accept-timeline").Exits(3).Says("there is nothing to accept: the server is on timeline 2, and so is the checkpoint")

	r = f.Start()
	f.Command("checkpoint", "rebase", "--accept-timeline").Exits(3).Says("is in use", "stop the relay that streams from it")
	f.Writes("more", 50)
	t.Log(f.Settled(time.Minute))
	f.Stops(r)
}

// Doctor says what a failover now would lose, at the primary and at the standby.
func TestDoctorOfAFailover(t *testing.T) {
	f := newPair(t, 17, "")
	two := f.Conf
	at := func(p *stack.PG) { f.Change(func(c *rig.Config) { c.Postgres = p.URL(f.database) }) }
	r := f.Start()
	f.Writes("a", 30)
	f.Delivered(f.Reader(), 30, time.Minute)
	f.synced()
	name := f.standby.StandbyName()
	f.Until("the standby has told its oldest transaction", func() bool {
		return f.Ask("select coalesce(xmin::text, '') from pg_replication_slots where slot_name = $1", name) != ""
	})
	f.Command("doctor").Exits(0).Says("it does not name "+name, "ALTER SYSTEM SET synchronized_standby_slots = '"+name+"'", "a standby keeps failover slots in step",
		"the standbys send it", "a failover now may undo events that are published")
	f.set("synchronized_standby_slots", name)
	f.Command("doctor").Exits(0).Says(name+": no event is published before these standbys have its row", "a failover now undoes no published event")
	at(f.standby)
	f.Check(f.standby.CaughtUp(f.Ctx(time.Minute), f.PG))
	f.Command("doctor").Exits(0).Says("the server is in recovery", f.Slot()+" is in step", "a promotion of this server now undoes no published event")

	f.Check(f.standby.CutOff(f.Ctx(time.Minute)))
	at(f.PG)
	f.Command("doctor").Exits(3).Says("it names " + name + ", from which no standby streams: the relay's walsender waits for it")
	f.set("synchronized_standby_slots", "")
	f.Writes("undone", 30)
	f.Delivered(f.Reader(), 60, time.Minute)
	f.Command("doctor").Exits(0).Says("no standby streams from this server")
	at(f.standby)
	f.Command("doctor").Exits(0).Says("a promotion of this server now undoes events that are published: it has the log up to ")
	f.Configure(two)
	f.Settled(time.Minute)
	f.Stops(r)
}

// Doctor may run beside a relay at work: it never takes the slot for ahead of a
// checkpoint it read earlier.
func TestDoctorBesideARelayAtWork(t *testing.T) {
	l := lab.New(t)
	r := l.Start()
	w := l.Traffic("a", time.Millisecond)
	for range 5 {
		l.Wrote(20)
		l.Command("doctor").Exits(0)
	}
	w.End()
	l.Settled(time.Minute)
	l.Stops(r)
}

// A promoted server without the slot: the rows are in its table, the log is not
// to be had.
func TestFailoverWithoutTheSlot(t *testing.T) {
	f := newPair(t, 17, "")
	r := f.Start()
	f.synced()
	f.Writes("common", 60)
	f.Delivered(f.Reader(), 60, time.Minute)
	f.Check(f.standby.CaughtUp(f.Ctx(time.Minute), f.PG))
	f.Check(f.standby.CutOff(f.Ctx(time.Minute)))
	f.Writes("undone", 40)
	f.Delivered(f.Reader(), 100, time.Minute)
	f.Stops(r)
	f.Check(f.PG.Kill())
	f.promoted()
	f.Exec("select pg_drop_replication_slot($1)", f.Slot())
	says := []string{"a failover undid events that are published", "slots recreate --pipeline " + f.database + " --accept-gap", "the promoted server does not have slot " + f.Slot()}
	f.Refused(says...)
	f.Command("checkpoint", "rebase", "--accept-timeline").Exits(3).Says(says...)
	at := strings.Fields(f.Ask("select pg_read_file('pg_wal/00000002.history')"))[1]
	f.Command("slots", "recreate", "--accept-gap").Exits(0).Says("what was committed between " + at + " and there is not published")
	r = f.Start()
	f.Writes("more", 50)
	f.Settled(time.Minute)
	f.Stops(r)
}
