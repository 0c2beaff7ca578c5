package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// change runs f on a connection of its own. If ctx ends, the statement is
// cancelled on the server too.
func (s *Source) change(ctx context.Context, f func(*pgconn.PgConn) error) error {
	pc, err := s.opts.dial(ctx, forChange)
	if err != nil {
		return s.opts.wrap(phaseConnect, err)
	}
	defer func() { _ = closeBounded(ctx, pc) }() // what was to be done is done or failed
	err = f(pc)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return s.opts.wrap(phaseChange, err)
}

// LockFirst takes the advisory lock of a first start, on a connection of its
// own that lives until unlock. Held by another process: a Fault with the
// verdict Standby. unlock may be called more than once.
func (s *Source) LockFirst(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	pc, err := s.opts.dial(ctx, forReading)
	if err != nil {
		return nil, s.opts.wrap(phaseConnect, err)
	}
	row, err := queryRow(ctx, pc, "select pg_try_advisory_lock($1::bigint)::text, current_database()", s.opts.lockKey())
	if err != nil {
		_ = closeBounded(ctx, pc) // err is what matters
		return nil, s.opts.wrap(phaseRead, err)
	}
	if string(row[0]) != "true" {
		_ = closeBounded(ctx, pc) // the lock was not had
		return nil, &event.Fault{Verdict: event.Standby, Do: "nothing: this process goes on when the other is done",
			What: fmt.Sprintf("another process makes the first start of slot %q in database %q", s.opts.Slot, row[1])}
	}
	var once sync.Once
	return func() { once.Do(func() { _ = closeBounded(ctx, pc) }) }, nil // the session's end gives the lock back
}

// lockKey is the key of the advisory lock; such locks are per database.
func (o Options) lockKey() string {
	h := fnv.New64a()
	_, _ = h.Write([]byte("cdc-relay first start/" + o.database() + "/" + o.Slot)) // never fails
	return strconv.FormatInt(int64(h.Sum64()), 10)
}

// Create makes what does not exist yet of publication and slot, in this order
// (pgoutput looks the publication up as of the slot's position), and returns
// the slot's consistent point; of a slot that exists, its confirmed position. A
// publication that exists is left alone. Making a slot waits for every running
// transaction of the server: give ctx a bound.
func (s *Source) Create(ctx context.Context) (event.LSN, error) {
	var point event.LSN
	err := s.change(ctx, func(pc *pgconn.PgConn) error {
		if err := s.createPublication(ctx, pc); err != nil {
			return err
		}
		crash.Point(crash.FirstPublication)
		var err error
		point, err = s.createSlot(ctx, pc)
		return err
	})
	return point, err
}

func (s *Source) createPublication(ctx context.Context, pc *pgconn.PgConn) error {
	row, err := queryRow(ctx, pc, "select exists (select 1 from pg_publication where pubname = $1)::text", s.opts.Publication)
	if err != nil || string(row[0]) == "true" {
		return err
	}
	sql := publicationSQL(s.opts.Publication, s.opts.Tables)
	_, err = pc.Exec(ctx, sql).ReadAll()
	if sqlState(err) == stateDuplicateObject {
		return nil // someone was faster
	}
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	s.log.Info("publication created", "publication", s.opts.Publication, "tables", s.opts.Tables)
	return nil
}

// publicationSQL is the statement that makes a publication of tables.
func publicationSQL(name string, tables []string) string {
	sql := "CREATE PUBLICATION " + quoteIdent(name)
	for i, t := range tables {
		if i == 0 {
			sql += " FOR TABLE " + quoteTable(t)
		} else {
			sql += ", " + quoteTable(t)
		}
	}
	return sql + " WITH (publish = 'insert', publish_via_partition_root = true)"
}

func (s *Source) createSlot(ctx context.Context, pc *pgconn.PgConn) (event.LSN, error) {
	if point, ok, err := slotPosition(ctx, pc, s.opts.Slot); err != nil || ok {
		return point, err
	}
	failover, err := s.failover(ctx, pc)
	if err != nil {
		return 0, err
	}
	row, err := queryRow(ctx, pc, "select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput', false, false"+failover+")", s.opts.Slot)
	if sqlState(err) == stateDuplicateObject { // someone was faster
		point, _, err := slotPosition(ctx, pc, s.opts.Slot)
		return point, err
	}
	if err != nil {
		return 0, fmt.Errorf("create slot: %w", err)
	}
	point, err := event.ParseLSN(string(row[0]))
	if err == nil {
		s.log.Info("slot created", "consistent_point", point, "failover", failover != "")
	}
	return point, err
}

// failover is the argument that asks for a failover slot, where there is one.
func (s *Source) failover(ctx context.Context, pc *pgconn.PgConn) (string, error) {
	if !s.opts.Failover {
		return "", nil
	}
	row, err := queryRow(ctx, pc, "select (current_setting('server_version_num')::int >= 170000)::text")
	if err != nil {
		return "", err
	}
	if string(row[0]) != "true" {
		s.log.Warn("failover slots need PostgreSQL 17: a promoted standby will not have this slot")
		return "", nil
	}
	return ", failover => true", nil
}

// slotPosition is the confirmed position of a slot, if it exists.
func slotPosition(ctx context.Context, pc *pgconn.PgConn, slot string) (event.LSN, bool, error) {
	row, err := queryRow(ctx, pc, "select max(confirmed_flush_lsn)::text, count(*)::text from pg_replication_slots where slot_name = $1", slot)
	if err != nil || string(row[1]) == "0" {
		return 0, false, err
	}
	if row[0] == nil {
		return 0, true, fmt.Errorf("slot %q exists and has no confirmed position: it is not a logical slot, or not a finished one", slot)
	}
	lsn, err := event.ParseLSN(string(row[0]))
	return lsn, true, err
}

// DropSlot drops the slot by name; one that does not exist is no error.
func (s *Source) DropSlot(ctx context.Context, name string) error {
	return s.change(ctx, func(pc *pgconn.PgConn) error {
		_, err := queryRow(ctx, pc, "select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots where slot_name = $1", name)
		if err != nil {
			return fmt.Errorf("drop slot %q: %w", name, err)
		}
		return nil
	})
}

// DropOlder drops the slot if its confirmed position is before than, or if it is
// lost; one that does not exist is no error. The server judges in the statement
// that drops: a process that was away for a while must not drop a slot that was
// made since.
func (s *Source) DropOlder(ctx context.Context, name string, than event.LSN) error {
	return s.change(ctx, func(pc *pgconn.PgConn) error {
		_, err := queryRow(ctx, pc, `select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots
  where slot_name = $1 and (confirmed_flush_lsn is null or confirmed_flush_lsn < $2::pg_lsn or wal_status = 'lost')`, name, than.String())
		if err != nil {
			return fmt.Errorf("drop slot %q, if it stands before %s: %w", name, than, err)
		}
		return nil
	})
}

// CopySlot makes dst a copy of src at its present position; src may be in use.
// An anchor is a copy that stays. A temporary copy lives on the SQL connection,
// until Close (to stream from one, see Options.CopyOf). It returns the position
// of the copy.
func (s *Source) CopySlot(ctx context.Context, src, dst string, temporary bool) (event.LSN, error) {
	if !slotName.MatchString(dst) {
		return 0, fmt.Errorf("slot %q: want 1 to 63 of a-z, 0-9 and _", dst)
	}
	var point event.LSN
	run := func(ctx context.Context, pc *pgconn.PgConn) error {
		row, err := queryRow(ctx, pc, "select lsn::text from pg_copy_logical_replication_slot($1, $2, $3::bool)", src, dst, strconv.FormatBool(temporary))
		if err != nil {
			return fmt.Errorf("copy slot %q to %q: %w", src, dst, err)
		}
		point, err = event.ParseLSN(string(row[0]))
		return err
	}
	if temporary {
		err := s.sql.do(ctx, run)
		return point, s.opts.wrap(phaseChange, err)
	}
	err := s.change(ctx, func(pc *pgconn.PgConn) error { return run(ctx, pc) })
	return point, err
}

// AdvanceSlot moves a slot that is not in use forward, and returns where it
// stands then (the end of a transaction at or before to).
func (s *Source) AdvanceSlot(ctx context.Context, name string, to event.LSN) (event.LSN, error) {
	var point event.LSN
	err := s.change(ctx, func(pc *pgconn.PgConn) error {
		row, err := queryRow(ctx, pc, "select end_lsn::text from pg_replication_slot_advance($1, $2::pg_lsn)", name, to.String())
		if err != nil {
			return fmt.Errorf("advance slot %q to %s: %w", name, to, err)
		}
		point, err = event.ParseLSN(string(row[0]))
		return err
	})
	return point, err
}

// SlotInfo is a slot as `slots list` shows it.
type SlotInfo struct {
	event.Slot
	Retained int64 // bytes of write-ahead log the server keeps for it
}

const listSQL = `select coalesce(jsonb_agg(to_jsonb(s) || jsonb_build_object('retained',
  case when s.restart_lsn is null then 0 else pg_wal_lsn_diff(
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, s.restart_lsn) end)
  order by s.slot_name), '[]')::text from pg_replication_slots s`

// ListSlots lists every slot of the cluster, by name.
func (s *Source) ListSlots(ctx context.Context) ([]SlotInfo, error) {
	var rows []struct {
		slotRow
		Retained int64 `json:"retained"`
	}
	err := s.sql.do(ctx, func(ctx context.Context, pc *pgconn.PgConn) error {
		row, err := queryRow(ctx, pc, listSQL)
		if err != nil {
			return fmt.Errorf("list slots: %w", err)
		}
		rows = nil
		return json.Unmarshal(row[0], &rows)
	})
	list := make([]SlotInfo, 0, len(rows))
	for _, r := range rows {
		list = append(list, SlotInfo{Slot: r.slot(), Retained: r.Retained})
	}
	return list, s.opts.wrap(phaseRead, err)
}
