package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A signal that was sent is not a signal that was obeyed: kill(2) returns when
// it is noted, and on a busy machine the process goes on for a while (SIGCONT
// alone works at once). So a process is frozen when the system says that each of
// its threads has stopped, and killed when it was reaped.

// Freeze stops a process with SIGSTOP and waits until none of its threads runs.
// One that has ended is as still.
func Freeze(pid int) error {
	if err := send(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze process %d: %w", pid, err)
	}
	if !poll(patience, time.Millisecond, func() bool { return still(pid) }) {
		return fmt.Errorf("process %d goes on %s after SIGSTOP", pid, patience)
	}
	return nil
}

// freezeTree freezes a process and its descendants and returns them, parents
// first. What has stopped starts no child behind our back.
func freezeTree(pid int) (all []int, err error) {
	for level := []int{pid}; len(level) > 0; {
		for _, pid := range level {
			if err := Freeze(pid); err != nil {
				return all, err
			}
		}
		all = append(all, level...)
		children, next := childrenByParent(), []int(nil)
		for _, pid := range level {
			next = append(next, children[pid]...)
		}
		level = next
	}
	return all, nil
}

// send sends sig; a process that has ended needs none.
func send(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// still reports whether every thread of pid is stopped (T, and t under a
// debugger) or has ended (Z, X): from /proc where there is one, else from ps.
func still(pid int) bool {
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/[0-9]*")
	if err == nil && len(threads) > 0 {
		for _, dir := range threads {
			if _, state, ok := readStat(dir); ok && !strings.Contains("TtZX", state) {
				return false
			}
		}
		return true
	}
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		return true // ended
	}
	out, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(string(out), "T") || strings.HasPrefix(string(out), "Z")
}
