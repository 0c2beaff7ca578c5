// Package flow tests what comes through a relay at work: every event once, in
// order, whole, as its contract says, and what people see of it.
package flow

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
