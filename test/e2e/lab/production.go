package lab

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// Production is a lane in an environment where a run creates nothing, on a
// database and with topics where there is nothing yet.
func Production(t *testing.T) *Lane {
	t.Helper()
	n := NewLane(t)
	n.URL = n.PG.Database(t)
	n.DB = n.Pool(n.URL)
	n.Rewrite(func(c *rig.Config) {
		c.Postgres, c.Environment = n.URL, "production"
		c.Extra = "checkpoint_topic: " + n.ID + ".checkpoints\n"
	})
	return n
}

// Findings are what doctor prints as JSON.
type Findings struct {
	Level    doctor.Level
	Findings []doctor.Finding
}

// Findings asks doctor for JSON.
func (n *Lane) Findings(into *Findings, code int) {
	n.Helper()
	c := n.Command("doctor", "-o", "json").Exits(code)
	c.Code = 0
	c.JSON(into)
}
