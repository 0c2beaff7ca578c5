package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Source reads one slot of one database.
//
// States: CLOSED → Take → TAKEN (statuses repeat the slot's own position) →
// Resume → STREAMING → Close → CLOSED. Next and Status need at least TAKEN. Any
// error of Next or Status ends the stream: only Close may follow.
//
// Take, Resume, Next, Status and Close belong to one goroutine. Wake, Look,
// Watch and the functions for slots may be called from any.
type Source struct {
	opts Options
	log  *slog.Logger
	met  *metrics
	sql  *sqlConn

	stream    *stream
	streaming atomic.Pointer[waker] // the stream's socket, for Wake
	woken     atomic.Bool
	senderPID atomic.Uint32 // of our walsender, 0 none
	history   historyCache
}

// New returns a Source. It neither connects nor starts anything; what is wrong
// with o shows at the first call (or at o.Validate).
func New(o Options) *Source {
	s := &Source{opts: o, log: o.logger(), met: newMetrics(o.Registerer)}
	s.sql = newSQLConn(func(ctx context.Context) (*pgconn.PgConn, error) { return o.dial(ctx, forReading) })
	return s
}

// Take starts replication at the slot's confirmed position. The slot is the
// lock: one that is in use is a Fault with the verdict Standby. With CopyOf the
// slot is first made as a temporary copy of the anchor.
func (s *Source) Take(ctx context.Context) error {
	if s.stream != nil {
		return fmt.Errorf("slot %q is taken already: close the source first", s.opts.Slot)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	pc, err := s.opts.dial(ctx, forReplication)
	if err != nil {
		return s.opts.wrap(phaseConnect, err)
	}
	st, err := s.start(ctx, pc)
	if err != nil {
		_ = closeBounded(ctx, pc) // err is what matters
		return s.opts.wrap(phaseTake, err)
	}
	s.stream = st
	s.senderPID.Store(pc.PID())
	s.streaming.Store(&waker{conn: st.sock})
	s.log.Info("slot taken", "confirmed", st.flush, "pid", pc.PID())
	return nil
}

func (s *Source) start(ctx context.Context, pc *pgconn.PgConn) (*stream, error) {
	if s.opts.CopyOf != "" {
		sql := fmt.Sprintf("select pg_copy_logical_replication_slot(%s, %s, true)", quoteLiteral(s.opts.CopyOf), quoteLiteral(s.opts.Slot))
		if _, err := pc.Exec(ctx, sql).ReadAll(); err != nil {
			return nil, fmt.Errorf("copy anchor %q: %w", s.opts.CopyOf, err)
		}
	}
	err := pglogrepl.StartReplication(ctx, pc, quoteIdent(s.opts.Slot), 0, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: s.opts.pluginArgs(),
	})
	if err != nil {
		return nil, err
	}
	// Only now is the slot ours and its position at rest.
	held, err := s.held(ctx, pc.PID())
	if errors.Is(err, errSenderGone) {
		return nil, s.lastWords(ctx, pc, err)
	}
	if err != nil {
		return nil, err
	}
	t := &tracker{prefix: s.opts.MessagePrefix, oids: held.oids, names: map[string]bool{}, announced: s.announced}
	for _, name := range s.opts.Tables {
		t.names[name] = true
	}
	st, err := newStream(ctx, pc.Frontend(), pc.Conn(), held.confirmed, s.opts.senderTimeout())
	if err != nil {
		return nil, err
	}
	st.pc, st.track, st.met = pc, t, s.met
	return st, nil
}

// Beat keeps the session alive between Take and Resume: it repeats the slot's
// own position.
func (s *Source) Beat() error {
	if s.stream == nil {
		return fmt.Errorf("keep slot %q: not taken", s.opts.Slot)
	}
	return s.stream.sendStatus()
}

// announced logs what the stream says about a table of ours.
func (s *Source) announced(old, now *event.Relation) {
	s.met.relations.Inc()
	switch {
	case old == nil:
		s.log.Debug("table announced", "table", now.Name(), "oid", now.OID, "columns", len(now.Columns))
	case old.Name() != now.Name():
		s.log.Warn("a table that is read was renamed; reading on under its new name until the next start, then the configuration must name it",
			"from", old.Name(), "to", now.Name(), "oid", now.OID)
	default:
		s.log.Info("columns of a table changed", "table", now.Name(), "columns", len(now.Columns))
	}
}

// errSenderGone says that our walsender ended as soon as it had begun.
var errSenderGone = errors.New("our walsender has let go of the slot already")

// lastWords reads what the server said when it ended our walsender, such as
// that the publication is not there: the reason would be lost with the
// connection, and with it the verdict.
func (s *Source) lastWords(ctx context.Context, pc *pgconn.PgConn, gone error) error {
	by, ok := ctx.Deadline()
	if !ok || time.Until(by) > time.Second {
		by = time.Now().Add(time.Second) // it is under way, or it was never said
	}
	if err := pc.Conn().SetReadDeadline(by); err != nil {
		return gone
	}
	for {
		msg, err := pc.Frontend().Receive()
		if err != nil {
			return gone
		}
		if e, ok := msg.(*pgproto3.ErrorResponse); ok {
			return s.opts.wrap(phaseStream, fmt.Errorf("%w: %w", gone, pgconn.ErrorResponseToPgError(e)))
		}
	}
}

// heldSlot is what SQL says about a slot we have just taken.
type heldSlot struct {
	confirmed event.LSN
	oids      map[uint32]string
}

const heldSQL = `select s.confirmed_flush_lsn::text, coalesce(s.active_pid, 0)::text, coalesce((
  select json_agg(json_build_object('oid', c.oid::bigint, 'name', w.name))
  from json_to_recordset($2::json) as w(name text, nsp text, rel text)
  join pg_namespace n on n.nspname = w.nsp
  join pg_class c on c.relnamespace = n.oid and c.relname = w.rel and c.relkind in ('r', 'p')), '[]')::text
from pg_replication_slots s where s.slot_name = $1`

func (s *Source) held(ctx context.Context, pid uint32) (heldSlot, error) {
	var h heldSlot
	err := s.sql.do(ctx, func(ctx context.Context, pc *pgconn.PgConn) error {
		row, err := queryRow(ctx, pc, heldSQL, s.opts.Slot, tablesJSON(s.opts.Tables))
		if err != nil {
			return fmt.Errorf("read the position of the slot: %w", err)
		}
		if string(row[1]) == "0" {
			return errSenderGone
		}
		if string(row[1]) != fmt.Sprint(pid) {
			return fmt.Errorf("the slot is held by process %s, our walsender is %d: do both connections reach the same server?", row[1], pid)
		}
		if h.confirmed, err = event.ParseLSN(string(row[0])); err != nil || h.confirmed == 0 {
			return fmt.Errorf("the slot has no confirmed position (%q): %w", row[0], err)
		}
		var found []struct {
			OID  uint32
			Name string
		}
		if err := json.Unmarshal(row[2], &found); err != nil {
			return fmt.Errorf("read the tables: %w", err)
		}
		h.oids = make(map[uint32]string, len(found))
		for _, f := range found {
			h.oids[f.OID] = f.Name
		}
		return nil
	})
	return h, err
}

// Resume says where the pipeline stands: from here statuses confirm cp.Safe. A
// position behind what the server was already told is an error: it would mean
// that rows were acknowledged that are not in Kafka.
func (s *Source) Resume(cp event.Checkpoint) error {
	if s.stream == nil {
		return fmt.Errorf("resume slot %q: not taken", s.opts.Slot)
	}
	return s.opts.wrap(phaseStream, s.stream.confirm(cp.Safe))
}

// Next reads the next message into m, serving keepalives meanwhile. It returns
// a Wake at Wake, and at the latest after a second of silence. What m points to
// is dead at the next call.
func (s *Source) Next(m *event.Msg) error {
	if s.stream == nil {
		return fmt.Errorf("read slot %q: not taken", s.opts.Slot)
	}
	if s.woken.Load() && s.woken.Swap(false) {
		*m = event.Msg{Kind: event.Wake, More: s.stream.more()}
		return nil
	}
	if err := s.stream.next(m, s); err != nil {
		return s.opts.wrap(phaseStream, err)
	}
	return nil
}

// Status tells the server that everything before flush is in Kafka. It sends at
// once, also when flush is unchanged: that is the heartbeat of a loop that
// cannot read. flush never falls and is never zero.
func (s *Source) Status(flush event.LSN) error {
	if s.stream == nil {
		return fmt.Errorf("status of slot %q: not taken", s.opts.Slot)
	}
	if err := s.stream.confirm(flush); err != nil {
		return s.opts.wrap(phaseStream, err)
	}
	return s.opts.wrap(phaseStream, s.stream.sendStatus())
}

// Wake makes the running or the next Next return. It may be called from any
// goroutine at any time.
func (s *Source) Wake() {
	// Order: flag, then deadline. Next resets the deadline before it looks at
	// the flag, so whichever comes first is seen.
	s.woken.Store(true)
	if w := s.streaming.Load(); w != nil {
		_ = w.conn.SetReadDeadline(past) // fails on a closed socket only, where Next fails too
	}
}

// Close ends the stream in good order within ctx, so that the slot has the last
// Status, then closes both connections in any case. The error says that the
// order could not be kept; nothing is left open. The Source may be used again.
func (s *Source) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var err error
	s.streaming.Store(nil)
	s.senderPID.Store(0)
	if s.stream != nil {
		err = s.stream.close(ctx)
		s.stream = nil
	}
	s.sql.shut(ctx)
	return s.opts.wrap("end the stream", err)
}

// closeBounded closes pc whatever became of ctx.
func closeBounded(ctx context.Context, pc *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return pc.Close(ctx)
}
