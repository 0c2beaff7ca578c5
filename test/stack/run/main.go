// Command run starts one PostgreSQL, one broker and one schema registry, and
// gives them to all processes of a command:
//
//	go run ./test/stack/run up -- go test ./...
//	go run ./test/stack/run up --state build/stack.json     (until down or Ctrl-C)
//	go run ./test/stack/run down --state build/stack.json
//
// The command finds the parts in the variable CDC_RELAY_STACK; the functions of
// test/stack take them from there. When the command ends, everything ends, and
// its exit code is returned.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

const usage = "usage: run up [--state FILE] [--no-postgres] [--no-broker] [--no-registry] [--] [COMMAND…] | run down --state FILE"

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	state := flags.String("state", "", "file that holds the addresses while the stack is up")
	var o stack.Options
	flags.BoolVar(&o.NoPostgres, "no-postgres", false, "start no PostgreSQL")
	flags.BoolVar(&o.NoBroker, "no-broker", false, "start no broker")
	flags.BoolVar(&o.NoRegistry, "no-registry", false, "start no registry")
	if err := flags.Parse(args[1:]); err != nil {
		return 2, err
	}
	switch {
	case args[0] == "up":
		return up(*state, o, flags.Args())
	case args[0] == "down" && *state != "" && flags.NArg() == 0:
		return 0, down(*state)
	}
	return 2, errors.New(usage)
}

// up starts the stack and runs the command, or waits for a signal without one.
func up(path string, o stack.Options, command []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	s, err := stack.Start(ctx, o, os.Stderr)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if path != "" {
		file, err := writeState(path, s.State())
		if err != nil {
			return 1, err
		}
		defer func() { _ = errors.Join(os.Remove(path), file.Close()) }()
	}
	env, err := s.Env()
	if err != nil {
		return 1, err
	}
	if len(command) == 0 {
		fmt.Fprintln(os.Stderr, "stack: up; for a shell: export "+stack.Variable+"='"+env[len(stack.Variable)+1:]+"'")
		<-ctx.Done()
		return 0, nil
	}
	return runCommand(ctx, command, env)
}

// runCommand runs the command with the stack in its environment. Ctrl-C reaches
// it from the terminal; a SIGTERM to us is handed on. Its end is waited for in
// any case, so that it never loses the parts it uses.
func runCommand(ctx context.Context, command []string, env string) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil // -1: by a signal
	}
	return 0, err
}

// writeState writes the file and keeps it locked: the lock tells down that the
// process in it is the one that wrote it.
func writeState(path string, state stack.State) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("state file %s: another stack is up; run: go run ./test/stack/run down --state %s: %w", path, path, err), f.Close())
	}
	text, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// down ends the stack of a state file and waits for its end. Without one, or
// when its process is gone, there is nothing to do.
func down(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return os.Remove(path) // left by a process that was killed; its parts ended with it
	}
	var state stack.State
	if err := json.NewDecoder(f).Decode(&state); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := syscall.Kill(state.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end process %d of %s: %w", state.PID, path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil { // freed by its end
		return fmt.Errorf("wait for the end of process %d: %w", state.PID, err)
	}
	return nil
}
