package e2e

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

// command is a one-shot command that came to its end.
type command struct {
	l        *lab
	args     []string
	out, err string
	code     int
}

// run runs cdc-relay with the lab's configuration.
func (l *lab) run(args ...string) *command {
	l.Helper()
	return l.bare(append([]string{"-c", l.config}, args...)...)
}

// bare runs cdc-relay with exactly these arguments, in the lab's folder.
func (l *lab) bare(args ...string) *command {
	l.Helper()
	return l.with(l.env, args...)
}

// with runs cdc-relay with these variables besides those of the test.
func (l *lab) with(env []string, args ...string) *command {
	l.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(l.ctx(time.Minute), binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, &out, &errs
	cmd.Env = append(os.Environ(), env...)
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		l.Fatalf("%v: %v", args, err)
	}
	return &command{l, args, out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func (c *command) String() string {
	return fmt.Sprintf("cdc-relay %s\nexit code %d\nstandard output:\n%s\nstandard error:\n%s", strings.Join(c.args, " "), c.code, c.out, c.err)
}

// exits demands an exit code.
func (c *command) exits(code int) *command {
	c.l.Helper()
	if c.code != code {
		c.l.Fatalf("want exit code %d: %s", code, c)
	}
	return c
}

// says demands that each part is in what was printed, on either output.
func (c *command) says(parts ...string) *command {
	c.l.Helper()
	for _, p := range parts {
		if !strings.Contains(c.out+c.err, p) {
			c.l.Errorf("does not say %q: %s", p, c)
		}
	}
	return c
}

// json reads standard output, which must be one JSON value; the exit code must
// be 0.
func (c *command) json(into any) {
	c.l.Helper()
	c.exits(0)
	if err := json.Unmarshal([]byte(c.out), into); err != nil {
		c.l.Fatalf("%v: %s", err, c)
	}
}
