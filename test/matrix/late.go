package matrix

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// The cells late-<request>/<how>/<when>: a request of a producer is kept on its
// way until the library has asked again, by itself, and has got its answer. The
// first one arrives later, in the middle of something else.
//
// How the library loses patience: its half of the connection is reset, or the
// request times out.
//
// When it arrives: in the same transaction (or start); in the next one of its
// transactional id, where nobody dies (middle) or the relay is killed behind it
// (kill); in the first one of its id after a recovery, after a takeover, after a
// restart of the broker, after its coordinator was elsewhere and has come back.

// lateKinds are the requests a producer sends.
var lateKinds = map[string]lateKind{
	"init":             {key: fault.InitProducerID, starts: true},
	"find-coordinator": {key: fault.FindCoordinator, starts: true},
	"add-partitions":   {key: fault.AddPartitionsToTxn},
	"produce":          {key: fault.Produce},
	"commit":           {key: fault.EndTxn, commit: true},
	"abort":            {key: fault.EndTxn},
}

// latePrefix begins their names.
const latePrefix = "late-"

// isLate reports whether a group of cells is about late requests.
func isLate(group string) bool {
	_, kind, ok := strings.Cut(group, latePrefix)
	_, known := lateKinds[kind]
	return ok && known
}

type lateKind struct {
	key    int16
	commit bool
	starts bool // a start sends it, and no transaction
}

// lateTimeout is socket.timeout.ms where a request times out.
const lateTimeout = "2000"

// lateTransaction is transaction.timeout.ms: while one is held open, and its end
// is on its way, the broker must not end it.
const lateTransaction = "20000"

// lateCells are all that make sense. The end of a transaction cannot arrive in
// the same one. An abort is always followed by a recovery: its next transaction
// is that of recovered; and one that times out is given up before the library
// asks again, which does not keep it from arriving. Finding a coordinator changes nothing at any
// broker: it is enough that it is answered late once.
func lateCells() []Cell {
	all := map[string][]string{
		"init":             {"same", "middle", "kill", "recovered", "takeover", "restart"},
		"find-coordinator": {"same", "middle", "restart"},
		"add-partitions":   {"same", "middle", "kill", "recovered", "takeover", "restart"},
		"produce":          {"same", "middle", "kill", "recovered", "takeover", "restart"},
		"commit":           {"middle", "kill", "recovered", "takeover", "restart"},
		"abort":            {"kill", "recovered", "takeover", "restart"},
	}
	var out []Cell
	for kind, whens := range all {
		for _, how := range []string{"reset", "timeout"} {
			for _, when := range whens {
				out = append(out, lateCell(Single, kind, how, when))
			}
		}
	}
	// Three brokers: a coordinator that moves, and replicas that must hear of it.
	for _, kind := range []string{"init", "add-partitions", "produce", "commit"} {
		for _, when := range []string{"middle", "kill", "moved"} {
			out = append(out, lateCell(Three, kind, "reset", when))
		}
	}
	for _, when := range []string{"middle", "moved"} {
		out = append(out, lateCell(Three, "commit", "timeout", when))
	}
	return out
}

func lateCell(world Kind, kind, how, when string) Cell {
	c := Cell{Name: fmt.Sprintf(latePrefix+"%s/%s/%s", kind, how, when), Kind: world, proxied: true}
	if world != Single {
		c.Name = string(world) + "/" + c.Name
	}
	c.change = func(conf *rig.Config) {
		conf.Kafka["transaction.timeout.ms"] = lateTransaction
		if how == "timeout" {
			conf.Kafka["socket.timeout.ms"] = lateTimeout
		}
	}
	c.story = func(l *lab) error {
		s := &straggler{l: l, kind: lateKinds[kind], how: how, when: when, middle: crash.TxnProduced}
		if when == "kill" && l.seed%2 == 0 {
			s.middle = crash.TxnRecords
		}
		return s.play()
	}
	return c
}

// straggler is the story of one late request.
type straggler struct {
	l      *lab
	kind   lateKind
	how    string
	when   string
	middle crash.Name // of the transaction it arrives in

	r    *relay
	late *fault.Late
	id   int        // the number of the transactional id
	at   crash.Name // where r holds; "" somewhere else
}

func (s *straggler) play() error {
	defer func() {
		if s.late != nil {
			s.late.Drop()
		}
	}()
	send := s.inTransaction
	switch {
	case s.kind.starts:
		send = s.atStart
	case s.kind.key == fault.EndTxn && !s.kind.commit:
		send = s.aborting
	}
	for _, step := range []func() error{send, s.asksAgain, s.meanwhile, s.open, s.arrive} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// keep keeps the next request of the kind by one of the pipeline's ids.
func (s *straggler) keep(id string) {
	s.late = fault.Delay(s.l.w.Kafka.Proxies(), 1, func(r fault.Request) bool {
		return r.Key == s.kind.key && strings.HasPrefix(r.ID, s.l.key()+"/"+id) && r.Commit == s.kind.commit
	})
}

// inTransaction has a relay under load send the request.
func (s *straggler) inTransaction() (err error) {
	if s.r, err = s.l.streaming(); err != nil {
		return err
	}
	if err := s.r.arm(s.l.ctx, arm{crash.TxnBegun, 2 + int(s.l.seed%2)}); err != nil {
		return err
	}
	if err := s.r.reached(s.l.ctx, crash.TxnBegun); err != nil {
		return err
	}
	if err := s.backlog(); err != nil {
		return err
	}
	s.keep("")
	next := arm{crash.TxnBegun, 2} // the ids take turns
	if s.when == "same" {
		next = arm{crash.TxnCheckpoint, 1}
	}
	if err := s.hold(s.r, next); err != nil {
		return err
	}
	s.r.release(crash.TxnBegun)
	return nil
}

// backlog is one transaction of several batches: those inside it are full ones,
// whatever else is at hand when they are closed.
func (s *straggler) backlog() error {
	_, err := s.l.publish(6 * batchEvents)
	return err
}

// atStart has a start send the request.
func (s *straggler) atStart() (err error) {
	if err := s.l.made(); err != nil {
		return err
	}
	if err := s.backlog(); err != nil {
		return err
	}
	s.l.load = s.l.load0()
	id := int(s.l.seed % 2)
	s.keep(strconv.Itoa(id))
	next := arm{crash.TxnBegun, id + 1} // the first transaction after a start uses id 0
	if s.when == "same" {
		next = arm{crash.StartFenced, 1}
	}
	s.r, err = s.l.launch([]string{"run"}, next, arm{crash.RecoverClosed, 1})
	return err
}

// aborting has a relay give a transaction up.
func (s *straggler) aborting() (err error) {
	if s.r, err = whileAborting(s.l, crash.TxnAborting); err != nil {
		return err
	}
	if err := s.backlog(); err != nil {
		return err
	}
	s.keep("")
	if err := s.r.arm(s.l.ctx, arm{crash.RecoverClosed, 1}); err != nil {
		return err
	}
	s.r.release(crash.TxnAborting)
	return nil
}

// hold arms where the relay is to hold next: there, or in its recovery.
func (s *straggler) hold(r *relay, next arm) error {
	return errors.Join(r.arm(s.l.ctx, next), r.arm(s.l.ctx, arm{crash.RecoverClosed, 1}))
}

// asksAgain waits until the request is kept, makes the library lose patience, and
// waits until it has asked again and got a success.
func (s *straggler) asksAgain() error {
	if err := s.signal(s.late.Held(), "the request was sent"); err != nil {
		return err
	}
	id, err := strconv.Atoi(strings.TrimPrefix(s.late.Request().ID, s.l.key()+"/"))
	if err != nil {
		return fmt.Errorf("a transactional id of another kind: %w", err)
	}
	s.id = id
	if s.how == "reset" {
		s.late.Reset()
	} else if s.kind.key == fault.EndTxn && !s.kind.commit {
		return s.next() // the relay has given it up
	}
	return s.signal(s.late.Again(), "the library asked again and got a success")
}

func (s *straggler) signal(c <-chan struct{}, what string) error {
	ctx, cancel := context.WithTimeout(s.l.ctx, reachWithin)
	defer cancel()
	select {
	case <-c:
		return nil
	case <-s.r.Done():
		return fmt.Errorf("the relay ended (%w) before %s:\n%s", s.r.Wait(), what, tail(s.r.Log()))
	case <-ctx.Done():
		return fmt.Errorf("waited %s in vain until %s (%+v)", reachWithin, what, s.late.Request())
	}
}

// meanwhile lets happen what is to happen before the request arrives. The relay
// holds where nothing of it is open at the broker.
func (s *straggler) meanwhile() error {
	switch s.when {
	case "recovered":
		return s.l.terminate()
	case "takeover":
		return s.takeover()
	case "restart", "moved":
		if err := s.next(); err != nil {
			return err
		}
		defer s.l.hitch(time.Now())
		if s.when == "moved" {
			return s.l.moveCoordinator(s.late.Request().ID)
		}
		return errors.Join(s.l.w.Kafka.Kill(), s.l.w.Kafka.Start())
	}
	return nil
}

// takeover has a second relay take the slot over from the first, which is killed.
func (s *straggler) takeover() error {
	if err := s.next(); err != nil {
		return err
	}
	second, err := s.l.launch([]string{"run"}, arm{crash.TxnBegun, s.id + 1}) // a standby passes RecoverClosed again and again
	if err != nil {
		return err
	}
	if s.at != crash.RecoverClosed { // there the slot is free, and the second takes it
		if err := second.State(s.l.ctx, s.l.database, "STANDBY"); err != nil {
			return err
		}
	}
	s.r.kill()
	s.r, s.at = second, ""
	return nil
}

// next waits until the relay holds: at the point that was armed, or in the
// recovery it went to by itself.
func (s *straggler) next() (err error) {
	if s.at == "" {
		s.at, err = s.r.reachedOne(s.l.ctx, crash.TxnBegun, crash.RecoverClosed, crash.TxnCheckpoint, crash.StartFenced, s.middle)
	}
	return err
}

// open has the relay hold in the middle of a transaction of the request's id that
// the broker knows of, the next one there is. A relay that recovers meanwhile
// begins with id 0 again.
func (s *straggler) open() error {
	if s.when == "same" {
		return s.next()
	}
	for {
		if err := s.next(); err != nil {
			return err
		}
		at := s.at
		s.at = ""
		switch at {
		case crash.TxnBegun:
			stored := fault.Answered(s.l.w.Kafka.Proxies(), func(r fault.Request) bool {
				return r.Key == fault.Produce && r.ID == s.late.Request().ID
			})
			if err := s.hold(s.r, arm{s.middle, 1}); err != nil {
				return err
			}
			s.r.release(at)
			if err := s.next(); err != nil {
				return err
			}
			if s.at == s.middle {
				return s.signal(stored, "the broker has a part of the transaction")
			}
		default:
			if err := s.hold(s.r, arm{crash.TxnBegun, s.id + 1}); err != nil {
				return err
			}
			s.r.release(at)
		}
	}
}

// arrive delivers the request and lets the relay go on, or kills it.
func (s *straggler) arrive() error {
	ctx, cancel := context.WithTimeout(s.l.ctx, recoverWithin)
	defer cancel()
	if _, err := s.late.Deliver(ctx); err != nil {
		return err
	}
	// What it brought about is done, down to the last marker.
	if err := s.l.decided(ctx, s.late.Request().ID); err != nil {
		return err
	}
	if s.when == "kill" {
		return killRelay(s.l, s.r, s.at)
	}
	// Wherever it goes from here, nobody holds it there.
	err := s.r.arm(s.l.ctx, arm{crash.RecoverClosed, 0})
	s.r.release(s.at)
	return err
}
