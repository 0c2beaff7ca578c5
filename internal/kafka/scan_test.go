package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// scanned reads what Spans finds and prints each record as partition, offset,
// key, time and header.
func scanned(t *testing.T, c *Client, since time.Time, topics ...string) (spans []Span, lines []string) {
	t.Helper()
	known, err := c.Topics(t.Context(), topics...)
	if err != nil {
		t.Fatal(err)
	}
	if spans, err = c.Spans(t.Context(), since, known); err != nil {
		t.Fatal(err)
	}
	if err := c.Scan(t.Context(), spans, keepLine(spans, &lines)); err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return spans, lines
}

func keepLine(spans []Span, lines *[]string) func(*Scanned) error {
	return func(s *Scanned) error {
		h, _ := s.Header("event_id")
		*lines = append(*lines, fmt.Sprintf("%d@%d %s %d %s", spans[s.Span].Partition, s.Offset, s.Key, s.Time, h))
		return nil
	}
}

// record has a time of 1970: its topic needs retention.ms -1, or a broker that looks
// just then deletes it.
func record(topic string, partition int32, n int) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: fmt.Append(nil, "k", n), Value: []byte("v"), Timestamp: time.UnixMilli(int64(n) * 1000),
		Headers: []kgo.RecordHeader{{Key: "event_id", Value: fmt.Append(nil, "e", n)}}}
}

// Only what was committed is seen, from the time on, to the end the topic had;
// an open transaction at that end is waited for, whatever comes behind.
func TestScan(t *testing.T) {
	t.Parallel()
	broker := stack.Broker(t)
	c := open(t, broker.Bootstrap(), nil)
	topic := broker.Topic(t, 3, map[string]string{"retention.ms": "-1"})
	plain := client(t, broker.Bootstrap())
	produce(t, plain, record(topic, 0, 1), record(topic, 0, 2), record(topic, 1, 3))

	txn := client(t, broker.Bootstrap(), kgo.TransactionalID(topic+"-txn"))
	transact := func(commit bool, records ...*kgo.Record) {
		t.Helper()
		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, txn, records...)
		if err := txn.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
	transact(false, record(topic, 0, 4), record(topic, 1, 5)) // aborted, and the last of partition 1
	transact(true, record(topic, 0, 6))
	spans, lines := scanned(t, c, time.Time{}, topic, topic+"-nobody")
	if want := []string{"0@0 k1 1000 e1", "0@1 k2 2000 e2", "0@4 k6 6000 e6", "1@0 k3 3000 e3"}; !slices.Equal(lines, want) || len(spans) != 3 {
		t.Errorf("%q, want %q (%+v)", lines, want, spans)
	}
	if _, lines = scanned(t, c, time.UnixMilli(2000), topic); !slices.Equal(lines, []string{"0@1 k2 2000 e2", "0@4 k6 6000 e6", "1@0 k3 3000 e3"}) {
		t.Errorf("from second 2: %q", lines)
	}
	if spans, lines = scanned(t, c, time.Now(), topic); lines != nil || spans[0].From != spans[0].Until {
		t.Errorf("from now: %q, %+v", lines, spans)
	}

	// A transaction that is open when the end is asked for.
	if err := txn.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, txn, record(topic, 2, 7))
	known, err := c.Topics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if spans, err = c.Spans(t.Context(), time.Time{}, known); err != nil {
		t.Fatal(err)
	}
	late := make(chan error, 1)
	lines = nil
	err = c.Scan(t.Context(), spans, func(s *Scanned) error {
		if spans[s.Span].Partition == 0 && s.Offset == 0 { // the scan is under way
			go func() { late <- txn.EndTransaction(context.WithoutCancel(t.Context()), kgo.TryCommit) }()
		}
		return keepLine(spans, &lines)(s)
	})
	if err = errors.Join(err, <-late); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(lines, "2@0 k7 7000 e7") || len(lines) != 5 {
		t.Errorf("after the commit: %q", lines)
	}
}

// A transaction that never ends is named, and the caller's errors and the end of
// its context end a scan.
func TestScanEnds(t *testing.T) {
	t.Parallel()
	broker := stack.Broker(t)
	c := open(t, broker.Bootstrap(), map[string]string{"transaction.timeout.ms": "1000"})
	topic := broker.Topic(t, 1, map[string]string{"retention.ms": "-1"})
	produce(t, client(t, broker.Bootstrap()), record(topic, 0, 1))
	txn := client(t, broker.Bootstrap(), kgo.TransactionalID(topic+"-txn"), kgo.TransactionTimeout(5*time.Minute))
	if err := txn.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, txn, record(topic, 0, 2))
	spans := []Span{{Topic: topic, From: 0, Until: 2}}
	err := c.Scan(t.Context(), spans, func(*Scanned) error { return errors.New("enough") })
	if err == nil || err.Error() != "enough" {
		t.Errorf("the caller's error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err = c.Scan(ctx, spans, func(*Scanned) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	err = c.Scan(t.Context(), spans, func(*Scanned) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "partition 0 is readable up to offset 1 of 2") || !strings.Contains(err.Error(), "find-hanging") {
		t.Errorf("an open transaction: %v", err)
	}
	if err := txn.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

// Single records, several of one partition among them, and one that is an
// aborted one's place.
func TestReadAt(t *testing.T) {
	t.Parallel()
	broker := stack.Broker(t)
	c := open(t, broker.Bootstrap(), nil)
	topic := broker.Topic(t, 2, map[string]string{"retention.ms": "-1"})
	plain := client(t, broker.Bootstrap())
	for n := range 10 {
		produce(t, plain, record(topic, 0, n), record(topic, 1, 100+n))
	}
	txn := client(t, broker.Bootstrap(), kgo.TransactionalID(topic+"-txn"))
	if err := txn.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, txn, record(topic, 0, 55))
	if err := txn.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	at := func(p int32, off int64) Span { return Span{Topic: topic, Partition: p, From: off} }
	var lines []string
	err := c.ReadAt(t.Context(), []Span{at(0, 7), at(1, 2), at(1, 3), at(0, 10), at(0, 0)}, func(s *Scanned) error {
		lines = append(lines, fmt.Sprintf("%d %s", s.Span, s.Key))
		return nil
	})
	slices.Sort(lines)
	if want := []string{"0 k7", "1 k102", "2 k103", "4 k0"}; err != nil || !slices.Equal(lines, want) {
		t.Errorf("%q, %v; want %q", lines, err, want)
	}
}
