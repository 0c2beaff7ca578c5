package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Variable holds a [State] as JSON: the parts of a stack that another process
// started (the runner of test/stack/run), to be used by this one.
const Variable = "CDC_RELAY_STACK"

// Stack owns the parts it started. Close ends them; should the process die
// before, they end too. Its methods may be called by several goroutines.
type Stack struct {
	guard   *guard
	cache   *cache
	out     *printer
	machine machine

	mu     sync.Mutex
	closes []func() error    // in order of start
	copies map[string]string // bin folders copied for another user id
	given  State             // of another process

	// Shared parts, each with a lock that is held while it starts: different
	// parts start at the same time.
	pgMu, kafkaMu, srMu sync.Mutex
	pgs                 map[string]*PG
	kafka               *Kafka
	sr                  *SR
}

// State says where the parts of a stack are.
type State struct {
	PID      int           `json:"pid"` // of the process that owns the parts
	Postgres *PGInfo       `json:"postgres,omitempty"`
	Kafka    *KafkaInfo    `json:"kafka,omitempty"`
	Registry *RegistryInfo `json:"registry,omitempty"`
}

// Options say which parts Start starts; the zero value means all three.
type Options struct {
	NoPostgres, NoBroker, NoRegistry bool
	Postgres                         []PGOption // wishes about the server
	Broker                           []BrokerOption
}

// Start starts a server, a broker and a registry, at the same time. It writes
// to out one line for each part, saying what was chosen and why, and the
// progress of downloads. The caller calls Close.
//
// The parts of Start are shared ones: they refuse to be stopped. Use
// [Stack.NewPostgres] and the like for parts that do not.
func Start(ctx context.Context, o Options, out io.Writer) (*Stack, error) {
	s, err := open(out)
	if err != nil {
		return nil, err
	}
	var jobs []func() error
	if !o.NoPostgres {
		jobs = append(jobs, func() error { _, err := s.sharedPostgres(ctx, o.Postgres...); return err })
	}
	if !o.NoBroker {
		jobs = append(jobs, func() error { _, err := s.sharedBroker(ctx, o.Broker...); return err })
	}
	if !o.NoRegistry {
		jobs = append(jobs, func() error { _, err := s.sharedRegistry(ctx); return err })
	}
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, job := range jobs {
		wg.Go(func() { errs[i] = job() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open makes a stack without parts. It starts the watchdog shell, nothing else.
func open(out io.Writer) (*Stack, error) {
	var given State
	if text := os.Getenv(Variable); text != "" {
		if err := json.Unmarshal([]byte(text), &given); err != nil {
			return nil, fmt.Errorf("%s is no state of a stack: %w", Variable, err)
		}
	}
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	g, err := newGuard()
	if err != nil {
		return nil, err
	}
	p := &printer{w: out}
	return &Stack{
		guard: g, cache: &cache{dir: dir, out: p}, out: p, machine: machine{said: map[string]bool{}},
		copies: map[string]string{}, pgs: map[string]*PG{}, given: given,
	}, nil
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

// State says where the parts of Start are.
func (s *Stack) State() State {
	st := State{PID: os.Getpid()}
	if p := s.Postgres(); p != nil {
		st.Postgres = &p.info
	}
	if k := s.Kafka(); k != nil {
		st.Kafka = &k.info
	}
	if r := s.Registry(); r != nil {
		st.Registry = &r.info
	}
	return st
}

// Env is the assignment that gives a child process the parts of Start, for
// [exec.Cmd].Env.
func (s *Stack) Env() (string, error) {
	text, err := json.Marshal(s.State())
	if err != nil {
		return "", err
	}
	return Variable + "=" + string(text), nil
}

// Postgres returns the server of Start, nil without one.
func (s *Stack) Postgres() *PG {
	s.pgMu.Lock()
	defer s.pgMu.Unlock()
	for _, p := range s.pgs { // Start starts one
		return p
	}
	return nil
}

// Kafka returns the broker of Start, nil without one.
func (s *Stack) Kafka() *Kafka {
	s.kafkaMu.Lock()
	defer s.kafkaMu.Unlock()
	return s.kafka
}

// Registry returns the registry of Start, nil without one.
func (s *Stack) Registry() *SR {
	s.srMu.Lock()
	defer s.srMu.Unlock()
	return s.sr
}

// sharedPostgres returns the one server with these options.
func (s *Stack) sharedPostgres(ctx context.Context, opts ...PGOption) (*PG, error) {
	c, err := newPGConfig(opts)
	if err != nil {
		return nil, err
	}
	s.pgMu.Lock()
	defer s.pgMu.Unlock()
	if p, ok := s.pgs[c.key()]; ok {
		return p, nil
	}
	p, _, err := s.postgres(ctx, c, false)
	if err != nil {
		return nil, err
	}
	p.own = false
	s.pgs[c.key()] = p
	return p, nil
}

// NewPostgres starts a server. end, which may be called at any time, ends it
// before Close does.
func (s *Stack) NewPostgres(ctx context.Context, opts ...PGOption) (_ *PG, end func() error, _ error) {
	c, err := newPGConfig(opts)
	if err != nil {
		return nil, nil, err
	}
	return s.postgres(ctx, c, true)
}

func (s *Stack) postgres(ctx context.Context, c pgConfig, own bool) (*PG, func() error, error) {
	if g := s.given.Postgres; !own && g != nil && !c.tls && len(c.settings) == 0 && (c.version == 0 || c.version == g.Version) {
		return &PG{info: *g, server: foreignPostgres{}, running: true}, func() error { return nil }, nil
	}
	ways, err := s.postgresWays(ctx, c, own)
	if err != nil {
		return nil, nil, err
	}
	p, err := firstOf(ctx, s, "PostgreSQL", ways)
	if err != nil {
		return nil, nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return p, s.later(p.server.close), nil
}

// sharedBroker returns the one shared broker; options count for the first call.
func (s *Stack) sharedBroker(ctx context.Context, opts ...BrokerOption) (*Kafka, error) {
	s.kafkaMu.Lock()
	defer s.kafkaMu.Unlock()
	if s.kafka != nil {
		return s.kafka, nil
	}
	c, err := newBrokerConfig(opts)
	if err != nil {
		return nil, err
	}
	k, _, err := s.broker(ctx, c, false)
	if err != nil {
		return nil, err
	}
	k.own = false
	s.kafka = k
	return k, nil
}

// NewBroker starts a Kafka cluster that may be killed; see NewPostgres for end.
func (s *Stack) NewBroker(ctx context.Context, opts ...BrokerOption) (_ *Kafka, end func() error, _ error) {
	c, err := newBrokerConfig(opts)
	if err != nil {
		return nil, nil, err
	}
	c.killable = true
	return s.broker(ctx, c, true)
}

func (s *Stack) broker(ctx context.Context, c brokerConfig, own bool) (*Kafka, func() error, error) {
	if g := s.given.Kafka; !own && g != nil {
		return &Kafka{info: *g, server: foreign{}}, func() error { return nil }, nil
	}
	ways, err := s.brokerWays(c, own)
	if err != nil {
		return nil, nil, err
	}
	k, err := firstOf(ctx, s, "broker", ways)
	if err != nil {
		return nil, nil, fmt.Errorf("start the broker: %w", err)
	}
	return k, s.later(k.server.close), nil
}

// sharedRegistry returns the one shared registry.
func (s *Stack) sharedRegistry(ctx context.Context) (*SR, error) {
	s.srMu.Lock()
	defer s.srMu.Unlock()
	if s.sr != nil {
		return s.sr, nil
	}
	r, _, err := s.registry(ctx, false)
	if err != nil {
		return nil, err
	}
	r.own = false
	s.sr = r
	return r, nil
}

// NewRegistry starts a schema registry; see NewPostgres for end.
func (s *Stack) NewRegistry(ctx context.Context) (_ *SR, end func() error, _ error) {
	return s.registry(ctx, true)
}

func (s *Stack) registry(ctx context.Context, own bool) (*SR, func() error, error) {
	if g := s.given.Registry; !own && g != nil {
		return &SR{info: *g, server: foreignRegistry{}}, func() error { return nil }, nil
	}
	ways, err := s.registryWays(own)
	if err != nil {
		return nil, nil, err
	}
	r, err := firstOf(ctx, s, "registry", ways)
	if err != nil {
		return nil, nil, fmt.Errorf("start the registry: %w", err)
	}
	return r, s.later(r.server.close), nil
}
