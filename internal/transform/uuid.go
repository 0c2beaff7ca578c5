package transform

import (
	"crypto/sha1" // RFC 9562 fixes SHA-1 for version 5; nothing is kept secret by it
	"encoding/hex"
	"strconv"
)

// namespace is the UUID under which this relay makes event ids: version 5 of
// "https://github.com/cdc-relay/cdc-relay" in the namespace of URLs. It must
// never change: the same row has the same id for ever.
var namespace = [16]byte{0xac, 0x07, 0x73, 0xd0, 0xf8, 0xd7, 0x5d, 0x72, 0x84, 0x75, 0x74, 0xd1, 0xa4, 0xa2, 0xc6, 0xce}

// idName collects what an id is made of. Each part is written as its length,
// a colon and its bytes, so that no two lists of parts look alike.
type idName struct{ buf []byte }

func (n *idName) reset() { n.buf = append(n.buf[:0], namespace[:]...) }

func (n *idName) text(s string) {
	n.buf = strconv.AppendInt(n.buf, int64(len(s)), 10)
	n.buf = append(append(n.buf, ':'), s...)
}

func (n *idName) bytes(s []byte) {
	n.buf = strconv.AppendInt(n.buf, int64(len(s)), 10)
	n.buf = append(append(n.buf, ':'), s...)
}

func (n *idName) number(v uint64) {
	var room [20]byte
	n.bytes(strconv.AppendUint(room[:0], v, 10))
}

// appendUUID appends the version 5 UUID of the name in its text form.
func (n *idName) appendUUID(dst []byte) []byte {
	sum := sha1.Sum(n.buf)
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	for i, part := range [5][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, sum[part[0]:part[1]])
	}
	return dst
}

// deriveID appends the id of a row that has none: UUIDv5 of (system id,
// database, schema, table, names and values of the primary key), or for a
// logical message of (system id, commit LSN, ordinal, xid, commit time). False: the
// table has no primary key (replica identity) to make it of.
func (t *Transformer) deriveID(dst []byte) ([]byte, bool) {
	r, n := &t.row, &t.idName
	n.reset()
	n.text(t.opts.SystemID)
	if r.m.Rel == nil {
		n.number(uint64(r.m.Pos.Commit))
		n.number(r.m.Pos.Ord)
		n.number(uint64(r.m.XID))
		n.number(uint64(r.m.Time))
		return n.appendUUID(dst), true
	}
	n.text(t.opts.Database)
	n.text(r.m.Rel.Schema)
	n.text(r.m.Rel.Table)
	keys := 0
	for i := range r.m.Rel.Columns {
		if c := &r.m.Rel.Columns[i]; c.Key {
			n.text(c.Name)
			if r.cols[i] == nil {
				n.buf = append(n.buf, '-') // NULL is not the empty text
			} else {
				n.bytes(r.cols[i])
			}
			keys++
		}
	}
	if keys == 0 {
		return dst, false
	}
	return n.appendUUID(dst), true
}
