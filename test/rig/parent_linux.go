package rig

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the process with this one, however this one ends. The
// signal is bound to the thread that starts the process, which the Go runtime
// keeps as long as no goroutine locks and leaves it.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
