package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// asRunner makes the test binary be the runner.
const asRunner = "CDC_RELAY_STACK_TEST_RUNNER"

func TestMain(m *testing.M) {
	if os.Getenv(asRunner) != "" {
		main()
	}
	os.Exit(m.Run())
}

// runner runs the runner with an embedded broker and registry, which start at once.
func runner(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asRunner+"=1", "CDC_RELAY_TEST_BROKER=embedded", stack.Variable+"=")
	cmd.Stderr = t.Output()
	return cmd
}

func TestCommandGetsTheStackAndItsExitCodeComesBack(t *testing.T) {
	t.Parallel()
	cmd := runner(t, "up", "--no-postgres", "--", "sh", "-c", `printf '%s' "$CDC_RELAY_STACK"; exit 7`)
	var out bytes.Buffer
	cmd.Stdout = &out
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("ended with %v, want exit code 7", err)
	}
	var state stack.State
	if err := json.Unmarshal(out.Bytes(), &state); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	if state.Kafka == nil || state.Kafka.Bootstrap == "" || state.Registry == nil || state.Postgres != nil {
		t.Fatalf("the command got %s", out.Bytes())
	}
}

func TestDownEndsWhatUpStarted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stack.json")
	if err := runner(t, "down", "--state", path).Run(); err != nil {
		t.Fatalf("down of nothing: %v", err)
	}
	cmd := runner(t, "up", "--no-postgres", "--state", path)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	var lines []byte
	for buf := make([]byte, 4096); !strings.Contains(string(lines), "stack: up"); {
		n, err := read.Read(buf)
		if err != nil {
			t.Fatalf("the runner ended: %v\n%s", err, lines)
		}
		lines = append(lines, buf[:n]...)
	}
	if err := runner(t, "up", "--no-postgres", "--state", path).Run(); err == nil {
		t.Error("a second stack took the same state file")
	}
	start := time.Now()
	if err := runner(t, "down", "--state", path).Run(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("up ended with %v after %s", err, time.Since(start))
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatal("the state file is still there")
	}
}

// TestDownLeavesAStrangerAlone: a state file whose process is gone names a
// process id that may belong to another one by now.
func TestDownLeavesAStrangerAlone(t *testing.T) {
	t.Parallel()
	stranger := exec.CommandContext(t.Context(), "sleep", "60")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(stack.State{PID: stranger.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stack.json")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := runner(t, "down", "--state", path).Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the old file is still there")
	}
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatal("the stranger was ended")
	}
	_ = stranger.Process.Kill()
	_ = stranger.Wait() // killed
}
