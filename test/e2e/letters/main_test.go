// Package letters tests what is not published as it came: dead letters and their
// redrive, claims, and what audit finds missing and repair publishes.
package letters

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
