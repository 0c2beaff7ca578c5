package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// standbyPattern names a standby as its primary sees it: application_name of its
// walreceiver and physical slot at once.
const standbyPattern = "standby_%s"

// Standby starts a hot standby of p, an own server of PostgreSQL 15 or later,
// ended with the test. It streams from p through a physical slot of its own,
// and may be promoted. Settings of opts are the standby's, over those of p; a
// version or TLS makes no sense here. From 17 on it keeps failover slots in
// step (sync_replication_slots), unless an option says otherwise.
//
// The primary is backed up with pg_backup_start and a copy of its folder: the
// embedded binaries have no pg_basebackup. In a container that cannot be done:
// there the test is skipped.
func (p *PG) Standby(t testing.TB, opts ...PGOption) *PG {
	t.Helper()
	if _, here := p.server.(*pgProcess); !here && p.own {
		t.Skip("a standby is made from the data folder, which is not on this machine")
	}
	return get(t, func(ctx context.Context, s *Stack) (*PG, error) {
		sb, err := s.newStandby(ctx, p, opts)
		if err == nil {
			endWith(t, "the standby", s.later(sb.server.close), sb.info.Log)
		}
		return sb, err
	})
}

// StandbyName is what the primary knows a standby by: the name of its physical
// slot, and application_name of its walreceiver. "" for another server.
func (p *PG) StandbyName() string { return p.info.Standby }

func (s *Stack) newStandby(ctx context.Context, p *PG, opts []PGOption) (_ *PG, err error) {
	source, ok := p.server.(*pgProcess)
	if !ok || !p.own {
		return nil, fmt.Errorf("a standby of this server: %w", ErrNotOwned)
	}
	if p.info.Version < 15 {
		return nil, fmt.Errorf("a standby of PostgreSQL %d: this package knows how from 15 on", p.info.Version)
	}
	c, err := newPGConfig(opts)
	if err != nil {
		return nil, err
	}
	base, err := s.guard.tempDir("sb" + strconv.Itoa(p.info.Version))
	if err != nil {
		return nil, err
	}
	sb := &pgProcess{stack: s, bin: source.bin, base: base, log: filepath.Join(base, "server.log"), user: source.user}
	defer func() {
		if err != nil {
			err = errors.Join(err, sb.abandon())
		}
	}()
	if sb.port, err = leasePort(s.cache); err != nil {
		return nil, err
	}
	info := PGInfo{
		Version: p.info.Version, Kind: p.info.Kind, BinDir: sb.bin, Log: sb.log, Standby: fmt.Sprintf(standbyPattern, randomHex()),
		DataDir: filepath.Join(base, "data"), SocketDir: filepath.Join(base, "s"),
		Address: fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", sb.port.addr()),
	}
	if err := sb.backUp(ctx, p, info); err != nil {
		return nil, fmt.Errorf("back up the primary: %w", err)
	}
	if err := sb.follow(p, info, c); err != nil {
		return nil, err
	}
	if err := sb.start(ctx); err != nil {
		return nil, err
	}
	return &PG{info: info, server: sb, own: true, running: true}, nil
}

// abandon undoes a standby that did not come to be.
func (p *pgProcess) abandon() error {
	if p.port == nil {
		return p.stack.guard.removeDir(p.base)
	}
	return p.close()
}

// backUp copies the primary's folder as a base backup. The physical slot is made
// first: it keeps the log from the backup's beginning, so none has to be copied.
func (p *pgProcess) backUp(ctx context.Context, primary *PG, info PGInfo) error {
	conn, err := pgx.Connect(ctx, primary.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // the backup is over, or failed
	if _, err := conn.Exec(ctx, "select pg_create_physical_replication_slot($1, true)", info.Standby); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "select pg_backup_start('standby', true)"); err != nil {
		return err
	}
	if err := p.copyData(primary.info.DataDir, info.DataDir); err != nil {
		return err
	}
	var label string
	if err := conn.QueryRow(ctx, "select labelfile from pg_backup_stop(false)").Scan(&label); err != nil {
		return err
	}
	if err := p.write(info.DataDir, "backup_label", label); err != nil {
		return err
	}
	if err := os.Mkdir(info.SocketDir, 0o755); err != nil {
		return err
	}
	return p.chown(info.SocketDir)
}

// skipped are folders of which only the folder itself is part of a backup.
var skipped = map[string]bool{"pg_wal": true, "pg_replslot": true, "pg_dynshmem": true, "pg_notify": true, "pg_serial": true,
	"pg_snapshots": true, "pg_stat_tmp": true, "pg_subtrans": true}

// copyData copies a running server's folder: files may vanish meanwhile.
func (p *pgProcess) copyData(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			if err := p.chown(target); err != nil {
				return err
			}
			return p.emptied(rel, target)
		case skipped[strings.Split(rel, string(filepath.Separator))[0]], rel == "postmaster.pid", rel == "postmaster.opts":
			return nil
		}
		return p.copyFile(path, target)
	})
}

// emptied makes the one folder below a skipped one that a server needs, and
// leaves the others out.
func (p *pgProcess) emptied(rel, target string) error {
	if !skipped[rel] {
		return nil
	}
	if rel == "pg_wal" {
		status := filepath.Join(target, "archive_status")
		if err := errors.Join(os.Mkdir(status, 0o700), p.chown(status)); err != nil {
			return err
		}
	}
	return fs.SkipDir
}

func (p *pgProcess) copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), p.chown(to))
}

// write makes a file of the server's.
func (p *pgProcess) write(dir, name, text string) error {
	path := filepath.Join(dir, name)
	return errors.Join(os.WriteFile(path, []byte(text), 0o600), p.chown(path))
}

// follow makes the copy a standby of primary. What it says comes last in
// postgresql.conf, where the last line wins.
func (p *pgProcess) follow(primary *PG, info PGInfo, c pgConfig) error {
	source := primary.server.(*pgProcess)
	settings := map[string]string{
		"primary_conninfo":  fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres application_name=%s", source.port.port, info.Standby),
		"primary_slot_name": info.Standby, "hot_standby": "on", "hot_standby_feedback": "on",
		"wal_receiver_status_interval": "1", "wal_retrieve_retry_interval": "200ms",
		"synchronous_standby_names": "",
	}
	if info.Version >= 17 {
		settings["sync_replication_slots"] = "on"
		settings["synchronized_standby_slots"] = ""
	}
	maps.Copy(settings, c.settings)
	settings["port"], settings["unix_socket_directories"] = strconv.Itoa(p.port.port), info.SocketDir
	if err := p.append(info.DataDir, settings); err != nil {
		return err
	}
	// What ALTER SYSTEM wrote on the primary would win over it.
	return errors.Join(p.write(info.DataDir, "postgresql.auto.conf", ""), p.write(info.DataDir, "standby.signal", ""))
}

// Promote makes a standby a primary and waits until it is one.
func (p *PG) Promote() error {
	return p.do("promote", true, func(ctx context.Context) error {
		if err := p.exec(ctx, "select pg_promote(false)"); err != nil {
			return err
		}
		return p.await(ctx, "select not pg_is_in_recovery() and $1 = ''", "", func() error { return nil })
	})
}

// SlotSynced waits until the standby has a logical slot of its primary as a
// promotion would keep it: in step and no longer temporary. The standby takes a
// slot over only from a point it has a snapshot of: primary writes one again and
// again.
//
// Somebody has to read the slot meanwhile, or it stays at a point of before the
// standby.
func (p *PG) SlotSynced(ctx context.Context, primary *PG, slot string) error {
	return p.await(ctx, slotSynced, slot, func() error { return primary.exec(ctx, "select pg_log_standby_snapshot()") })
}

const slotSynced = `select exists (select 1 from pg_replication_slots where slot_name = $1 and synced and not temporary and invalidation_reason is null)`

// CaughtUp waits until the standby has replayed everything the primary has
// written so far.
func (p *PG) CaughtUp(ctx context.Context, primary *PG) error {
	conn, err := pgx.Connect(ctx, primary.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var at string
	if err := conn.QueryRow(ctx, "select pg_current_wal_flush_lsn()::text").Scan(&at); err != nil {
		return err
	}
	return p.await(ctx, "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", at, func() error { return nil })
}

// CutOff ends the standby's stream from its primary and waits until it has
// ended: what the primary writes from now on does not reach it.
func (p *PG) CutOff(ctx context.Context) error {
	if err := errors.Join(p.exec(ctx, "alter system set primary_conninfo = ''"), p.exec(ctx, "select pg_reload_conf()")); err != nil {
		return err
	}
	return p.await(ctx, "select not exists (select 1 from pg_stat_wal_receiver) and $1 = ''", "", func() error { return nil })
}

// await asks a question of the standby until the answer is yes; before is done
// before each.
func (p *PG) await(ctx context.Context, sql, arg string, before func() error) error {
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := before(); err != nil {
			return err
		}
		var yes bool
		if err := conn.QueryRow(ctx, sql, arg).Scan(&yes); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		if yes {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s (%s): %w", sql, arg, ctx.Err())
		}
	}
}
