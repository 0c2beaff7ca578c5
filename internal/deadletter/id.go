package deadletter

import (
	"encoding/hex"
	"hash/fnv"
	"strconv"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Origin is where in the stream an event came from.
type Origin struct {
	Pos    event.Position
	XID    uint32
	Time   int64  // of the commit, microseconds since the Unix epoch
	Replay string // id of the replay that met it; "" the live stream
}

// AppendID appends the ID of the letter of an event: commit LSN, ordinal, and
// eight hexadecimal digits of a hash of transaction id and commit time, as in
// "0/16B3748/3-9f2c11aa". The same event has the same ID however often it is
// read; the hash tells it from another event that is at the same place of
// another timeline or another server. That of a replay ends in "@" and its id: it
// is another copy of the event.
func AppendID(dst []byte, o Origin) []byte {
	dst = append(dst, o.Pos.Commit.String()...)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, o.Pos.Ord, 10)
	dst = append(dst, '-')
	h := fnv.New32a()
	var room [40]byte
	name := append(strconv.AppendUint(room[:0], uint64(o.XID), 10), '/')
	_, _ = h.Write(strconv.AppendInt(name, o.Time, 10)) // a hash takes everything
	dst = hex.AppendEncode(dst, h.Sum(nil))
	if o.Replay != "" {
		dst = append(append(dst, '@'), o.Replay...)
	}
	return dst
}
