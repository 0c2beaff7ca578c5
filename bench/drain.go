package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// contract is of the one type. The broker writes the time of a record, which
// makes the drain measurable without a consumer beside it.
func contract(prefix, timestamps string) string {
	return fmt.Sprintf(`unknown_event: stop
defaults: {encoding: avro}
events:
  - type: %s
    topic: %s
    key: [payload.data.cj_assessment_job_id, aggregate_id]
    schema: AssessmentResultEvent
    topic_class: bench
topic_classes:
  bench: {partitions: 6, cleanup.policy: delete, message.timestamp.type: %s}
`, eventType, topicOf(prefix), timestamps)
}

func topicOf(prefix string) string { return prefix + ".assessment.result.published.v1" }

// configure writes a relay's configuration and returns the flags that name it.
func (b *bench) configure(name, url, slot, timestamps string) ([]string, error) {
	c := rig.Config{
		Name: name, Environment: "testing", Postgres: url, Bootstrap: b.stack.Kafka().Bootstrap(),
		Registry: b.stack.Registry().URL(), Contract: contract(name, timestamps),
	}
	path, err := c.Write(dir())
	if err != nil || slot == "" {
		return []string{"-c", path}, err
	}
	over := filepath.Join(dir(), "slot.yaml")
	return []string{"-c", path, "-c", over}, os.WriteFile(over, []byte("postgres: {slot: "+slot+"}\n"), 0o644)
}

// once runs a one-shot command of the relay.
func (b *bench) once(ctx context.Context, flags []string, args ...string) error {
	r, err := rig.Start(b.binary, nil, nil, slices.Concat(flags, args)...)
	if err != nil {
		return err
	}
	defer r.Kill()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	code, err := r.Exit(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("cdc-relay %v ended with code %d:\n%s", args, code, r.Log())
	}
	return err
}

// drain prepares a log and lets both contenders read it in turn.
func (b *bench) drain(ctx context.Context, per int) error {
	s, err := b.prepare(ctx, per)
	if err != nil {
		return err
	}
	f := b.findFloor()
	var rates, steady, cpu, floors, floorCPU []float64
	n := float64(b.events)
	if !b.profile { // brings broker and file cache to working heat
		if _, err := b.drainRelay(ctx, s, fmt.Sprintf("bench-%d-warm", per)); err != nil {
			return err
		}
	}
	for i := range b.runs {
		slot := fmt.Sprintf("bench_floor_%d", i)
		if err := s.copySlot(ctx, slot); err != nil {
			return err
		}
		low, err := f.run(ctx, s, slot, b.events)
		if err != nil {
			return err
		}
		if err := s.dropSlot(ctx, slot); err != nil {
			return err
		}
		got, err := b.drainRelay(ctx, s, fmt.Sprintf("bench-%d-%d", per, i))
		if err != nil {
			return err
		}
		floors, floorCPU = append(floors, n/low.took.Seconds()), append(floorCPU, low.cpu.Seconds()*1e6/n)
		rates, steady, cpu = append(rates, n/got.took.Seconds()), append(steady, got.steady), append(cpu, got.cpu.Seconds()*1e6/n)
		fmt.Printf("  run %d: %s %6.0f rows/s   relay %6.0f rows/s (steady %6.0f), %4.1f µs of processor per event   load %s\n",
			i+1, f.name, floors[i], rates[i], steady[i], cpu[i], load())
	}
	p := fmt.Sprintf("drain.txn%d.", per)
	b.out[p+"floor"] = f.name
	b.out.set(p+"floor_rows_per_s", median(floors))
	b.out.set(p+"floor_rows_per_s_min", slices.Min(floors))
	b.out.set(p+"floor_rows_per_s_max", slices.Max(floors))
	b.out.set(p+"floor_cpu_us_per_event", median(floorCPU))
	b.out.set(p+"rows_per_s", median(rates))
	b.out.set(p+"rows_per_s_min", slices.Min(rates))
	b.out.set(p+"rows_per_s_max", slices.Max(rates))
	b.out.set(p+"steady_rows_per_s", median(steady))
	b.out.set(p+"cpu_us_per_event", median(cpu))
	b.out.set(p+"ratio", median(rates)/median(floors))
	return b.close(ctx, s)
}

// drainRelay lets the real binary drain a copy of the base slot, and counts what
// arrived.
func (b *bench) drainRelay(ctx context.Context, s *source, name string) (drained, error) {
	slot := strings.ReplaceAll(name, "-", "_")
	if err := s.copySlot(ctx, slot); err != nil {
		return drained{}, err
	}
	flags, err := b.configure(name, s.url, slot, "LogAppendTime")
	if err != nil {
		return drained{}, err
	}
	for _, args := range [][]string{{"topics", "apply"}, {"slots", "adopt"}} {
		if err := b.once(ctx, flags, args...); err != nil {
			return drained{}, err
		}
	}
	log, err := os.Create(filepath.Join(dir(), "relay.log"))
	if err != nil {
		return drained{}, err
	}
	defer log.Close()
	addr, err := freeAddr()
	if err != nil {
		return drained{}, err
	}
	r, err := rig.Start(b.binary, []string{"BENCH_PPROF=" + addr}, log, append(flags, "run")...)
	if err != nil {
		return drained{}, err
	}
	defer r.Kill()
	d, began, err := b.watch(ctx, r, s.name, addr)
	if err != nil {
		return d, err
	}
	if code, err := r.Stop(ctx); err != nil || code != 0 {
		return d, fmt.Errorf("the relay ended with code %d: %w\n%s", code, err, r.Log())
	}
	if err := s.dropSlot(ctx, slot); err != nil {
		return d, err
	}
	times, err := b.verify(ctx, topicOf(name), b.events)
	if err != nil {
		return d, err
	}
	d.took = times[len(times)-1].Sub(began)
	from, to := len(times)*20/100, len(times)*90/100
	d.steady = float64(to-from) / times[to].Sub(times[from]).Seconds()
	return d, nil
}

var logTime = regexp.MustCompile(`^time=(\S+) `)

// watch waits until the relay has drained its slot. began is when it started to
// stream.
func (b *bench) watch(ctx context.Context, r *rig.Relay, pipeline, addr string) (d drained, began time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	line, err := r.WaitLog(ctx, "msg=streaming")
	if err != nil {
		return d, began, err
	}
	m := logTime.FindStringSubmatch(line)
	if m == nil {
		return d, began, fmt.Errorf("no time in %q", line)
	}
	if began, err = time.Parse(time.RFC3339Nano, m[1]); err != nil {
		return d, began, err
	}
	before, _ := r.Usage() // not every system tells
	if b.profile {
		if err := profiled(ctx, addr, 4); err != nil {
			return d, began, err
		}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := r.Events(ctx, pipeline)
		if err != nil {
			return d, began, err
		}
		if n >= b.events {
			break
		}
		select {
		case <-tick.C:
		case <-r.Done():
			return d, began, fmt.Errorf("the relay ended: %w\n%s", r.Wait(), r.Log())
		case <-ctx.Done():
			return d, began, fmt.Errorf("%d of %d events after %s: %w", n, b.events, time.Since(began), ctx.Err())
		}
	}
	after, err := r.Usage()
	if err == nil {
		d.cpu = after.CPU - before.CPU
		b.peak(after)
	}
	return d, began, nil
}

// peak notes the most memory any relay had.
func (b *bench) peak(u rig.Usage) {
	if old, _ := b.out.number("rss.peak_mb"); float64(u.Peak)/1e6 > old {
		b.out.set("rss.peak_mb", float64(u.Peak)/1e6)
	}
}
