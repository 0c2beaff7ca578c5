package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// backWithin is how soon after the broker answers again everything written
// meanwhile has to be delivered.
const backWithin = 20 * time.Second

// The broker is killed for 60 s under load. A relay whose transactions may take
// longer than that waits in its commit: its statuses keep the replication
// connection alive, whose wal_sender_timeout is 10 s. One whose transactions
// may not gives up, says so, and finds its way back.
func TestBrokerDownForAMinute(t *testing.T) {
	patient := newLab(t, ownBroker(), property("transaction.timeout.ms", "300000"))
	hasty := besides(patient)
	pr, hr := patient.start(), hasty.start()
	pw, hw := patient.traffic("a", 100*time.Millisecond), hasty.traffic("b", 100*time.Millisecond)
	patient.wrote(50)
	hasty.wrote(50)
	sender := patient.sender()

	patient.check(patient.kafka.Kill())
	killed := time.Now()
	patient.check(hr.State(patient.ctx(45*time.Second), hasty.pipeline(), "RECOVERING"))
	if code := hasty.readyCode(hr); code != 503 {
		t.Errorf("/readyz of a relay that recovers: %d, want 503", code)
	}
	// The outage itself is the subject: nothing happens in it that could be
	// waited for.
	<-time.After(time.Minute - time.Since(killed))
	pw.end()
	hw.end()
	if now := patient.sender(); now != sender {
		t.Errorf("walsender %s before the outage, %s after it: the replication connection was not kept alive", sender, now)
	}
	patient.check(patient.kafka.Start())
	up := time.Now()
	for _, l := range []*lab{patient, hasty} {
		report := l.settled(time.Minute)
		t.Logf("%s", report)
	}
	patient.check(hr.Ready(patient.ctx(backWithin)))
	if back := time.Since(up); back > backWithin {
		t.Errorf("back %s after the broker, want %s at most", back, backWithin)
	} else {
		t.Logf("back, and all delivered and checked, %s after the broker", back)
	}
	if n := patient.restarts(pr); n != 0 {
		t.Errorf("the patient relay took the recovery path %d times", n)
	}
	patient.stops(pr)
	hasty.stops(hr)
}

// besides is a lab on the servers of l, with a database and a name of its own.
func besides(l *lab, setups ...setup) *lab {
	l.Helper()
	return makeLab(l.T, append([]setup{on(l)}, setups...)...)
}

// on puts a lab on the servers of l.
func on(l *lab) setup {
	return func(n *lab, _ *rig.Config) { n.pg, n.kafka, n.sr = l.pg, l.kafka, l.sr }
}

// A relay that is stalled for longer than transaction.timeout.ms with a
// transaction open finds itself fenced (-144), though there is no second relay:
// the broker aborted the transaction and raised the epoch. It recovers by
// itself. A record that is still on its way may time out first, so there are a few
// stalls, until one of them has ended in -144.
func TestStallLongerThanTheTransactionTimeout(t *testing.T) {
	const most = 8
	l := newLab(t, property("transaction.timeout.ms", "3000"), property("linger.ms", "0"), ownCheckpoints)
	r := l.start()
	w := l.traffic("a", 5*time.Millisecond)
	l.wrote(50)
	c := l.kgo()

	stalls := 0
	for !strings.Contains(r.Log(), "was taken over, by another relay with this name or because our own transaction timed out") {
		if stalls++; stalls > most {
			t.Fatalf("%d stalls, and no -144:\n%s", most, r.Log())
		}
		id := l.frozen(r, c, l.name+".checkpoints")
		l.soon(30*time.Second, "the broker aborts the open transaction", func() bool { return l.transaction(c, id) == "CompleteAbort" })
		l.check(r.Signal(syscall.SIGCONT))
		l.soon(30*time.Second, "the recovery path", func() bool { return l.restarts(r) >= stalls })
		l.check(r.Ready(l.ctx(30 * time.Second)))
	}
	t.Logf("-144 after %d stalls", stalls)
	l.wrote(50)
	w.end()
	l.settled(time.Minute)
	l.stops(r)
}
