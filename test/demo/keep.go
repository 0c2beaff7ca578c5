package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// What -keep leaves running lives in a process of its own, the holder: this
// program again, with -hold, in a session of its own.
//
//	demo -keep ──starts──► demo -hold ──owns──► stack, relay, consumer
//	        ◄──── screen (fd 3) ────            ends at SIGTERM (demo -stop)
//	         ──── alive  (fd 4) ───►            until all is shown: at its end too
//
// The holder keeps a lock on a file for as long as it lives, with its process
// id in it. So -stop ends the right process or none: the id in a file whose lock
// is free means nothing.

const (
	screenFD = 3
	aliveFD  = 4
)

func lockPath() string  { return filepath.Join(dir(), "kept.lock") }
func statePath() string { return filepath.Join(dir(), "kept.json") }

// state is what the holder leaves for people and for spawn.
type state struct {
	PID       int    `json:"pid"`
	Exact     bool   `json:"exact"`
	Relay     int    `json:"relay_pid"`
	Postgres  string `json:"postgres"`
	Bootstrap string `json:"bootstrap"`
	Registry  string `json:"registry"`
	Metrics   string `json:"metrics"`
}

// spawn runs the demo in a holder, shows what it shows, and leaves it there.
func spawn(ctx context.Context, o options) int {
	self, err := os.Executable()
	if err != nil {
		return failed(err)
	}
	if pid, held := holder(); held {
		return failed(fmt.Errorf("a demo is still running (process %d, build/demo/kept.json); end it first: make demo-stop", pid))
	}
	show, screenEnd, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	aliveEnd, alive, err := os.Pipe()
	if err != nil {
		return failed(err)
	}
	log, err := os.Create(filepath.Join(dir(), "kept.log"))
	if err != nil {
		return failed(err)
	}
	cmd := exec.Command(self, "-hold", "-events="+strconv.Itoa(o.events), "-rate="+strconv.Itoa(o.rate),
		"-colour="+strconv.FormatBool(o.colour), "-live="+strconv.FormatBool(o.live))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{screenEnd, aliveEnd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return failed(err)
	}
	_ = errors.Join(screenEnd.Close(), aliveEnd.Close(), log.Close()) // the holder has its own
	defer alive.Close()                                               // its end is the message
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })()
	if _, err := io.Copy(os.Stdout, show); err != nil {
		return failed(errors.Join(err, cmd.Process.Signal(syscall.SIGTERM)))
	}
	// The holder closed its screen: it stays, or it has ended.
	if s, err := readState(); err == nil && s.PID == cmd.Process.Pid {
		_ = cmd.Process.Release() // it outlives us
		if !s.Exact {
			return 1
		}
		return 0
	}
	if err := cmd.Wait(); err != nil {
		text, _ := os.ReadFile(filepath.Join(dir(), "kept.log"))
		fmt.Fprint(os.Stderr, string(text))
	}
	return max(cmd.ProcessState.ExitCode(), 1)
}

func readState() (state, error) {
	var s state
	text, err := os.ReadFile(statePath())
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

// holder returns the process that holds the lock.
func holder() (pid int, held bool) {
	f, err := os.Open(lockPath())
	if err != nil {
		return 0, false
	}
	defer f.Close() // only read
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return 0, false
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return 0, true
	}
	pid, _ = strconv.Atoi(strings.TrimSpace(string(text))) // 0: it is about to write it
	return pid, true
}

// take takes the lock for as long as this process lives.
func take() (*os.File, error) {
	f, err := os.OpenFile(lockPath(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(errors.New("another demo is running; end it first: make demo-stop"), f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	_ = os.Remove(statePath()) // of a holder that was killed
	return f, nil
}

// stopKept ends the holder and waits for its end. Without one there is nothing
// to do, whatever the files say.
func stopKept(ctx context.Context, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	told := 0
	for {
		pid, held := holder()
		switch {
		case !held && told == 0:
			_ = os.Remove(statePath())
			fmt.Fprintln(out, "no demo is running")
			return 0
		case !held:
			fmt.Fprintf(out, "the demo (process %d) has ended, with its Postgres, broker, registry and relay\n", told)
			return 0
		case pid != 0 && told == 0:
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				return failed(fmt.Errorf("end process %d: %w", pid, err))
			}
			told = pid
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return failed(fmt.Errorf("process %d does not end; its log is build/demo/kept.log", pid))
		}
	}
}

// holdOn is the holder.
func holdOn(ctx context.Context, o options) int {
	signal.Ignore(syscall.SIGHUP)
	syscall.CloseOnExec(screenFD)
	syscall.CloseOnExec(aliveFD)
	show, alive := os.NewFile(screenFD, "screen"), os.NewFile(aliveFD, "alive")
	lock, err := take()
	if err != nil {
		return failed(err)
	}
	defer lock.Close() // the end of the process frees it too

	// Until everything is shown, the end of the one who looks is ours.
	watched, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = alive.Read(make([]byte, 1)) // nothing is ever written
		cancel()
	}()
	d := &demo{options: o, screen: newScreen(show, o.colour, o.live)}
	exact, err := d.run(watched)
	if err == nil {
		err = watched.Err()
	}
	if err == nil {
		err = d.stay(ctx, exact, show)
	}
	d.screen.progress("")
	return verdict(exact, errors.Join(err, d.close(), os.RemoveAll(statePath())))
}

// stay shows what there is to look at, lets the screen go and follows the
// topics until ctx is done.
func (d *demo) stay(ctx context.Context, exact bool, show *os.File) error {
	s, err := d.keepsake(ctx, exact)
	if err != nil {
		return err
	}
	if err := os.WriteFile(eventsPath(), nil, 0o644); err != nil {
		return err
	}
	d.invite(s)
	if err := writeJSON(statePath(), s); err != nil {
		return err
	}
	if err := show.Close(); err != nil {
		return err
	}
	return d.follow(ctx)
}

func (d *demo) keepsake(ctx context.Context, exact bool) (state, error) {
	addr, err := d.relay.Addr(ctx)
	return state{PID: os.Getpid(), Exact: exact, Relay: d.relay.PID(), Postgres: d.url,
		Bootstrap: d.parts.kafka.Bootstrap(), Registry: d.parts.sr.URL(), Metrics: "http://" + addr + "/metrics"}, err
}

func eventsPath() string { return filepath.Join(dir(), "events.log") }

// invite says what is running and what to try.
func (d *demo) invite(s state) {
	c := d.screen
	c.heading("still running", "end it with: make demo-stop")
	c.field("psql", "psql '%s'", s.Postgres)
	c.field("kafka", "%s   topics %s.*", s.Bootstrap, d.name)
	c.field("registry", "%s/subjects", s.Registry)
	c.field("metrics", "%s", s.Metrics)
	c.field("readiness", "%s", strings.TrimSuffix(s.Metrics, "metrics")+"readyz")
	c.field("relay", "process %d, log in build/demo/relay.log", s.Relay)
	c.heading("try", "publish one event, as any service could, and see it arrive")
	c.print("%s", example(s.Postgres))
	c.print("  cat build/demo/events.log")
}

// example is one call that writes an event of the shipped schema.
func example(url string) string {
	return `  psql '` + url + `' <<'SQL'
  select cdc_relay.publish_to_outbox('essay', 'essay-0001', 'essay.state.changed',
    json_build_object(
      'event_id', gen_random_uuid(), 'event_type', 'essay.state.changed', 'schema_version', 1,
      'event_timestamp', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
      'source_service', 'you', 'correlation_id', gen_random_uuid(),
      'data', json_build_object('entity_ref', 'essay:essay-0001', 'essay_id', 'essay-0001',
        'previous_state', 'uploaded', 'new_state', 'spellchecked', 'state_version', 2,
        'changed_at', (extract(epoch from clock_timestamp()) * 1000000)::bigint)));
  SQL`
}

// follow writes every further event into build/demo/events.log.
func (d *demo) follow(ctx context.Context) error {
	f, err := os.OpenFile(eventsPath(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close() // written line by line
	d.screen = newScreen(f, false, false)
	d.reader.On = func(r *rig.Record) { d.flow.event(ctx, r) }
	for {
		d.reader.All = nil
		err := d.reader.Read(ctx, func(n int) bool { return n > 0 })
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
