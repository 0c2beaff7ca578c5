package e2e

import (
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// pair is a lab with a primary and a standby, both of which its relay knows.
type pair struct {
	*lab
	standby  *stack.PG
	database string
}

// newPair makes a lab of a version, 17 or later, and a standby of its server.
// params are added to the relay's connection string (&name=value).
func newPair(t *testing.T, version int, params string, setups ...setup) *pair {
	t.Helper()
	// A slot comes in step when the relay confirms a position after the standby
	// began to: without traffic that is at the next idle checkpoint.
	often := with(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" })
	f := &pair{lab: newLab(t, append(setups, often, ownPostgres(stack.Version(version)))...)}
	f.database = f.pipeline()
	f.standby = f.pg.Standby(t)
	f.change(func(c *rig.Config) {
		c.Postgres = fmt.Sprintf("postgres://postgres@%s,%s/%s?sslmode=disable%s", f.host(f.pg), f.host(f.standby), f.database, params)
	})
	return f
}

func (f *pair) host(p *stack.PG) string {
	f.Helper()
	u, err := url.Parse(p.Info().Address)
	f.check(err)
	return u.Host
}

// set sets a parameter of the primary.
func (f *pair) set(name, value string) {
	f.Helper()
	f.exec(fmt.Sprintf("alter system set %s = '%s'", name, value))
	f.exec("select pg_reload_conf()")
	f.until(name+" is "+value, func() bool { return f.ask("select current_setting($1)", name) == value })
}

// left is where the promoted server's log left the first timeline, as we print
// it: Postgres pads it from 19 on.
func (f *pair) left() string {
	f.Helper()
	return f.lsn(`select split_part(pg_read_file('pg_wal/00000002.history'), E'\t', 2)`).String()
}

// synced waits until the standby has the relay's slot as a promotion keeps it.
func (f *pair) synced() {
	f.Helper()
	since := time.Now()
	f.check(f.standby.SlotSynced(f.ctx(time.Minute), f.pg, f.slot()))
	f.Logf("the slot was in step after %s", time.Since(since))
}

// promoted makes the standby the lab's server.
func (f *pair) promoted() {
	f.Helper()
	f.check(f.standby.Promote())
	f.pg, f.url = f.standby, f.standby.URL(f.database)
	f.db = f.pool(f.url)
	f.check(f.truth.Resolve(f.ctx(time.Minute), f.db))
}

// vanished makes a host one that answers nothing any more: connections to it
// neither fail nor go on.
func (f *pair) vanished(address string) {
	f.Helper()
	l, err := net.Listen("tcp", address)
	f.check(err)
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
	newest := stack.Ends()[1]
	for version, params := range map[int]string{17: "", newest: "&target_session_attrs=read-write"} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			f := newPair(t, version, params)
			// No commit that a service was told of is lost, and no event is
			// published before the standby has it.
			f.set("synchronous_standby_names", f.standby.StandbyName())
			f.set("synchronized_standby_slots", f.standby.StandbyName())
			r := f.start()
			f.synced()
			w := f.traffic("a", 5*time.Millisecond)
			f.wrote(300)
			f.check(f.pg.Kill())
			w.broken()
			if version == newest {
				f.vanished(f.host(f.pg))
			}
			f.check(r.State(f.ctx(time.Minute), f.database, "STANDBY"))
			if code := f.readyCode(r); code != 200 {
				t.Errorf("/readyz of a relay that waits for a promotion: %d", code)
			}
			second := f.launch("run") // and one that starts now waits too
			f.check(second.State(f.ctx(time.Minute), f.database, "STANDBY"))
			second.Kill()

			f.promoted()
			since := time.Now()
			f.check(r.State(f.ctx(time.Minute), f.database, "RUNNING"))
			t.Logf("running %s after the promotion", time.Since(since))
			w = f.traffic("bb", 5*time.Millisecond)
			f.wrote(300)
			w.end()
			t.Log(f.settled(time.Minute))
			f.stops(r)
			if s := f.saved(); s.Timeline != 2 {
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
	r := f.start()
	f.synced()
	f.writes("common", 60)
	f.delivered(f.reader(), 60, time.Minute)
	f.check(f.standby.CaughtUp(f.ctx(time.Minute), f.pg))
	f.check(f.standby.CutOff(f.ctx(time.Minute)))
	f.writes("undone", 40)
	f.delivered(f.reader(), 100, time.Minute)
	f.check(f.pg.Kill())
	f.promoted()
	before := f.saved()
	at := f.left()
	says := []string{"a failover undid events that are published: timeline 1 ended at " + at + " (the server is on timeline 2 now)",
		"Kafka holds everything up to " + before.Safe.String(), "cdc-relay checkpoint rebase --pipeline " + f.database + " --accept-timeline"}
	f.gone(r, 3, time.Minute, says...)
	f.refused(says...)
	f.writes("waiting", 50)

	f.run("checkpoint", "rebase").exits(2).says("say exactly one of --accept-timeline, --accept-new-cluster, --accept-publication")
	f.run("checkpoint", "rebase", "--accept-timeline", "--accept-publication").exits(2).says("say exactly one of")
	f.run("checkpoint", "rebase", "--accept-new-cluster").exits(3).says("there is nothing to accept: the checkpoint belongs to the cluster that is reached now")
	f.run("checkpoint", "rebase", "--accept-publication").exits(3).says("there is nothing to accept: publication cdc_relay is what it was at the checkpoint")
	done := f.run("checkpoint", "rebase", "--accept-timeline").exits(0).says("timeline 2 is accepted; it left timeline 1 at "+at,
		"before: timeline 1, safe "+before.Safe.String(), "now:    timeline 2, safe "+at+", last before "+at, "next: cdc-relay run")
	t.Log(done)
	if s := f.saved(); s.Safe.String() != at || s.Timeline != 2 || s.Events != before.Events || s.Safe >= before.Safe {
		t.Errorf("rebased to %+v", s)
	}
	f.run("checkpoint", "rebase", "--accept-timeline").exits(3).says("there is nothing to accept: the server is on timeline 2, and so is the checkpoint")

	r = f.start()
	f.run("checkpoint", "rebase", "--accept-timeline").exits(3).says("is in use", "stop the relay that streams from it")
	f.writes("more", 50)
	t.Log(f.settled(time.Minute))
	f.stops(r)
}

// Doctor says what a failover now would lose, at the primary and at the standby.
func TestDoctorOfAFailover(t *testing.T) {
	f := newPair(t, 17, "")
	two := f.conf
	at := func(p *stack.PG) { f.change(func(c *rig.Config) { c.Postgres = p.URL(f.database) }) }
	r := f.start()
	f.writes("a", 30)
	f.delivered(f.reader(), 30, time.Minute)
	f.synced()
	name := f.standby.StandbyName()
	f.until("the standby has told its oldest transaction", func() bool {
		return f.ask("select coalesce(xmin::text, '') from pg_replication_slots where slot_name = $1", name) != ""
	})
	f.run("doctor").exits(0).says("it does not name "+name, "ALTER SYSTEM SET synchronized_standby_slots = '"+name+"'", "a standby keeps failover slots in step",
		"the standbys send it", "a failover now may undo events that are published")
	f.set("synchronized_standby_slots", name)
	f.run("doctor").exits(0).says(name+": no event is published before these standbys have its row", "a failover now undoes no published event")
	at(f.standby)
	f.check(f.standby.CaughtUp(f.ctx(time.Minute), f.pg))
	f.run("doctor").exits(0).says("the server is in recovery", f.slot()+" is in step", "a promotion of this server now undoes no published event")

	f.check(f.standby.CutOff(f.ctx(time.Minute)))
	at(f.pg)
	f.run("doctor").exits(3).says("it names " + name + ", from which no standby streams: the relay's walsender waits for it")
	f.set("synchronized_standby_slots", "")
	f.writes("undone", 30)
	f.delivered(f.reader(), 60, time.Minute)
	f.run("doctor").exits(0).says("no standby streams from this server")
	at(f.standby)
	f.run("doctor").exits(0).says("a promotion of this server now undoes events that are published: it has the log up to ")
	f.write(two)
	f.settled(time.Minute)
	f.stops(r)
}

// Doctor may run beside a relay at work: it never takes the slot for ahead of a
// checkpoint it read earlier.
func TestDoctorBesideARelayAtWork(t *testing.T) {
	l := newLab(t)
	r := l.start()
	w := l.traffic("a", time.Millisecond)
	for range 5 {
		l.wrote(20)
		l.run("doctor").exits(0)
	}
	w.end()
	l.settled(time.Minute)
	l.stops(r)
}

// A promoted server without the slot: the rows are in its table, the log is not
// to be had.
func TestFailoverWithoutTheSlot(t *testing.T) {
	f := newPair(t, 17, "")
	r := f.start()
	f.synced()
	f.writes("common", 60)
	f.delivered(f.reader(), 60, time.Minute)
	f.check(f.standby.CaughtUp(f.ctx(time.Minute), f.pg))
	f.check(f.standby.CutOff(f.ctx(time.Minute)))
	f.writes("undone", 40)
	f.delivered(f.reader(), 100, time.Minute)
	f.stops(r)
	f.check(f.pg.Kill())
	f.promoted()
	f.exec("select pg_drop_replication_slot($1)", f.slot())
	says := []string{"a failover undid events that are published", "slots recreate --pipeline " + f.database + " --accept-gap", "the promoted server does not have slot " + f.slot()}
	f.refused(says...)
	f.run("checkpoint", "rebase", "--accept-timeline").exits(3).says(says...)
	at := f.left()
	f.run("slots", "recreate", "--accept-gap").exits(0).says("what was committed between " + at + " and there is not published")
	r = f.start()
	f.writes("more", 50)
	f.settled(time.Minute)
	f.stops(r)
}
