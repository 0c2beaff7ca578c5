package stack

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// requirements pins every package, the indirect ones too.
//
//go:embed requirements.txt
var requirements string

// interpreter is a script beside the packages: python3 with them on its path.
// A virtual environment would hold absolute paths, which a cache entry that is
// renamed when it is whole cannot have, and needs ensurepip, which Debian keeps
// in a package of its own.
const interpreter = `#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd)
PYTHONPATH="$here/lib${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1 exec %s "$@"
`

// Python returns the path of an interpreter with the packages of
// requirements.txt, installed once per Python and list.
func (s *Stack) Python(ctx context.Context) (string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("no Python: %w", err)
	}
	version, err := exec.CommandContext(ctx, python, "-c",
		"import sys; print(sys.version, sys.executable); sys.exit(sys.version_info < (3, 11))").Output()
	if err != nil {
		return "", fmt.Errorf("%s is not Python 3.11 or newer: %s: %w", python, version, err)
	}
	sum := sha256.Sum256(append(version, requirements...))
	dir, err := s.cache.once(ctx, "python-"+hex.EncodeToString(sum[:6]), func(dir string) error {
		start := time.Now()
		s.out.line("installing Python packages (pip)")
		if err := s.pip(ctx, python, dir); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
			return err
		}
		s.out.line("installed Python packages in %.1f s", time.Since(start).Seconds())
		return os.WriteFile(filepath.Join(dir, "bin", "python"), fmt.Appendf(nil, interpreter, shellQuote(python)), 0o755)
	})
	return filepath.Join(dir, "bin", "python"), err
}

// pip installs into dir/lib, with the pip of python3, else with one of a
// throw-away virtual environment, else with the distribution's package.
func (s *Stack) pip(ctx context.Context, python, dir string) error {
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, []byte(requirements), 0o644); err != nil {
		return err
	}
	install := func(python string) error {
		cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input",
			"--no-deps", "--only-binary=:all:", "--no-compile", "--target", filepath.Join(dir, "lib"), "-r", list)
		cmd.Env = append(os.Environ(), "PIP_ROOT_USER_ACTION=ignore")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		return nil
	}
	if exec.CommandContext(ctx, python, "-m", "pip", "--version").Run() == nil {
		return install(python)
	}
	venv := filepath.Join(dir, "venv")
	out, err := exec.CommandContext(ctx, python, "-m", "venv", venv).CombinedOutput()
	if err == nil {
		return errors.Join(install(filepath.Join(venv, "bin", "python")), os.RemoveAll(venv))
	}
	if mayInstall() != nil {
		return fmt.Errorf("python3 has neither pip nor a working venv; install python3-pip: %w\n%s", err, out)
	}
	if err := errors.Join(os.RemoveAll(venv), s.install(ctx, "python3-pip")); err != nil {
		return err
	}
	return install(python)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
