package consumer_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The Python client does the same, with the same script: its tests run on a
// database of their own.
func TestPython(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(rig.Root(), "clients", "python")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, stack.Python(t), "-W", "error::RuntimeWarning", filepath.Join(folder, "tests", "test_consumer.py"))
	cmd.Env = append(os.Environ(), "PYTHONPATH="+folder, "CDC_RELAY_TEST_DATABASE="+stack.Postgres(t).Database(t))
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^Ran \d\d tests .*\n\nOK\n`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}
