package client_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// folder is that of the package.
func folder() string { return filepath.Join(rig.Root(), "clients", "python") }

// python runs the stack's interpreter in the package's folder.
func python(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	if err := rig.Sources(); err != nil { // what Python reads, the go command does not see
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, stack.Python(t), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// TestPython runs the package's own tests on a database with everything that
// `cdc-relay migrate` makes.
func TestPython(t *testing.T) {
	t.Parallel()
	url := stack.Postgres(t).Database(t)
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	makeSlot(t, url)
	t.Log(python(t, folder(), []string{"PYTHONPATH=" + folder(), "CDC_RELAY_TEST_DATABASE=" + url},
		"-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests"))
}

// makeSlot makes the slot a relay would have: from PostgreSQL 19 on emit_event
// refuses where there is none.
func makeSlot(t *testing.T, url string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "select pg_create_logical_replication_slot(current_database(), 'pgoutput')"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestTypes has mypy read the package as its users' mypy would.
func TestTypes(t *testing.T) {
	t.Parallel()
	t.Log(python(t, folder(), nil, "-m", "mypy", "--python-version", "3.10", "--cache-dir", t.TempDir(), "cdc_relay"))
}

// TestInstall installs the package as the README says, and uses what was
// installed, without any driver beside it.
func TestInstall(t *testing.T) {
	t.Parallel()
	// The build writes beside the sources.
	source, target := filepath.Join(t.TempDir(), "source"), t.TempDir()
	if err := os.CopyFS(source, os.DirFS(folder())); err != nil {
		t.Fatal(err)
	}
	python(t, source, nil, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-build-isolation", "--target", target, source)
	out := python(t, t.TempDir(), nil, "-S", "-c", `
import sys
sys.path[:] = [p for p in sys.path if "lib/python" in p] + [`+"r'"+target+"'"+`]
import cdc_relay, pathlib
assert pathlib.Path(cdc_relay.__file__).is_relative_to(`+"r'"+target+"'"+`), cdc_relay.__file__
assert (pathlib.Path(cdc_relay.__file__).parent / "py.typed").exists()
foreign = {"sqlalchemy", "asyncpg", "psycopg", "pydantic", "aiokafka"} & set(sys.modules)
assert not foreign, foreign
print(cdc_relay.OutboxManager.__name__)
`)
	if strings.TrimSpace(out) != "OutboxManager" {
		t.Errorf("printed %q", out)
	}
}
