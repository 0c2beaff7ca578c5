package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// flow watches what arrives: it shows a few events in full, the line of
// progress, and keeps the moments of the outage.
type flow struct {
	demo *demo

	mu     sync.Mutex
	seen   int
	shown  map[string]bool // types of which one was printed
	recent []time.Duration // latencies of the last records
	last   time.Time       // of the last redrawing

	killedAt, againAt, caughtUpAt time.Time
}

func (f *flow) begin(d *demo) {
	f.demo, f.shown, f.recent = d, map[string]bool{}, make([]time.Duration, 0, recentRecords)
}

const (
	recentRecords = 500
	redrawEvery   = 100 * time.Millisecond
)

// saw is told of each record as it is read.
func (f *flow) saw(ctx context.Context, r *rig.Record) {
	f.mu.Lock()
	f.seen++
	if len(f.recent) == recentRecords {
		f.recent = f.recent[:copy(f.recent, f.recent[recentRecords/2:])]
	}
	f.recent = append(f.recent, r.Seen.Sub(r.Time))
	if !f.againAt.IsZero() && f.caughtUpAt.IsZero() && r.Time.After(f.againAt) {
		f.caughtUpAt = r.Seen
	}
	typ := r.Headers["event_type"]
	show := !f.shown[typ]
	f.shown[typ] = true
	f.mu.Unlock()
	if show {
		f.event(ctx, r)
	}
	f.show()
}

func (f *flow) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

func (f *flow) killed(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.killedAt = at
}

func (f *flow) streamsAgain(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.againAt = at
}

// show draws the line of progress, not more often than the eye can follow.
func (f *flow) show() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.last) < redrawEvery {
		return
	}
	f.last = time.Now()
	d := f.demo
	written := d.truth.Committed()
	state := "recent p50 -"
	if n := len(f.recent); n > 0 {
		sorted := slices.Sorted(slices.Values(f.recent))
		state = "recent p50 " + millis(sorted[n/2])
	}
	if !f.killedAt.IsZero() && f.againAt.IsZero() {
		state = d.screen.style(red, "no relay")
	}
	d.screen.progress(fmt.Sprintf("  [%s] written %s  delivered %s  rolled back %s  %s",
		bar(f.seen, d.events, 24), number(written), number(f.seen), number(d.truth.RolledBack()), state))
}

// event prints one record in full.
func (f *flow) event(ctx context.Context, r *rig.Record) {
	s := f.demo.screen
	text, err := f.demo.dec.JSON(ctx, r.Value)
	value := ""
	if err == nil {
		value, err = pretty(text, 13)
	}
	if err != nil {
		value = "cannot be decoded: " + err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %s\n", s.style(cyan, fmt.Sprintf("%s  partition %d, offset %d  %s after its commit",
		r.Topic, r.Partition, r.Offset, millis(r.Seen.Sub(r.Time)))))
	line := func(name, text string) {
		fmt.Fprintf(&b, "  %s %s\n", s.style(faint, fmt.Sprintf("%-10s", name)), text)
	}
	line("key", r.Key)
	name := "headers"
	for _, h := range headersOf(r) {
		line(name, fmt.Sprintf("%-16s %s", h, r.Headers[h]))
		name = ""
	}
	line("value", value)
	s.print("%s", b.String())
}

// standard is the order in which the relay writes the headers; those the row
// brings follow.
var standard = []string{"event_id", "event_type", "schema_version", "occurred_at", "content_type", "trace_id", "correlation_id", "traceparent"}

func headersOf(r *rig.Record) []string {
	var names []string
	for _, h := range standard {
		if _, ok := r.Headers[h]; ok {
			names = append(names, h)
		}
	}
	for _, h := range slices.Sorted(maps.Keys(r.Headers)) {
		if !slices.Contains(standard, h) {
			names = append(names, h)
		}
	}
	return names
}

// latencies are those of some events, commit in Postgres → consumer.
type latencies []time.Duration

func (l latencies) at(percent int) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[min(len(l)*percent/100, len(l)-1)]
}

// summary is what the clock says.
type summary struct {
	steady latencies // of events outside the outage
	all    latencies
	outage time.Duration // SIGKILL → streaming again
}

// summary sorts the latencies. An event belongs to the outage if it was on its
// way at any moment between the SIGKILL and the arrival of the first event that
// was committed after the relay streamed again.
func (f *flow) summary(records []rig.Record) summary {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := summary{outage: f.againAt.Sub(f.killedAt)}
	for i := range records {
		r := &records[i]
		l := r.Seen.Sub(r.Time)
		s.all = append(s.all, l)
		if r.Seen.Before(f.killedAt) || !f.caughtUpAt.IsZero() && r.Time.After(f.caughtUpAt) {
			s.steady = append(s.steady, l)
		}
	}
	slices.Sort(s.all)
	slices.Sort(s.steady)
	return s
}
