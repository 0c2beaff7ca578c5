package audit

import (
	"fmt"
	"os"
)

// blockBytes is how much of a bucket is written at once, and held in memory.
const blockBytes = 16 << 10

// spill is a temporary file of entries of one size, spread over buckets. Its
// name is taken away as soon as it is open: whatever ends the process, the
// system frees the space.
type spill struct {
	file    *os.File
	size    int // of an entry
	block   int // bytes of a full block: a whole number of entries
	end     int64
	buckets []bucket
}

type bucket struct {
	tail   []byte // not written yet
	blocks []int64
}

func newSpill(dir string, entry, buckets int) (*spill, error) {
	f, err := os.CreateTemp(dir, "cdc-relay-audit-*")
	if err != nil {
		return nil, fmt.Errorf("temporary file (choose its place with --temp): %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close() // err is what matters
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	return &spill{file: f, size: entry, block: blockBytes / entry * entry, buckets: make([]bucket, buckets)}, nil
}

func (s *spill) close() {
	if s != nil {
		_ = s.file.Close() // it has no name any more
	}
}

// room returns the tail of a bucket, with room for one more entry; give it back
// with put.
func (s *spill) room(i int) ([]byte, error) {
	b := &s.buckets[i]
	if b.tail == nil {
		b.tail = make([]byte, 0, s.block)
	}
	if len(b.tail) < s.block {
		return b.tail, nil
	}
	if _, err := s.file.WriteAt(b.tail, s.end); err != nil {
		return nil, fmt.Errorf("write %d bytes behind %d of a temporary file (choose its place with --temp): %w", s.block, s.end, err)
	}
	b.blocks = append(b.blocks, s.end)
	s.end += int64(s.block)
	b.tail = b.tail[:0]
	return b.tail, nil
}

func (s *spill) put(i int, tail []byte) { s.buckets[i].tail = tail }

// entries is how many entries a bucket has.
func (s *spill) entries(i int) int {
	b := &s.buckets[i]
	return (len(b.blocks)*s.block + len(b.tail)) / s.size
}

// read gives each entry of a bucket to f, in the order they were put. buf is
// scratch of at least one block.
func (s *spill) read(i int, buf []byte, f func(entry []byte)) error {
	b := &s.buckets[i]
	for _, at := range b.blocks {
		if _, err := s.file.ReadAt(buf[:s.block], at); err != nil {
			return fmt.Errorf("read a temporary file: %w", err)
		}
		s.each(buf[:s.block], f)
	}
	s.each(b.tail, f)
	return nil
}

func (s *spill) each(block []byte, f func([]byte)) {
	for ; len(block) > 0; block = block[s.size:] {
		f(block[:s.size])
	}
}
