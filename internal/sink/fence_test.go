package sink

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// lines keeps what is logged.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), text)
}

// A fence that asks for its coordinator before it is connected waits half a
// second for nothing; without connect that is every fifth one.
func TestFenceFindsABrokerAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, stack.Broker(t))
	log := &lines{}
	s := b.sink("p", func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}, "debug", "eos")
	const times = 15
	for range times {
		if err := s.Fence(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.Close() // and its log is whole
	if n := log.count("Querying for transaction coordinator: Acquire PID"); n < 2*times {
		t.Errorf("%d of %d producers are in the log: this test sees nothing", n, 2*times)
	}
	if n := log.count("Unable to query for transaction coordinator"); n != 0 {
		t.Errorf("%d of %d producers asked before they were connected", n, 2*times)
	}
}
