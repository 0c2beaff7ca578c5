package e2e

import (
	"testing"
	"time"
)

// A fast shutdown of Postgres waits until every walsender's client confirmed
// what was sent, at most 5 s for us. The margin is for Postgres' own shutdown
// checkpoint on a machine with other tests on it.
const shutdownWithin = 5*time.Second + 500*time.Millisecond

// Postgres is shut down and started again under load, three times: Kafka up;
// Kafka frozen with a batch in flight; at once, without a shutdown checkpoint.
func TestPostgresShutdowns(t *testing.T) {
	l := newLab(t, ownPostgres(), ownBroker(), property("transaction.timeout.ms", "60000"))
	r := l.start()

	down := func(mode string) time.Duration {
		t.Helper()
		began := time.Now()
		l.check(l.pg.Stop(mode))
		return time.Since(began)
	}
	up := func() {
		t.Helper()
		l.check(l.pg.Start())
		l.check(l.truth.Resolve(l.ctx(time.Minute), l.db))
	}

	w := l.traffic("a", 5*time.Millisecond)
	l.wrote(100)
	took := down("fast")
	t.Logf("fast shutdown, Kafka up: %s", took)
	if took > shutdownWithin {
		t.Errorf("fast shutdown with Kafka up took %s", took)
	}
	w.broken()
	up()
	l.check(r.State(l.ctx(30*time.Second), l.pipeline(), "RUNNING"))

	w = l.traffic("bb", 5*time.Millisecond)
	l.wrote(100)
	l.check(l.kafka.Pause())
	l.wrote(20) // received while the commit before it gets no answer
	took = down("fast")
	t.Logf("fast shutdown, Kafka frozen: %s", took)
	if took > shutdownWithin {
		t.Errorf("fast shutdown with Kafka frozen took %s:\n%s", took, r.Log())
	}
	w.broken()
	l.check(l.kafka.Resume())
	up()
	l.check(r.State(l.ctx(60*time.Second), l.pipeline(), "RUNNING"))

	w = l.traffic("ccc", 5*time.Millisecond)
	l.wrote(100)
	t.Logf("immediate shutdown: %s", down("immediate"))
	w.broken()
	up()
	l.check(r.State(l.ctx(30*time.Second), l.pipeline(), "RUNNING"))

	l.writes("dddd", 50)
	t.Log(l.settled(time.Minute))
	l.stops(r)
}

// Postgres' fast shutdown is not held up either when nothing is in flight, but
// the position that was received is not in Kafka yet.
func TestPostgresShutdownWhileIdleAndKafkaFrozen(t *testing.T) {
	l := newLab(t, ownPostgres(), ownBroker())
	r := l.start()
	l.writes("a", 20)
	l.delivered(l.reader(), 20, time.Minute)
	l.check(l.kafka.Pause())
	l.exec("create table elsewhere as select generate_series(1, 1000) as n") // WAL without rows for us
	began := time.Now()
	l.check(l.pg.Stop("fast"))
	took := time.Since(began)
	t.Logf("fast shutdown, idle, Kafka frozen: %s", took)
	if took > shutdownWithin {
		t.Errorf("fast shutdown took %s:\n%s", took, r.Log())
	}
	l.check(l.pg.Start())
	l.check(l.kafka.Resume())
	l.check(r.State(l.ctx(time.Minute), l.pipeline(), "RUNNING"))
	l.writes("bb", 20)
	l.settled(time.Minute)
	l.stops(r)
}

// A session that an administrator ends, the walsender's or the plain one, is
// nothing but a lost connection.
func TestTerminatedBackends(t *testing.T) {
	l := newLab(t)
	r := l.start()
	w := l.traffic("a", 5*time.Millisecond)
	for range 3 {
		l.wrote(60)
		before, pid := l.restarts(r), l.sender()
		l.ask("select pg_terminate_backend($1::int)::text", pid)
		l.soon(30*time.Second, "the recovery path", func() bool { return l.restarts(r) > before })
		l.check(r.State(l.ctx(30*time.Second), l.pipeline(), "RUNNING"))

		l.wrote(60)
		before, pid = l.restarts(r), l.sender()
		if n := l.ask(`select count(pg_terminate_backend(pid))::text from pg_stat_activity
			where datname = current_database() and application_name like 'cdc-relay%' and backend_type = 'client backend'`); n == "0" {
			t.Error("there was no plain connection to terminate")
		}
		l.logged(r, "the SQL connection was lost and made again", 30*time.Second)
		l.wrote(60)
		if now := l.sender(); now != pid || l.restarts(r) != before {
			t.Errorf("without its plain connection the relay started again: walsender %s, then %s\n%s", pid, now, r.Log())
		}
	}
	w.end()
	t.Log(l.settled(time.Minute))
	l.stops(r)
}
