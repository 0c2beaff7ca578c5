package matrix

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// answersSwallowed are the cells per kind of request: another number of it each.
const answersSwallowed = 3

// stories are cells that are not a pair of a point and a fault.
func stories() []Cell {
	var out []Cell
	for name, key := range map[string]int16{"produce": fault.Produce, "init-producer-id": fault.InitProducerID, "add-partitions": fault.AddPartitionsToTxn, "end-txn": fault.EndTxn} {
		for n := range answersSwallowed {
			out = append(out, Cell{Name: fmt.Sprintf("answer-lost/%s/%d", name, n+1), Kind: Single, proxied: true, story: func(l *lab) error { return answerLost(l, key, n+1, false) }})
		}
	}
	for _, id := range []int{0, 1} {
		for _, at := range []crash.Name{crash.StartTaken, crash.FenceFirst, crash.StartFenced, crash.StartRead, crash.StartJudged} {
			out = append(out, Cell{Name: fmt.Sprintf("late-zombie/id-%d/%s", id, at), Kind: Single, story: func(l *lab) error { return lateZombie(l, id, at) }})
		}
		out = append(out, Cell{Name: fmt.Sprintf("commit-under-way/id-%d/kill-relay", id), Kind: Single, proxied: true, story: func(l *lab) error { return commitUnderWay(l, id) }})
	}
	out = append(out,
		Cell{Name: "answer-lost/end-txn/kill-relay", Kind: Single, proxied: true, story: func(l *lab) error { return answerLost(l, fault.EndTxn, 2, true) }},
		Cell{Name: "twins/copied-slot", Kind: Single, Fast: true, story: copiedSlot},
		Cell{Name: "twins/two-first-starts", Kind: Single, story: twoFirstStarts},
		Cell{Name: "registry/5xx-at-restart", Kind: Single, story: registryDown},
		Cell{Name: "ids/expired", Kind: Expiring, story: idsExpired},
		Cell{Name: "checkpoint-partition/held/committed", Kind: Single, Fast: true, story: func(l *lab) error { return partitionHeld(l, true) }},
		Cell{Name: "checkpoint-partition/held/aborted", Kind: Single, story: func(l *lab) error { return partitionHeld(l, false) }},
		Cell{Name: "publication/changed", Kind: Single, story: publicationChanged},
		Cell{Name: "rebase/lower-lsn", Kind: Single, story: lowerLSN},
		Cell{Name: "table/columns-changed", Kind: Single, story: tableChanged},
		Cell{Name: "postgres/refresh-of-millions", Kind: Single, story: refresh},
		Cell{Name: "postgres/commit-at-the-keepalive", Kind: Single, Fast: true, story: commitAtKeepalive},
		Cell{Name: "produce/refused-by-the-client", Kind: Single, Fast: true, story: produceRefused,
			change: func(c *rig.Config) { c.Kafka["message.max.bytes"] = "20000" }},
	)
	return out
}

// streaming is a relay that streams under load.
func (l *lab) streaming() (*relay, error) {
	r, err := l.run()
	if err != nil {
		return nil, err
	}
	l.load = l.load0()
	return r, l.flows()
}

// answerLost swallows the answer to the nth request of a kind: the broker has
// done it, and the relay never hears of it.
func answerLost(l *lab, key int16, n int, kill bool) error {
	var r *relay
	var err error
	if key == fault.InitProducerID {
		if err = l.made(); err != nil { // only a start sends it
			return err
		}
		l.load = l.load0()
		n = 1 + n%2
	} else if r, err = l.streaming(); err != nil {
		return err
	}
	swallowed := l.swallow(key, n)
	if r == nil {
		if r, err = l.launch([]string{"run"}); err != nil {
			return err
		}
	}
	select {
	case <-swallowed:
	case <-time.After(reachWithin):
		return fmt.Errorf("no answer to request %d was swallowed within %s", key, reachWithin)
	}
	if kill {
		return killRelay(l, r, "")
	}
	return nil
}

// swallow takes the answer of the next nth request at whichever broker gets it.
func (l *lab) swallow(key int16, n int) <-chan struct{} {
	return l.w.Kafka.Proxies()[0].DropAnswer(key, n) // a single broker is coordinator and leader of all
}

// lateZombie is a relay that lost its slot while it was in the middle of a
// transaction, on either id, and goes on with it while its successor is at a
// step of its start. Before the fence its commit counts, and the successor must
// read it; behind the fence it must fail.
func lateZombie(l *lab, id int, at crash.Name) error {
	if err := l.made(); err != nil {
		return err
	}
	l.load = l.load0()
	if _, err := l.publish(10); err != nil {
		return err
	}
	// The first transaction after a start uses id 0.
	first, err := l.start(l.w.Older, []string{"run"}, []arm{{crash.TxnRecords, id + 1}})
	if err != nil {
		return err
	}
	if err := first.reached(l.ctx, crash.TxnRecords); err != nil {
		return err
	}
	if err := l.terminate(); err != nil {
		return err
	}
	second, err := l.launch([]string{"run"}, arm{at, 1})
	if err != nil {
		return err
	}
	if err := second.reached(l.ctx, at); err != nil {
		return err
	}
	first.release(crash.TxnRecords)
	ctx, cancel := context.WithTimeout(l.ctx, recoverWithin)
	defer cancel()
	// Its transaction has ended, one way or the other.
	if _, err := first.WaitLog(ctx, "starting again from the checkpoint"); err != nil {
		return err
	}
	second.release(at)
	return nil
}

// commitUnderWay kills a relay whose EndTxn has not reached the broker. A relay
// that had begun the next transaction meanwhile would lose this one's rows.
func commitUnderWay(l *lab, id int) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	reached, release := l.w.Kafka.Proxies()[0].HoldRequest(fault.EndTxn, 3+id)
	defer release()
	select {
	case <-reached:
	case <-time.After(reachWithin):
		return errors.New("no commit was asked for")
	}
	// Time enough for another transaction, if it were begun.
	if _, err := l.publish(5); err != nil {
		return err
	}
	stall(l.ctx, 700*time.Millisecond)
	r.kill()
	next, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	// Let go of before the fence, the held EndTxn would still commit.
	return next.Ready(l.ctx)
}

// copiedSlot starts a second relay of the same name on a copy of the slot: it
// must be refused before it fences, and the first must not even notice.
func copiedSlot(l *lab) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	if err := l.sql(fmt.Sprintf("select pg_copy_logical_replication_slot('%s', 'copy_%s')", l.slot, l.database)); err != nil {
		return err
	}
	mine, conf := l.config, l.conf
	slot := l.slot
	l.conf.Lines = append(l.conf.Lines[:len(l.conf.Lines):len(l.conf.Lines)], "  slot: copy_"+l.database)
	if err := l.configure("copy"); err != nil {
		return err
	}
	second, err := l.launch([]string{"run"})
	l.config, l.conf, l.slot = mine, conf, slot
	if err != nil {
		return err
	}
	if err := second.refused(l.ctx, "the checkpoint belongs to slot"); err != nil {
		return err
	}
	if err := l.flows(); err != nil {
		return err
	}
	restarts, err := r.Metric(l.ctx, "cdc_relay_restarts_total")
	if err == nil && restarts != 0 {
		err = fmt.Errorf("the relay at work was disturbed: %v restarts\n%s", restarts, tail(r.Log()))
	}
	return err
}

// twoFirstStarts has two relays make the first start of one pipeline, and kills
// the one that made it.
func twoFirstStarts(l *lab) error {
	l.load = l.load0()
	a, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	b, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	for _, r := range []*relay{a, b} {
		if err := r.Ready(l.ctx); err != nil {
			return err
		}
	}
	if err := l.flows(); err != nil {
		return err
	}
	if strings.Contains(b.Log(), "msg=streaming") {
		a, b = b, a
	}
	a.kill()
	return l.running(b)
}

// registryDown restarts a relay while the registry answers 503.
func registryDown(l *lab) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	if err := r.arm(l.ctx, arm{crash.TxnCommitted, 2}); err != nil {
		return err
	}
	if err := r.reached(l.ctx, crash.TxnCommitted); err != nil {
		return err
	}
	l.w.broken.Store(true)
	r.kill()
	if r, err = l.launch([]string{"run"}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, recoverWithin)
	defer cancel()
	_, err = r.WaitLog(ctx, "not ready to start, trying again")
	l.w.broken.Store(false)
	return err
}

// idsExpired leaves a relay idle until the broker has forgotten its
// transactional ids.
func idsExpired(l *lab) error {
	r, err := l.run()
	if err != nil {
		return err
	}
	if err := l.flows(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, recoverWithin)
	defer cancel()
	if err := l.idsGone(ctx); err != nil {
		return err
	}
	l.load = l.load0()
	if err := l.flows(); err != nil {
		return err
	}
	if n, err := r.Metric(l.ctx, "cdc_relay_restarts_total"); err != nil || n == 0 {
		return fmt.Errorf("the relay went on with ids that had expired: %v restarts (%w)", n, err)
	}
	return nil
}

// partitionHeld has another pipeline's transaction open on the partition of our
// checkpoint, so that the last stable offset stays below every later one of
// ours, kills the relay, and lets the other go on only after the next start had
// time to believe what it could see.
func partitionHeld(l *lab, commit bool) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	defer l.hitch(time.Now())
	end, err := l.holdPartition()
	if err != nil {
		return err
	}
	defer end(commit) //nolint:errcheck // a second end does nothing
	// Events go on: their topics are not held.
	if err := l.flows(); err != nil {
		return err
	}
	if err := r.arm(l.ctx, arm{crash.AckBefore, 2}); err != nil {
		return err
	}
	if err := r.reached(l.ctx, crash.AckBefore); err != nil {
		return err
	}
	r.kill()
	if _, err = l.launch([]string{"run"}); err != nil {
		return err
	}
	stall(l.ctx, 1500*time.Millisecond)
	return end(commit)
}

// tableChanged adds and drops columns under load, with a kill in between.
func tableChanged(l *lab) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	if err := l.sql("alter table cdc_relay.outbox add column more text default 'x'"); err != nil {
		return err
	}
	if err := l.flows(); err != nil {
		return err
	}
	if err := killRelay(l, r, ""); err != nil {
		return err
	}
	if err := l.sql("alter table cdc_relay.outbox drop column more", "alter table cdc_relay.outbox add column again int"); err != nil {
		return err
	}
	return l.flows()
}

// refresh decodes a transaction of two million rows of another table.
func refresh(l *lab) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	if err := l.sql("create materialized view big as select g, repeat('x', 60) as x from generate_series(1, 2000000) g"); err != nil {
		return err
	}
	if err := l.sql("refresh materialized view big"); err != nil {
		return err
	}
	if err := l.flows(); err != nil {
		return err
	}
	return killRelay(l, r, "")
}

// commitAtKeepalive makes transactions whose commit LSN is that of a keepalive
// the relay has acknowledged: a writer inserts, others commit, a keepalive
// passes, the writer commits. Each is followed by a kill.
func commitAtKeepalive(l *lab) error {
	r, err := l.run()
	if err != nil {
		return err
	}
	if err := l.sql("create table noise (x int)"); err != nil {
		return err
	}
	for met := 0; met < 2; {
		// Any record another process of the server writes in between moves the
		// commit: then it is tried again.
		next, exact, err := l.keepaliveThenCommit(r)
		if err != nil {
			return err
		}
		r = next
		if exact {
			met++
		}
	}
	return nil
}

// produceRefused has an event the client library does not take at Produce: the
// library would commit the transaction without it.
func produceRefused(l *lab) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	l.load.stop()
	big := newEvent("hot-0", rig.Types[0], 0)
	big.Headers = map[string]string{"padding": strings.Repeat("x", 30000)}
	if err := l.publishAll(big); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, recoverWithin)
	defer cancel()
	code, err := r.Exit(ctx)
	if err != nil || code != 1 || !strings.Contains(r.Log(), "message.max.bytes") {
		return fmt.Errorf("exit code %d (%w), want 1 and the name of the property:\n%s", code, err, tail(r.Log()))
	}
	l.conf.Kafka["message.max.bytes"] = "1000000"
	if err := l.configure(""); err != nil {
		return err
	}
	_, err = l.run()
	return err
}
