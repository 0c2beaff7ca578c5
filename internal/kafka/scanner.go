package kafka

import (
	"context"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Scanner reads spans again and again with one consumer. It belongs to one
// goroutine. Close it.
type Scanner struct{ s *scanner }

// NewScanner makes a Scanner. Brokers are reached at the first Scan.
func (c *Client) NewScanner() (*Scanner, error) {
	s, err := c.newScanner()
	if err != nil {
		return nil, err
	}
	return &Scanner{s}, nil
}

// Scan is Client.Scan.
func (s *Scanner) Scan(ctx context.Context, spans []Span, each func(*Scanned) error) error {
	if err := s.s.assign(spans); err != nil {
		return err
	}
	return s.s.run(ctx, each)
}

// Close ends the consumer. It takes up to 100 ms, which nothing waits for but the
// client's Close.
func (s *Scanner) Close() { s.s.c.readers.Go(s.s.close) }

// Headers appends the headers of the record to dst.
func (s *Scanned) Headers(dst []event.Header) []event.Header {
	for i := range s.headers {
		dst = append(dst, event.Header(s.headers[i]))
	}
	return dst
}
