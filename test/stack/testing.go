package stack

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// shared holds what the tests of this process share. It is package state
// because Main and the functions that take a test have nothing else in common.
var shared struct {
	mu    sync.Mutex
	stack *Stack
	pgs   map[string]*PG
	kafka *Kafka
	sr    *SR
}

// startBound limits the start of a part, its first download included.
const startBound = 8 * time.Minute

// Main runs the tests, ends everything this process started, and exits. A
// package that never calls it loses nothing but order: the watchdog cleans up.
func Main(m *testing.M) {
	code := m.Run()
	shared.mu.Lock()
	s := shared.stack
	shared.stack = nil
	shared.mu.Unlock()
	if s != nil {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stack: clean-up:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// processStack returns the one stack of this test process; mu is held.
func processStack(t testing.TB) *Stack {
	t.Helper()
	if shared.stack != nil {
		return shared.stack
	}
	s, err := open(os.Stderr)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	shared.stack = s
	shared.pgs = map[string]*PG{}
	return s
}

func startContext(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.Context()), startBound)
}

// Postgres returns a server that the tests of this process share; equal options
// mean the same server. Take a database of your own: [PG.Database].
func Postgres(t testing.TB, opts ...PGOption) *PG {
	t.Helper()
	c, err := newPGConfig(opts)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := processStack(t)
	if p, ok := shared.pgs[c.key()]; ok {
		return p
	}
	ctx, cancel := startContext(t)
	defer cancel()
	p, _, err := s.NewPostgres(ctx, opts...)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	p.own = false // shared: no test may stop it
	shared.pgs[c.key()] = p
	return p
}

// NewPostgres starts a server for this test alone, ended with it.
func NewPostgres(t testing.TB, opts ...PGOption) *PG {
	t.Helper()
	shared.mu.Lock()
	s := processStack(t)
	shared.mu.Unlock()
	ctx, cancel := startContext(t)
	defer cancel()
	p, end, err := s.NewPostgres(ctx, opts...)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of PostgreSQL's log:\n%s", tail(p.info.Log, 40))
		}
		if err := end(); err != nil {
			t.Errorf("stack: end PostgreSQL: %v", err)
		}
	})
	return p
}

// Broker returns the Kafka cluster that the tests of this process share. Take a
// topic of your own: [Kafka.Topic].
func Broker(t testing.TB) *Kafka {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := processStack(t)
	if shared.kafka != nil {
		return shared.kafka
	}
	ctx, cancel := startContext(t)
	defer cancel()
	k, _, err := s.NewBroker(ctx)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	k.own = false // shared: no test may stop it
	shared.kafka = k
	return k
}

// NewBroker starts a Kafka cluster for this test alone, ended with it.
func NewBroker(t testing.TB, opts ...BrokerOption) *Kafka {
	t.Helper()
	shared.mu.Lock()
	s := processStack(t)
	shared.mu.Unlock()
	ctx, cancel := startContext(t)
	defer cancel()
	k, end, err := s.NewBroker(ctx, opts...)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, log := range k.info.Logs {
				t.Logf("the end of the broker's log:\n%s", tail(log, 40))
			}
		}
		if err := end(); err != nil {
			t.Errorf("stack: end the broker: %v", err)
		}
	})
	return k
}

// Registry returns the schema registry that the tests of this process share.
// Take subjects of your own; the global compatibility level is BACKWARD.
func Registry(t testing.TB) *SR {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := processStack(t)
	if shared.sr != nil {
		return shared.sr
	}
	ctx, cancel := startContext(t)
	defer cancel()
	r, _, err := s.NewRegistry(ctx)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	r.own = false // shared: no test may stop it
	shared.sr = r
	return r
}

// NewRegistry starts a schema registry for this test alone, ended with it.
func NewRegistry(t testing.TB) *SR {
	t.Helper()
	shared.mu.Lock()
	s := processStack(t)
	shared.mu.Unlock()
	ctx, cancel := startContext(t)
	defer cancel()
	r, end, err := s.NewRegistry(ctx)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() && r.info.Log != "" {
			t.Logf("the end of the registry's log:\n%s", tail(r.info.Log, 40))
		}
		if err := end(); err != nil {
			t.Errorf("stack: end the registry: %v", err)
		}
	})
	return r
}
