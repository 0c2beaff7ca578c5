// Package adopt tests the way from a polling worker to the relay, and back, on
// the services of examples/huleedu.
package adopt

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
