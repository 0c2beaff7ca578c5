package stack

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
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
	for _, version := range []int{14, 18} {
		t.Run(strconv.Itoa(version), func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			pg := NewPostgres(t, Version(version), TLS(), Setting("work_mem", "3MB"))
			t.Logf("PostgreSQL %d (%s) up in %s", pg.Version(), pg.info.Kind, time.Since(start).Round(time.Millisecond))
			db := pg.Database(t)
			const settings = `select current_setting('server_version_num')::int / 10000
				|| ' ' || current_setting('wal_level') || ' ' || current_setting('work_mem')`
			if got, want := query(t, db, settings), fmt.Sprintf("%d logical 3MB", version); got != want {
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
