package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cdc-relay/cdc-relay/consumer"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	url, pool := database(t)
	registry := prometheus.NewRegistry()
	i := inbox(t, consumer.Options{Registerer: registry})
	claim := func(pool *pgxpool.Pool, messages ...consumer.Message) string {
		t.Helper()
		var first []bool
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
			first, err = i.Claim(t.Context(), tx, messages...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(first)
	}
	if got := claim(pool); got != "[]" {
		t.Errorf("nothing: %s", got)
	}
	if got := claim(pool, message("c", 1), message("a", 2), message("c", 3), message("b", 4)); got != "[true true false true]" {
		t.Errorf("first: %s", got)
	}
	if got := claim(pool, message("d", 5), message("a", 6), message("é", 7), message("d", 8)); got != "[true false true false]" {
		t.Errorf("second: %s", got)
	}
	if got := ask(t, pool, `select string_agg(event_id || record_offset, ' ' order by record_offset) from cdc_relay.inbox`); got != "c1 a2 b4 d5 é7" {
		t.Errorf("rows %s", got)
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		if got := claim(open(t, url, mode), message("a", 9), message(`{"m,`+fmt.Sprint(mode), 10)); got != "[false true]" {
			t.Errorf("%s: %s", mode, got)
		}
	}
	if got := testutil.ToFloat64(counter(t, registry)); got != 5 {
		t.Errorf("%v duplicates counted, want 5", got)
	}
}

// counter is the one series of kafka_duplicate_events_total.
func counter(t *testing.T, registry *prometheus.Registry) prometheus.Collector {
	t.Helper()
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kafka_duplicate_events_total", Help: "Events that came again and were not processed again."},
		[]string{"service", "consumer_group", "deduplication_method"})
	there, ok := errors.AsType[prometheus.AlreadyRegisteredError](registry.Register(vec))
	if !ok {
		t.Fatal("kafka_duplicate_events_total was not registered")
	}
	return there.ExistingCollector
}

// Two consumers claim the same events in opposite orders, again and again: one
// of them claims each, and neither ends in a deadlock.
func TestClaimsInOppositeOrders(t *testing.T) {
	t.Parallel()
	_, pool := database(t)
	i := inbox(t, consumer.Options{})
	const rounds, each = 20, 50
	answers := make(chan int, 2)
	run := func(backwards bool) {
		n := 0
		defer func() { answers <- n }()
		for round := range rounds {
			var messages []consumer.Message
			for k := range each {
				if backwards {
					k = each - 1 - k
				}
				messages = append(messages, message(fmt.Sprintf("%d/%d", round, k), int64(k)))
			}
			err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
				first, err := i.Claim(t.Context(), tx, messages...)
				for _, f := range first {
					if f {
						n++
					}
				}
				return err
			})
			if err != nil {
				t.Errorf("round %d: %v", round, err)
				return
			}
		}
	}
	go run(false)
	go run(true)
	if n := <-answers + <-answers; n != rounds*each {
		t.Errorf("%d events were claimed, want %d", n, rounds*each)
	}
}

func TestPerTopicAndEventID(t *testing.T) {
	t.Parallel()
	_, pool := database(t)
	once := func(i *consumer.Inbox, m consumer.Message) (duplicate bool, err error) {
		tx := begin(t, pool, pgx.TxOptions{})
		duplicate, err = i.Once(t.Context(), tx, m, func(context.Context) error { return nil })
		return duplicate, errors.Join(err, tx.Commit(t.Context()))
	}
	perTopic := inbox(t, consumer.Options{PerTopic: true})
	for at, c := range []struct {
		topic     string
		duplicate bool
	}{{"essays", false}, {"grades", false}, {"essays", true}} {
		m := message("17", int64(at))
		m.Topic = c.topic
		if duplicate, err := once(perTopic, m); duplicate != c.duplicate || err != nil {
			t.Errorf("id 17 of %s: duplicate %t, error %v", c.topic, duplicate, err)
		}
	}
	byOffset := inbox(t, consumer.Options{Group: "found", EventID: func(m consumer.Message) string { return fmt.Sprint("value ", m.Offset) }})
	for _, want := range []bool{false, true} {
		if duplicate, err := once(byOffset, consumer.Message{Topic: "t", Offset: 5}); duplicate != want || err != nil {
			t.Errorf("an id found elsewhere: duplicate %t, error %v", duplicate, err)
		}
	}
	if got := ask(t, pool, `select string_agg(event_id, ' ' order by event_id) from cdc_relay.inbox`); got != "essays/17 grades/17 value 5" {
		t.Errorf("claims %s", got)
	}
}
