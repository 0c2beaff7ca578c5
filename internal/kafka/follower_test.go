package kafka

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// A follower reads forward, on and on: only what was committed, to ends that are
// markers, over what it was not asked for, and back when it is asked to.
func TestFollower(t *testing.T) {
	t.Parallel()
	broker := stack.Broker(t)
	c := open(t, broker.Bootstrap(), map[string]string{"transaction.timeout.ms": "20000"})
	topic := broker.Topic(t, 1, map[string]string{"cleanup.policy": "compact"})
	txn := client(t, broker.Bootstrap(), kgo.TransactionalID(topic+"-txn"))
	begin := func(records ...*kgo.Record) (end func(commit bool)) {
		t.Helper()
		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, txn, records...)
		return func(commit bool) {
			if err := txn.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
				t.Error(err)
			}
		}
	}
	f, err := c.NewFollower(topic)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(from, until int64) (lines []string) {
		t.Helper()
		err := f.Read(t.Context(), from, until, func(s *Scanned) error {
			h := s.Headers(nil)
			lines = append(lines, fmt.Sprintf("%d %s=%s %s", s.Offset, s.Key, s.Value, h[0].Value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	want := func(got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	begin(record(topic, 0, 1), record(topic, 0, 2))(true) // 0, 1, marker 2
	want(read(0, 3), "0 k1=v e1", "1 k2=v e2")
	begin(record(topic, 0, 3))(false) // 3, marker 4
	want(read(3, 5))
	end := begin(record(topic, 0, 4), record(topic, 0, 5)) // 5, 6
	released := make(chan struct{})
	go func() {
		defer close(released)
		end(true) // marker 7, while it is waited for or before
	}()
	want(read(5, 7), "5 k4=v e4", "6 k5=v e5")
	<-released
	begin(record(topic, 0, 6), record(topic, 0, 7))(true) // 8, 9, marker 10
	want(read(8, 9), "8 k6=v e6")                         // what lies beyond is kept for the next
	want(read(9, 11), "9 k7=v e7")
	want(read(11, 11))
	want(read(6, 9), "6 k5=v e5", "8 k6=v e6") // back
	want(read(10, 11))
}
