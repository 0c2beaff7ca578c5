package matrix

import (
	"fmt"
	"slices"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// Cell is one case of the matrix.
type Cell struct {
	Name string
	Kind Kind
	// Fast cells are part of `make test`.
	Fast bool

	proxied bool // it needs a proxy before the broker
	change  func(*rig.Config)
	story   func(*lab) error
}

// group is a set of points that are reached in the same way.
type group struct {
	name   string
	points []crash.Name
	faults []string
	reach  func(l *lab, at crash.Name) (*relay, error)
}

func groups() []group {
	var all []string
	for _, f := range Faults() {
		all = append(all, f.Name)
	}
	return []group{
		{"stream", []crash.Name{crash.StreamBegin, crash.StreamRow, crash.StreamHanded, crash.SplitHanded, crash.TxnBegun, crash.TxnProduced,
			crash.TxnRecords, crash.TxnCheckpoint, crash.TxnCommitted, crash.AckBefore, crash.AckAfter}, all, underLoad},
		{"start", []crash.Name{crash.StartLooked, crash.StartTaken, crash.FenceFirst, crash.StartFenced, crash.StartRead, crash.StartJudged}, all, whileStarting},
		{"idle", []crash.Name{crash.TxnBegun, crash.TxnCheckpoint, crash.TxnCommitted, crash.AckBefore},
			[]string{"kill-relay", "stop-relay", "terminate-walsender", "kill-broker", "cut-kafka", "zombie"}, whileIdle},
		{"abort", []crash.Name{crash.TxnAborting, crash.TxnAborted},
			[]string{"kill-relay", "terminate-walsender", "postgres-immediate", "kill-broker", "cut-kafka", "zombie"}, whileAborting},
		{"recovery", []crash.Name{crash.RecoverFailed, crash.RecoverClosed},
			[]string{"kill-relay", "stop-relay", "postgres-immediate", "kill-broker", "cut-kafka", "zombie"}, whileRecovering},
		{"first", []crash.Name{crash.FirstLocked, crash.FirstFenced, crash.FirstIntent, crash.FirstPublication, crash.FirstSlot, crash.FirstCheckpoint,
			crash.TxnCheckpoint, crash.TxnCommitted},
			[]string{"kill-relay", "stop-relay", "postgres-immediate", "kill-broker", "cut-kafka"}, firstStart},
		{"recreate", []crash.Name{crash.RecreateLocked, crash.RecreateFenced, crash.RecreateIntent, crash.RecreateDropped, crash.FirstPublication,
			crash.FirstSlot, crash.FirstCheckpoint},
			[]string{"kill-relay", "postgres-immediate", "cut-kafka"}, recreating},
	}
}

// fast are the cells of `make test`: the windows that matter most, each with a
// fault of another kind.
var fast = []string{
	"stream/txn.checkpoint/kill-relay", "stream/txn.committed/zombie", "stream/ack.before/terminate-walsender",
	"stream/txn.records/cut-kafka", "stream/split.handed/kill-relay", "start/start.fenced/zombie", "start/start.read/standby",
	"first/first.slot/kill-relay", "recreate/recreate.intent/kill-relay", "idle/txn.checkpoint/kill-relay",
	"late-commit/reset/middle",
}

// Cells returns the whole matrix.
func Cells() []Cell {
	var out []Cell
	for _, g := range groups() {
		for _, at := range g.points {
			for _, name := range g.faults {
				out = append(out, pair(g, at, name, Single))
			}
		}
	}
	// Three brokers lose the one that leads.
	stream, start := groups()[0], groups()[1]
	for _, fault := range []string{"kill-broker", "pause-broker", "cut-kafka"} {
		for _, at := range []crash.Name{crash.TxnRecords, crash.TxnCheckpoint, crash.TxnCommitted, crash.AckBefore} {
			out = append(out, pair(stream, at, fault, Three))
		}
		out = append(out, pair(start, crash.StartFenced, fault, Three))
	}
	out = append(out, stories()...)
	out = append(out, lateCells()...)
	out = append(out, delayCells()...)
	for i := range out {
		out[i].Fast = slices.Contains(fast, out[i].Name) || out[i].Fast
	}
	return out
}

func pair(g group, at crash.Name, fault string, kind Kind) Cell {
	c := Cell{Name: fmt.Sprintf("%s/%s/%s", g.name, at, fault), Kind: kind, proxied: slices.Contains([]string{"cut-kafka", "freeze-kafka", "vanish-kafka"}, fault)}
	if kind != Single {
		c.Name = string(kind) + "/" + c.Name
	}
	c.story = func(l *lab) error {
		f, err := faultNamed(fault)
		if err != nil {
			return err
		}
		r, err := g.reach(l, at)
		if err != nil {
			return err
		}
		// What was handed to the client library is on its way to the broker.
		stall(l.ctx, 30*time.Millisecond)
		if err := f.do(l, r, at); err != nil {
			return fmt.Errorf("%s at %s: %w", fault, at, err)
		}
		switch g.name {
		case "recreate":
			return l.afterRecreate(r)
		case "first":
			return l.slotMade()
		}
		return nil
	}
	return c
}

// pace is how often each writer commits.
const pace = 30 * time.Millisecond

// underLoad holds a relay that streams.
func underLoad(l *lab, at crash.Name) (*relay, error) {
	r, err := l.run()
	if err != nil {
		return nil, err
	}
	l.load = l.load0()
	if err := l.flows(); err != nil {
		return nil, err
	}
	n := 1 + int(l.seed%4) // batches of both transactional ids have their turn
	if at == crash.SplitHanded {
		n = 1 + int(l.seed%2)
	}
	if err := r.arm(l.ctx, arm{at, n}); err != nil {
		return nil, err
	}
	if at == crash.SplitHanded {
		// Larger than two batches: it is cut, and nothing else is.
		if _, err := l.publish(3*batchEvents + 7); err != nil {
			return nil, err
		}
	}
	return r, r.reached(l.ctx, at)
}

// load0 starts the load at the usual pace.
func (l *lab) load0() *load { return l.startLoad(pace, 0) }

// whileStarting holds a relay that starts with a backlog.
func whileStarting(l *lab, at crash.Name) (*relay, error) {
	if err := l.made(); err != nil {
		return nil, err
	}
	l.load = l.load0()
	if _, err := l.publish(20); err != nil {
		return nil, err
	}
	r, err := l.launch([]string{"run"}, arm{at, 1})
	if err != nil {
		return nil, err
	}
	return r, r.reached(l.ctx, at)
}

// whileIdle holds a relay in a checkpoint without rows: other tables write.
func whileIdle(l *lab, at crash.Name) (*relay, error) {
	r, err := l.run()
	if err != nil {
		return nil, err
	}
	if err := l.flows(); err != nil {
		return nil, err
	}
	if err := l.sql("create table noise (x text)"); err != nil {
		return nil, err
	}
	if err := r.arm(l.ctx, arm{at, 1}); err != nil {
		return nil, err
	}
	quiet := make(chan struct{})
	defer close(quiet)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quiet:
				return
			case <-tick.C:
				_ = l.sql("insert into noise select repeat('x', 500) from generate_series(1, 20)") // the next one does it
			}
		}
	}()
	return r, r.reached(l.ctx, at)
}

// whileAborting holds a relay that gives a transaction up, because a topic does
// not take its records any more. The topic does again before the fault.
func whileAborting(l *lab, at crash.Name) (*relay, error) {
	r, err := l.run()
	if err != nil {
		return nil, err
	}
	if err := l.flows(); err != nil {
		return nil, err
	}
	if err := r.arm(l.ctx, arm{at, 1}); err != nil {
		return nil, err
	}
	if err := l.topicLimit("200"); err != nil {
		return nil, err
	}
	l.load = l.load0()
	if err := r.reached(l.ctx, at); err != nil {
		return nil, err
	}
	return r, l.topicLimit("1048588")
}

// whileRecovering holds a relay on its way from a failure to the next start.
func whileRecovering(l *lab, at crash.Name) (*relay, error) {
	r, err := l.run()
	if err != nil {
		return nil, err
	}
	l.load = l.load0()
	if err := l.flows(); err != nil {
		return nil, err
	}
	if err := r.arm(l.ctx, arm{at, 1}); err != nil {
		return nil, err
	}
	if err := l.terminate(); err != nil {
		return nil, err
	}
	return r, r.reached(l.ctx, at)
}

// firstStart holds a relay that makes its publication, slot and checkpoint.
func firstStart(l *lab, at crash.Name) (*relay, error) {
	l.load = l.load0()
	n := 1
	if at == crash.TxnCheckpoint || at == crash.TxnCommitted {
		n = 1 + int(l.seed%2) // of the intent, or of the first checkpoint
	}
	r, err := l.launch([]string{"run"}, arm{at, n})
	if err != nil {
		return nil, err
	}
	return r, r.reached(l.ctx, at)
}

// recreating holds `slots recreate` of a slot that nobody trusts any more.
func recreating(l *lab, at crash.Name) (*relay, error) {
	r, err := l.run()
	if err != nil {
		return nil, err
	}
	l.load = l.load0()
	if err := l.flows(); err != nil {
		return nil, err
	}
	if err := r.stop(l.ctx); err != nil {
		return nil, err
	}
	r, err = l.launch([]string{"slots", "recreate", "--accept-gap"}, arm{at, 1})
	if err != nil {
		return nil, err
	}
	return r, r.reached(l.ctx, at)
}

// afterRecreate runs a relay when the command has ended, however it did: its
// intent, if it was committed, is finished by the start.
func (l *lab) afterRecreate(command *relay) error {
	if _, err := command.Exit(l.ctx); err != nil {
		return err
	}
	if !l.alive() { // the fault has started none
		if _, err := l.launch([]string{"run"}); err != nil {
			return err
		}
	}
	return l.slotMade()
}

// slotMade waits until the relay that is alive streams: what is written before
// its slot is there is given up.
func (l *lab) slotMade() error {
	for _, r := range l.relays {
		select {
		case <-r.Done():
		default:
			return l.running(r)
		}
	}
	return l.dead()
}
