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
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// followed reads to the end and prints each record as partition, offset, key and
// first header.
func followed(t *testing.T, c *Client, what Following) []string {
	t.Helper()
	var lines []string
	err := c.Follow(t.Context(), what, func(r *Read) (bool, error) {
		lines = append(lines, readLine(r))
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func readLine(r *Read) string {
	return fmt.Sprintf("%d@%d %s %s %s", r.Partition, r.Offset, r.Key, r.Value, r.Headers[0].Value)
}

// Without On, what committed readers see now is read from where it is asked for:
// nothing of aborted transactions, and an open one is not waited for.
func TestFollowToTheEnd(t *testing.T) {
	t.Parallel()
	broker := stack.Broker(t)
	c := open(t, broker.Bootstrap(), nil)
	topic := broker.Topic(t, 3, map[string]string{"retention.ms": "-1"})
	produce(t, client(t, broker.Bootstrap()), record(topic, 0, 1), record(topic, 0, 2), record(topic, 1, 3))
	txn := client(t, broker.Bootstrap(), kgo.TransactionalID(topic+"-txn"), kgo.TransactionTimeout(time.Minute))
	for _, commit := range []bool{false, true} {
		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, txn, record(topic, 0, 4))
		if err := txn.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.BeginTransaction(); err != nil { // left open
		t.Fatal(err)
	}
	produce(t, txn, record(topic, 0, 5), record(topic, 2, 5))

	back, two, far := int64(-2), int64(2), int64(1000)
	all := []string{"0@0 k1 v e1", "0@1 k2 v e2", "0@4 k4 v e4", "1@0 k3 v e3"}
	for name, tc := range map[string]struct {
		from      From
		partition int32
		want      []string
	}{
		"earliest":      {From{Earliest: true}, -1, all},
		"latest":        {From{}, -1, nil},
		"time":          {From{Time: time.UnixMilli(2000)}, -1, all[1:]},
		"a later time":  {From{Time: time.Now()}, -1, nil},
		"offset":        {From{Offset: &two}, -1, all[2:3]},
		"far offset":    {From{Offset: &far}, -1, nil},
		"last two":      {From{Offset: &back}, -1, all[2:]}, // the marker is the last of partition 0
		"one partition": {From{Earliest: true}, 1, all[3:]},
		"no partition":  {From{Earliest: true}, 7, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := followed(t, c, Following{Topics: []string{topic, topic + "-nobody"}, Partition: tc.partition, From: tc.from})
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// With On, records are given as they are committed, also those of partitions
// that are added meanwhile; the callee and the context end it.
func TestFollowOn(t *testing.T) {
	t.Parallel()
	broker := stack.Broker(t)
	c := open(t, broker.Bootstrap(), nil)
	topic := broker.Topic(t, 1, map[string]string{"retention.ms": "-1"})
	plain := client(t, broker.Bootstrap())
	produce(t, plain, record(topic, 0, 1))
	txn := client(t, broker.Bootstrap(), kgo.TransactionalID(topic+"-txn"))
	if err := txn.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, txn, record(topic, 0, 2))

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lines, ended := make(chan string, 16), make(chan error, 1)
	go func() {
		ended <- c.Follow(ctx, Following{Topics: []string{topic}, Partition: -1, From: From{Earliest: true}, On: true}, func(r *Read) (bool, error) {
			lines <- readLine(r)
			return true, nil
		})
	}()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		case err := <-ended:
			t.Fatalf("ended: %v", err)
		}
	}
	next("0@0 k1 v e1")
	if err := txn.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	next("0@1 k2 v e2")
	produce(t, plain, record(topic, 0, 3))
	next("0@3 k3 v e3")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}

	enough := errors.New("enough")
	n := 0
	err := c.Follow(t.Context(), Following{Topics: []string{topic}, Partition: -1, From: From{Earliest: true}, On: true}, func(*Read) (bool, error) {
		n++
		return true, enough
	})
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%d records, %v", n, err)
	}
	err = c.Follow(t.Context(), Following{Topics: []string{topic}, Partition: -1, From: From{Earliest: true}, On: true}, func(*Read) (bool, error) {
		n++
		return n < 3, nil
	})
	if err != nil || n != 3 {
		t.Errorf("%d records, %v", n, err)
	}
}

// Partitions and topics that come while it follows are read from their
// beginning; a topic that goes ends it.
func TestFollowLooksAround(t *testing.T) {
	t.Parallel()
	broker := stack.Broker(t)
	c := open(t, broker.Bootstrap(), nil)
	topic := broker.Topic(t, 1, map[string]string{"retention.ms": "-1"})
	later := topic + "-later"
	plain := client(t, broker.Bootstrap(), kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(-1))
	lines, ended, begun := make(chan string, 16), make(chan error, 1), make(chan struct{})
	what := Following{Topics: []string{topic, later}, Partition: -1, On: true, Begun: func() { close(begun) }, lookEvery: 100 * time.Millisecond}
	go func() {
		ended <- c.Follow(t.Context(), what, func(r *Read) (bool, error) {
			lines <- readLine(r)
			return true, nil
		})
	}()
	<-begun
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grown := kmsg.NewCreatePartitionsRequestTopic()
	grown.Topic, grown.Count = topic, 2
	grow.Topics = append(grow.Topics, grown)
	if _, err := grow.RequestWith(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	if err := broker.CreateTopic(t.Context(), later, 1, nil); err != nil {
		t.Fatal(err)
	}
	produce(t, plain, record(topic, 1, 1), record(later, 0, 2))
	got := []string{<-lines, <-lines}
	slices.Sort(got)
	if want := []string{"0@0 k2 v e2", "1@0 k1 v e1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if err := broker.DeleteTopic(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), later) {
		t.Errorf("ended with %v", err)
	}
}
