package flow

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// attempts is how often the construction of idleThenCommit may go wrong: any
// record another process of the server writes in between moves the commit.
const attempts = 15

// A transaction may commit at exactly the LSN that an idle checkpoint already
// says is safe to forget, because a keepalive was there before. It must arrive
// exactly once, however the relay comes back.
func TestCommitAtTheLSNOfAKeepalive(t *testing.T) {
	ways := []struct {
		name string
		// commit lets the open transaction commit around an interruption and
		// returns the relay that runs afterwards.
		commit func(n *lab.Lane, r *rig.Relay, commit func()) *rig.Relay
	}{
		{"killed before the commit", func(n *lab.Lane, r *rig.Relay, commit func()) *rig.Relay {
			r.Kill()
			commit()
			return n.Start()
		}},
		{"cut off before the commit", func(n *lab.Lane, r *rig.Relay, commit func()) *rig.Relay {
			cutOff(n)
			commit()
			return r
		}},
		{"cut off after the commit", func(n *lab.Lane, r *rig.Relay, commit func()) *rig.Relay {
			commit()
			cutOff(n)
			return r
		}},
		{"killed after the delivery", func(n *lab.Lane, r *rig.Relay, commit func()) *rig.Relay {
			commit()
			n.Arrived(n.Reader(n.Topic))
			r.Kill()
			return n.Start()
		}},
	}
	n := lab.NewLane(t, lab.OwnPostgres(stack.Setting("autovacuum", "off")), lab.With(func(c *rig.Config) {
		c.Extra = "idle_checkpoint: {interval: 100ms}\n"
	}))
	r := n.Start()
	n.Exec("create table other (id int)")
	n.Publish(1)
	n.Arrived(n.Reader(n.Topic))
	for _, way := range ways {
		met := false
		for try := 1; !met; try++ {
			if try > attempts {
				t.Fatalf("%s: no transaction committed at the LSN of a keepalive in %d attempts", way.name, attempts)
			}
			var safe event.LSN
			r, safe = idleThenCommit(n, r, way.commit)
			n.Arrived(n.Reader(n.Topic))
			last := n.Saved().Last
			met = last != nil && last.Commit == safe
			t.Logf("%s: the idle checkpoint stood at %s, the transaction committed at %v", way.name, safe, last)
		}
	}
	n.Finished(r)
}

// idleThenCommit leaves a writer's transaction open, has another session commit,
// waits for the idle checkpoint at the end of the log, and lets the writer
// commit around an interruption.
func idleThenCommit(n *lab.Lane, r *rig.Relay, around func(*lab.Lane, *rig.Relay, func()) *rig.Relay) (*rig.Relay, event.LSN) {
	n.Helper()
	writer := n.Begin()
	e := writer.Event()
	n.Exec("insert into other values (1)")
	var safe event.LSN
	n.Until("the idle checkpoint is at the end of the log", func() bool {
		safe = n.Confirmed()
		return safe == n.LSN("select pg_current_wal_insert_lsn()::text")
	})
	r = around(n, r, func() {
		writer.Commit()
		n.Committed(e)
	})
	return r, safe
}

// cutOff ends the slot's walsender, as a network or an administrator would.
func cutOff(n *lab.Lane) {
	n.Helper()
	n.Exec(`select pg_terminate_backend(active_pid, 10000) from pg_replication_slots where slot_name = $1 and active_pid is not null`, n.Slot())
}
