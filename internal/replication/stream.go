package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// past is a deadline that is always over.
var past = time.Unix(1, 0)

// socket is what the stream needs of a net.Conn.
type socket interface {
	Write([]byte) (int, error)
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// waker holds the socket for Wake, which runs in other goroutines.
type waker struct{ conn socket }

// stream owns the replication socket. One goroutine uses it.
//
// The read deadline is its clock: it stands at most a tick ahead, and passes
// while we read or before the next read. No row asks for the time.
//
// Invariant: flush never falls and is never zero; flush <= write.
type stream struct {
	pc    *pgconn.PgConn // nil in tests that replay bytes
	fe    *pgproto3.Frontend
	sock  socket
	track *tracker
	met   *metrics

	flush, write event.LSN
	out          [statusFrame]byte

	timeout  time.Duration // wal_sender_timeout of this session
	tick     time.Duration
	tickAt   time.Time // when the deadline we set passes
	asked    time.Time // when a status last asked for a reply
	fresh    bool      // something was read since the last tick
	buffered int       // bytes of an unfinished message at the last tick

	quiet time.Duration // silence so far, counted in ticks spent reading
	limit time.Duration // silence after which the server is asked for our walsender
	probe chan error    // answer to that; nil: not asked

	tasks  sync.WaitGroup
	ctx    context.Context // of tasks; ends with close
	cancel context.CancelFunc
	broken error
}

// newStream takes over a connection in copy mode. Its tasks outlive ctx; close
// ends them.
func newStream(ctx context.Context, fe *pgproto3.Frontend, sock socket, confirmed event.LSN, timeout time.Duration) (*stream, error) {
	st := &stream{fe: fe, sock: sock, flush: confirmed, write: confirmed, timeout: timeout, limit: timeout, tick: min(maxTick, timeout/8)}
	st.ctx, st.cancel = context.WithCancel(context.WithoutCancel(ctx))
	st.tickAt = time.Now().Add(st.tick)
	if err := sock.SetReadDeadline(st.tickAt); err != nil {
		return nil, st.lost(err)
	}
	return st, nil
}

// more reports bytes behind the message returned last.
func (st *stream) more() bool { return st.fe.ReadBufferLen() > 0 }

// next reads until there is something to return.
func (st *stream) next(m *event.Msg, s *Source) error {
	if st.broken != nil {
		return st.broken
	}
	skipped := false
	for {
		msg, err := st.fe.Receive()
		if err == nil {
			st.fresh = true
			out, err := st.receive(msg, m, s)
			if err != nil {
				return st.fail(err)
			}
			if out == emitted {
				m.More = st.more()
				return nil
			}
			skipped = skipped || out != silent
			continue
		}
		if !isTimeout(err) {
			return st.fail(st.lost(err))
		}
		// A message that was read in part stays in the frontend's buffer.
		turn, err := st.onTimeout(s, skipped)
		if err != nil {
			return st.fail(err)
		}
		if turn {
			*m = event.Msg{Kind: event.Wake, More: st.more()}
			return nil
		}
	}
}

func (st *stream) fail(err error) error {
	st.broken = err
	return err
}

// lost names an end of the socket.
func (st *stream) lost(err error) error {
	return fmt.Errorf("replication connection lost after %s: %w", st.write, err)
}

// receive digests one protocol message.
func (st *stream) receive(msg pgproto3.BackendMessage, m *event.Msg, s *Source) (outcome, error) {
	switch msg := msg.(type) {
	case *pgproto3.CopyData:
		return st.copyData(msg.Data, m)
	case *pgproto3.ErrorResponse:
		return silent, fmt.Errorf("after %s: %w", st.write, pgconn.ErrorResponseToPgError(msg))
	case *pgproto3.NoticeResponse:
		return silent, st.notice(msg, s)
	case *pgproto3.ParameterStatus:
		return silent, nil
	case *pgproto3.CopyDone, *pgproto3.CommandComplete:
		// A walsender says this of its own accord when the server goes down and
		// everything was sent and confirmed.
		return silent, fmt.Errorf("%w: the server ended the stream after %s", event.ErrShutdown, st.write)
	}
	return silent, fmt.Errorf("unexpected %T in the replication stream after %s", msg, st.write)
}

// notice: since 18 a missing publication is a mere warning, and the rows are
// skipped. That is a hole in the stream.
func (st *stream) notice(msg *pgproto3.NoticeResponse, s *Source) error {
	if msg.Code == stateNotInPrerequisite && msg.Routine == "LoadPublications" {
		pg := (*pgconn.PgError)(nil)
		if errors.As(pgconn.ErrorResponseToPgError((*pgproto3.ErrorResponse)(msg)), &pg) {
			return s.opts.publicationGone(fmt.Errorf("after %s: %w", st.write, pg))
		}
	}
	s.log.Warn("notice of the server", "code", msg.Code, "message", msg.Message)
	return nil
}

func (st *stream) copyData(data []byte, m *event.Msg) (outcome, error) {
	f, err := decodeFrame(data)
	if err != nil {
		return silent, at(err, st.write)
	}
	if f.Kind == frameAlive {
		st.met.keepalives.Inc()
		st.received(f.End)
		*m = event.Msg{Kind: event.Alive, End: f.End}
		if f.Reply {
			return emitted, st.sendStatus()
		}
		return emitted, nil
	}
	st.received(f.Start)
	out, err := st.track.read(f.Body, m)
	if err != nil {
		return silent, at(err, f.Start)
	}
	if out != emitted {
		if c := st.met.skipped[out]; c != nil {
			c.Inc()
		}
		return out, nil
	}
	switch m.Kind {
	case event.Row:
		st.met.rows.Inc()
	case event.Commit:
		st.received(m.End)
		st.met.transactions.Inc()
	}
	return emitted, nil
}

func (st *stream) received(lsn event.LSN) {
	if lsn > st.write {
		st.write = lsn
	}
}

// onTimeout serves the clock. turn says that Next should return a Wake.
func (st *stream) onTimeout(s *Source, skipped bool) (turn bool, err error) {
	now := time.Now()
	if now.Before(st.tickAt) { // a Wake moved the deadline: put it back
		return st.arm(s)
	}
	// The caller was away if the tick passed long ago: that is not silence.
	away := now.Sub(st.tickAt) > st.tick/2
	st.tickAt = now.Add(st.tick)
	turn, err = st.arm(s)
	if err != nil {
		return false, err
	}
	st.met.received.Set(float64(st.write))
	if now.Sub(st.asked) >= st.timeout/3 {
		if err := st.sendStatus(); err != nil {
			return false, err
		}
	}
	heard := st.heard()
	if away {
		return turn || skipped, nil
	}
	if heard {
		st.quiet, st.limit, st.probe = 0, st.timeout, nil
		return turn || skipped, nil
	}
	st.quiet += st.tick
	return true, st.silence(s)
}

// arm sets the deadline, then looks whether it wiped out a Wake.
func (st *stream) arm(s *Source) (woken bool, err error) {
	if err := st.sock.SetReadDeadline(st.tickAt); err != nil {
		return false, st.lost(err)
	}
	return s.woken.Swap(false), nil
}

// heard reports whether anything was read since the last tick, a part of a
// large message too.
func (st *stream) heard() bool {
	n := st.fe.ReadBufferLen()
	heard := st.fresh || n != st.buffered
	st.fresh, st.buffered = false, n
	return heard
}

// silence asks, beside the stream, whether our walsender is alive. While it
// decodes a large transaction it answers nothing for seconds.
func (st *stream) silence(s *Source) error {
	if st.probe == nil {
		if st.quiet >= st.limit {
			st.startProbe(s)
		}
		return nil
	}
	select {
	case err := <-st.probe:
		st.probe = nil
		if err != nil {
			return fmt.Errorf("silent for %s after %s: %w", st.quiet, st.write, err)
		}
		st.limit = max(2*st.limit, st.quiet)
		s.log.Info("the stream is silent, but our walsender is at work: waiting", "silence", st.quiet, "next_check_at", st.limit)
	default:
	}
	return nil
}

func (st *stream) startProbe(s *Source) {
	st.met.probes.Inc()
	answer, pid := make(chan error, 1), s.senderPID.Load()
	st.probe = answer
	st.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(st.ctx, sqlTimeout)
		defer cancel()
		answer <- s.alive(ctx, pid)
	})
}

// close ends the stream. In good order means: the command is complete, so the
// server has digested every status before our CopyDone and released the slot
// (its own CopyDone comes before it does).
func (st *stream) close(ctx context.Context) error {
	st.cancel()
	defer st.tasks.Wait()
	defer func() { _ = st.pc.Close(ctx) }() // closes the socket in any case
	if st.broken != nil {
		return nil
	}
	st.broken = net.ErrClosed
	deadline, _ := ctx.Deadline()
	if err := errors.Join(st.sock.SetReadDeadline(deadline), st.sock.SetWriteDeadline(deadline)); err != nil {
		return st.lost(err)
	}
	defer context.AfterFunc(ctx, func() { _ = st.sock.SetReadDeadline(past) })()
	if _, err := st.sock.Write([]byte{'c', 0, 0, 0, 4}); err != nil {
		return st.lost(err)
	}
	for {
		msg, err := st.fe.Receive()
		if err != nil {
			return st.lost(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.CommandComplete:
			return nil
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(msg)
		}
	}
}
