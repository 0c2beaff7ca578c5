package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Sum stands for an event id or a key. The zero Sum is "none".
type Sum [16]byte

// IDOf is the Sum of an event id: the UUID itself when the text is one in its
// canonical form, else 128 bits of SHA-256 (hashed).
func IDOf(text []byte) (id Sum, hashed bool) {
	if parseUUID(&id, text) {
		return id, false
	}
	return hash(text), true
}

// KeyOf is the Sum of a record's key; nil, no key, is the zero Sum.
func KeyOf(key []byte) Sum {
	if key == nil {
		return Sum{}
	}
	return hash(key)
}

func hash(text []byte) Sum {
	full := sha256.Sum256(text)
	return Sum(full[:16])
}

// parseUUID reads 8-4-4-4-12 lower-case hexadecimal digits and nothing else:
// whatever reads back to another text is another id.
func parseUUID(dst *Sum, text []byte) bool {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return false
	}
	at := 0
	for i := 0; i < 36; i += 2 {
		if text[i] == '-' {
			i++
		}
		hi, lo := nibble(text[i]), nibble(text[i+1])
		if hi > 15 || lo > 15 {
			*dst = Sum{}
			return false
		}
		dst[at] = hi<<4 | lo
		at++
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// Text is the id in its text form; "" for one that is known by its hash only.
func (s Sum) Text(hashed bool) string {
	if hashed {
		return ""
	}
	b := make([]byte, 0, 36)
	for i, part := range [5][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, s[part[0]:part[1]])
	}
	return string(b)
}

// bucket spreads Sums; UUIDs may carry a time in front, so all bits count.
func (s Sum) bucket(n int) int {
	h := binary.LittleEndian.Uint64(s[:8])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(s[8:])
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return int(h % uint64(n))
}

// Place is where a row is in its table: valid as long as the snapshot that
// showed it is open.
type Place struct {
	Part  uint16 // which partition of the table, the feeder's own number
	Tuple uint16
	Block uint32
}

// Row is one record a row of the table stands for: a row whose event has two
// forms is two of them.
type Row struct {
	ID, Key Sum
	Created int64 // microseconds since the Unix epoch; 0: not known
	XID     uint32
	KeyHash uint32 // murmur2 of the key: its partition
	Topic   uint16 // of Audit.Topic
	Hashed  bool   // ID is a hash
	Place
}

// Mark says whether a record says of itself that it was published again.
type Mark uint8

// The marks.
const (
	Live     Mark = iota
	Replayed      // run --from-lsn: a second copy by intent
	Repaired      // repair: the only copy, late
	Redriven      // dlq redrive: the same
)

// Record is one committed record in Kafka.
type Record struct {
	ID, Key   Sum
	Offset    int64
	Time      int64 // milliseconds since the Unix epoch
	Partition int32
	Topic     uint16 // of Audit.Topic
	Mark      Mark
	Hashed    bool // ID is a hash
}

const (
	rowBytes    = 16 + 16 + 8 + 4 + 4 + 2 + 1 + 2 + 2 + 4
	recordBytes = 16 + 16 + 8 + 8 + 4 + 2 + 1 + 1
)

var order = binary.LittleEndian

func (r *Row) append(b []byte) []byte {
	b = append(append(b, r.ID[:]...), r.Key[:]...)
	b = order.AppendUint64(b, uint64(r.Created))
	b = order.AppendUint32(b, r.XID)
	b = order.AppendUint32(b, r.KeyHash)
	b = order.AppendUint16(b, r.Topic)
	b = append(b, flag(r.Hashed))
	b = order.AppendUint16(b, r.Part)
	b = order.AppendUint16(b, r.Tuple)
	return order.AppendUint32(b, r.Block)
}

func (r *Row) read(b []byte) {
	copy(r.ID[:], b)
	copy(r.Key[:], b[16:])
	r.Created = int64(order.Uint64(b[32:]))
	r.XID = order.Uint32(b[40:])
	r.KeyHash = order.Uint32(b[44:])
	r.Topic = order.Uint16(b[48:])
	r.Hashed = b[50] != 0
	r.Part = order.Uint16(b[51:])
	r.Tuple = order.Uint16(b[53:])
	r.Block = order.Uint32(b[55:])
}

func (r *Record) append(b []byte) []byte {
	b = append(append(b, r.ID[:]...), r.Key[:]...)
	b = order.AppendUint64(b, uint64(r.Offset))
	b = order.AppendUint64(b, uint64(r.Time))
	b = order.AppendUint32(b, uint32(r.Partition))
	b = order.AppendUint16(b, r.Topic)
	return append(b, byte(r.Mark), flag(r.Hashed))
}

func (r *Record) read(b []byte) {
	copy(r.ID[:], b)
	copy(r.Key[:], b[16:])
	r.Offset = int64(order.Uint64(b[32:]))
	r.Time = int64(order.Uint64(b[40:]))
	r.Partition = int32(order.Uint32(b[48:]))
	r.Topic = order.Uint16(b[52:])
	r.Mark, r.Hashed = Mark(b[54]), b[55] != 0
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// compare orders Sums; any order will do.
func (s Sum) compare(o Sum) int {
	a, b := order.Uint64(s[:8]), order.Uint64(o[:8])
	if a == b {
		a, b = order.Uint64(s[8:]), order.Uint64(o[8:])
	}
	return cmp.Compare(a, b)
}
