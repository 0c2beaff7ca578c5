package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// writers share the rate of the latency run.
const writers = 4

// latency runs the relay at a steady rate and measures from the commit to a
// read_committed consumer; then what the relay takes when nothing happens.
func (b *bench) latency(ctx context.Context) error {
	s, err := b.database(ctx, "bench_latency")
	if err != nil {
		return err
	}
	flags, err := b.configure("bench-latency", s.url, "", "CreateTime")
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir(), "relay.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	r, err := rig.Start(b.binary, nil, log, append(flags, "run")...)
	if err != nil {
		return err
	}
	defer r.Kill()
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := r.Ready(ready); err != nil {
		return err
	}
	if err := b.steady(ctx, s, r); err != nil {
		return err
	}
	if err := b.idleUse(ctx, r); err != nil {
		return err
	}
	if code, err := r.Stop(ctx); err != nil || code != 0 {
		return fmt.Errorf("the relay ended with code %d: %w\n%s", code, err, r.Log())
	}
	return b.close(ctx, s)
}

// steady writes at the rate for warm and span, and reads.
func (b *bench) steady(ctx context.Context, s *source, r *rig.Relay) error {
	events := int((b.warm + b.span).Seconds()) * b.rate
	fmt.Printf("\nlatency: %d events per second for %s, measured after %s\n", b.rate, b.warm+b.span, b.warm)
	pool, err := pgxpool.New(ctx, s.url)
	if err != nil {
		return err
	}
	defer pool.Close()
	before, _ := r.Usage() // not every system tells
	began := time.Now()
	var wrote time.Duration
	var lags []time.Duration
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		w, wctx := errgroup.WithContext(gctx)
		for i := range writers {
			w.Go(func() error { return b.write(wctx, pool, began, i, events) })
		}
		err := w.Wait()
		wrote = time.Since(began)
		return err
	})
	g.Go(func() (err error) {
		lags, err = b.readLags(gctx, began.Add(b.warm), events)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	slices.Sort(lags)
	p := fmt.Sprintf("latency.%d.", b.rate)
	b.out.set(p+"p50_ms", millis(quantile(lags, 0.50)))
	b.out.set(p+"p99_ms", millis(quantile(lags, 0.99)))
	b.out.set(p+"p99_9_ms", millis(quantile(lags, 0.999)))
	b.out.set(p+"max_ms", millis(lags[len(lags)-1]))
	b.out.set(p+"events_per_s", float64(events)/wrote.Seconds())
	if after, err := r.Usage(); err == nil {
		b.out.set(p+"cpu_us_per_event", (after.CPU-before.CPU).Seconds()*1e6/float64(events))
		b.peak(after.Peak)
	}
	commits, err := r.Metric(ctx, "cdc_relay_kafka_commits_total")
	if err != nil {
		return err
	}
	seconds, err := r.Metric(ctx, "cdc_relay_kafka_commit_seconds_sum")
	if err != nil {
		return err
	}
	b.doubts(ctx, r)
	b.out.set(p+"events_per_commit", float64(events)/commits)
	b.out.set(p+"commit_ms", 1000*seconds/commits)
	fmt.Printf("  %.1f events per Kafka transaction, which takes %.1f ms on the average\n", float64(events)/commits, 1000*seconds/commits)
	fmt.Printf("  p50 %.1f ms   p99 %.1f ms   p99.9 %.1f ms   most %.1f ms   (%d events, all there exactly once; load %s)\n",
		millis(quantile(lags, 0.5)), millis(quantile(lags, 0.99)), millis(quantile(lags, 0.999)), millis(lags[len(lags)-1]), len(lags), load())
	return nil
}

// write commits every writers-th event at its moment, one in a transaction. A
// writer that comes late catches up: the moments are fixed from the beginning.
func (b *bench) write(ctx context.Context, pool *pgxpool.Pool, began time.Time, first, events int) error {
	const sql = `insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, payload, occurred_at)
		values ($1, 'essay', $2, $3, $4, clock_timestamp())`
	pace := time.NewTimer(0)
	defer pace.Stop()
	for n := first; n < events; n += writers {
		e := makeEvent(n)
		pace.Reset(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(b.rate))))
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := pool.Exec(ctx, sql, eventID(n), e.Key, e.Type, e.Payload()); err != nil {
			return err
		}
	}
	return nil
}

// readLags reads every event and returns the latencies of those written from
// the given moment on.
func (b *bench) readLags(ctx context.Context, from time.Time, events int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, b.warm+b.span+time.Minute)
	defer cancel()
	c, err := newConsumer(b.stack.Kafka().Bootstrap(), topicOf("bench-latency"))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	count := newCounter(events)
	lags := make([]time.Duration, 0, events)
	for count.n < events {
		f := c.PollFetches(ctx)
		now := time.Now()
		if err := f.Err0(); err != nil {
			return nil, fmt.Errorf("NOT exactly once? %d of %d events arrived: %w", count.n, events, err)
		}
		var wrong error
		f.EachRecord(func(r *kgo.Record) {
			at, err := time.Parse(time.RFC3339Nano, header(r, "occurred_at"))
			if err == nil {
				_, err = count.once(r)
			}
			if err != nil && wrong == nil {
				wrong = err
			}
			if at.After(from) {
				lags = append(lags, now.Sub(at))
			}
		})
		if wrong != nil {
			return nil, fmt.Errorf("NOT exactly once: %w", wrong)
		}
	}
	return lags, quiet(ctx, c)
}

// idleUse measures the relay when nothing happens.
func (b *bench) idleUse(ctx context.Context, r *rig.Relay) error {
	before, err := r.Usage()
	if err != nil {
		fmt.Println("  idle: this system does not tell what a process takes")
		return nil
	}
	t := time.NewTimer(b.idle)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := r.Usage()
	if err != nil {
		return err
	}
	goroutines, err := r.Metric(ctx, "go_goroutines")
	if err != nil {
		return err
	}
	b.out.set("idle.cpu_percent", 100*(after.CPU-before.CPU).Seconds()/b.idle.Seconds())
	b.out.set("idle.rss_mb", float64(after.RSS)/1e6)
	b.out["idle.threads"] = after.Threads
	b.out["idle.goroutines"] = goroutines
	fmt.Printf("  idle: %.2f %% of one processor, %.0f MB, %d threads, %.0f goroutines\n",
		100*(after.CPU-before.CPU).Seconds()/b.idle.Seconds(), float64(after.RSS)/1e6, after.Threads, goroutines)
	return nil
}
