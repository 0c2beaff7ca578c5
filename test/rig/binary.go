package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Root is the folder of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Tested is the relay that tests run: the same one for all processes of a run. The
// Makefile has built it before; then this is a look at what it was made from.
func Tested(ctx context.Context) (string, error) { return Build(ctx, shared("relay")) }

// Held is the relay with its crash points, for all processes of a run.
func Held(ctx context.Context) (string, error) {
	return Build(ctx, shared("crashpoints"), "-tags", "crashpoints")
}

func shared(name string) string { return filepath.Join(Root(), "build", "tested", name) }

// Build builds the relay into dir and returns its path. Builds of several
// processes go one after the other, and without -trimpath: what one compiled, or
// `go test`, the next finds in Go's cache. Beside each other they would compile
// the same thousand packages as often as there are processes.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	out := filepath.Join(dir, "cdc-relay")
	args := append([]string{"build", "-ldflags=-s -w"}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", out, "./cmd/cdc-relay")...)
	cmd.Dir, cmd.Env = Root(), os.Environ()
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the relay: %w\n%s", err, strings.TrimSpace(string(text)))
	}
	return out, nil
}

// lock waits for the builds of other processes.
func lock() (unlock func(), err error) {
	path := filepath.Join(Root(), "build", "lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock of the builds: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock of the builds: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil // frees it
}
