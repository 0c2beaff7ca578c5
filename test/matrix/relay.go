package matrix

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// crashVariable is internal/crash.Variable, which only exists under its tag.
const crashVariable = "CDC_RELAY_CRASH"

// arm says at which passing of which point a relay is to be held.
type arm struct {
	at crash.Name
	n  int
}

// relay is a relay process and the line to its points.
type relay struct {
	*rig.Relay
	l    *lab
	log  *os.File
	trap net.Listener
	at   chan crash.Name // points it holds at

	mu    sync.Mutex
	conn  net.Conn
	ready chan struct{} // closed when the line is there
}

// launch starts a relay whose points are armed from its first step on, and
// waits for nothing. args are those of the command line behind -c.
func (l *lab) launch(args []string, arms ...arm) (*relay, error) {
	return l.start(l.w.Binary, args, arms)
}

func (l *lab) start(binary string, args []string, arms []arm) (*relay, error) {
	l.launched++
	path := filepath.Join(l.short, fmt.Sprint(l.launched))
	trap, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(l.dir, fmt.Sprintf("relay-%d.log", l.launched)))
	if err != nil {
		return nil, errors.Join(err, trap.Close())
	}
	r := &relay{l: l, log: log, trap: trap, at: make(chan crash.Name, 64), ready: make(chan struct{})}
	go r.answer(arms)
	r.Relay, err = rig.Start(binary, []string{crashVariable + "=" + path}, log, append([]string{"-c", l.config}, args...)...)
	if err != nil {
		return nil, errors.Join(err, trap.Close(), log.Close())
	}
	l.relays = append(l.relays, r)
	return r, nil
}

// answer serves the process's line until it ends.
func (r *relay) answer(arms []arm) {
	conn, err := r.trap.Accept()
	if err != nil {
		return // it ended before its first point
	}
	for _, a := range arms {
		fmt.Fprintf(conn, "arm %s %d\n", a.at, a.n)
	}
	fmt.Fprintln(conn, "ready")
	r.mu.Lock()
	r.conn = conn
	r.mu.Unlock()
	close(r.ready)
	for s := bufio.NewScanner(conn); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "at "); ok {
			r.at <- crash.Name(name)
		}
	}
}

// arm arms a point of a relay that runs.
func (r *relay) arm(ctx context.Context, a arm) error {
	select {
	case <-r.ready:
	case <-ctx.Done():
		return fmt.Errorf("the relay passed no point: %w", ctx.Err())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintf(r.conn, "arm %s %d\n", a.at, a.n)
	return err
}

// reached waits until the relay holds at the point.
func (r *relay) reached(ctx context.Context, at crash.Name) error {
	_, err := r.reachedOne(ctx, at)
	return err
}

// reachedOne waits until the relay holds at one of the points.
func (r *relay) reachedOne(ctx context.Context, points ...crash.Name) (crash.Name, error) {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	for {
		select {
		case got := <-r.at:
			if slices.Contains(points, got) {
				return got, nil
			}
		case <-r.Done():
			return "", fmt.Errorf("the relay ended (%w) before it reached %s:\n%s", r.Wait(), points, tail(r.Log()))
		case <-ctx.Done():
			return "", fmt.Errorf("the relay did not reach %s: %w\n%s", points, ctx.Err(), tail(r.Log()))
		}
	}
}

// release lets the relay go on from the point.
func (r *relay) release(at crash.Name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		fmt.Fprintf(r.conn, "go %s\n", at) // it may be dead: then there is nothing to let go
	}
}

// kill ends it with SIGKILL.
func (r *relay) kill() {
	r.l.kills++
	r.Kill()
}

// stop ends it in good order.
func (r *relay) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	code, err := r.Stop(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d after SIGTERM:\n%s", code, tail(r.Log()))
	}
	return err
}

// refused waits until it ended with exit code 3, saying text.
func (r *relay) refused(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverWithin)
	defer cancel()
	code, err := r.Exit(ctx)
	if err == nil && (code != 3 || !strings.Contains(r.Log(), text)) {
		err = fmt.Errorf("exit code %d, want 3 and the words %q:\n%s", code, text, tail(r.Log()))
	}
	return err
}

// close ends what is left of it.
func (r *relay) close() {
	_ = r.Signal(syscall.SIGCONT) // it may be frozen, or gone
	r.Kill()
	_ = r.trap.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		_ = r.conn.Close()
	}
	_ = r.log.Close()
}

// tail is the end of a log.
func tail(log string) string {
	const most = 3000
	if len(log) > most {
		return "…" + log[len(log)-most:]
	}
	return log
}

// stall waits for d: where the length of an outage is the subject.
func stall(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
