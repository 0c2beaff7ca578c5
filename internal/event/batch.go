package event

import "sync/atomic"

// Header is one Kafka record header. Value nil is a null header value.
type Header struct {
	Key   string
	Value []byte
}

// Headers that mark a record as published again, with the id of what did it.
// Such a record has the time of its production as its timestamp.
const (
	ReplayHeader = "cdc_replay_id" // run --from-lsn
	RepairHeader = "cdc_repair_id" // repair
	// RedriveHeader is on dead letters that were published after all.
	RedriveHeader = "cdc_redrive_id"
)

// ClaimHeader marks a record of which a part is in object storage: "payload"
// when its value is an ArtifactRef, or "fields:" and the paths, with commas
// between, that hold one.
const ClaimHeader = "claim_check"

// StandardHeaders are the headers a record has by default, in their order.
var StandardHeaders = []string{"event_id", "event_type", "schema_version", "occurred_at", "content_type", "trace_id", "correlation_id", "traceparent"}

// Record is one record bound for Kafka. Its slices lie in the Batch that holds
// it and live as long as that Batch is not Reset.
type Record struct {
	Topic   *string // interned by the transformer, never written through
	Key     []byte  // nil: no key
	Value   []byte
	Headers []Header
	Time    int64 // record timestamp, microseconds since the Unix epoch; 0: the time of producing
}

// Batch is what one Kafka transaction carries: records and the checkpoint they
// lead to. It owns its bytes; passing the pointer passes the ownership. It is
// not safe for concurrent use.
//
// Bytes are written in place, without an allocation in steady state:
//
//	buf := b.Buf(len(payload) + 64)
//	buf = append(buf, …)
//	value := b.Keep(buf)
type Batch struct {
	Records []Record
	Blobs   []Blob // objects to be stored first; some may be of records that were taken back
	End     Checkpoint
	Bytes   int // of keys, values, headers and blobs kept

	pool    *Pool
	chunks  [][]byte
	used    int // of the last chunk
	headers []Header
}

// NewBatch returns an empty Batch that takes its memory from pool.
func NewBatch(pool *Pool) *Batch { return &Batch{pool: pool} }

// Buf returns an empty slice with room for at least hint bytes. Only one may be
// in use at a time; append to it, then Keep it (or forget it).
func (b *Batch) Buf(hint int) []byte {
	if n := len(b.chunks); n > 0 {
		if c := b.chunks[n-1]; len(c)-b.used >= hint {
			return c[b.used:b.used:len(c)]
		}
	}
	b.chunks = append(b.chunks, b.pool.get(hint))
	b.used = 0
	c := b.chunks[len(b.chunks)-1]
	return c[:0:len(c)]
}

// Keep makes what was appended to the slice of Buf part of the Batch and
// returns it, cut to its length. A slice that append moved elsewhere is copied
// back into the Batch.
func (b *Batch) Keep(buf []byte) []byte {
	n := len(buf)
	c := b.chunks[len(b.chunks)-1]
	if n > len(c)-b.used {
		moved := buf
		buf = append(b.Buf(n), moved...)
	}
	b.used += n
	b.Bytes += n
	return buf[:n:n]
}

// HeaderBuf returns an empty slice of headers with room for at least hint, to
// append to and then KeepHeaders.
func (b *Batch) HeaderBuf(hint int) []Header {
	if cap(b.headers)-len(b.headers) < hint {
		b.headers = make([]Header, 0, max(2*cap(b.headers), 1024, hint))
	}
	return b.headers[len(b.headers):len(b.headers):cap(b.headers)]
}

// KeepHeaders makes hs part of the Batch. The bytes of keys and values are
// counted where they were kept.
func (b *Batch) KeepHeaders(hs []Header) []Header {
	n := len(hs)
	if n > cap(b.headers)-len(b.headers) {
		return hs // append moved it; the garbage collector owns it
	}
	b.headers = b.headers[:len(b.headers)+n]
	return hs[:n:n]
}

// Short reports that the process's pool is at its limit: the batch should be
// closed at the next transaction boundary.
func (b *Batch) Short() bool { return b.pool.short() }

// Reset empties the Batch and gives its memory back to the pool.
func (b *Batch) Reset() {
	for i, c := range b.chunks {
		b.pool.put(c)
		b.chunks[i] = nil
	}
	clear(b.Records)
	clear(b.headers)
	clear(b.Blobs)
	*b = Batch{pool: b.pool, Records: b.Records[:0], Blobs: b.Blobs[:0], chunks: b.chunks[:0], headers: b.headers[:0]}
}

// ChunkBytes is the size of the pieces in which batches take memory.
const ChunkBytes = 256 << 10

// Pool recycles the memory of all batches of the process and says when its
// limit is reached. It never makes anyone wait and never refuses: a transaction
// that fits the batch limit is finished even over the pool's.
type Pool struct {
	limit int64
	inUse atomic.Int64
	free  chan []byte
}

// NewPool returns a Pool that is short from limit bytes in use.
func NewPool(limit int) *Pool {
	return &Pool{limit: int64(limit), free: make(chan []byte, max(limit/ChunkBytes/4, 8))}
}

// InUse is the number of bytes batches hold now.
func (p *Pool) InUse() int64 { return p.inUse.Load() }

func (p *Pool) short() bool { return p.inUse.Load() >= p.limit }

func (p *Pool) get(hint int) []byte {
	if hint > ChunkBytes {
		p.inUse.Add(int64(hint))
		return make([]byte, hint)
	}
	p.inUse.Add(ChunkBytes)
	select {
	case c := <-p.free:
		return c
	default:
		return make([]byte, ChunkBytes)
	}
}

func (p *Pool) put(c []byte) {
	p.inUse.Add(-int64(len(c)))
	if len(c) != ChunkBytes {
		return
	}
	select {
	case p.free <- c:
	default: // enough kept; the garbage collector takes it
	}
}
