package replication

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestLook(t *testing.T) {
	t.Parallel()
	everyVersion(t, stack.Versions(), func(t *testing.T, pg *stack.PG) {
		url := pg.Database(t)
		d := connect(t, url)
		d.exec("create domain short as varchar(9)", "create table outbox (id bigint, gone int, payload text)", "alter table outbox drop column gone",
			"create table typed (a timestamptz, b timestamp(3), c jsonb, d short, e int generated always as (7) stored, f uuid[])", "create unlogged table ghost (i int)")
		o := Options{URL: url, Slot: slotOf(d), Publication: `p "q`, Tables: []string{"public.outbox", "public.ghost", "public.missing", "public.typed"}, Failover: true}
		s := source(t, o)
		f, err := s.Look(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if f.Slot.Exists || f.Publication.Exists || f.Slot.Name != o.Slot || f.SenderPID != 0 || f.Tables[2].Exists {
			t.Errorf("before anything was made: %+v", f)
		}
		sql := `create publication "p ""q" for table outbox`
		if pg.Version() >= 15 {
			sql += " (payload, id) where (id > 3)"
		}
		d.exec(sql + " with (publish = 'insert,delete')")
		point, err := s.Create(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Create(within(t)); err != nil || again != point {
			t.Errorf("Create again: %s, %v; want %s", again, err, point)
		}
		if err := s.Take(within(t)); err != nil {
			t.Fatal(err)
		}
		if f, err = s.Look(within(t)); err != nil {
			t.Fatal(err)
		}
		checkServer(t, d, pg, f)
		checkSlot(t, d, pg, f, point)
		checkPublication(t, d, pg, f)
	})
}

func checkServer(t *testing.T, d *db, pg *stack.PG, f event.Facts) {
	t.Helper()
	if f.SystemID != d.text("select system_identifier::text from pg_control_system()") || f.Timeline != 1 || f.History != nil ||
		f.Version/10000 != pg.Version() || f.InRecovery || f.Database != d.text("select current_database()") || f.Flush == 0 {
		t.Errorf("identity: %+v", f)
	}
	idle := ""
	if pg.Version() >= 18 {
		idle = "0"
	}
	level, effective := "logical", ""
	if pg.Version() >= 19 { // our slot is enough
		level, effective = "replica", "logical"
	}
	if f.WALLevel != level || f.EffectiveLevel != effective || f.MaxSlots != 64 || f.Slots < 1 || f.MaxSenders != 64 || f.Senders < 1 ||
		f.IdleSlotTimeout != idle || f.MaxSlotKeepSize != "-1" || f.Role != d.text("select session_user::text") || !f.Replication || !f.Superuser {
		t.Errorf("settings: %+v", f)
	}
	if f.SenderPID == 0 || f.SyncState != "async" {
		t.Errorf("walsender %d %q", f.SenderPID, f.SyncState)
	}
	want := []event.Table{
		{Name: "public.outbox", Exists: true, Persistence: "p", CanSelect: true, Columns: []string{"id", "payload"}},
		{Name: "public.ghost", Exists: true, Persistence: "u", CanSelect: true, Columns: []string{"i"}},
		{Name: "public.missing"},
		{Name: "public.typed", Exists: true, Persistence: "p", CanSelect: true, Columns: []string{"a", "b", "c", "d", "e", "f"}},
	}
	if types := f.Tables[3].Types; !maps.Equal(types, map[string]string{"a": "timestamp with time zone", "b": "timestamp without time zone",
		"c": "jsonb", "d": "character varying", "e": event.TypeGenerated, "f": "uuid[]"}) {
		t.Errorf("types %v", types)
	}
	for i, got := range f.Tables {
		if (got.OID == 0) == got.Exists {
			t.Errorf("table without an OID: %+v", got)
		}
		got.OID = 0
		if !slices.Equal(got.Columns, want[i].Columns) || got.Name != want[i].Name || got.Exists != want[i].Exists ||
			got.Persistence != want[i].Persistence || got.CanSelect != want[i].CanSelect || got.Partitioned {
			t.Errorf("table %+v, want %+v", got, want[i])
		}
	}
}

func checkSlot(t *testing.T, d *db, pg *stack.PG, f event.Facts, point event.LSN) {
	t.Helper()
	want := event.Slot{Name: f.Slot.Name, Exists: true, Plugin: "pgoutput", Type: "logical", Database: f.Database, ActivePID: f.SenderPID,
		RestartLSN: f.Slot.RestartLSN, ConfirmedFlush: point, WALStatus: "reserved", Failover: pg.Version() >= 17}
	if f.Slot != want || f.Slot.RestartLSN == 0 || f.Slot.RestartLSN > point {
		t.Errorf("slot %+v, want %+v", f.Slot, want)
	}
}

func checkPublication(t *testing.T, d *db, pg *stack.PG, f event.Facts) {
	t.Helper()
	p := f.Publication
	if !p.Exists || p.Name != `p "q` || p.OID == 0 || p.Xmin == 0 || p.AllTables || !p.Insert || p.Update || !p.Delete || p.Truncate || p.ViaRoot {
		t.Errorf("publication %+v", p)
	}
	if len(p.Entries) != 1 {
		t.Fatalf("entries %+v", p.Entries)
	}
	e := p.Entries[0]
	filter, columns := "", ""
	if pg.Version() >= 15 {
		filter, columns = "(id > 3)", "id, payload" // the server keeps a column list as a set
	}
	if e.Table != "public.outbox" || e.OID == 0 || e.Xmin == 0 || e.TableOID != f.Tables[0].OID || e.Persistence != "p" || e.Filter != filter || e.Columns != columns {
		t.Errorf("entry %+v, want filter %q and columns %q", e, filter, columns)
	}
	// Tables of others do not move the fingerprint; ours do.
	o := Options{URL: d.conn.Config().ConnString(), Slot: f.Slot.Name, Publication: p.Name, Tables: []string{"public.outbox", "public.ghost", "public.missing"}}
	s := source(t, o)
	d.exec("create table another (i int)", `alter publication "p ""q" add table another`)
	after, err := s.Look(within(t))
	if err != nil || after.Publication.Fingerprint() != p.Fingerprint() {
		t.Errorf("another table changed the fingerprint from %s to %s (%v)", p.Fingerprint(), after.Publication.Fingerprint(), err)
	}
	d.exec(`alter publication "p ""q" drop table outbox`, `alter publication "p ""q" add table outbox`)
	if after, err = s.Look(within(t)); err != nil || after.Publication.Fingerprint() == p.Fingerprint() {
		t.Errorf("dropping and adding our table left the fingerprint %s (%v)", p.Fingerprint(), err)
	}
	d.exec(`drop publication "p ""q"`, `create publication "p ""q" for all tables`)
	if after, err = s.Look(within(t)); err != nil || !after.Publication.AllTables || len(after.Publication.Entries) != 1 || after.Publication.Entries[0].OID != 0 {
		t.Errorf("for all tables: %+v, %v; want our one table, the unlogged one is not sent", after.Publication, err)
	}
}

// A role with no more than it needs sees what the guards ask for.
func TestLookAsAPlainRole(t *testing.T) {
	t.Parallel()
	d, o := pipe(t, stack.Postgres(t))
	role := "r_" + o.Slot
	d.exec("create role "+role+" login replication", "grant select on outbox to "+role)
	t.Cleanup(func() { d.exec("drop owned by "+role, "drop role "+role) })
	o.URL = "postgres://" + role + "@" + o.URL[strings.LastIndexAny(o.URL, "@")+1:]
	s := take(t, o)
	f, err := s.Look(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if f.Role != role || f.Superuser || !f.Replication || f.SenderPID == 0 || f.SyncState != "async" || f.Slot.ActivePID != f.SenderPID || !f.Tables[0].CanSelect || f.Flush == 0 {
		t.Errorf("facts %+v", f)
	}
}

// A server in recovery is a fact; after its promotion the timeline and its
// history are seen at once, over the same Source.
func TestRecoveryAndTimelines(t *testing.T) {
	t.Parallel()
	everyOwn(t, stack.Ends(), func(t *testing.T, pg *stack.PG) {
		_, o := pipe(t, pg)
		s := source(t, o)
		if err := s.DropSlot(within(t), o.Slot); err != nil {
			t.Fatal(err)
		}
		before, err := s.Look(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := pg.Stop("fast"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(pg.DataDir(), "standby.signal"), nil, 0o644); err != nil { //nolint:gosec // the server runs as another user
			t.Fatal(err)
		}
		if err := pg.Start(); err != nil {
			t.Fatal(err)
		}
		f, err := s.Look(within(t)) // the old connection is dead
		if err != nil || !f.InRecovery || f.Flush != 0 || f.SystemID != before.SystemID {
			t.Fatalf("in recovery: %+v, %v", f, err)
		}
		// The signal file belongs to us, the server may not remove it otherwise.
		d := connect(t, o.URL)
		d.exec("select pg_promote()")
		for end := time.Now().Add(patience); ; {
			if f, err = s.Look(within(t)); err != nil {
				t.Fatal(err)
			}
			if !f.InRecovery || time.Now().After(end) {
				break
			}
		}
		if f.Timeline != 2 || len(f.History) != 1 || f.History[0].Timeline != 1 || f.History[0].At < before.Flush {
			t.Fatalf("after promotion: timeline %d, history %+v, flushed before: %s", f.Timeline, f.History, before.Flush)
		}
	})
}

// everyOwn is everyVersion with a server of the test's own.
func everyOwn(t *testing.T, versions []int, f func(*testing.T, *stack.PG)) {
	for _, v := range versions {
		t.Run(stackName(v), func(t *testing.T) {
			t.Parallel()
			f(t, stack.NewPostgres(t, stack.Version(v)))
		})
	}
}

func stackName(v int) string { return "pg" + string(rune('0'+v/10)) + string(rune('0'+v%10)) }
