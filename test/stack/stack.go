package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Stack owns the parts it started. Close ends them; should the process die
// before, they end too.
type Stack struct {
	guard *guard
	cache *cache
	out   *printer

	mu     sync.Mutex
	closes []func() error    // in order of start
	copies map[string]string // bin folders copied for another user id
}

// open makes a stack without parts. It starts the watchdog shell, nothing else.
func open(out io.Writer) (*Stack, error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	g, err := newGuard()
	if err != nil {
		return nil, err
	}
	p := &printer{w: out}
	return &Stack{guard: g, cache: &cache{dir: dir, out: p}, out: p, copies: map[string]string{}}, nil
}

// Close ends all parts, the last started first, and removes their data.
func (s *Stack) Close() error {
	s.mu.Lock()
	closes := s.closes
	s.closes = nil
	s.mu.Unlock()
	var errs []error
	for i := len(closes) - 1; i >= 0; i-- {
		errs = append(errs, closes[i]())
	}
	return errors.Join(append(errs, s.guard.close())...)
}

// later registers f for Close; the returned function runs it now instead, once.
func (s *Stack) later(f func() error) func() error {
	once := sync.OnceValue(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closes = append(s.closes, once)
	return once
}

// NewPostgres starts a server. end, which may be called at any time, ends it
// before Close does.
func (s *Stack) NewPostgres(ctx context.Context, opts ...PGOption) (_ *PG, end func() error, _ error) {
	c, err := newPGConfig(opts)
	if err != nil {
		return nil, nil, err
	}
	pg, err := s.startPostgres(ctx, c)
	if err != nil {
		return nil, nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return pg, s.later(pg.server.close), nil
}

// NewBroker starts a Kafka cluster; see NewPostgres for end.
func (s *Stack) NewBroker(ctx context.Context, opts ...BrokerOption) (_ *Kafka, end func() error, _ error) {
	c, err := newBrokerConfig(opts)
	c.killable = true
	if err != nil {
		return nil, nil, err
	}
	k, err := s.startBroker(ctx, c)
	if err != nil {
		return nil, nil, fmt.Errorf("start the broker: %w", err)
	}
	return k, s.later(k.server.close), nil
}

func (s *Stack) startBroker(ctx context.Context, c brokerConfig) (*Kafka, error) {
	return s.newApache(ctx, c)
}

// NewRegistry starts a schema registry; see NewPostgres for end.
func (s *Stack) NewRegistry(ctx context.Context) (_ *SR, end func() error, _ error) {
	r, err := s.startRegistry(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("start the registry: %w", err)
	}
	return r, s.later(r.server.close), nil
}

func (s *Stack) startRegistry(ctx context.Context) (*SR, error) {
	return s.newApicurio(ctx)
}
