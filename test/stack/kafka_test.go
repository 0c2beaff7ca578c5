package stack

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// produce writes one record with an acknowledgment of all replicas.
func produce(t *testing.T, bootstrap, topic, value string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.DefaultProduceTopic(topic),
		kgo.TransactionalID("stack-"+topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.KeyStringRecord(value, value)).FirstErr(); err != nil {
		t.Fatalf("produce %s: %v", value, err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatalf("commit %s: %v", value, err)
	}
}

// consume reads n records of committed transactions.
func consume(t *testing.T, bootstrap, topic string, n int) (values []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(values) < n {
		f := cl.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatalf("consume: %v; so far %v of %d", err, values, n)
		}
		f.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func answers(k *Kafka) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return brokersListed(ctx, k.Bootstrap(), 1) == nil
}

func TestBrokerKeepsRecordsAcrossEveryEnd(t *testing.T) {
	t.Parallel()
	start := time.Now()
	k := NewBroker(t)
	t.Logf("broker %s up in %s at %s", k.Kind(), time.Since(start).Round(time.Millisecond), k.Bootstrap())
	topic := k.Topic(t, 1, map[string]string{"cleanup.policy": "compact,delete"})
	ends := []struct {
		name    string
		end, up func(...int) error
	}{{"kill", k.Kill, k.Start}, {"stop", k.Stop, k.Start}, {"pause", k.Pause, k.Resume}}
	var want []string
	for i, e := range ends {
		want = append(want, strconv.Itoa(i))
		produce(t, k.Bootstrap(), topic, strconv.Itoa(i))
		began := time.Now()
		if err := e.end(); errors.Is(err, errors.ErrUnsupported) {
			continue
		} else if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		t.Logf("%s took %s", e.name, time.Since(began).Round(time.Millisecond))
		if answers(k) {
			t.Fatalf("after %s the broker still answers", e.name)
		}
		start := time.Now()
		if err := e.up(); err != nil {
			t.Fatalf("up after %s: %v", e.name, err)
		}
		if got := consume(t, k.Bootstrap(), topic, len(want)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("after %s: %v, want %v", e.name, got, want)
		}
		t.Logf("up after %s and all records read in %s", e.name, time.Since(start).Round(time.Millisecond))
	}
}

func TestThreeBrokersGoOnWithoutOne(t *testing.T) {
	t.Parallel()
	start := time.Now()
	k := NewBroker(t, Brokers(3))
	t.Logf("three brokers up in %s", time.Since(start).Round(time.Millisecond))
	topic := k.Topic(t, 3, nil)
	if err := k.Kill(2); err != nil {
		t.Fatal(err)
	}
	produce(t, k.Bootstrap(), topic, "without one")
	if err := k.Start(2); err != nil {
		t.Fatal(err)
	}
	if got := consume(t, k.Bootstrap(), topic, 1); got[0] != "without one" {
		t.Fatal(got)
	}
}
