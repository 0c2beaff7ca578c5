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
	Skipped string // why it was left out; "" it was not

	broken bool // it could not be run at all
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

	mu sync.Mutex // of what is told and gathered
}

// cellWithin bounds one cell.
const cellWithin = 4 * time.Minute

// task is work for a world. broken says that the world is not to be used again.
type task struct {
	kind Kind
	do   func(ctx context.Context, w *World) (broken bool, err error)
}

// Run runs the cells and returns their results in the order they ended. The
// error is of the surroundings; a cell that fails is no error.
func (r *Runner) Run(ctx context.Context, cells []Cell) ([]Result, error) {
	var out []Result
	tasks := make([]task, len(cells))
	for i, c := range cells {
		tasks[i] = task{c.Kind, func(ctx context.Context, w *World) (bool, error) {
			res := r.cell(ctx, w, c, r.Dir)
			r.mu.Lock()
			defer r.mu.Unlock()
			out = append(out, res)
			r.tell(len(out), &res)
			return res.Err != nil, nil // what a failed cell broke may still be broken
		}}
	}
	err := r.each(ctx, tasks)
	r.mu.Lock()
	defer r.mu.Unlock()
	return out, err
}

// each does the tasks in worlds, several at a time.
func (r *Runner) each(ctx context.Context, tasks []task) error {
	queues := map[Kind]chan task{}
	total := map[Kind]int{}
	for _, t := range tasks {
		total[t.kind]++
	}
	for k, n := range total {
		queues[k] = make(chan task, n)
	}
	for _, t := range tasks {
		queues[t.kind] <- t
	}
	var rare []Kind
	for k, q := range queues {
		close(q)
		if k != Single {
			rare = append(rare, k)
		}
	}
	var wg sync.WaitGroup
	errs := make(chan error, max(r.Worlds, len(rare)))
	for i := range cap(errs) {
		wg.Go(func() {
			// Whoever has made a rare world goes on with an ordinary one.
			if i < len(rare) {
				errs <- r.work(ctx, rare[i], queues[rare[i]])
			}
			errs <- r.work(ctx, Single, queues[Single])
		})
	}
	go func() { wg.Wait(); close(errs) }()
	all := []error{ctx.Err()}
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// work makes a world, and a new one whenever it is broken.
func (r *Runner) work(ctx context.Context, kind Kind, queue <-chan task) (err error) {
	var w *World
	defer func() {
		if w != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for t := range queue {
		if ctx.Err() != nil {
			return nil
		}
		if w == nil {
			if w, err = NewWorld(ctx, r.Stack, kind, r.Binary, r.Registry); err != nil {
				return err
			}
		}
		broken, err := t.do(ctx, w)
		if err != nil {
			return err
		}
		if broken {
			err := w.Close()
			w = nil
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Runner) tell(n int, res *Result) {
	if res.Skipped != "" {
		fmt.Fprintf(r.Out, "%4d skip %-48s %s\n", n, res.Cell, res.Skipped)
		return
	}
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

// cell runs one cell in a world, with a folder of its own in dir.
func (r *Runner) cell(ctx context.Context, w *World, c Cell, dir string) (res Result) {
	ctx, cancel := context.WithTimeout(ctx, cellWithin)
	defer cancel()
	begin := time.Now()
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Name)) // never fails
	res = Result{Cell: c.Name, Seed: h.Sum64() ^ r.Seed, Dir: filepath.Join(dir, strings.ReplaceAll(c.Name, "/", "_"))}
	defer func() { res.Seconds = time.Since(begin).Seconds() }()
	if c.proxied && len(w.Kafka.Proxies()) == 0 {
		res.Skipped = stack.ErrProxied.Error()
		return res
	}
	l, err := newLab(ctx, w, res.Dir, res.Seed, c.change)
	if err != nil {
		res.Err, res.broken = fmt.Errorf("make the cell's surroundings: %w", err), true
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
