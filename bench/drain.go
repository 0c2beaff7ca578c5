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
		Registry: b.stack.Registry().URL(), Contract: contract(name, timestamps), Kafka: b.kafka,
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

// series are the runs of one contender.
type series struct{ rate, steady, cpu, batch, inCommit, busy []float64 }

func (s *series) add(d drained, events int) {
	n := float64(events)
	s.rate = append(s.rate, n/d.took.Seconds())
	s.steady = append(s.steady, d.steady)
	s.cpu = append(s.cpu, d.cpu.Seconds()*1e6/n)
	s.batch = append(s.batch, n/d.commits)
	s.inCommit = append(s.inCommit, d.inCommit)
	s.busy = append(s.busy, d.busy)
}

func (s *series) last() string {
	i := len(s.rate) - 1
	return fmt.Sprintf("%6.0f rows/s (steady %6.0f); %4.1f µs of processor and 1/%.0f commit per event, committing %.0f %% of the time, machine busy %.0f %%",
		s.rate[i], s.steady[i], s.cpu[i], s.batch[i], 100*s.inCommit[i], 100*s.busy[i])
}

// warmups is how many drains before the first that counts bring the broker's
// compiler to working heat: a broker that has just started takes twice the
// processor time.
func (b *bench) warmups() int {
	switch {
	case b.profile || b.warmed:
		return 0
	case b.runs == 1:
		return 1
	}
	b.warmed = true
	return 3
}

// drain prepares a log and lets the contenders read it in turn.
func (b *bench) drain(ctx context.Context, per int) error {
	s, err := b.prepare(ctx, per)
	if err != nil {
		return err
	}
	for i := range b.warmups() {
		if _, err := b.drainRelay(ctx, s, b.binary, fmt.Sprintf("bench-%d-warm%d", per, i)); err != nil {
			return err
		}
	}
	f := b.findFloor()
	var floor, relay, other series
	for i := range b.runs {
		low, err := b.drainFloor(ctx, f, s, fmt.Sprintf("bench_floor_%d", i))
		if err != nil {
			return err
		}
		floor.add(low, b.events)
		got, err := b.drainRelay(ctx, s, b.binary, fmt.Sprintf("bench-%d-%d", per, i))
		if err != nil {
			return err
		}
		relay.add(got, b.events)
		b.peak(got.peak)
		fmt.Printf("  run %d: %s %6.0f rows/s   relay %s   load %s\n", i+1, f.name, floor.rate[i], relay.last(), load())
		if b.against == "" {
			continue
		}
		if got, err = b.drainRelay(ctx, s, b.against, fmt.Sprintf("bench-%d-%d-other", per, i)); err != nil {
			return err
		}
		other.add(got, b.events)
		fmt.Printf("         the other relay %s\n", other.last())
	}
	if b.against != "" {
		fmt.Printf("  this relay against the other: rows/s %.3f, steady %.3f, processor %.3f (medians)\n", median(relay.rate)/median(other.rate),
			median(relay.steady)/median(other.steady), median(relay.cpu)/median(other.cpu))
	}
	b.note(fmt.Sprintf("drain.txn%d.", per), f, floor, relay)
	return b.close(ctx, s)
}

func (b *bench) note(p string, f floor, low, relay series) {
	b.out[p+"floor"] = f.name
	b.out.set(p+"floor_rows_per_s", median(low.rate))
	b.out.set(p+"floor_rows_per_s_min", slices.Min(low.rate))
	b.out.set(p+"floor_rows_per_s_max", slices.Max(low.rate))
	b.out.set(p+"floor_cpu_us_per_event", median(low.cpu))
	b.out.set(p+"rows_per_s", median(relay.rate))
	b.out.set(p+"rows_per_s_min", slices.Min(relay.rate))
	b.out.set(p+"rows_per_s_max", slices.Max(relay.rate))
	b.out.set(p+"steady_rows_per_s", median(relay.steady))
	b.out.set(p+"cpu_us_per_event", median(relay.cpu))
	b.out.set(p+"events_per_commit", median(relay.batch))
	b.out.set(p+"in_commit", median(relay.inCommit))
	b.out.set(p+"machine_busy", median(relay.busy))
	b.out.set(p+"ratio", median(relay.rate)/median(low.rate))
}

// drainFloor lets the floor drain a copy of the base slot.
func (b *bench) drainFloor(ctx context.Context, f floor, s *source, slot string) (drained, error) {
	if err := s.copySlot(ctx, slot); err != nil {
		return drained{}, err
	}
	d, err := f.run(ctx, s, slot, b.events)
	if err != nil {
		return d, err
	}
	return d, s.dropSlot(ctx, slot)
}

// drainRelay lets a real binary drain a copy of the base slot, and counts what
// arrived.
func (b *bench) drainRelay(ctx context.Context, s *source, binary, name string) (drained, error) {
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
	r, err := rig.Start(binary, []string{"BENCH_PPROF=" + addr}, log, append(flags, "run")...)
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
	all := machineTime()
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
	d.busy = machineTime().busySince(all)
	if after, err := r.Usage(); err == nil {
		d.cpu, d.peak = after.CPU-before.CPU, after.Peak
	}
	if d.commits, err = r.Metric(ctx, "cdc_relay_kafka_commits_total"); err != nil {
		return d, began, err
	}
	b.doubts(ctx, r)
	seconds, err := r.Metric(ctx, "cdc_relay_kafka_commit_seconds_sum")
	d.inCommit = seconds / time.Since(began).Seconds()
	return d, began, err
}

// doubts adds the commits that a relay took for asked twice: on a sound machine
// each is a false alarm. Another build (-against) may not count them.
func (b *bench) doubts(ctx context.Context, r *rig.Relay) {
	n, _ := r.Metric(ctx, "cdc_relay_commits_in_doubt_total")
	before, _ := b.out.number("commits_in_doubt")
	b.out.set("commits_in_doubt", before+n)
}

// peak notes the most memory any relay had.
func (b *bench) peak(bytes int64) {
	if old, _ := b.out.number("rss.peak_mb"); float64(bytes)/1e6 > old {
		b.out.set("rss.peak_mb", float64(bytes)/1e6)
	}
}
