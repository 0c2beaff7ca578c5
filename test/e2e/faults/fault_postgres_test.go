package faults

import (
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

// A fast shutdown of Postgres waits until every walsender's client confirmed
// what was sent, at most 5 s for us. The margin is for Postgres' own shutdown
// checkpoint on a machine with other tests on it.
const shutdownWithin = 5*time.Second + 500*time.Millisecond

// Postgres is shut down and started again under load, three times: Kafka up;
// Kafka frozen with a batch in flight; at once, without a shutdown checkpoint.
func TestPostgresShutdowns(t *testing.T) {
	l := lab.New(t, lab.OwnPostgres(), lab.OwnBroker(), lab.Property("transaction.timeout.ms", "60000"))
	r := l.Start()

	down := func(mode string) time.Duration {
		t.Helper()
		began := time.Now()
		l.Check(l.PG.Stop(mode))
		return time.Since(began)
	}
	up := func() {
		t.Helper()
		l.Check(l.PG.Start())
		l.Check(l.Truth.Resolve(l.Ctx(time.Minute), l.DB))
	}

	w := l.Traffic("a", 5*time.Millisecond)
	l.Wrote(100)
	took := down("fast")
	t.Logf("fast shutdown, Kafka up: %s", took)
	if took > shutdownWithin {
		t.Errorf("fast shutdown with Kafka up took %s", took)
	}
	w.Broken()
	up()
	l.Check(r.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))

	w = l.Traffic("bb", 5*time.Millisecond)
	l.Wrote(100)
	l.Check(l.Kafka.Pause())
	l.Wrote(20) // received while the commit before it gets no answer
	took = down("fast")
	t.Logf("fast shutdown, Kafka frozen: %s", took)
	if took > shutdownWithin {
		t.Errorf("fast shutdown with Kafka frozen took %s:\n%s", took, r.Log())
	}
	w.Broken()
	l.Check(l.Kafka.Resume())
	up()
	l.Check(r.State(l.Ctx(60*time.Second), l.Pipeline(), "RUNNING"))

	w = l.Traffic("ccc", 5*time.Millisecond)
	l.Wrote(100)
	t.Logf("immediate shutdown: %s", down("immediate"))
	w.Broken()
	up()
	l.Check(r.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))

	l.Writes("dddd", 50)
	t.Log(l.Settled(time.Minute))
	l.Stops(r)
}

// Postgres' fast shutdown is not held up either when nothing is in flight, but
// the position that was received is not in Kafka yet.
func TestPostgresShutdownWhileIdleAndKafkaFrozen(t *testing.T) {
	l := lab.New(t, lab.OwnPostgres(), lab.OwnBroker())
	r := l.Start()
	l.Writes("a", 20)
	l.Delivered(l.Reader(), 20, time.Minute)
	l.Check(l.Kafka.Pause())
	l.Exec("create table elsewhere as select generate_series(1, 1000) as n") // WAL without rows for us
	began := time.Now()
	l.Check(l.PG.Stop("fast"))
	took := time.Since(began)
	t.Logf("fast shutdown, idle, Kafka frozen: %s", took)
	if took > shutdownWithin {
		t.Errorf("fast shutdown took %s:\n%s", took, r.Log())
	}
	l.Check(l.PG.Start())
	l.Check(l.Kafka.Resume())
	l.Check(r.State(l.Ctx(time.Minute), l.Pipeline(), "RUNNING"))
	l.Writes("bb", 20)
	l.Settled(time.Minute)
	l.Stops(r)
}

// A session that an administrator ends, the walsender's or the plain one, is
// nothing but a lost connection.
func TestTerminatedBackends(t *testing.T) {
	l := lab.New(t)
	r := l.Start()
	w := l.Traffic("a", 5*time.Millisecond)
	for range 3 {
		l.Wrote(60)
		before, pid := l.Restarts(r), l.Sender()
		l.Ask("select pg_terminate_backend($1::int)::text", pid)
		l.Soon(30*time.Second, "the recovery path", func() bool { return l.Restarts(r) > before })
		l.Check(r.State(l.Ctx(30*time.Second), l.Pipeline(), "RUNNING"))

		l.Wrote(60)
		before, pid = l.Restarts(r), l.Sender()
		if n := l.Ask(`select count(pg_terminate_backend(pid))::text from pg_stat_activity
			where datname = current_database() and application_name like 'cdc-relay%' and backend_type = 'client backend'`); n == "0" {
			t.Error("there was no plain connection to terminate")
		}
		l.Logged(r, "the SQL connection was lost and made again", 30*time.Second)
		l.Wrote(60)
		if now := l.Sender(); now != pid || l.Restarts(r) != before {
			t.Errorf("without its plain connection the relay started again: walsender %s, then %s\n%s", pid, now, r.Log())
		}
	}
	w.End()
	t.Log(l.Settled(time.Minute))
	l.Stops(r)
}
