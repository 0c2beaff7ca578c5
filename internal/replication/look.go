package replication

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

//go:embed facts.sql
var factsSQL string

// The JSON of facts.sql.
type factsRow struct {
	SystemID        string     `json:"system_id"`
	Timeline        uint32     `json:"timeline"`
	Version         int        `json:"version"`
	InRecovery      bool       `json:"in_recovery"`
	Database        string     `json:"database"`
	Flush           *event.LSN `json:"flush"`
	WALLevel        string     `json:"wal_level"`
	EffectiveLevel  string     `json:"effective_wal_level"`
	MaxSlots        int        `json:"max_slots"`
	Slots           int        `json:"slots"`
	MaxSenders      int        `json:"max_senders"`
	Senders         int        `json:"senders"`
	IdleSlotTimeout string     `json:"idle_slot_timeout"`
	MaxSlotKeepSize string     `json:"max_slot_keep_size"`
	Role            string     `json:"role"`
	Superuser       bool       `json:"superuser"`
	CanCreate       bool       `json:"can_create"`
	Replication     bool       `json:"replication"`
	Slot            *slotRow   `json:"slot"`
	Publication     *pubRow    `json:"publication"`
	Entries         []entryRow `json:"entries"`
	Tables          []tableRow `json:"tables"`
	SyncState       *string    `json:"sync_state"`
}

type slotRow struct {
	Name           string     `json:"slot_name"`
	Plugin         string     `json:"plugin"`
	Type           string     `json:"slot_type"`
	Database       string     `json:"database"`
	Temporary      bool       `json:"temporary"`
	TwoPhase       bool       `json:"two_phase"`
	ActivePID      int        `json:"active_pid"`
	RestartLSN     *event.LSN `json:"restart_lsn"`
	ConfirmedFlush *event.LSN `json:"confirmed_flush_lsn"`
	WALStatus      string     `json:"wal_status"`
	Invalidation   string     `json:"invalidation_reason"` // from 17
	Conflicting    bool       `json:"conflicting"`         // from 16
	Failover       bool       `json:"failover"`            // from 17
	Synced         bool       `json:"synced"`              // from 17
}

type pubRow struct {
	Name      string `json:"pubname"`
	OID       uint32 `json:"oid"`
	Xmin      uint32 `json:"xmin"`
	AllTables bool   `json:"puballtables"`
	Insert    bool   `json:"pubinsert"`
	Update    bool   `json:"pubupdate"`
	Delete    bool   `json:"pubdelete"`
	Truncate  bool   `json:"pubtruncate"`
	ViaRoot   bool   `json:"pubviaroot"`
}

type entryRow struct {
	Table       string `json:"table"`
	OID         uint32 `json:"oid"`
	Xmin        uint32 `json:"xmin"`
	TableOID    uint32 `json:"table_oid"`
	Persistence string `json:"persistence"`
	Filter      string `json:"filter"`
	Columns     string `json:"columns"`
}

type tableRow struct {
	Name        string   `json:"name"`
	Exists      bool     `json:"exists"`
	OID         uint32   `json:"oid"`
	Persistence string   `json:"persistence"`
	Partitioned bool     `json:"partitioned"`
	CanSelect   bool     `json:"can_select"`
	Owned       bool     `json:"owned"`
	Columns     []string `json:"columns"`

	Types map[string]string `json:"types"`
}

// Look reads the server's facts and touches nothing. A server in recovery is no
// error. After a restart of the server the connection is made again. The
// entries of the publication are those of our tables: what happens to others
// does not change our rows.
func (s *Source) Look(ctx context.Context) (event.Facts, error) {
	f, err := s.look(ctx)
	if err != nil {
		return event.Facts{}, s.opts.wrap(phaseRead, err)
	}
	return f, nil
}

func (s *Source) look(ctx context.Context) (event.Facts, error) {
	var row factsRow
	pid := s.senderPID.Load()
	err := s.sql.do(ctx, func(ctx context.Context, pc *pgconn.PgConn) error {
		got, err := queryRow(ctx, pc, factsSQL, s.opts.Slot, s.opts.Publication, tablesJSON(s.opts.Tables), strconv.FormatUint(uint64(pid), 10))
		if err != nil {
			return err
		}
		row = factsRow{}
		if err := json.Unmarshal(got[0], &row); err != nil {
			return fmt.Errorf("understand the server's facts: %w", err)
		}
		return nil
	})
	if err != nil {
		return event.Facts{}, err
	}
	f := row.facts(s.opts)
	if row.SyncState != nil {
		f.SenderPID, f.SyncState = int(pid), *row.SyncState
	}
	f.History, err = s.timelines(ctx, &f)
	return f, err
}

func (r *factsRow) facts(o Options) event.Facts {
	f := event.Facts{
		SystemID: r.SystemID, Timeline: r.Timeline, Version: r.Version, InRecovery: r.InRecovery, Database: r.Database,
		Flush: lsnOf(r.Flush), WALLevel: r.WALLevel, EffectiveLevel: r.EffectiveLevel, MaxSlots: r.MaxSlots, Slots: r.Slots, MaxSenders: r.MaxSenders,
		Senders: r.Senders, IdleSlotTimeout: r.IdleSlotTimeout, MaxSlotKeepSize: r.MaxSlotKeepSize,
		Role: r.Role, Replication: r.Replication, Superuser: r.Superuser, CanCreate: r.CanCreate,
		Slot:        event.Slot{Name: o.Slot},
		Publication: event.Publication{Name: o.Publication},
	}
	if r.Slot != nil {
		f.Slot = r.Slot.slot()
	}
	if p := r.Publication; p != nil {
		f.Publication = event.Publication{Name: p.Name, Exists: true, OID: p.OID, Xmin: p.Xmin, AllTables: p.AllTables,
			Insert: p.Insert, Update: p.Update, Delete: p.Delete, Truncate: p.Truncate, ViaRoot: p.ViaRoot}
		for _, e := range r.Entries {
			f.Publication.Entries = append(f.Publication.Entries, event.PublicationEntry(e))
		}
	}
	for _, t := range r.Tables {
		f.Tables = append(f.Tables, event.Table(t))
	}
	return f
}

func (r *slotRow) slot() event.Slot {
	invalid := r.Invalidation
	if invalid == "" && r.Conflicting {
		invalid = "conflicting"
	}
	return event.Slot{
		Name: r.Name, Exists: true, Plugin: r.Plugin, Type: r.Type, Database: r.Database, Temporary: r.Temporary,
		TwoPhase: r.TwoPhase, ActivePID: r.ActivePID, RestartLSN: lsnOf(r.RestartLSN), ConfirmedFlush: lsnOf(r.ConfirmedFlush),
		WALStatus: r.WALStatus, Invalid: invalid, Failover: r.Failover, Synced: r.Synced,
	}
}

func lsnOf(l *event.LSN) event.LSN {
	if l == nil {
		return 0
	}
	return *l
}

// Watch waits 10 s, or until the server ends the connection, and then looks. A
// server that goes down is event.ErrShutdown; a session ended by an
// administrator is not: the server still lets us in.
func (s *Source) Watch(ctx context.Context) (event.Facts, error) {
	cause := s.sql.wait(ctx, watchInterval)
	if errors.Is(cause, errClosed) || ctx.Err() != nil {
		return event.Facts{}, s.opts.wrap(phaseRead, errors.Join(cause, ctx.Err()))
	}
	f, err := s.look(ctx)
	if err == nil {
		if cause != nil {
			s.log.Info("the SQL connection was lost and made again", "err", cause)
		}
		return f, nil
	}
	err = errors.Join(err, cause)
	if isShutdown(cause) && !errors.Is(err, event.ErrShutdown) {
		err = fmt.Errorf("%w: %w", event.ErrShutdown, err)
	}
	return event.Facts{}, s.opts.wrap(phaseRead, err)
}

const takenSQL = `select (not pg_is_in_recovery()
  and exists (select 1 from pg_replication_slots where slot_name = $1 and active_pid is not null))::text`

// Taken reports whether a process holds the slot. It is cheap enough to be
// asked several times a second, for ever. A server in recovery is no answer:
// where several hosts are named, another one may have been promoted.
func (s *Source) Taken(ctx context.Context) (taken bool, err error) {
	err = s.sql.do(ctx, func(ctx context.Context, pc *pgconn.PgConn) error {
		row, err := queryRow(ctx, pc, takenSQL, s.opts.Slot)
		taken = err == nil && string(row[0]) == "true"
		return err
	})
	return taken, s.opts.wrap(phaseRead, err)
}

const aliveSQL = `select (exists (select 1 from pg_stat_replication where pid = $1::int)
  and exists (select 1 from pg_replication_slots where slot_name = $2 and active_pid = $1::int))::text`

// alive asks whether the walsender pid still works for our slot.
func (s *Source) alive(ctx context.Context, pid uint32) error {
	return s.sql.do(ctx, func(ctx context.Context, pc *pgconn.PgConn) error {
		row, err := queryRow(ctx, pc, aliveSQL, strconv.FormatUint(uint64(pid), 10), s.opts.Slot)
		if err != nil {
			return fmt.Errorf("ask for walsender %d: %w", pid, err)
		}
		if string(row[0]) != "true" {
			return fmt.Errorf("walsender %d is gone", pid)
		}
		return nil
	})
}
