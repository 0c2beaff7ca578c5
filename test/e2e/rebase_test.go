package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The database moves to another cluster by dump and restore. Its LSNs are lower
// than the checkpoint's, and mean nothing to it. Refused until it is accepted;
// then the pipeline goes on from the new cluster's slot, at each start: the last
// record counts, not the highest position.
func TestAcceptNewCluster(t *testing.T) {
	for _, slotFirst := range []bool{false, true} {
		name := map[bool]string{false: "the slot is made", true: "a slot is there"}[slotFirst]
		t.Run(name, func(t *testing.T) {
			l := newLab(t, ownPostgres())
			for range 8 { // each is 16 MiB further
				l.exec("select pg_switch_wal() from (select pg_logical_emit_message(false, 'filler', 'x')) as m")
			}
			r := l.start()
			l.writes("a", 60)
			l.delivered(l.reader(), 60, time.Minute)
			l.stops(r)
			before, slot := l.saved(), l.slot()
			l.moved(stack.NewPostgres(t))
			if slotFirst {
				l.exec("select pg_create_logical_replication_slot($1, 'pgoutput')", slot)
				l.writes("meanwhile", 40) // from the slot on, so they are to come
			}
			if end := l.lsn("select pg_current_wal_flush_lsn()::text"); end >= before.Safe {
				t.Fatalf("the new cluster's log ends at %s, not below %s", end, before.Safe)
			}
			l.refused("system id "+before.SystemID, "it is another cluster", "checkpoint rebase --pipeline "+l.pipeline()+" --accept-new-cluster")
			l.run("checkpoint", "rebase", "--accept-timeline").exits(3).says("it is another cluster")
			done := l.run("checkpoint", "rebase", "--accept-new-cluster").exits(0).says("is accepted in place of "+before.SystemID, "next: cdc-relay run")
			t.Log(done)
			after := l.saved()
			if after.Safe >= before.Safe || after.SystemID == before.SystemID || after.Events != before.Events || after.Slot != slot || after.Safe != l.confirmed() {
				t.Errorf("rebased from %+v to %+v, slot at %s", before, after, l.confirmed())
			}
			l.run("checkpoint", "rebase", "--accept-new-cluster").exits(3).says("there is nothing to accept")
			for _, service := range []string{"b1", "c22"} {
				r = l.start()
				l.writes(service, 40)
				l.settled(time.Minute)
				l.stops(r)
			}
			if s := l.saved(); s.Events != uint64(l.truth.Committed()) || s.Safe >= before.Safe {
				t.Errorf("checkpoint %+v: want %d events, at a position below %s", s, l.truth.Committed(), before.Safe)
			}
		})
	}
}

// moved takes the lab's database to another server, with pg_dump and psql where
// they are.
func (l *lab) moved(to *stack.PG) {
	l.Helper()
	from := l.url
	name := l.pipeline()
	conn, err := pgx.Connect(l.ctx(time.Minute), to.URL("postgres"))
	l.check(err)
	l.must(conn.Exec(l.Context(), "create database "+name))
	l.check(conn.Close(l.Context()))
	url := to.URL(name)
	if dump := filepath.Join(l.pg.BinDir(), "pg_dump"); l.pg.BinDir() != "" && there(dump) {
		l.restore(dump, from, url)
	} else {
		l.copied(from, url)
	}
	l.pg, l.url, l.db = to, url, l.pool(url)
	l.change(func(c *rig.Config) { c.Postgres = url })
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (l *lab) restore(dump, from, to string) {
	l.Helper()
	pipe := func(stop string, dump ...string) {
		l.Helper()
		var sql bytes.Buffer
		d := exec.CommandContext(l.ctx(time.Minute), dump[0], dump[1:]...)
		d.Stdout = &sql
		l.check(d.Run())
		p := exec.CommandContext(l.ctx(time.Minute), filepath.Join(filepath.Dir(dump[0]), "psql"), "-v", "ON_ERROR_STOP="+stop, "-q", to)
		p.Stdin = &sql
		if out, err := p.CombinedOutput(); err != nil {
			l.Fatalf("psql: %v\n%s", err, out)
		}
	}
	pipe("0", dump+"all", "--roles-only", "-d", from) // the superuser is there already
	pipe("1", dump, from)
}

// copied is a dump and restore of what the relay needs, over SQL.
func (l *lab) copied(from, to string) {
	l.Helper()
	l.must(migrations.Up(l.ctx(time.Minute), to))
	a, err := pgx.Connect(l.ctx(time.Minute), from)
	l.check(err)
	defer func() { l.check(a.Close(l.Context())) }()
	b, err := pgx.Connect(l.ctx(time.Minute), to)
	l.check(err)
	defer func() { l.check(b.Close(l.Context())) }()
	var rows bytes.Buffer
	l.must(a.PgConn().CopyTo(l.ctx(time.Minute), &rows, "copy (select * from cdc_relay.outbox) to stdout"))
	l.must(b.PgConn().CopyFrom(l.ctx(time.Minute), &rows, "copy cdc_relay.outbox from stdin"))
	l.must(b.Exec(l.ctx(time.Minute), createPublication))
}

// A real pg_upgrade, which makes another system id: accepted, the pipeline goes on
// from the slot that came along, before 17 from a new one. From 17 on pg_upgrade
// refuses while a slot has anything unread, and a VACUUM is enough: the server is
// stopped first, which waits until the relay has confirmed everything.
func TestAcceptUpgradedCluster(t *testing.T) {
	l := newLab(t, ownPostgres())
	bin := l.pg.BinDir()
	if bin == "" || !there(filepath.Join(bin, "pg_upgrade")) {
		t.Skip("this PostgreSQL has no pg_upgrade")
	}
	r := l.start()
	l.writes("a", 60)
	l.delivered(l.reader(), 60, time.Minute)
	to, name := stack.NewPostgres(t), l.pipeline()
	l.db.Close()
	l.check(l.pg.Stop("fast"))
	l.stops(r)
	l.check(to.Stop("fast"))
	l.upgrade(l.pg, to)
	l.check(to.Start())
	l.pg, l.url = to, to.URL(name)
	l.db = l.pool(l.url)
	before := l.saved()
	l.change(func(c *rig.Config) { c.Postgres = l.url })

	l.refused("system id "+before.SystemID, "--accept-new-cluster")
	slot := "a new slot"
	if to.Version() >= 17 {
		slot = "the slot that was there"
	}
	l.run("checkpoint", "rebase", "--accept-new-cluster").exits(0).says("is accepted in place of "+before.SystemID, slot)
	for _, service := range []string{"b1", "c22"} {
		r = l.start()
		l.writes(service, 40)
		l.settled(time.Minute)
		l.stops(r)
	}
}

// upgrade runs pg_upgrade, as the user the servers run as: it refuses root.
func (l *lab) upgrade(from, to *stack.PG) {
	l.Helper()
	owner, err := os.Stat(from.DataDir())
	l.check(err)
	dir, err := os.MkdirTemp("/tmp", "cdc-relay-upgrade-") // which that user may enter
	l.check(err)
	l.Cleanup(func() { l.check(os.RemoveAll(dir)) })
	cmd := exec.CommandContext(l.ctx(2*time.Minute), filepath.Join(from.BinDir(), "pg_upgrade"),
		"-b", from.BinDir(), "-B", to.BinDir(), "-d", from.DataDir(), "-D", to.DataDir(), "-U", "postgres", "-s", dir)
	cmd.Dir = dir
	if user := owner.Sys().(*syscall.Stat_t); os.Geteuid() == 0 {
		l.check(os.Chown(dir, int(user.Uid), int(user.Gid)))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user.Uid, Gid: user.Gid}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("pg_upgrade: %v\n%s", err, out)
	}
}

// The publication's table was taken out and put back: refused until it is
// accepted. What the slot still has comes then, once; what was written in between
// was never sent.
func TestAcceptPublication(t *testing.T) {
	l := newLab(t, with(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" }))
	r := l.start()
	l.writes("a", 30)
	l.delivered(l.reader(), 30, time.Minute)
	l.stops(r)
	l.writes("before", 20) // sent by the slot, whatever comes after
	l.exec("alter publication cdc_relay drop table cdc_relay.outbox")
	l.exec(lostRow)
	l.run("checkpoint", "rebase", "--accept-publication").exits(3).says("publication cdc_relay does not hold table cdc_relay.outbox") // something else is wrong
	l.exec("alter publication cdc_relay add table cdc_relay.outbox")
	l.writes("after", 20)
	before := l.saved()
	l.refused("table cdc_relay.outbox was taken out and put back", "checkpoint rebase --pipeline "+l.pipeline()+" --accept-publication")
	l.run("checkpoint", "rebase", "--accept-timeline").exits(3).says("there is nothing to accept: the server is on timeline")
	t.Log(l.run("checkpoint", "rebase", "--accept-publication").exits(0).says("the publication is accepted as it is now; the position stays", "cdc-relay audit"))
	if s := l.saved(); s.Safe != before.Safe || s.Publication == before.Publication || *s.Last != *before.Last {
		t.Errorf("rebased from %+v to %+v", before, s)
	}
	l.run("checkpoint", "rebase", "--accept-publication").exits(3).says("there is nothing to accept")
	r = l.start()
	l.writes("more", 30)
	l.settled(time.Minute) // the lost row is no part of the truth
	l.stops(r)
}

// A row written while there was no publication ends the stream, for good: up to 17
// the server cannot go on, from 18 on it skips the row, which is a hole. A rebase
// finds out, and does not promise what it cannot keep.
func TestAcceptPublicationThatCannotBeRead(t *testing.T) {
	l := newLab(t)
	r := l.start()
	l.writes("a", 30)
	l.delivered(l.reader(), 30, time.Minute)
	l.stops(r)
	before := l.saved()
	l.exec("drop publication cdc_relay")
	l.exec(lostRow)
	l.exec(createPublication)
	l.run("checkpoint", "rebase", "--accept-publication").exits(3).says(`publication "cdc_relay" did not exist when a change behind the slot was written`, "slots recreate --accept-gap")
	if s := l.saved(); s.Offset != before.Offset || s.Publication != before.Publication {
		t.Errorf("refused, and wrote %+v", s)
	}
	l.goesOnAfterTheGap("bb", before.Safe)
}
