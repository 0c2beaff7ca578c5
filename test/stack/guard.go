package stack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// guardScript is the watchdog. It reads one instruction per line:
//
//   - SIGNAL PID   end this process group at end of file, asking with SIGNAL
//   - PID          forget it
//     d PATH         remove this folder at end of file
//     u PATH         forget it
//
// At end of file (the owner closed the pipe, or died in any way) processes get
// CONT, because a frozen one would not see the rest, then SIGNAL. Those which
// were asked politely (QUIT: postgres, whose children live in sessions of their
// own and are ended by their parent) have eight seconds, then KILL for the group.
const guardScript = `
trap '' INT HUP TERM QUIT PIPE
procs=
nl='
'
dirs=
while IFS= read -r line; do
  rest=${line#* }
  case $line in
  '+ '*) procs="$procs ${rest%% *}:${rest##* }" ;;
  '- '*) new=
    for p in $procs; do [ "${p#*:}" = "$rest" ] || new="$new $p"; done
    procs=$new ;;
  'd '*) dirs="$dirs$rest$nl" ;;
  'u '*) new=
    IFS=$nl
    for d in $dirs; do [ "$d" = "$rest" ] || new="$new$d$nl"; done
    unset IFS
    dirs=$new ;;
  esac
done
for p in $procs; do
  pid=${p#*:}
  kill -CONT "-$pid"
  case $p in
  KILL:*) kill -KILL "-$pid" ;;
  *) kill "-${p%%:*}" "$pid" ;;
  esac
done
n=0
for p in $procs; do
  pid=${p#*:}
  while kill -0 "-$pid" && [ $n -lt 80 ]; do n=$((n+1)); sleep 0.1; done
  kill -KILL "-$pid"
done
IFS=$nl
for d in $dirs; do rm -rf -- "$d" || { sleep 1; rm -rf -- "$d"; }; done
exit 0
`

// guard is the owner's end of the watchdog. Its methods may be called by
// several goroutines.
type guard struct {
	mu   sync.Mutex
	pipe *os.File
	cmd  *exec.Cmd
}

// newGuard starts the watchdog shell. The pipe's end is close-on-exec, so no
// other child can keep it open.
func newGuard() (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe to the watchdog: %w", err)
	}
	defer func() { _ = r.Close() }() // the shell has its own copy
	cmd := exec.Command("/bin/sh", "-c", guardScript)
	cmd.Stdin = r
	cmd.Dir = "/"
	// A session of its own: neither Ctrl-C nor a closed terminal reaches it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("start the watchdog shell: %w", err)
	}
	return &guard{pipe: w, cmd: cmd}, nil
}

func (g *guard) say(format string, args ...any) error {
	var line bytes.Buffer
	fmt.Fprintf(&line, format+"\n", args...)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe == nil {
		return errors.New("the stack is closed")
	}
	if _, err := g.pipe.Write(line.Bytes()); err != nil {
		return fmt.Errorf("tell the watchdog: %w", err)
	}
	return nil
}

// addProcess makes the watchdog end the group of pid; signal is KILL or QUIT.
func (g *guard) addProcess(signal string, pid int) error { return g.say("+ %s %d", signal, pid) }

// dropProcess forgets pid. It is called when the process was reaped, so that
// an id the system gives out again is never signalled.
func (g *guard) dropProcess(pid int) error { return g.say("- %d", pid) }

// tempDir creates a folder that ends with the owner. It lies under /tmp, not
// TMPDIR: other user ids must be able to enter it, and socket paths are short.
func (g *guard) tempDir(name string) (string, error) {
	dir, err := os.MkdirTemp("/tmp", "cdc-relay-stack-"+name+"-")
	if err != nil {
		return "", fmt.Errorf("folder for %s: %w", name, err)
	}
	if err := g.say("d %s", dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	return dir, nil
}

// removeDir removes a folder made by tempDir.
func (g *guard) removeDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return g.say("u %s", dir)
}

// patience bounds every wait for a part. It is for one that hangs, and claims
// nothing about speed: beside twenty other processes a broker needs minutes to be up.
const patience = 5 * time.Minute

// close ends whatever is left and waits for the watchdog.
func (g *guard) close() error {
	g.mu.Lock()
	pipe := g.pipe
	g.pipe = nil
	g.mu.Unlock()
	if pipe == nil {
		return nil
	}
	_ = pipe.Close()
	pid := g.cmd.Process.Pid
	gone := poll(patience, 5*time.Millisecond, func() bool {
		got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		return got == pid || errors.Is(err, syscall.ECHILD)
	})
	_ = g.cmd.Process.Release()
	if !gone {
		return fmt.Errorf("the watchdog shell (process %d) did not end within %s", pid, patience)
	}
	return nil
}

// poll asks cond at the interval until it is true or the bound has passed, and
// returns its last answer.
func poll(bound, interval time.Duration, cond func() bool) bool {
	if cond() {
		return true
	}
	deadline := time.NewTimer(bound)
	defer deadline.Stop()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-deadline.C:
			return cond()
		case <-tick.C:
			if cond() {
				return true
			}
		}
	}
}
