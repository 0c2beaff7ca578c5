package matrix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// Footprint is what a relay process holds of the machine.
type Footprint struct {
	RSS        int64 `json:"rss_bytes"`
	Threads    int   `json:"threads"`
	Files      int   `json:"file_descriptors"`
	Goroutines int   `json:"goroutines"`
}

// What a process may hold more at the end than after the first round of faults:
// a leak of one thing per fault is many times as much.
const (
	moreRSS        = 64 << 20
	moreThreads    = 12
	moreFiles      = 12
	moreGoroutines = 12
)

// Soaked is build/soak.json.
type Soaked struct {
	Minutes  float64        `json:"minutes"`
	Seed     uint64         `json:"seed"`
	Faults   map[string]int `json:"faults"`
	Delayed  int            `json:"delayed"`        // requests, answers and connections, at random
	Elders   int            `json:"elder_requests"` // that arrived after the relay could have asked again
	Restarts int            `json:"restarts"`       // of the pipeline, in the one process
	Verdict  Verdict        `json:"verdict"`
	First    Footprint      `json:"after_first_round"`
	Last     Footprint      `json:"at_the_end"`
}

// soakFaults leave the process alive, whose footprint is the subject.
func soakFaults() []Fault {
	var out []Fault
	for _, f := range Faults() {
		switch f.Name {
		case "kill-relay", "standby":
		default:
			out = append(out, f)
		}
	}
	return out
}

// seldom is how often a soak delays requests, in parts of a cell of random delays:
// every fault has its bounds to be over in.
const seldom = 0.04

// Soak runs one relay under load for d, with requests delayed at random all along
// and a random fault at a random point every few seconds, and demands at the end that everything arrived exactly once
// and that the process holds no more than at the beginning.
func (r *Runner) Soak(ctx context.Context, d time.Duration, path string) (err error) {
	w, err := NewWorld(ctx, r.Stack, Single, r.Binary, r.Registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	l, err := newLab(ctx, w, filepath.Join(r.Dir, "soak"), r.Seed, hasty)
	if err != nil {
		return err
	}
	defer l.close()
	s := Soaked{Seed: r.Seed, Faults: map[string]int{}}
	begin := time.Now()
	relay, err := r.soak(l, d, &s)
	if err == nil {
		s.Last, err = footprint(ctx, relay)
	}
	if err == nil {
		var n float64
		n, err = relay.Metric(ctx, "cdc_relay_restarts_total")
		s.Restarts = int(n)
	}
	s.Minutes = time.Since(begin).Minutes()
	v, e, serr := l.settle(err != nil)
	if v != nil {
		s.Verdict = *v
		if !v.Sound() {
			l.keep(e, v)
			serr = errors.Join(serr, fmt.Errorf("not exactly once: %s %v", v, v.Complaints))
		}
	}
	err = errors.Join(err, serr, s.grown(), write(path, &s))
	fmt.Fprintf(r.Out, "soak: %.1f minutes, faults %v, %d delays, %d elder requests, %d restarts; %s\n  first round %+v\n  at the end  %+v\n", s.Minutes, s.Faults, s.Delayed, s.Elders, s.Restarts, v, s.First, s.Last)
	return err
}

func (r *Runner) soak(l *lab, d time.Duration, s *Soaked) (*relay, error) {
	relay, err := l.followed(2000)
	if err != nil {
		return nil, err
	}
	delays, err := l.delay(seldom)
	if err != nil {
		return nil, err
	}
	defer func() { delays.Calm(); s.Delayed, s.Elders = delays.Count() }()
	random := rand.New(rand.NewPCG(l.seed, 3)) //nolint:gosec // repeatable by its seed
	faults, points := soakFaults(), groups()[0].points
	for n, by := 0, time.Now().Add(d); n < len(faults) || time.Now().Before(by); n++ {
		f, at := faults[random.IntN(len(faults))], points[random.IntN(len(points))]
		if n < len(faults) {
			f = faults[n] // the first round has each of them
		}
		s.Faults[f.Name]++
		if err := l.once(relay, f, at); err != nil {
			return relay, fmt.Errorf("fault %d, %s at %s: %w", n, f.Name, at, err)
		}
		fmt.Fprintf(r.Out, "soak: fault %d, %s at %s; %d records\n", n, f.Name, at, l.watch.seen())
		if n == len(faults)-1 {
			if s.First, err = footprint(l.ctx, relay); err != nil {
				return relay, err
			}
		}
	}
	return relay, nil
}

// once lets one fault happen to the relay and waits until events flow through
// it again.
func (l *lab) once(r *relay, f Fault, at crash.Name) error {
	if err := r.arm(l.ctx, arm{at, 1}); err != nil {
		return err
	}
	if at == crash.SplitHanded {
		if _, err := l.publish(3 * batchEvents); err != nil {
			return err
		}
	}
	if err := r.reached(l.ctx, at); err != nil {
		return err
	}
	if err := f.do(l, r, at); err != nil {
		return err
	}
	if err := l.running(r); err != nil {
		return err
	}
	return l.flows()
}

// footprint asks the process and the system.
func footprint(ctx context.Context, r *relay) (Footprint, error) {
	u, err := rig.UsageOf(r.PID())
	if err != nil {
		return Footprint{}, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.PID()))
	if err != nil {
		return Footprint{}, err
	}
	n, err := r.Metric(ctx, "go_goroutines")
	return Footprint{RSS: u.RSS, Threads: u.Threads, Files: len(files), Goroutines: int(n)}, err
}

// grown complains about what the process holds more than it may.
func (s *Soaked) grown() error {
	var errs []error
	for _, b := range []struct {
		what                 string
		first, last, allowed int64
	}{
		{"bytes of resident memory", s.First.RSS, s.Last.RSS, moreRSS},
		{"threads", int64(s.First.Threads), int64(s.Last.Threads), moreThreads},
		{"file descriptors", int64(s.First.Files), int64(s.Last.Files), moreFiles},
		{"goroutines", int64(s.First.Goroutines), int64(s.Last.Goroutines), moreGoroutines},
	} {
		if b.last > b.first+b.allowed {
			errs = append(errs, fmt.Errorf("%d %s at the end, %d after the first round: more than %d more", b.last, b.what, b.first, b.allowed))
		}
	}
	return errors.Join(errs...)
}
