package flow

import (
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// What Postgres rolled back never arrives, what it kept arrives in the order of
// the statements, one transaction after the other in the order of the commits.
func TestRollbackAndSavepoints(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Start()

	n.Publish(1)

	gone := n.Begin()
	gone.Event()
	gone.Event()
	n.Check(gone.Tx.Rollback(n.Context()))

	// ROLLBACK TO keeps what was before and what comes after; RELEASE keeps all.
	tx := n.Begin()
	a := tx.Event()
	tx.Exec("savepoint one")
	tx.Event()
	tx.Exec("savepoint two")
	tx.Event()
	tx.Exec("rollback to one")
	b := tx.Event()
	tx.Exec("savepoint three")
	c := tx.Event()
	tx.Exec("savepoint four")
	d := tx.Event()
	tx.Exec("release four")
	tx.Exec("savepoint five")
	tx.Event()
	tx.Exec("rollback to five")
	tx.Exec("release three")
	e := tx.Event()
	tx.Commit()
	n.Committed(a, b, c, d, e)

	// A released savepoint goes with the one around it.
	tx = n.Begin()
	a = tx.Event()
	tx.Exec("savepoint outer_one")
	tx.Exec("savepoint inner_one")
	tx.Event()
	tx.Exec("release inner_one")
	tx.Exec("rollback to outer_one")
	tx.Commit()
	n.Committed(a)

	manySavepoints(n, 400)
	multiRow(n)
	interleaved(n)

	// An empty transaction, and one with nothing but rolled back rows.
	tx = n.Begin()
	tx.Exec("savepoint one")
	tx.Event()
	tx.Exec("rollback to one")
	tx.Commit()
	n.Publish(1)

	n.Arrived(n.Reader(n.Topic))
	n.Finished(r)
}

// manySavepoints makes one transaction of that many sub-transactions, more than
// Postgres keeps in one entry of its lists; every third is rolled back.
func manySavepoints(n *lab.Lane, count int) {
	n.Helper()
	tx := n.Begin()
	var kept []rig.Event
	for i := range count {
		tx.Exec(fmt.Sprintf("savepoint s%d", i))
		e := tx.Event()
		if i%3 == 2 {
			tx.Exec(fmt.Sprintf("rollback to s%d", i))
			continue
		}
		kept = append(kept, e)
	}
	tx.Commit()
	n.Committed(kept...)
}

// multiRow inserts many rows by one statement, twice in one transaction.
func multiRow(n *lab.Lane) {
	n.Helper()
	tx := n.Begin()
	for range 2 {
		events := make([]rig.Event, 150)
		for i := range events {
			events[i] = n.Next()
		}
		tx.Insert(events...)
		n.Committed(events...)
	}
	tx.Commit()
}

// interleaved has two transactions write by turns; the one that commits first
// comes first, as a whole.
func interleaved(n *lab.Lane) {
	n.Helper()
	first, second := n.Begin(), n.Begin()
	var ofFirst, ofSecond []rig.Event
	for range 5 {
		ofFirst = append(ofFirst, first.Event())
		ofSecond = append(ofSecond, second.Event())
	}
	second.Commit()
	ofFirst = append(ofFirst, first.Event())
	first.Commit()
	n.Committed(ofSecond...)
	n.Committed(ofFirst...)
}

// A transaction that stays open while others commit holds back nobody, and is
// not lost when the relay is killed meanwhile.
func TestOpenTransactionOverARestart(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Start()
	long := n.Begin()
	a := long.Event()
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	r.Kill()
	b := long.Event()
	n.Publish(2)
	r = n.Start()
	n.Publish(1)
	reader := n.Reader(n.Topic)
	n.Arrived(reader)
	c := long.Event()
	long.Commit()
	n.Committed(a, b, c)
	n.Check(reader.Read(n.Ctx(time.Minute), func(got int) bool { return got >= len(n.Want) }))
	n.Finished(r)
}
