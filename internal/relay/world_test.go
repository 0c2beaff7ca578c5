package relay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// world is Postgres and Kafka around a Core, as far as the core can see them:
// a log that is sent again from the slot's position, a topic, a checkpoint that
// is committed together with the rows, and crashes between any two steps. It is
// a model, not a fake of the real parts: those are tested elsewhere.
type world struct {
	log  []event.Msg // what the server sends, in order; each Commit and Alive at its End
	slot event.LSN   // confirmed_flush
	core *Core

	// The process.
	next     int      // in log
	batch    []string // rows kept, not handed over
	flying   *flight  // handed over, outcome open
	lag      int      // messages read before a commit's outcome arrives
	topic    []string
	txs      [][]string // Kafka transactions, in order
	saved    event.Checkpoint
	limits   Limits
	mutant   string
	problems []string
}

// flight is a batch whose commit runs.
type flight struct {
	rows []string
	end  event.Checkpoint
	left int
}

func newWorld(limits Limits, lag int, log []event.Msg) *world {
	w := &world{log: log, core: NewCore(limits), lag: lag, limits: limits}
	w.restart()
	return w
}

// transaction appends a transaction of n rows that commits at lsn; its commit
// record is 8 bytes long.
func transaction(log []event.Msg, lsn event.LSN, n int) []event.Msg {
	log = append(log, event.Msg{Kind: event.Begin, Pos: event.Position{Commit: lsn}})
	for i := range n {
		log = append(log, event.Msg{Kind: event.Row, Pos: event.Position{Commit: lsn, Ord: uint64(i + 1)}})
	}
	return append(log, event.Msg{Kind: event.Commit, Pos: event.Position{Commit: lsn}, End: lsn + 8})
}

func keepalive(log []event.Msg, end event.LSN) []event.Msg {
	return append(log, event.Msg{Kind: event.Alive, End: end})
}

func name(p event.Position) string { return fmt.Sprintf("%d.%d", p.Commit, p.Ord) }

// restart is what a crash, or the one recovery path, leads to: everything in
// memory is gone; Postgres sends again each transaction whose commit record
// does not start before confirmed_flush.
func (w *world) restart() {
	w.batch, w.flying = nil, nil
	w.core.Restart(w.saved)
	if w.mutant == "drop by safe" {
		w.core.drop = event.Position{Commit: w.saved.Safe, Ord: 1 << 60}
	}
	w.next = 0
	for w.next < len(w.log) && w.passed(w.next) {
		w.next++
	}
}

// passed reports whether the server leaves message i out after a reconnect.
func (w *world) passed(i int) bool {
	m := w.log[i]
	if m.Kind == event.Alive {
		return m.End <= w.slot
	}
	return m.Pos.Commit < w.slot
}

func (w *world) over() bool { return w.next == len(w.log) && w.flying == nil && len(w.batch) == 0 }

// step reads one message, or lets time pass where there is none.
func (w *world) step() {
	kind, more := event.Wake, false
	if w.next < len(w.log) {
		m := w.log[w.next]
		w.next++
		kind, more = m.Kind, w.next < len(w.log)
		if w.core.Saw(&m) {
			w.batch = append(w.batch, name(m.Pos))
			w.core.Grew(1, 1)
		}
	}
	if w.flying != nil {
		if w.flying.left--; w.flying.left < 0 || w.core.Full(false) {
			w.outcome(true)
		}
	}
	end, ok := w.core.Close(more, false)
	if !ok && (kind == event.Wake || kind == event.Alive) {
		end, ok = w.core.CloseIdle(w.limits.IdleAfter)
	}
	if ok {
		w.flying = &flight{rows: w.batch, end: end, left: w.lag}
		w.batch = nil
		if w.mutant == "ack before commit" {
			w.ack(end.Safe)
		}
	}
	w.watch()
}

// outcome ends the commit in flight.
func (w *world) outcome(committed bool) {
	if committed {
		w.land()
		ack := w.core.Committed()
		w.flying = nil
		w.ack(ack)
	}
}

// land makes the flight visible in Kafka.
func (w *world) land() {
	w.topic = append(w.topic, w.flying.rows...)
	w.txs = append(w.txs, w.flying.rows)
	if w.mutant != "no checkpoint" {
		w.saved = w.flying.end
	}
}

func (w *world) ack(lsn event.LSN) {
	if lsn < w.slot {
		w.problem("the slot went back from %s to %s", w.slot, lsn)
	}
	w.slot = lsn
}

// crash ends the process; whether Kafka had committed what was in flight is
// for Kafka to say.
func (w *world) crash(committed bool) {
	if w.flying != nil && committed {
		w.land()
	}
	w.restart()
}

// watch asserts the invariant.
func (w *world) watch() {
	c := w.core
	if w.slot > w.saved.Safe {
		w.problem("acked %s > committed %s", w.slot, w.saved.Safe)
	}
	if c.Acked() > c.At().Safe || c.At().Safe > c.Received().Safe {
		w.problem("acked %s, committed %s, received %s", c.Acked(), c.At().Safe, c.Received().Safe)
	}
	if n := len(w.batch); n >= 2*w.limits.Events {
		w.problem("a batch of %d rows with a limit of %d", n, w.limits.Events)
	}
}

func (w *world) problem(format string, args ...any) {
	if len(w.problems) < 5 {
		w.problems = append(w.problems, fmt.Sprintf(format, args...))
	}
}

// run goes on to the end of the log.
func (w *world) run() {
	for i := 0; !w.over(); i++ {
		if i > 10*len(w.log)+100 {
			w.problem("no end after %d steps", i)
			return
		}
		w.step()
	}
}

// verdict compares the topic with the log: each row once, in order, and no
// transaction that fits a batch in two Kafka transactions.
func (w *world) verdict() []string {
	var want []string
	sizes := map[string]int{}
	for _, m := range w.log {
		if m.Kind == event.Row {
			want = append(want, name(m.Pos))
			sizes[txOf(name(m.Pos))]++
		}
	}
	if !slices.Equal(want, w.topic) {
		w.problem("topic\n  have %v\n  want %v", w.topic, want)
	}
	home := map[string]int{}
	for i, rows := range w.txs {
		for _, r := range rows {
			tx := txOf(r)
			if at, ok := home[tx]; ok && at != i && sizes[tx] <= w.limits.Events {
				w.problem("transaction %s of %d rows was cut", tx, sizes[tx])
			}
			home[tx] = i
		}
	}
	return w.problems
}

func txOf(row string) string {
	tx, _, _ := strings.Cut(row, ".")
	return tx
}
