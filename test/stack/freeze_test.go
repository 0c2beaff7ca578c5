package stack

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"
)

// When Freeze returns the process does nothing any more, however busy the
// machine is.
func TestFrozenWhenFreezeReturns(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "while :; do echo; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for range 20 {
		if _, err := lines.ReadString('\n'); err != nil { // it runs
			t.Fatal(err)
		}
		if err := Freeze(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if !still(cmd.Process.Pid) {
			t.Fatal("Freeze has returned, and a thread runs")
		}
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := Freeze(cmd.Process.Pid); err != nil {
		t.Fatalf("a process that ends: %v", err)
	}
	_ = cmd.Wait() // killed: an error by design
}
