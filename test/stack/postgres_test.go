package stack

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestMain(m *testing.M) { Main(m) }

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var s string
	if err := conn.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

func execSQL(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestPostgresKeepsCommitsAcrossEveryEnd(t *testing.T) {
	t.Parallel()
	for _, version := range Ends() {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			pg := NewPostgres(t, Version(version), TLS(), Setting("work_mem", "3MB"))
			t.Logf("PostgreSQL %d (%s) up in %s", pg.Version(), pg.info.Kind, time.Since(start).Round(time.Millisecond))
			db := pg.Database(t)
			const settings = `select current_setting('server_version_num')::int / 10000
				|| ' ' || current_setting('wal_level') || ' ' || current_setting('work_mem')`
			level := "logical"
			if version >= 19 {
				level = "replica"
			}
			if got, want := query(t, db, settings), fmt.Sprintf("%d %s 3MB", version, level); got != want {
				t.Fatalf("the server says %s, want %s", got, want)
			}
			execSQL(t, db, "create table t(n int)")
			ends := []struct {
				name string
				end  func() error
			}{
				{"kill", pg.Kill},
				{"fast", func() error { return pg.Stop("fast") }},
				{"immediate", func() error { return pg.Stop("immediate") }},
			}
			for i, e := range ends {
				execSQL(t, db, "insert into t values (1)")
				if err := e.end(); err != nil {
					t.Fatalf("%s: %v", e.name, err)
				}
				if conn, err := pgx.Connect(t.Context(), db); err == nil {
					_ = conn.Close(t.Context())
					t.Fatalf("%s: the server still answers", e.name)
				}
				if err := pg.Start(); err != nil {
					t.Fatalf("start after %s: %v", e.name, err)
				}
				if got, want := query(t, db, "select count(*)::text from t"), strconv.Itoa(i+1); got != want {
					t.Fatalf("after %s: %s rows, want %s", e.name, got, want)
				}
			}
		})
	}
}

// TestDatabaseTakesItsSlotsAway: a slot with a walsender on it keeps nothing
// from being dropped, and other databases keep theirs.
func TestDatabaseTakesItsSlotsAway(t *testing.T) {
	t.Parallel()
	pg := Postgres(t)
	if pg.SocketURL("postgres") != "" && query(t, pg.SocketURL("postgres"), "select current_user::text") != "postgres" {
		t.Fatal("the socket is another server's")
	}
	other := pg.Database(t)
	suffix := randomHex()
	execSQL(t, other, "select pg_create_logical_replication_slot('keep_"+suffix+"', 'pgoutput')")
	t.Run("test that leaves slots", func(t *testing.T) {
		// Open, and held open against the garbage collector, until after the
		// database's own clean-up: the walsender is there when that begins.
		var conn *pgconn.PgConn
		t.Cleanup(func() {
			if conn != nil {
				_ = conn.Close(context.WithoutCancel(t.Context()))
			}
		})
		db := pg.Database(t)
		execSQL(t, db, "create publication p for all tables")
		for _, name := range []string{"idle_", "busy_"} {
			execSQL(t, db, "select pg_create_logical_replication_slot('"+name+suffix+"', 'pgoutput')")
		}
		var err error
		conn, err = pgconn.Connect(context.WithoutCancel(t.Context()), db+"&replication=database")
		if err != nil {
			t.Fatal(err)
		}
		start := "START_REPLICATION SLOT busy_" + suffix + " LOGICAL 0/0 (proto_version '1', publication_names 'p')"
		conn.Frontend().SendQuery(&pgproto3.Query{String: start})
		if err := conn.Frontend().Flush(); err != nil {
			t.Fatal(err)
		}
		const active = "select count(*)::text from pg_replication_slots where active and slot_name = 'busy_%s'"
		if !poll(5*time.Second, 10*time.Millisecond, func() bool { return query(t, other, fmt.Sprintf(active, suffix)) == "1" }) {
			t.Fatal("the slot is not in use")
		}
	})
	left := query(t, other, "select coalesce(string_agg(slot_name, ' '), '') from pg_replication_slots where slot_name like '%"+suffix+"'")
	if left != "keep_"+suffix {
		t.Fatalf("slots left: %s", left)
	}
}

func TestTLSIsChecked(t *testing.T) {
	t.Parallel()
	pg := NewPostgres(t, TLS())
	if got := query(t, pg.TLSURL("postgres"), "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"); got != "true" {
		t.Fatalf("ssl is %s", got)
	}
	if got := query(t, pg.URL("postgres"), "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"); got != "false" {
		t.Fatalf("without TLS ssl is %s", got)
	}
	other := NewPostgres(t, TLS())
	mixed := strings.Replace(pg.TLSURL("postgres"), url.QueryEscape(pg.Info().CA), url.QueryEscape(other.Info().CA), 1)
	if conn, err := pgx.Connect(t.Context(), mixed); err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("a certificate of another authority is accepted")
	}
}

// TestPauseFreezesEverything: a session that is open already gets no answer.
func TestPauseFreezesEverything(t *testing.T) {
	t.Parallel()
	pg := NewPostgres(t)
	conn, err := pgx.Connect(t.Context(), pg.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := pg.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "select 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a frozen server answers: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := pg.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}
