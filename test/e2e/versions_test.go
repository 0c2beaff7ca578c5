package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The oldest and the newest PostgreSQL: a first start, events, a SIGKILL, a
// column, a walsender that is cut off, an orderly end.
func TestOldestAndNewestPostgres(t *testing.T) {
	for _, version := range stack.Ends() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			n := newLane(t, ownPostgres(stack.Version(version)))
			if n.pg.Version() != version {
				t.Fatalf("this is PostgreSQL %d", n.pg.Version())
			}
			if version >= 19 && n.ask(`select current_setting('wal_level') || ' ' || current_setting('effective_wal_level')`) != "replica replica" {
				t.Fatal("logical decoding is on before the first start")
			}
			r := n.start()
			reader := n.reader(n.topic)
			n.publish(5)
			n.manySavepoints(70)
			n.arrived(reader)
			r.Kill()
			open := n.begin()
			a := open.event()
			n.publish(2)
			r = n.start()
			n.publish(2)
			n.cutOff()
			open.commit()
			n.committed(a)
			n.exec(`alter table cdc_relay.outbox add column tenant text default 'x'`)
			n.publish(1)
			n.arrived(reader)
			if version >= 17 {
				if got := n.ask(`select failover::text from pg_replication_slots where slot_name = $1`, n.slot()); got != "true" {
					t.Errorf("failover of the slot is %s", got)
				}
			} else if !strings.Contains(n.run("doctor").exits(0).out, fmt.Sprintf("PostgreSQL %d.", version)) {
				t.Error("doctor does not name the version")
			}
			if version >= 19 {
				n.run("doctor").exits(0).says("replica, and logical by itself while there is a logical slot")
			}
			n.finished(r)
		})
	}
}
