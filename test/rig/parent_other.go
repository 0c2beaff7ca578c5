//go:build !linux

package rig

import "os/exec"

// dieWithParent has no counterpart here: Stop or Kill what was started.
func dieWithParent(*exec.Cmd) {}
