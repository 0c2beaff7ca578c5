package flow

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The oldest and the newest PostgreSQL: a first start, events, a SIGKILL, a
// column, a walsender that is cut off, an orderly end.
func TestOldestAndNewestPostgres(t *testing.T) {
	for _, version := range []int{14, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			n := lab.NewLane(t, lab.OwnPostgres(stack.Version(version)))
			if n.PG.Version() != version {
				t.Fatalf("this is PostgreSQL %d", n.PG.Version())
			}
			r := n.Start()
			reader := n.Reader(n.Topic)
			n.Publish(5)
			manySavepoints(n, 70)
			n.Arrived(reader)
			r.Kill()
			open := n.Begin()
			a := open.Event()
			n.Publish(2)
			r = n.Start()
			n.Publish(2)
			cutOff(n)
			open.Commit()
			n.Committed(a)
			n.Exec(`alter table cdc_relay.outbox add column tenant text default 'x'`)
			n.Publish(1)
			n.Arrived(reader)
			if version >= 17 {
				if got := n.Ask(`select failover::text from pg_replication_slots where slot_name = $1`, n.Slot()); got != "true" {
					t.Errorf("failover of the slot is %s", got)
				}
			} else if !strings.Contains(n.Command("doctor").Exits(0).Out, fmt.Sprintf("PostgreSQL %d.", version)) {
				t.Error("doctor does not name the version")
			}
			n.Finished(r)
		})
	}
}
