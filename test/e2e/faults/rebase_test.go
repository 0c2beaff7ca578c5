package faults

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
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
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
			l := lab.New(t, lab.OwnPostgres())
			for range 8 { // each is 16 MiB further
				l.Exec("select pg_switch_wal() from (select pg_logical_emit_message(false, 'filler', 'x')) as m")
			}
			r := l.Start()
			l.Writes("a", 60)
			l.Delivered(l.Reader(), 60, time.Minute)
			l.Stops(r)
			before, slot := l.Saved(), l.Slot()
			moved(l, stack.NewPostgres(t))
			if slotFirst {
				l.Exec("select pg_create_logical_replication_slot($1, 'pgoutput')", slot)
				l.Writes("meanwhile", 40) // from the slot on, so they are to come
			}
			if end := l.LSN("select pg_current_wal_flush_lsn()::text"); end >= before.Safe {
				t.Fatalf("the new cluster's log ends at %s, not below %s", end, before.Safe)
			}
			l.Refused("system id "+before.SystemID, "it is another cluster", "checkpoint rebase --pipeline "+l.Pipeline()+" --accept-new-cluster")
			l.Command("checkpoint", "rebase", "--accept-timeline").Exits(3).Says("it is another cluster")
			done := l.Command("checkpoint", "rebase", "--accept-new-cluster").Exits(0).Says("is accepted in place of "+before.SystemID, "next: cdc-relay run")
			t.Log(done)
			after := l.Saved()
			if after.Safe >= before.Safe || after.SystemID == before.SystemID || after.Events != before.Events || after.Slot != slot || after.Safe != l.Confirmed() {
				t.Errorf("rebased from %+v to %+v, slot at %s", before, after, l.Confirmed())
			}
			l.Command("checkpoint", "rebase", "--accept-new-cluster").Exits(3).Says("there is nothing to accept")
			for _, service := range []string{"b1", "c22"} {
				r = l.Start()
				l.Writes(service, 40)
				l.Settled(time.Minute)
				l.Stops(r)
			}
			if s := l.Saved(); s.Events != uint64(l.Truth.Committed()) || s.Safe >= before.Safe {
				t.Errorf("checkpoint %+v: want %d events, at a position below %s", s, l.Truth.Committed(), before.Safe)
			}
		})
	}
}

// moved takes the lab's database to another server, with pg_dump and psql where
// they are.
func moved(l *lab.Lab, to *stack.PG) {
	l.Helper()
	from := l.URL
	name := l.Pipeline()
	conn, err := pgx.Connect(l.Ctx(time.Minute), to.URL("postgres"))
	l.Check(err)
	l.Must(conn.Exec(l.Context(), "create database "+name))
	l.Check(conn.Close(l.Context()))
	url := to.URL(name)
	if dump := filepath.Join(l.PG.BinDir(), "pg_dump"); l.PG.BinDir() != "" && there(dump) {
		restore(l, dump, from, url)
	} else {
		copied(l, from, url)
	}
	l.PG, l.URL, l.DB = to, url, l.Pool(url)
	l.Change(func(c *rig.Config) { c.Postgres = url })
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func restore(l *lab.Lab, dump, from, to string) {
	l.Helper()
	pipe := func(stop string, dump ...string) {
		l.Helper()
		var sql bytes.Buffer
		d := exec.CommandContext(l.Ctx(time.Minute), dump[0], dump[1:]...)
		d.Stdout = &sql
		l.Check(d.Run())
		p := exec.CommandContext(l.Ctx(time.Minute), filepath.Join(filepath.Dir(dump[0]), "psql"), "-v", "ON_ERROR_STOP="+stop, "-q", to)
		p.Stdin = &sql
		if out, err := p.CombinedOutput(); err != nil {
			l.Fatalf("psql: %v\n%s", err, out)
		}
	}
	pipe("0", dump+"all", "--roles-only", "-d", from) // the superuser is there already
	pipe("1", dump, from)
}

// copied is a dump and restore of what the relay needs, over SQL.
func copied(l *lab.Lab, from, to string) {
	l.Helper()
	l.Must(migrations.Up(l.Ctx(time.Minute), to))
	a, err := pgx.Connect(l.Ctx(time.Minute), from)
	l.Check(err)
	defer func() { l.Check(a.Close(l.Context())) }()
	b, err := pgx.Connect(l.Ctx(time.Minute), to)
	l.Check(err)
	defer func() { l.Check(b.Close(l.Context())) }()
	var rows bytes.Buffer
	l.Must(a.PgConn().CopyTo(l.Ctx(time.Minute), &rows, "copy (select * from cdc_relay.outbox) to stdout"))
	l.Must(b.PgConn().CopyFrom(l.Ctx(time.Minute), &rows, "copy cdc_relay.outbox from stdin"))
	l.Must(b.Exec(l.Ctx(time.Minute), createPublication))
}

// A real pg_upgrade, which makes another system id and takes no slot along
// before 17: accepted, the pipeline goes on from a new slot.
func TestAcceptUpgradedCluster(t *testing.T) {
	l := lab.New(t, lab.OwnPostgres())
	bin := l.PG.BinDir()
	if bin == "" || !there(filepath.Join(bin, "pg_upgrade")) {
		t.Skip("this PostgreSQL has no pg_upgrade")
	}
	r := l.Start()
	l.Writes("a", 60)
	l.Delivered(l.Reader(), 60, time.Minute)
	l.Stops(r)
	before := l.Saved()
	to, name := stack.NewPostgres(t), l.Pipeline()
	l.DB.Close()
	l.Check(l.PG.Stop("fast"))
	l.Check(to.Stop("fast"))
	upgrade(l, l.PG, to)
	l.Check(to.Start())
	l.PG, l.URL = to, to.URL(name)
	l.DB = l.Pool(l.URL)
	l.Change(func(c *rig.Config) { c.Postgres = l.URL })

	l.Refused("system id "+before.SystemID, "--accept-new-cluster")
	l.Command("checkpoint", "rebase", "--accept-new-cluster").Exits(0).Says("is accepted in place of "+before.SystemID, "a new slot")
	for _, service := range []string{"b1", "c22"} {
		r = l.Start()
		l.Writes(service, 40)
		l.Settled(time.Minute)
		l.Stops(r)
	}
}

// upgrade runs pg_upgrade, as the user the servers run as: it refuses root.
func upgrade(l *lab.Lab, from, to *stack.PG) {
	l.Helper()
	owner, err := os.Stat(from.DataDir())
	l.Check(err)
	dir, err := os.MkdirTemp("/tmp", "cdc-relay-upgrade-") // which that user may enter
	l.Check(err)
	l.Cleanup(func() { l.Check(os.RemoveAll(dir)) })
	cmd := exec.CommandContext(l.Ctx(2*time.Minute), filepath.Join(from.BinDir(), "pg_upgrade"),
		"-b", from.BinDir(), "-B", to.BinDir(), "-d", from.DataDir(), "-D", to.DataDir(), "-U", "postgres", "-s", dir)
	cmd.Dir = dir
	if user := owner.Sys().(*syscall.Stat_t); os.Geteuid() == 0 {
		l.Check(os.Chown(dir, int(user.Uid), int(user.Gid)))
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
	l := lab.New(t, lab.With(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" }))
	r := l.Start()
	l.Writes("a", 30)
	l.Delivered(l.Reader(), 30, time.Minute)
	l.Stops(r)
	l.Writes("before", 20) // sent by the slot, whatever comes after
	l.Exec("alter publication cdc_relay drop table cdc_relay.outbox")
	l.Exec(lostRow)
	l.Command("checkpoint", "rebase", "--accept-publication").Exits(3).Says("publication cdc_relay does not hold table cdc_relay.outbox") // something else is wrong
	l.Exec("alter publication cdc_relay add table cdc_relay.outbox")
	l.Writes("after", 20)
	before := l.Saved()
	l.Refused("table cdc_relay.outbox was taken out and put back", "checkpoint rebase --pipeline "+l.Pipeline()+" --accept-publication")
	l.Command("checkpoint", "rebase", "--accept-timeline").Exits(3).Says("there is nothing to accept: the server is on timeline")
	t.Log(l.Command("checkpoint", "rebase", "--accept-publication").Exits(0).Says("the publication is accepted as it is now; the position stays", "cdc-relay audit"))
	if s := l.Saved(); s.Safe != before.Safe || s.Publication == before.Publication || *s.Last != *before.Last {
		t.Errorf("rebased from %+v to %+v", before, s)
	}
	l.Command("checkpoint", "rebase", "--accept-publication").Exits(3).Says("there is nothing to accept")
	r = l.Start()
	l.Writes("more", 30)
	l.Settled(time.Minute) // the lost row is no part of the truth
	l.Stops(r)
}

// Before 18 a row written while there was no publication ends the stream, for
// good: a rebase finds out, and does not promise what it cannot keep.
func TestAcceptPublicationThatCannotBeRead(t *testing.T) {
	l := lab.New(t)
	if l.PG.Version() >= 18 {
		t.Skip("from 18 on such rows are skipped")
	}
	r := l.Start()
	l.Writes("a", 30)
	l.Delivered(l.Reader(), 30, time.Minute)
	l.Stops(r)
	before := l.Saved()
	l.Exec("drop publication cdc_relay")
	l.Exec(lostRow)
	l.Exec(createPublication)
	l.Command("checkpoint", "rebase", "--accept-publication").Exits(3).Says(`publication "cdc_relay" did not exist when a change behind the slot was written`, "slots recreate --accept-gap")
	if s := l.Saved(); s.Offset != before.Offset || s.Publication != before.Publication {
		t.Errorf("refused, and wrote %+v", s)
	}
	goesOnAfterTheGap(l, "bb", before.Safe)
}
