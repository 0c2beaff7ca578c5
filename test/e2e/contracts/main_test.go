// Package contracts tests what a relay and its neighbours agree on: schemas,
// topics, services that write events and services that read them.
package contracts

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
