package replication

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// statusFrame is the size of a standby status update with its CopyData head:
// 'd', length, 'r', write, flush, apply, clock, reply wanted.
const statusFrame = 1 + 4 + 1 + 8 + 8 + 8 + 8 + 1

// appendStatus writes a standby status update. flush must not be zero: the
// server's own client library and pglogrepl mean "as written" by it.
func appendStatus(b []byte, write, flush event.LSN, clock time.Time, reply bool) []byte {
	b = append(b, 'd')
	b = binary.BigEndian.AppendUint32(b, statusFrame-1)
	b = append(b, 'r')
	b = binary.BigEndian.AppendUint64(b, uint64(write))
	b = binary.BigEndian.AppendUint64(b, uint64(flush))
	b = binary.BigEndian.AppendUint64(b, uint64(flush)) // apply
	b = binary.BigEndian.AppendUint64(b, uint64(clock.UnixMicro()-epochMicros))
	if reply {
		return append(b, 1)
	}
	return append(b, 0)
}

// confirm moves flush. Some servers take a lower position than the last and set
// the slot back, so it is refused here.
func (st *stream) confirm(flush event.LSN) error {
	if flush < st.flush || flush == 0 {
		return fmt.Errorf("confirm %s: %s was confirmed before, a slot does not go back", flush, st.flush)
	}
	st.flush = flush
	st.received(flush)
	st.met.confirmed.Set(float64(flush))
	return nil
}

// sendStatus tells the server where we are. At most a third of the sender
// timeout apart it asks for a reply, by which a dead server is noticed.
func (st *stream) sendStatus() error {
	if st.broken != nil {
		return st.broken
	}
	now := time.Now()
	reply := now.Sub(st.asked) >= st.timeout/3
	if reply {
		st.asked = now
	}
	// A peer that is gone without a word takes bytes until the buffers are
	// full. A write cut short leaves half a message: the stream is over then.
	if err := st.sock.SetWriteDeadline(now.Add(st.timeout)); err != nil {
		return st.fail(st.lost(err))
	}
	if _, err := st.sock.Write(appendStatus(st.out[:0], st.write, st.flush, now, reply)); err != nil {
		return st.fail(fmt.Errorf("send a status: %w", st.lost(err)))
	}
	st.met.statuses.Inc()
	return nil
}
