package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errExited tells that a process ended by itself while it was waited for.
var errExited = errors.New("ended by itself")

// command describes a process to start.
type command struct {
	name string   // for messages
	path string   // absolute path of the program
	args []string // without the program
	env  []string // added to a small environment, not to the owner's
	dir  string   // working directory
	log  string   // file that takes stdout and stderr, appended
	user *user    // nil: the owner's
	ask  string   // the watchdog's first signal: KILL or QUIT
}

// user is another user id to run as.
type user struct {
	uid, gid uint32
}

// proc is one running process. It is its own group leader.
type proc struct {
	guard *guard
	name  string
	log   string
	pid   int

	mu     sync.Mutex
	ended  bool
	status syscall.WaitStatus
}

// start runs c behind a gate: a shell waits on its stdin for one line before it
// becomes the program. The line is sent after the watchdog knows the id; should
// the owner die first, the shell reads end of file and ends.
func (g *guard) start(c command) (*proc, error) {
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.name, err)
	}
	defer func() { _ = out.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("gate of %s: %w", c.name, err)
	}
	defer func() { _ = w.Close() }()
	args := append([]string{"-c", `read -r go && exec "$@" </dev/null`, "sh", c.path}, c.args...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, out, out
	cmd.Dir, cmd.Env = c.dir, append(smallEnv(), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.user != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.user.uid, Gid: c.user.gid}
	}
	err = cmd.Start()
	_ = r.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s (%s): %w", c.name, c.path, err)
	}
	p := &proc{guard: g, name: c.name, log: c.log, pid: cmd.Process.Pid}
	// From here on the id is ours: exits are read with wait4, by poll.
	_ = cmd.Process.Release()
	if err := g.addProcess(c.ask, p.pid); err != nil {
		return nil, err // the gate closes, the shell ends
	}
	if _, err := w.WriteString("go\n"); err != nil {
		return nil, fmt.Errorf("open the gate of %s: %w", c.name, err)
	}
	return p, nil
}

// smallEnv keeps what programs need and hides what would change them (PGDATA,
// KAFKA_OPTS, JAVA_TOOL_OPTIONS and the like).
func smallEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "JAVA_HOME", "TZDIR", "LD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, "LC_ALL=C", "TZ=UTC")
}

// exited reports, without waiting, whether the process has ended.
func (p *proc) exited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return true
	}
	var status syscall.WaitStatus
	got, err := syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil)
	if got != p.pid && !errors.Is(err, syscall.ECHILD) {
		return false
	}
	p.ended, p.status = true, status
	_ = p.guard.dropProcess(p.pid) // a closed guard has forgotten it already
	return true
}

// wait waits for the end, at most bound.
func (p *proc) wait(bound time.Duration) error {
	if !poll(bound, 2*time.Millisecond, p.exited) {
		return fmt.Errorf("%s (process %d) did not end within %s", p.name, p.pid, bound)
	}
	return nil
}

// signal sends sig to the process alone.
func (p *proc) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return fmt.Errorf("%s: %w", p.name, errExited)
	}
	return syscall.Kill(p.pid, sig)
}

// killTree ends the process and all its descendants with SIGKILL and waits
// until none of them is left. They are frozen first: none starts another child
// between the look and the kill.
func (p *proc) killTree() error {
	if p.exited() {
		return nil
	}
	all, err := freezeTree(p.pid)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	for _, pid := range all {
		if err := send(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s (process %d): %w", p.name, pid, err)
		}
	}
	if err := p.wait(patience); err != nil {
		return err
	}
	gone := poll(patience, 2*time.Millisecond, func() bool { return !slices.ContainsFunc(all[1:], alive) })
	if !gone {
		return fmt.Errorf("%s: children of process %d are still there after SIGKILL", p.name, p.pid)
	}
	return nil
}

// pauseTree freezes the process and its descendants, parent first; resumeTree
// continues them, parent last.
func (p *proc) pauseTree() error {
	if p.exited() {
		return fmt.Errorf("%s: %w", p.name, errExited)
	}
	if _, err := freezeTree(p.pid); err != nil {
		return fmt.Errorf("pause %s: %w", p.name, err)
	}
	return nil
}

func (p *proc) resumeTree() error {
	for _, pid := range descendants(p.pid) {
		if err := send(pid, syscall.SIGCONT); err != nil {
			return fmt.Errorf("resume %s (process %d): %w", p.name, pid, err)
		}
	}
	return p.signal(syscall.SIGCONT)
}

// failure describes why the process is not what it should be, with the end of
// its log.
func (p *proc) failure(what string) error {
	state := "still running"
	if p.exited() {
		state = errExited.Error()
		if p.status.Exited() {
			state += fmt.Sprintf(" with exit code %d", p.status.ExitStatus())
		}
	}
	return fmt.Errorf("%s: %s (%s); the end of %s:\n%s", p.name, what, state, p.log, tail(p.log, 30))
}

// tail returns the last lines of a file, indented.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "  " + err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	all = all[max(0, len(all)-lines):]
	return "  " + strings.Join(all, "\n  ")
}

// alive reports whether pid exists and is no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	_, state, ok := procStat(pid)
	return !ok || state != "Z"
}

// descendants returns the ids of all processes below pid.
func descendants(pid int) []int {
	children := childrenByParent()
	var all []int
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		all = append(all, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return all
}

// childrenByParent lists the machine's processes: from /proc where there is
// one, else from ps (macOS).
func childrenByParent() map[int][]int {
	children := map[int][]int{}
	if dirs, err := filepath.Glob("/proc/[0-9]*"); err == nil && len(dirs) > 0 {
		for _, dir := range dirs {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			if ppid, _, ok := procStat(pid); ok {
				children[ppid] = append(children[ppid], pid)
			}
		}
		return children
	}
	out, err := exec.Command("ps", "-axo", "pid=,ppid=").Output()
	if err != nil {
		return children
	}
	for line := range strings.Lines(string(out)) {
		var pid, ppid int
		if n, _ := fmt.Sscan(line, &pid, &ppid); n == 2 {
			children[ppid] = append(children[ppid], pid)
		}
	}
	return children
}

// procStat reads parent and state from /proc; ok is false without it.
func procStat(pid int) (ppid int, state string, ok bool) {
	return readStat("/proc/" + strconv.Itoa(pid))
}

// readStat is procStat for the folder of a process or of one of its threads.
func readStat(dir string) (ppid int, state string, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, "", false
	}
	// The name in parentheses may hold anything: read behind the last one.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 2 {
		return 0, "", false
	}
	ppid, err = strconv.Atoi(f[1])
	return ppid, f[0], err == nil
}
