package matrix

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Result is how a cell ended.
type Result struct {
	Cell    string
	Seed    uint64
	Verdict Verdict
	Kills   int
	Seconds float64
	Err     error  // it did not come to its end, or what it demands was not so
	Dir     string // what is kept of a failure
}

// Failed reports that the cell found something.
func (r *Result) Failed() bool { return r.Err != nil || !r.Verdict.Sound() }

// Runner runs cells in worlds of its own.
type Runner struct {
	Stack    *stack.Stack
	Binary   string // the relay, built with the tag crashpoints
	Registry string
	Dir      string // of logs
	Seed     uint64
	Worlds   int // at a time
	Out      io.Writer

	mu  sync.Mutex
	out []Result
}

// cellWithin bounds one cell.
const cellWithin = 4 * time.Minute

// Run runs the cells and returns their results in the order they ended. The
// error is of the surroundings; a cell that fails is no error.
func (r *Runner) Run(ctx context.Context, cells []Cell) ([]Result, error) {
	queues := map[Kind]chan Cell{}
	total := map[Kind]int{}
	for _, c := range cells {
		total[c.Kind]++
	}
	for k, n := range total {
		queues[k] = make(chan Cell, n)
	}
	for _, c := range cells {
		queues[c.Kind] <- c
	}
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for k, q := range queues {
		close(q)
		for range r.worldsOf(k, total) {
			wg.Go(func() {
				if err := r.work(ctx, k, q); err != nil {
					errs <- err
				}
			})
		}
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.out
	r.out = nil
	return out, errors.Join(append(all, ctx.Err())...)
}

// worldsOf shares the worlds among the kinds: one of each rare kind, the rest
// for the common one.
func (r *Runner) worldsOf(k Kind, total map[Kind]int) int {
	if k != Single {
		return 1
	}
	return max(1, min(r.Worlds-len(total)+1, total[k]))
}

func (r *Runner) work(ctx context.Context, kind Kind, queue <-chan Cell) error {
	w, err := NewWorld(ctx, r.Stack, kind, r.Binary, r.Registry)
	if err != nil {
		return err
	}
	for c := range queue {
		if ctx.Err() != nil {
			break
		}
		res := r.cell(ctx, w, c)
		r.mu.Lock()
		r.out = append(r.out, res)
		r.tell(len(r.out), &res)
		r.mu.Unlock()
		if res.Err != nil && ctx.Err() == nil {
			// What a failed cell broke may still be broken: begin anew.
			if err := w.Close(); err != nil {
				return err
			}
			if w, err = NewWorld(ctx, r.Stack, kind, r.Binary, r.Registry); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

func (r *Runner) tell(n int, res *Result) {
	if !res.Failed() {
		fmt.Fprintf(r.Out, "%4d ok   %-48s %5.1f s  %d events\n", n, res.Cell, res.Seconds, res.Verdict.Events)
		return
	}
	fmt.Fprintf(r.Out, "%4d FAIL %-48s %5.1f s  %s\n", n, res.Cell, res.Seconds, &res.Verdict)
	for _, c := range res.Verdict.Complaints {
		fmt.Fprintf(r.Out, "       %s\n", c)
	}
	if res.Err != nil {
		fmt.Fprintf(r.Out, "       %s\n", strings.ReplaceAll(res.Err.Error(), "\n", "\n       "))
	}
	fmt.Fprintf(r.Out, "       kept in %s; again: go run ./test/matrix/run -cell '^%s$' -seed %d\n", res.Dir, res.Cell, r.Seed)
}

// cell runs one cell in a world.
func (r *Runner) cell(ctx context.Context, w *World, c Cell) (res Result) {
	ctx, cancel := context.WithTimeout(ctx, cellWithin)
	defer cancel()
	begin := time.Now()
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Name)) // never fails
	res = Result{Cell: c.Name, Seed: h.Sum64() ^ r.Seed, Dir: filepath.Join(r.Dir, strings.ReplaceAll(c.Name, "/", "_"))}
	defer func() { res.Seconds = time.Since(begin).Seconds() }()
	l, err := newLab(ctx, w, res.Dir, res.Seed, c.change)
	if err != nil {
		res.Err = fmt.Errorf("make the cell's surroundings: %w", err)
		return res
	}
	defer l.close()
	err = c.story(l)
	err = errors.Join(err, w.heal())
	if err != nil {
		err = errors.Join(err, l.dead())
	}
	v, e, serr := l.settle(err != nil)
	if v != nil {
		if c.judge != nil {
			c.judge(e)
			v = Check(e)
		}
		res.Verdict = *v
	}
	res.Err, res.Kills = errors.Join(err, serr), l.kills
	if res.Failed() {
		l.keep(e, v)
	} else {
		_ = os.RemoveAll(res.Dir) // it may stay: it is in build/
	}
	return res
}
