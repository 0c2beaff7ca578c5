package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Relay is a relay as a process of its own.
type Relay struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; read after done

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced at each line
	addr  string
}

// Start starts binary with args; what it logs goes to log too, line by line.
func Start(binary string, env []string, log io.Writer, args ...string) (*Relay, error) {
	r := &Relay{cmd: exec.Command(binary, args...), done: make(chan struct{}), more: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), env...)
	pipe, w := io.Pipe()
	r.cmd.Stdout, r.cmd.Stderr = w, w
	r.cmd.WaitDelay = 5 * time.Second
	dieWithParent(r.cmd)
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the relay: %w", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(pipe); s.Scan(); {
			r.line(s.Text())
			if log != nil {
				fmt.Fprintln(log, s.Text())
			}
		}
	}()
	go func() {
		r.err = r.cmd.Wait()
		w.Close() // of a pipe: never fails
		<-read
		close(r.done)
	}()
	return r, nil
}

var serving = regexp.MustCompile(`serving /healthz.* addr=(\S+)`)

func (r *Relay) line(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := serving.FindStringSubmatch(s); m != nil {
		r.addr = m[1]
	}
	r.lines = append(r.lines, s)
	close(r.more)
	r.more = make(chan struct{})
}

// Log is all it has logged.
func (r *Relay) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// WaitLog waits for a line that holds text and returns it.
func (r *Relay) WaitLog(ctx context.Context, text string) (string, error) {
	for from := 0; ; {
		r.mu.Lock()
		lines, more := r.lines[from:], r.more
		from = len(r.lines)
		r.mu.Unlock()
		for _, l := range lines {
			if strings.Contains(l, text) {
				return l, nil
			}
		}
		select {
		case <-more:
		case <-r.done:
			if strings.Contains(r.Log(), text) {
				continue
			}
			return "", fmt.Errorf("the relay ended (%w) without logging %q:\n%s", r.Wait(), text, r.Log())
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for the relay to log %q: %w\n%s", text, ctx.Err(), r.Log())
		}
	}
}

// Addr is where it serves health and metrics.
func (r *Relay) Addr(ctx context.Context) (string, error) {
	if _, err := r.WaitLog(ctx, "serving /healthz"); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addr, nil
}

// Ready waits until /readyz says 200.
func (r *Relay) Ready(ctx context.Context) error {
	return r.until(ctx, "ready", func(code int, _ map[string]string) bool { return code == http.StatusOK })
}

// State waits until the pipeline is in the state.
func (r *Relay) State(ctx context.Context, pipeline, state string) error {
	return r.until(ctx, pipeline+" "+state, func(_ int, s map[string]string) bool { return s[pipeline] == state })
}

// until asks /readyz again and again; there is no signal to wait on across a
// process border.
func (r *Relay) until(ctx context.Context, what string, ok func(code int, states map[string]string) bool) error {
	addr, err := r.Addr(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if code, states, err := readyz(ctx, addr); err == nil && ok(code, states) {
			return nil
		}
		select {
		case <-tick.C:
		case <-r.done:
			return fmt.Errorf("the relay ended (%w) before it was %s:\n%s", r.Wait(), what, r.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting until the relay is %s: %w\n%s", what, ctx.Err(), r.Log())
		}
	}
}

func readyz(ctx context.Context, addr string) (int, map[string]string, error) {
	body, code, err := get(ctx, "http://"+addr+"/readyz")
	if err != nil {
		return 0, nil, err
	}
	var r struct {
		Pipelines []struct{ Name, State string }
	}
	err = json.Unmarshal(body, &r)
	states := map[string]string{}
	for _, p := range r.Pipelines {
		states[p.Name] = p.State
	}
	return code, states, err
}

func get(ctx context.Context, url string) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close() // read to the end
	body, err := io.ReadAll(res.Body)
	return body, res.StatusCode, err
}

// Metric is the sum of a metric's series whose labels hold all of parts.
func (r *Relay) Metric(ctx context.Context, name string, parts ...string) (float64, error) {
	addr, err := r.Addr(ctx)
	if err != nil {
		return 0, err
	}
	body, _, err := get(ctx, "http://"+addr+"/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
lines:
	for line := range strings.Lines(string(body)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok {
			series, value, ok = strings.Cut(strings.TrimSpace(line), " ")
		}
		if !ok || !strings.HasPrefix(series, name) || len(series) > len(name) && series[len(name)] != '{' {
			continue
		}
		for _, p := range parts {
			if !strings.Contains(series, p) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("no metric %s %q", name, parts)
	}
	return sum, nil
}

// PID is the process's id.
func (r *Relay) PID() int { return r.cmd.Process.Pid }

// Signal sends sig. SIGSTOP is in effect when it returns, and SIGCONT is; the end
// that another asks for is waited for with Exit.
func (r *Relay) Signal(sig syscall.Signal) error {
	if sig == syscall.SIGSTOP {
		return stack.Freeze(r.PID())
	}
	return r.cmd.Process.Signal(sig)
}

// Kill ends it with SIGKILL and waits.
func (r *Relay) Kill() {
	r.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
	<-r.done
}

// Stop ends it with SIGTERM, waits, and returns its exit code.
func (r *Relay) Stop(ctx context.Context) (int, error) {
	if err := r.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return -1, err
	}
	return r.Exit(ctx)
}

// Exit waits for the end and returns the exit code.
func (r *Relay) Exit(ctx context.Context) (int, error) {
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return -1, fmt.Errorf("waiting for the relay to end: %w\n%s", ctx.Err(), r.Log())
	}
}

// Wait is the error the process ended with; call it after its end.
func (r *Relay) Wait() error {
	if r.err == nil {
		return errors.New("exit status 0")
	}
	return r.err
}

// Done is closed at the end of the process.
func (r *Relay) Done() <-chan struct{} { return r.done }

// RSS is the process's resident memory in bytes, where the system tells.
func (r *Relay) RSS() (int64, error) { return statusBytes(r.PID(), "VmRSS:") }

// Usage is what the process has taken from the machine so far.
func (r *Relay) Usage() (Usage, error) { return UsageOf(r.PID()) }

// Events is how many events the pipeline's checkpoint in Kafka counts, since
// its first start.
func (r *Relay) Events(ctx context.Context, pipeline string) (int, error) {
	addr, err := r.Addr(ctx)
	if err != nil {
		return 0, err
	}
	body, _, err := get(ctx, "http://"+addr+"/readyz")
	if err != nil {
		return 0, err
	}
	var s struct {
		Pipelines []struct {
			Name       string
			Checkpoint struct{ Events int }
		}
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return 0, err
	}
	for _, p := range s.Pipelines {
		if p.Name == pipeline {
			return p.Checkpoint.Events, nil
		}
	}
	return 0, fmt.Errorf("no pipeline %q in %s", pipeline, body)
}
