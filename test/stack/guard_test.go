package stack

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVariable makes the test binary be the owner that is killed.
const childVariable = "CDC_RELAY_STACK_TEST_CHILD"

// TestOwner is the body of the child process of the test below.
func TestOwner(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("runs as the child of TestNothingSurvivesItsOwner")
	}
	pg := NewPostgres(t)
	if err := pg.Pause(); err != nil { // a frozen server must end too
		t.Fatal(err)
	}
	_, _ = io.WriteString(os.Stdout, "owner "+pg.DataDir()+"\n")
	<-t.Context().Done()
}

// TestNothingSurvivesItsOwner kills a process that owns a (frozen) server with
// SIGKILL and waits until neither the server nor its folder is left.
func TestNothingSurvivesItsOwner(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestOwner$", "-test.timeout=50s")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var data string
	for lines := bufio.NewScanner(out); data == "" && lines.Scan(); {
		data, _ = strings.CutPrefix(lines.Text(), "owner ")
		if data == lines.Text() {
			data = ""
		}
	}
	if data == "" {
		t.Fatalf("the owner did not start: %v", cmd.Wait())
	}
	pid, err := os.ReadFile(data + "/postmaster.pid")
	if err != nil {
		t.Fatal(err)
	}
	var server int
	for _, c := range strings.SplitN(string(pid), "\n", 2)[0] {
		server = server*10 + int(c-'0')
	}
	tree := append([]int{server}, descendants(server)...)
	if len(tree) < 4 {
		t.Fatalf("only processes %v: not the server", tree)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	left := func() (pids []int) {
		for _, pid := range tree {
			if alive(pid) {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	if !poll(20*time.Second, 10*time.Millisecond, func() bool { return len(left()) == 0 }) {
		t.Fatalf("processes %v outlived their owner", left())
	}
	if !poll(5*time.Second, 10*time.Millisecond, func() bool { _, err := os.Stat(data); return os.IsNotExist(err) }) {
		t.Fatalf("%s is still there", data)
	}
}
