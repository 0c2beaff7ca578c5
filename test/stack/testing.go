package stack

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// shared is the one stack of a test process. It is package state because Main
// and the functions that take a test have nothing else in common.
var shared struct {
	mu    sync.Mutex
	stack *Stack
}

// startBound limits the start of a part, its first download included.
const startBound = 8 * time.Minute

// Main runs the tests, ends everything this process started, and exits. A
// package that does not call it loses nothing but order: the watchdog cleans up.
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

// get runs f with the process's stack and a bounded context, and fails the test
// with its error.
func get[T any](t testing.TB, f func(context.Context, *Stack) (T, error)) T {
	t.Helper()
	s, err := processStack()
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startBound)
	defer cancel()
	got, err := f(ctx, s)
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	return got
}

func processStack() (*Stack, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.stack != nil {
		return shared.stack, nil
	}
	s, err := open(os.Stderr)
	shared.stack = s
	return s, err
}

// endWith ends an own part with the test, and shows its logs if the test failed.
func endWith(t testing.TB, part string, end func() error, logs ...string) {
	t.Cleanup(func() {
		for _, log := range logs {
			if t.Failed() && log != "" {
				t.Logf("the end of %s's log:\n%s", part, tail(log, 40))
			}
		}
		if err := end(); err != nil {
			t.Errorf("stack: end %s: %v", part, err)
		}
	})
}

// Postgres returns a server that other tests use too; equal options mean the
// same server. Take a database of your own: [PG.Database].
func Postgres(t testing.TB, opts ...PGOption) *PG {
	t.Helper()
	return get(t, func(ctx context.Context, s *Stack) (*PG, error) { return s.sharedPostgres(ctx, opts...) })
}

// NewPostgres starts a server for this test alone, ended with it.
func NewPostgres(t testing.TB, opts ...PGOption) *PG {
	t.Helper()
	return get(t, func(ctx context.Context, s *Stack) (*PG, error) {
		p, end, err := s.NewPostgres(ctx, opts...)
		if err == nil {
			endWith(t, "PostgreSQL", end, p.info.Log)
		}
		return p, err
	})
}

// Broker returns the Kafka cluster that other tests use too. Take a topic of
// your own: [Kafka.Topic].
func Broker(t testing.TB) *Kafka {
	t.Helper()
	return get(t, func(ctx context.Context, s *Stack) (*Kafka, error) { return s.sharedBroker(ctx) })
}

// NewBroker starts a Kafka cluster for this test alone, ended with it. It may
// be killed.
func NewBroker(t testing.TB, opts ...BrokerOption) *Kafka {
	t.Helper()
	return get(t, func(ctx context.Context, s *Stack) (*Kafka, error) {
		k, end, err := s.NewBroker(ctx, opts...)
		if err == nil {
			endWith(t, "the broker", end, k.info.Logs...)
		}
		return k, err
	})
}

// Registry returns the schema registry that other tests use too. Take subjects
// of your own; the global compatibility level is BACKWARD.
func Registry(t testing.TB) *SR {
	t.Helper()
	return get(t, func(ctx context.Context, s *Stack) (*SR, error) { return s.sharedRegistry(ctx) })
}

// NewRegistry starts a schema registry for this test alone, ended with it.
func NewRegistry(t testing.TB) *SR {
	t.Helper()
	return get(t, func(ctx context.Context, s *Stack) (*SR, error) {
		r, end, err := s.NewRegistry(ctx)
		if err == nil {
			endWith(t, "the registry", end, r.info.Log)
		}
		return r, err
	})
}

// Python returns a Python interpreter that has the packages of consumers which
// are not ours: confluent-kafka with Avro, and aiokafka.
func Python(t testing.TB) string {
	t.Helper()
	return get(t, func(ctx context.Context, s *Stack) (string, error) { return s.Python(ctx) })
}
