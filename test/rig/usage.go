package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has taken from the machine.
type Usage struct {
	CPU     time.Duration // user and system time of all its threads
	RSS     int64         // resident memory now, bytes
	Peak    int64         // the most it ever was, bytes
	Threads int
}

// UsageOf reads the usage of a process, where the system tells (Linux).
func UsageOf(pid int) (Usage, error) {
	var u Usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name, in parentheses, may hold anything: count fields behind it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 18 {
		return u, errors.New("/proc/PID/stat is not as expected")
	}
	const user, system, threads = 11, 12, 17 // fields 14, 15 and 20 of proc(5)
	var ticks int64
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return u, err
		}
		ticks += n
	}
	u.CPU = time.Duration(ticks) * time.Second / 100 // USER_HZ is 100 on every Linux Go runs on
	if u.Threads, err = strconv.Atoi(fields[threads]); err != nil {
		return u, err
	}
	if u.RSS, err = statusBytes(pid, "VmRSS:"); err != nil {
		return u, err
	}
	u.Peak, err = statusBytes(pid, "VmHWM:")
	return u, err
}

// statusBytes reads a size of /proc/PID/status.
func statusBytes(pid int, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in the status of process %d", strings.TrimSuffix(name, ":"), pid)
}
