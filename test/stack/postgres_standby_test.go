package stack

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A standby follows, has a failover slot in step, and is a primary of the same
// cluster on a new timeline after its promotion.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := NewPostgres(t, Version(17))
	standby := primary.Standby(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const slot = "select pg_create_logical_replication_slot('follows', 'pgoutput', false, false, failover => true)"
	for _, sql := range []string{"alter system set synchronized_standby_slots = '" + standby.StandbyName() + "'", "select pg_reload_conf()",
		"create table t (n int)", "insert into t values (7)", slot} {
		if err := primary.exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if err := standby.await(ctx, slotSynced, "follows", func() error { // nobody else reads the slot
		return errors.Join(primary.exec(ctx, "select pg_log_standby_snapshot()"),
			primary.exec(ctx, "select pg_replication_slot_advance('follows', pg_current_wal_lsn())"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := primary.exec(ctx, "insert into t values (8)"); err != nil {
		t.Fatal(err)
	}
	if err := standby.CaughtUp(ctx, primary); err != nil {
		t.Fatal(err)
	}
	if err := standby.CutOff(ctx); err != nil {
		t.Fatal(err)
	}
	if err := primary.exec(ctx, "insert into t values (9)"); err != nil {
		t.Fatal(err)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, standby.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var rows, slots, timeline string
	err = conn.QueryRow(ctx, `select (select string_agg(n::text, ' ' order by n) from t),
		(select string_agg(slot_name, ' ') from pg_replication_slots), substr(pg_walfile_name(pg_current_wal_lsn()), 8, 1)`).Scan(&rows, &slots, &timeline)
	if err != nil || rows != "7 8" || slots != "follows" || timeline != "2" {
		t.Errorf("rows %q, slots %q, timeline %s, %v: want those before the cut, and the slot in step", rows, slots, timeline, err)
	}
}
