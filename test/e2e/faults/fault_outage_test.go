package faults

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
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
	patient := lab.New(t, lab.OwnBroker(), lab.Property("transaction.timeout.ms", "300000"))
	hasty := besides(patient)
	pr, hr := patient.Start(), hasty.Start()
	pw, hw := patient.Traffic("a", 100*time.Millisecond), hasty.Traffic("b", 100*time.Millisecond)
	patient.Wrote(50)
	hasty.Wrote(50)
	sender := patient.Sender()

	patient.Check(patient.Kafka.Kill())
	killed := time.Now()
	patient.Check(hr.State(patient.Ctx(45*time.Second), hasty.Pipeline(), "RECOVERING"))
	if code := hasty.ReadyCode(hr); code != 503 {
		t.Errorf("/readyz of a relay that recovers: %d, want 503", code)
	}
	// The outage itself is the subject: nothing happens in it that could be
	// waited for.
	<-time.After(time.Minute - time.Since(killed))
	pw.End()
	hw.End()
	if now := patient.Sender(); now != sender {
		t.Errorf("walsender %s before the outage, %s after it: the replication connection was not kept alive", sender, now)
	}
	patient.Check(patient.Kafka.Start())
	up := time.Now()
	for _, l := range []*lab.Lab{patient, hasty} {
		report := l.Settled(time.Minute)
		t.Logf("%s", report)
	}
	patient.Check(hr.Ready(patient.Ctx(backWithin)))
	if back := time.Since(up); back > backWithin {
		t.Errorf("back %s after the broker, want %s at most", back, backWithin)
	} else {
		t.Logf("back, and all delivered and checked, %s after the broker", back)
	}
	if n := patient.Restarts(pr); n != 0 {
		t.Errorf("the patient relay took the recovery path %d times", n)
	}
	patient.Stops(pr)
	hasty.Stops(hr)
}

// besides is a lab on the servers of l, with a database and a name of its own.
func besides(l *lab.Lab, setups ...lab.Setup) *lab.Lab {
	l.Helper()
	return lab.Second(l.T, append([]lab.Setup{on(l)}, setups...)...)
}

// on puts a lab on the servers of l.
func on(l *lab.Lab) lab.Setup {
	return func(n *lab.Lab, _ *rig.Config) { n.PG, n.Kafka, n.SR = l.PG, l.Kafka, l.SR }
}

// A relay that is stalled for longer than transaction.timeout.ms with a
// transaction open finds itself fenced (-144), though there is no second relay:
// the broker aborted the transaction and raised the epoch. It recovers by
// itself. A record that is still on its way may time out first, so there are a few
// stalls, until one of them has ended in -144.
func TestStallLongerThanTheTransactionTimeout(t *testing.T) {
	const most = 8
	l := lab.New(t, lab.Property("transaction.timeout.ms", "3000"), lab.Property("linger.ms", "0"), lab.OwnCheckpoints)
	r := l.Start()
	w := l.Traffic("a", 5*time.Millisecond)
	l.Wrote(50)
	c := l.Client()

	stalls := 0
	for !strings.Contains(r.Log(), "was taken over, by another relay with this name or because our own transaction timed out") {
		if stalls++; stalls > most {
			t.Fatalf("%d stalls, and no -144:\n%s", most, r.Log())
		}
		id := l.Frozen(r, c, l.ID+".checkpoints")
		l.Soon(30*time.Second, "the broker aborts the open transaction", func() bool { return l.Transaction(c, id) == "CompleteAbort" })
		l.Check(r.Signal(syscall.SIGCONT))
		l.Soon(30*time.Second, "the recovery path", func() bool { return l.Restarts(r) >= stalls })
		l.Check(r.Ready(l.Ctx(30 * time.Second)))
	}
	t.Logf("-144 after %d stalls", stalls)
	l.Wrote(50)
	w.End()
	l.Settled(time.Minute)
	l.Stops(r)
}
