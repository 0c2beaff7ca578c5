package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figures is build/bench.json.
type figures map[string]any

func (f figures) set(name string, v float64) { f[name] = math.Round(v*1000) / 1000 }

func (f figures) number(name string) (float64, bool) {
	v, ok := f[name].(float64)
	return v, ok
}

func (f figures) write(path string) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// quantile of sorted durations; q from 0 to 1.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// describe says what the figures are of.
func (b *bench) describe() {
	pg, k := b.stack.Postgres(), b.stack.Kafka()
	b.out["machine.cpus"] = runtime.NumCPU()
	b.out["machine.load_at_start"] = load()
	b.out["postgres"] = fmt.Sprintf("%d (%s)", pg.Version(), pg.Info().Kind)
	b.out["broker"] = k.Kind()
	b.out["events"] = b.events
	b.out["runs"] = b.runs
	fmt.Printf("bench: %d processors, load %s, PostgreSQL %d, broker %s; everything on the same machine\n",
		runtime.NumCPU(), load(), pg.Version(), k.Kind())
}

// load is the load average of the last minute, "" where the system does not tell.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// target is a figure's aim.
type target struct {
	name, unit string
	aim        float64
	atLeast    bool
}

var targets = []target{
	{"drain.txn1000.ratio", "of pg_recvlogical", 0.4, true},
	{"drain.txn1.ratio", "of pg_recvlogical", 0.4, true},
	{"latency.1000.p99_ms", "ms", 40, false},
	{"rss.peak_mb", "MB", 120, false},
}

// conclude prints the figures and how they stand to their targets.
func (b *bench) conclude() {
	fmt.Println("\nfigures")
	for _, name := range slices.Sorted(maps.Keys(b.out)) {
		fmt.Printf("  %-34s %v\n", name, b.out[name])
	}
	fmt.Println("\ntargets")
	for _, t := range targets {
		v, ok := b.out.number(t.name)
		if !ok {
			continue
		}
		word, met := "below", v < t.aim
		if t.atLeast {
			word, met = "at least", v >= t.aim
		}
		answer := "met"
		if !met {
			answer = "NOT met"
		}
		fmt.Printf("  %-24s %10.3f   %s %g %s: %s\n", t.name, v, word, t.aim, t.unit, answer)
	}
	fmt.Println("\n  written to build/bench.json")
}
