// Package faults tests what a relay does when something breaks, or is not as it
// has to be: it goes on from the checkpoint, hands over, or refuses to start.
package faults

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
