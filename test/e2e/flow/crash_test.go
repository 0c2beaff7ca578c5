package flow

import (
	"bytes"
	"os"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// The binary that is shipped has none of the points a test can hold a relay at;
// the one built with the tag has all of them, or the search would mean nothing.
func TestNoCrashPointInProduction(t *testing.T) {
	t.Parallel()
	held, err := rig.Held(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile(lab.Binary)
	if err != nil {
		t.Fatal(err)
	}
	tagged, err := os.ReadFile(held)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range crash.All() {
		if !bytes.Contains(tagged, []byte(name)) {
			t.Errorf("built with crashpoints, the relay has no point %s", name)
		}
		if bytes.Contains(shipped, []byte(name)) {
			t.Errorf("the shipped relay has the point %s", name)
		}
	}
	if bytes.Contains(shipped, []byte("CDC_RELAY_CRASH")) {
		t.Error("the shipped relay reads CDC_RELAY_CRASH")
	}
}
