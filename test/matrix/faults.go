package matrix

import (
	"fmt"
	"syscall"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
)

// Fault does one thing to a relay that holds at a point, or to its
// surroundings, and lets go of it. When it returns, everything it broke is whole
// again and some relay is at work, or about to be.
type Fault struct {
	Name string
	do   func(l *lab, r *relay, at crash.Name) error
}

// stalled is longer than the broker leaves an open transaction alone.
const stalled = txnTimeout + 1500*time.Millisecond

// Faults are those that can happen at any point.
func Faults() []Fault {
	return []Fault{
		{"kill-relay", killRelay},
		{"stop-relay", stopRelay},
		{"terminate-walsender", terminateWalsender},
		{"postgres-immediate", postgresImmediate},
		{"kill-broker", killBroker},
		{"pause-broker", pauseBroker},
		{"cut-postgres", cutPostgres},
		{"cut-kafka", cutKafka},
		{"vanish-postgres", vanishPostgres},
		{"freeze-kafka", freezeKafka},
		{"vanish-kafka", vanishKafka},
		{"standby", standby},
		{"zombie", zombie},
	}
}

func faultNamed(name string) (Fault, error) {
	for _, f := range Faults() {
		if f.Name == name {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("there is no fault %q", name)
}

func killRelay(l *lab, r *relay, _ crash.Name) error {
	r.kill()
	_, err := l.launch([]string{"run"})
	return err
}

// stopRelay freezes the whole process for longer than transaction.timeout.ms.
func stopRelay(l *lab, r *relay, at crash.Name) error {
	if err := r.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	stall(l.ctx, stalled)
	if err := r.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	r.release(at)
	return nil
}

func terminateWalsender(l *lab, r *relay, at crash.Name) error {
	defer r.release(at)
	return l.terminate()
}

// terminate ends the walsender that holds the slot, if one does, and waits for its
// end.
func (l *lab) terminate() error {
	_, err := l.ask("select count(pg_terminate_backend(active_pid, 10000))::text from pg_replication_slots where slot_name = $1 and active_pid is not null", l.slot)
	return err
}

func postgresImmediate(l *lab, r *relay, at crash.Name) error {
	if err := l.w.PG.Stop("immediate"); err != nil {
		return err
	}
	r.release(at)
	return l.w.PG.Start()
}

func killBroker(l *lab, r *relay, at crash.Name) error {
	defer l.hitch(time.Now())
	who, err := l.victims()
	if err != nil {
		return err
	}
	if err := l.w.Kafka.Kill(who...); err != nil {
		return err
	}
	r.release(at)
	return l.w.Kafka.Start(who...)
}

// victims are the brokers a fault is about: the only one, or, of three, the one
// that leads the checkpoint's partition or the first one of a topic.
func (l *lab) victims() ([]int, error) {
	if l.w.Kind != Three {
		return nil, nil
	}
	tp := topicPartition{checkpoints, l.watch.lastMark().Partition}
	if l.seed%2 == 0 {
		tp = topicPartition{l.topics()[0], 0}
	}
	leader, err := l.watch.leader(l.ctx, tp)
	return []int{leader}, err
}

// pauseBroker freezes the broker: connections stay, nothing answers.
func pauseBroker(l *lab, r *relay, at crash.Name) error {
	defer l.hitch(time.Now())
	who, err := l.victims()
	if err != nil {
		return err
	}
	if err := l.w.Kafka.Pause(who...); err != nil {
		return err
	}
	r.release(at)
	stall(l.ctx, stalled)
	return l.w.Kafka.Resume(who...)
}

func cutPostgres(l *lab, r *relay, at crash.Name) error {
	l.w.pg.Cut()
	r.release(at)
	return nil
}

func cutKafka(l *lab, r *relay, at crash.Name) error {
	l.w.kafkaCut()
	r.release(at)
	return nil
}

// vanishPostgres makes the connections half-open for ever: neither side hears of
// the other again. New connections work.
func vanishPostgres(l *lab, r *relay, at crash.Name) error {
	l.w.pg.Vanish()
	r.release(at)
	stall(l.ctx, 200*time.Millisecond)
	l.w.pg.Thaw()
	return nil
}

// freezeKafka keeps everything back for a while and delivers it then.
func freezeKafka(l *lab, r *relay, at crash.Name) error {
	for _, p := range l.w.Kafka.Proxies() {
		p.Freeze()
	}
	r.release(at)
	stall(l.ctx, stalled)
	for _, p := range l.w.Kafka.Proxies() {
		p.Thaw()
	}
	return nil
}

// vanishKafka makes the connections half-open for ever; new ones work.
func vanishKafka(l *lab, r *relay, at crash.Name) error {
	for _, p := range l.w.Kafka.Proxies() {
		p.Vanish()
	}
	r.release(at)
	stall(l.ctx, 200*time.Millisecond)
	for _, p := range l.w.Kafka.Proxies() {
		p.Thaw()
	}
	return nil
}

// standby kills the relay while a second one waits for its slot.
func standby(l *lab, r *relay, _ crash.Name) error {
	second, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	// With a relay that has not taken the slot yet the second one takes it.
	held, err := l.ask("select count(*)::text from pg_replication_slots where slot_name = $1 and active_pid is not null", l.slot)
	if err != nil {
		return err
	}
	if held == "0" {
		err = l.running(second)
	} else {
		err = second.State(l.ctx, l.database, "STANDBY")
	}
	if err != nil {
		return err
	}
	r.kill()
	return l.running(second)
}

// zombie takes the slot from the relay that holds and gives it to a second one;
// when that one has published, the first goes on with what it had in hand.
func zombie(l *lab, r *relay, at crash.Name) error {
	// Once: the first is held and cannot take it again, and the session that has
	// it next is the second's.
	if err := l.terminate(); err != nil {
		return err
	}
	second, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	if err := l.flows(); err != nil {
		return err
	}
	r.release(at)
	if err := l.flows(); err != nil {
		return err
	}
	// The first one must be a standby by now, or have ended as fenced: stop the
	// second, and it takes over.
	return second.stop(l.ctx)
}
