package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNotOwned is returned by the verbs that stop, start, kill or freeze a part
// which this process did not start for its own use. Take one from NewPostgres,
// NewBroker or NewRegistry.
var ErrNotOwned = errors.New("this part is shared or external and must not be stopped; take an own one from NewPostgres, NewBroker or NewRegistry")

// PG is a PostgreSQL server. The superuser is postgres, without a password.
// Its methods may be called by several goroutines.
type PG struct {
	info   PGInfo
	server pgServer
	own    bool

	mu      sync.Mutex
	running bool
}

// PGInfo says where a server is and what it is made of. Folders are empty where
// the server is not a process of this machine.
type PGInfo struct {
	Address   string `json:"address"`              // postgres://user@host:port/postgres?…
	Version   int    `json:"version"`              // major
	Kind      string `json:"kind"`                 // installed, maven, container, external
	BinDir    string `json:"bin_dir,omitempty"`    // initdb, postgres, pg_ctl; others by kind
	DataDir   string `json:"data_dir,omitempty"`   // PGDATA
	SocketDir string `json:"socket_dir,omitempty"` // unix_socket_directories
	Log       string `json:"log,omitempty"`        // file with the server's messages
	CA        string `json:"ca,omitempty"`         // certificate of the authority, with TLS()
	Standby   string `json:"standby,omitempty"`    // see [PG.StandbyName]
}

// pgServer is the way a server is run.
type pgServer interface {
	start(ctx context.Context) error
	stop(ctx context.Context, mode string) error
	kill() error
	pause() error
	resume() error
	// close ends the server in the quickest way and removes its data.
	close() error
}

// URL returns the address of a database over TCP, without TLS.
func (p *PG) URL(db string) string { return p.with(db, nil) }

// SocketURL returns the address of a database over the Unix socket, or "" for a
// server that is not a process of this machine.
func (p *PG) SocketURL(db string) string {
	if p.info.SocketDir == "" {
		return ""
	}
	u, err := url.Parse(p.info.Address)
	if err != nil {
		return ""
	}
	q := url.Values{"host": {p.info.SocketDir}, "port": {u.Port()}, "user": {u.User.Username()}}
	return "postgres:///" + url.PathEscape(db) + "?" + q.Encode()
}

// TLSURL returns the address of a database over TCP with TLS and a full check
// of the server's certificate, or "" for a server without the option TLS.
func (p *PG) TLSURL(db string) string {
	if p.info.CA == "" {
		return ""
	}
	return p.with(db, map[string]string{"sslmode": "verify-full", "sslrootcert": p.info.CA})
}

func (p *PG) with(db string, params map[string]string) string {
	u, err := url.Parse(p.info.Address)
	if err != nil {
		return p.info.Address // checked when the server was made
	}
	u.Path = "/" + db
	q := u.Query()
	for name, value := range params {
		q.Set(name, value)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// Version returns the major version.
func (p *PG) Version() int { return p.info.Version }

// BinDir returns the folder of the server's programs, "" if it is not here.
// Only initdb, pg_ctl and postgres are sure to be in it; kind "installed" has
// psql, pg_recvlogical and the rest.
func (p *PG) BinDir() string { return p.info.BinDir }

// DataDir returns the data folder, "" if it is not here.
func (p *PG) DataDir() string { return p.info.DataDir }

// Info returns everything known about the server.
func (p *PG) Info() PGInfo { return p.info }

// Stop ends the server in the mode smart, fast or immediate and waits for its
// end, at most a minute; after that the server goes on shutting down and the
// error says so.
func (p *PG) Stop(mode string) error {
	return p.do("stop", false, func(ctx context.Context) error { return p.server.stop(ctx, mode) })
}

// Start starts a stopped or killed server again, on the same port and data, and
// waits until it answers.
func (p *PG) Start() error { return p.do("start", true, p.server.start) }

// Kill ends the server and all its processes with SIGKILL. Start recovers it.
func (p *PG) Kill() error {
	return p.do("kill", false, func(context.Context) error { return p.server.kill() })
}

// Pause freezes the server and all its processes: connections stay open, and
// nothing answers.
func (p *PG) Pause() error {
	return p.do("pause", true, func(context.Context) error { return p.server.pause() })
}

// Resume continues a frozen server.
func (p *PG) Resume() error {
	return p.do("resume", true, func(context.Context) error { return p.server.resume() })
}

// do runs one verb on an own server, bounded, one at a time.
func (p *PG) do(verb string, running bool, f func(context.Context) error) error {
	if !p.own {
		return fmt.Errorf("%s PostgreSQL: %w", verb, ErrNotOwned)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		return fmt.Errorf("%s PostgreSQL %d: %w", verb, p.info.Version, err)
	}
	p.running = running && verb != "pause"
	return nil
}

// Database creates a fresh database and returns its URL. With the test's end
// its slots are dropped (their walsenders terminated first) and the database
// with them.
func (p *PG) Database(t testing.TB) string {
	t.Helper()
	name := "test_" + randomHex()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.exec(ctx, "create database "+name); err != nil {
		t.Fatalf("stack: create a database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := p.DropDatabase(ctx, name); err != nil && !p.down() {
			t.Errorf("stack: %v", err)
		}
	})
	return p.URL(name)
}

// down reports whether a test left its own server stopped or frozen: then the
// server's end removes everything anyway.
func (p *PG) down() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.running
}

// DropDatabase drops a database, and its slots before: walsenders are asked to
// end again and again until no slot is left, because one may reconnect.
func (p *PG) DropDatabase(ctx context.Context, name string) error {
	if p.down() {
		return errors.New("the server is down")
	}
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	// The server waits; each round is one round trip and a tenth of a second.
	const round = `select pg_terminate_backend(active_pid) from pg_replication_slots
		where database = $1 and active_pid is not null`
	const drop = `select pg_drop_replication_slot(slot_name) from pg_replication_slots
		where database = $1 and active_pid is null`
	for {
		if _, err := conn.Exec(ctx, round, name); err != nil {
			return fmt.Errorf("terminate the walsenders of %s: %w", name, err)
		}
		_, dropErr := conn.Exec(ctx, drop, name) // fails when one was taken in between
		var left int
		err := conn.QueryRow(ctx, `select count(*) from pg_replication_slots where database = $1`, name).Scan(&left)
		if err != nil {
			return fmt.Errorf("list the slots of %s: %w", name, errors.Join(err, dropErr))
		}
		if left == 0 {
			break
		}
		if _, err := conn.Exec(ctx, `select pg_sleep(0.05)`); err != nil {
			return fmt.Errorf("%d slots of %s cannot be dropped: %w", left, name, errors.Join(err, dropErr))
		}
	}
	if _, err := conn.Exec(ctx, "drop database if exists "+name+" with (force)"); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// exec runs one statement in the database postgres.
func (p *PG) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

// ready waits until the server answers a query.
func (p *PG) ready(ctx context.Context, bound time.Duration) error {
	var last error
	ok := poll(bound, 20*time.Millisecond, func() bool {
		if ctx.Err() != nil {
			return true
		}
		last = p.exec(ctx, "select 1")
		return last == nil
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("PostgreSQL does not answer: %w", last)
	}
	return nil
}

// randomHex returns eight random hexadecimal digits.
func randomHex() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
