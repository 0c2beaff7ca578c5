package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// What Postgres rolled back never arrives, what it kept arrives in the order of
// the statements, one transaction after the other in the order of the commits.
func TestRollbackAndSavepoints(t *testing.T) {
	n := newLane(t)
	r := n.start()

	n.publish(1)

	gone := n.begin()
	gone.event()
	gone.event()
	n.check(gone.tx.Rollback(n.Context()))

	// ROLLBACK TO keeps what was before and what comes after; RELEASE keeps all.
	tx := n.begin()
	a := tx.event()
	tx.exec("savepoint one")
	tx.event()
	tx.exec("savepoint two")
	tx.event()
	tx.exec("rollback to one")
	b := tx.event()
	tx.exec("savepoint three")
	c := tx.event()
	tx.exec("savepoint four")
	d := tx.event()
	tx.exec("release four")
	tx.exec("savepoint five")
	tx.event()
	tx.exec("rollback to five")
	tx.exec("release three")
	e := tx.event()
	tx.commit()
	n.committed(a, b, c, d, e)

	// A released savepoint goes with the one around it.
	tx = n.begin()
	a = tx.event()
	tx.exec("savepoint outer_one")
	tx.exec("savepoint inner_one")
	tx.event()
	tx.exec("release inner_one")
	tx.exec("rollback to outer_one")
	tx.commit()
	n.committed(a)

	n.manySavepoints(400)
	n.multiRow()
	n.interleaved()

	// An empty transaction, and one with nothing but rolled back rows.
	tx = n.begin()
	tx.exec("savepoint one")
	tx.event()
	tx.exec("rollback to one")
	tx.commit()
	n.publish(1)

	n.arrived(n.reader(n.topic))
	n.finished(r)
}

// manySavepoints makes one transaction of that many sub-transactions, more than
// Postgres keeps in one entry of its lists; every third is rolled back.
func (n *lane) manySavepoints(count int) {
	n.Helper()
	tx := n.begin()
	var kept []rig.Event
	for i := range count {
		tx.exec(fmt.Sprintf("savepoint s%d", i))
		e := tx.event()
		if i%3 == 2 {
			tx.exec(fmt.Sprintf("rollback to s%d", i))
			continue
		}
		kept = append(kept, e)
	}
	tx.commit()
	n.committed(kept...)
}

// multiRow inserts many rows by one statement, twice in one transaction.
func (n *lane) multiRow() {
	n.Helper()
	tx := n.begin()
	for range 2 {
		events := make([]rig.Event, 150)
		for i := range events {
			events[i] = n.next()
		}
		tx.insert(events...)
		n.committed(events...)
	}
	tx.commit()
}

// interleaved has two transactions write by turns; the one that commits first
// comes first, as a whole.
func (n *lane) interleaved() {
	n.Helper()
	first, second := n.begin(), n.begin()
	var ofFirst, ofSecond []rig.Event
	for range 5 {
		ofFirst = append(ofFirst, first.event())
		ofSecond = append(ofSecond, second.event())
	}
	second.commit()
	ofFirst = append(ofFirst, first.event())
	first.commit()
	n.committed(ofSecond...)
	n.committed(ofFirst...)
}

// A transaction that stays open while others commit holds back nobody, and is
// not lost when the relay is killed meanwhile.
func TestOpenTransactionOverARestart(t *testing.T) {
	n := newLane(t)
	r := n.start()
	long := n.begin()
	a := long.event()
	n.publish(3)
	n.arrived(n.reader(n.topic))
	r.Kill()
	b := long.event()
	n.publish(2)
	r = n.start()
	n.publish(1)
	reader := n.reader(n.topic)
	n.arrived(reader)
	c := long.event()
	long.commit()
	n.committed(a, b, c)
	n.check(reader.Read(n.ctx(time.Minute), func(got int) bool { return got >= len(n.want) }))
	n.finished(r)
}
