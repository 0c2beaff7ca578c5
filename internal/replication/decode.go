package replication

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// epochMicros is the Postgres epoch (2000-01-01) in microseconds since the Unix epoch.
const epochMicros = 946_684_800_000_000

// Malformed says which byte of which message could not be understood. The
// stream is of no use after it.
type Malformed struct {
	Message byte      // type byte of the message, 0 when the frame itself is broken
	Offset  int       // of the byte, in the message
	LSN     event.LSN // where the server said the message is from; 0 unknown
	Row     string    // position and table, if it is a row
	What    string
}

func (e *Malformed) Error() string {
	kind := "frame"
	if e.Message != 0 {
		kind = fmt.Sprintf("message %q", e.Message)
	}
	if e.Row != "" {
		kind += " (" + e.Row + ")"
	}
	return fmt.Sprintf("malformed replication %s at LSN %s, byte %d: %s", kind, e.LSN, e.Offset, e.What)
}

// frame is the head of one CopyData of the server: 'w' carries a pgoutput
// message in Body, 'k' is a keepalive.
type frame struct {
	Kind  byte
	Start event.LSN // 'w': where Body is from
	End   event.LSN // the server's WAL end
	Reply bool      // 'k': the server wants a status at once
	Body  []byte    // 'w'; aliases the input
}

const (
	frameData  = 'w'
	frameAlive = 'k'
	dataHead   = 1 + 8 + 8 + 8 // kind, start, end, the server's clock
)

func decodeFrame(b []byte) (frame, error) {
	if len(b) >= dataHead && b[0] == frameData { // nearly always, and worth a short cut
		return frame{
			Kind: frameData, Start: event.LSN(binary.BigEndian.Uint64(b[1:])), End: event.LSN(binary.BigEndian.Uint64(b[9:])),
			Body: b[dataHead:],
		}, nil
	}
	c := cursor{b: b}
	f := frame{Kind: c.u8()}
	switch f.Kind {
	case frameData:
		c.take(dataHead - 1) // is too short, or it would not be here
	case frameAlive:
		f.End = c.lsn()
		c.u64() // the server's clock
		f.Reply = c.u8() != 0
	default:
		c.failAt(0, fmt.Sprintf("unknown kind %q", f.Kind))
	}
	return f, c.done()
}

// begin is pgoutput 'B'.
type begin struct {
	Commit event.LSN // LSN of the commit record
	Time   int64     // commit time, microseconds since the Unix epoch
	XID    uint32
}

func decodeBegin(b []byte) (begin, error) {
	c := message(b)
	v := begin{Commit: c.lsn(), Time: c.time(), XID: c.u32()}
	return v, c.done()
}

// commit is pgoutput 'C'.
type commit struct {
	Commit event.LSN // LSN of the commit record
	End    event.LSN // LSN after it
	Time   int64
}

func decodeCommit(b []byte) (commit, error) {
	c := message(b)
	c.u8() // flags, none defined
	v := commit{Commit: c.lsn(), End: c.lsn(), Time: c.time()}
	return v, c.done()
}

// logical is pgoutput 'M'. Its slices alias the input.
type logical struct {
	Transactional   bool
	Prefix, Content []byte
}

func decodeLogical(b []byte) (logical, error) {
	c := message(b)
	flags := c.u8()
	c.lsn()
	v := logical{Transactional: flags&1 != 0, Prefix: c.cstring()}
	v.Content = c.bytes(c.u32())
	return v, c.done()
}

// decodeRelation reads pgoutput 'R'. It allocates: relations are announced once
// per session and shape.
func decodeRelation(b []byte) (*event.Relation, error) {
	c := message(b)
	rel := &event.Relation{OID: c.u32(), Schema: string(c.cstring()), Table: string(c.cstring())}
	if rel.Schema == "" {
		rel.Schema = "pg_catalog" // how the server abbreviates it
	}
	c.u8() // replica identity
	n := int(c.u16())
	for i := 0; i < n && c.what == ""; i++ {
		flags := c.u8()
		col := event.Column{Name: string(c.cstring()), Type: c.u32(), Key: flags&1 != 0}
		c.u32() // type modifier
		rel.Columns = append(rel.Columns, col)
	}
	return rel, c.done()
}

// decodeInsertHead reads the relation of pgoutput 'I'.
func decodeInsertHead(b []byte) (oid uint32, err error) {
	if len(b) < 5 {
		return 0, &Malformed{Message: 'I', Offset: len(b), What: "cut short before the relation id"}
	}
	return binary.BigEndian.Uint32(b[1:]), nil
}

// insertTuple is where the tuple of pgoutput 'I' begins: type, relation, 'N'.
const insertTuple = 6

// decodeInsertTuple appends the column values of pgoutput 'I' to cols: text as
// sent, nil for NULL. The values alias b.
func decodeInsertTuple(b []byte, cols [][]byte) ([][]byte, error) {
	if len(b) < insertTuple+2 || b[insertTuple-1] != 'N' {
		return cols, &Malformed{Message: 'I', Offset: insertTuple - 1, What: "want a new tuple ('N')"}
	}
	n := int(binary.BigEndian.Uint16(b[insertTuple:]))
	off := insertTuple + 2
	for range n {
		if off >= len(b) {
			return cols, &Malformed{Message: 'I', Offset: off, What: "cut short before a column"}
		}
		switch b[off] {
		case 't':
			if len(b)-off < 5 {
				return cols, &Malformed{Message: 'I', Offset: off, What: "cut short in a column's length"}
			}
			size := uint64(binary.BigEndian.Uint32(b[off+1:]))
			off += 5
			if size > uint64(len(b)-off) {
				return cols, &Malformed{Message: 'I', Offset: off, What: fmt.Sprintf("column of %d bytes, %d are left", size, len(b)-off)}
			}
			end := off + int(size)
			cols = append(cols, b[off:end:end])
			off = end
		case 'n':
			cols = append(cols, nil)
			off++
		default:
			return cols, &Malformed{Message: 'I', Offset: off, What: columnKind(b[off])}
		}
	}
	if off != len(b) {
		return cols, &Malformed{Message: 'I', Offset: off, What: fmt.Sprintf("%d bytes too many", len(b)-off)}
	}
	return cols, nil
}

func columnKind(k byte) string {
	switch k {
	case 'u':
		return "an insert with an unchanged out-of-line value, which the server has no way to mean"
	case 'b':
		return "a column in the binary format, which was not asked for"
	}
	return fmt.Sprintf("unknown kind of column %q", k)
}

// cursor reads big-endian values. The first read past the end is remembered,
// and everything after it reads as zero.
type cursor struct {
	b    []byte
	off  int
	kind byte
	bad  int
	what string
}

// message is a cursor behind the type byte of a pgoutput message, which the
// caller has looked at.
func message(b []byte) cursor { return cursor{b: b, off: 1, kind: b[0]} }

func (c *cursor) failAt(off int, what string) {
	if c.what == "" {
		c.bad, c.what = off, what
	}
}

// take returns the next n bytes, nil if there are fewer.
func (c *cursor) take(n int) []byte {
	if c.what != "" || len(c.b)-c.off < n {
		c.failAt(c.off, fmt.Sprintf("want %d bytes, %d are left", n, len(c.b)-c.off))
		return nil
	}
	c.off += n
	return c.b[c.off-n : c.off : c.off]
}

func (c *cursor) u8() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if v := c.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if v := c.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if v := c.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (c *cursor) lsn() event.LSN { return event.LSN(c.u64()) }
func (c *cursor) time() int64    { return int64(c.u64()) + epochMicros }

func (c *cursor) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(c.b)-c.off) {
		c.failAt(c.off, fmt.Sprintf("want %d bytes, %d are left", n, len(c.b)-c.off))
		return nil
	}
	return c.take(int(n))
}

func (c *cursor) cstring() []byte {
	if c.what != "" {
		return nil
	}
	n := bytes.IndexByte(c.b[c.off:], 0)
	if n < 0 {
		c.failAt(c.off, "string without an end")
		return nil
	}
	v := c.take(n + 1)
	return v[:n:n]
}

// done returns the first failure; bytes left over are one.
func (c *cursor) done() error {
	if c.what == "" && c.off != len(c.b) {
		c.failAt(c.off, fmt.Sprintf("%d bytes too many", len(c.b)-c.off))
	}
	if c.what == "" {
		return nil
	}
	return &Malformed{Message: c.kind, Offset: c.bad, What: c.what}
}
