// Package migrations holds the numbered SQL that makes schema cdc_relay, and
// applies it. The files can be read, and run, by hand.
//
// Which of them ran is written in cdc_relay.schema_version (goose's format).
// One migration runs at a time in a database, held apart by an advisory lock.
package migrations

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed *.sql
var files embed.FS

// Files returns the numbered SQL files.
func Files() fs.FS { return files }

const versionTable = "cdc_relay.schema_version"

// lockKey keeps two migrations of one database apart: "cdcrelay" as a number.
const lockKey int64 = 0x6364637265_6c6179

// lockTimeout is how long a statement waits for a lock (of another migration,
// or of a service's transaction on the table) before it gives up.
const lockTimeout = "15s"

// connectTimeout is how long one host is waited for.
const connectTimeout = 10 * time.Second

// Step is one migration.
type Step struct {
	Version int64
	Name    string    // file name; "" for one this program does not know
	Applied time.Time // when it ran; zero: it did not
	SQL     string    // what going up runs
}

// Result is what Up or Down did.
type Result struct {
	Steps   []Step   // in the order they ran
	Notices []string // what the server wants an administrator to know
}

// Up runs what has not run yet, each migration in a transaction of its own. It
// may be called again and again. url is a Postgres URL or key=value string;
// PG* variables fill in.
func Up(ctx context.Context, url string) (Result, error) {
	return change(ctx, url, func(ctx context.Context, p *goose.Provider) ([]*goose.MigrationResult, error) {
		return p.Up(ctx)
	})
}

// Down takes migrations back until version to is the last that stays; 0 takes
// back all and drops schema cdc_relay if nothing else is in it. Events in the
// table are lost with it.
func Down(ctx context.Context, url string, to int64) (Result, error) {
	db, _, err := open(url)
	if err != nil {
		return Result{}, err
	}
	applied, err := applied(ctx, db)
	err = errors.Join(err, db.Close())
	if err != nil || len(applied) == 0 {
		return Result{}, err // nothing to take back, nothing to create for it
	}
	return change(ctx, url, func(ctx context.Context, p *goose.Provider) ([]*goose.MigrationResult, error) {
		return p.DownTo(ctx, to)
	})
}

// Status lists all migrations by version, those of the database and those of
// this program. It changes nothing.
func Status(ctx context.Context, url string) (_ []Step, err error) {
	db, _, err := open(url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	done, err := applied(ctx, db)
	if err != nil {
		return nil, err
	}
	steps, err := known()
	if err != nil {
		return nil, err
	}
	for i := range steps {
		steps[i].Applied = done[steps[i].Version]
		delete(done, steps[i].Version)
	}
	for version, at := range done {
		steps = append(steps, Step{Version: version, Applied: at})
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.Version, b.Version) })
	return steps, nil
}

// Plan lists what Up would run. It changes nothing.
func Plan(ctx context.Context, url string) ([]Step, error) {
	steps, err := Status(ctx, url)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(steps, func(s Step) bool { return !s.Applied.IsZero() }), nil
}

// known lists the migrations of this program, by version.
func known() ([]Step, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	steps := make([]Step, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s: the name must begin with a number: %w", name, err)
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		up, _, _ := bytes.Cut(text, []byte("-- +goose Down"))
		steps[i] = Step{Version: version, Name: name, SQL: string(up)}
	}
	return steps, nil
}

// applied reads which migrations ran, and makes no table for it.
func applied(ctx context.Context, db *sql.DB) (map[int64]time.Time, error) {
	var exists bool
	if err := db.QueryRowContext(ctx, "select to_regclass($1) is not null", versionTable).Scan(&exists); err != nil {
		return nil, failed("look for "+versionTable, err)
	}
	done := map[int64]time.Time{}
	if !exists {
		return done, nil
	}
	rows, err := db.QueryContext(ctx, "select version_id, tstamp from "+versionTable+" where is_applied and version_id > 0")
	if err != nil {
		return nil, failed("read "+versionTable, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the error that counts
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, failed("read "+versionTable, err)
		}
		done[version] = at
	}
	if err := rows.Err(); err != nil {
		return nil, failed("read "+versionTable, err)
	}
	return done, nil
}

// notices collects what the server says; connections call it from their own
// goroutines.
type notices struct {
	mu   sync.Mutex
	list []string
}

func (n *notices) add(_ *pgconn.PgConn, notice *pgconn.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if notice.Code == "00000" { // raised by a migration; not "already exists, skipping"
		n.list = append(n.list, notice.Message)
	}
}

func open(url string) (*sql.DB, *notices, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, nil, fmt.Errorf("read the Postgres URL: %w", err) // pgx leaves the password out
	}
	if len(cfg.Fallbacks) > 0 && cfg.ValidateConnect == nil { // several hosts: a standby cannot be migrated
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout // of a host that answers nothing, before the next is tried
	}
	said := &notices{}
	cfg.OnNotice = said.add
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "cdc-relay migrate"
	}
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set lock_timeout = '"+lockTimeout+"'")
		return err
	}))
	return db, said, nil
}
