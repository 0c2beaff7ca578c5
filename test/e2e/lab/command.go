package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Hides demands that a secret is nowhere in what was printed.
func (c *Command) Hides(secret string) *Command {
	c.l.Helper()
	if strings.Contains(c.Out+c.Err, secret) {
		c.l.Errorf("prints a secret: %s", c)
	}
	return c
}

// Command is a one-shot command that came to its end.
type Command struct {
	l        *Lab
	args     []string
	Out, Err string
	Code     int
}

// Command runs cdc-relay with the lab's configuration.
func (l *Lab) Command(args ...string) *Command {
	l.Helper()
	return l.Bare(append([]string{"-c", l.Config}, args...)...)
}

// Bare runs cdc-relay with exactly these arguments, in the lab's folder.
func (l *Lab) Bare(args ...string) *Command {
	l.Helper()
	return l.CommandWith(l.Env, args...)
}

// CommandWith runs cdc-relay with these variables besides those of the test.
func (l *Lab) CommandWith(env []string, args ...string) *Command {
	l.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(l.Ctx(time.Minute), Binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.Dir, &out, &errs
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		l.Fatalf("%v: %v", args, err)
	}
	return &Command{l, args, out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// String is the command line with what came of it.
func (c *Command) String() string {
	return fmt.Sprintf("cdc-relay %s\nexit code %d\nstandard output:\n%s\nstandard error:\n%s", strings.Join(c.args, " "), c.Code, c.Out, c.Err)
}

// Exits demands an exit code.
func (c *Command) Exits(code int) *Command {
	c.l.Helper()
	if c.Code != code {
		c.l.Fatalf("want exit code %d: %s", code, c)
	}
	return c
}

// Says demands that each part is in what was printed, on either output.
func (c *Command) Says(parts ...string) *Command {
	c.l.Helper()
	for _, p := range parts {
		if !strings.Contains(c.Out+c.Err, p) {
			c.l.Errorf("does not say %q: %s", p, c)
		}
	}
	return c
}

// JSON reads standard output, which must be one JSON value; the exit code must
// be 0.
func (c *Command) JSON(into any) {
	c.l.Helper()
	c.Exits(0)
	if err := json.Unmarshal([]byte(c.Out), into); err != nil {
		c.l.Fatalf("%v: %s", err, c)
	}
}
