package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// What the tests about faults share: a writer that goes on in the background,
// the checkpoint as it is in Kafka, transactions as the broker sees them, and
// relays that are refused.

// traffic is a service that writes until it is told to stop.
type traffic struct {
	l    *lab
	stop chan struct{}
	once sync.Once
	done chan error
}

// traffic starts a service that commits a few transactions every so often.
func (l *lab) traffic(name string, every time.Duration) *traffic {
	l.Helper()
	w := &traffic{l: l, stop: make(chan struct{}), done: make(chan error, 1)}
	s := l.service(name)
	ctx := l.ctx(5 * time.Minute)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				w.done <- nil
				return
			case <-tick.C:
			}
			if err := s.Write(ctx, l.db, s.MaxTx, nil); err != nil {
				w.done <- err
				return
			}
		}
	}()
	return w
}

// end stops the service and demands that every write of it went well.
func (w *traffic) end() {
	w.l.Helper()
	w.once.Do(func() { close(w.stop) })
	w.l.check(<-w.done)
}

// broken waits until a write fails, because the server is gone.
func (w *traffic) broken() {
	w.l.Helper()
	select {
	case err := <-w.done:
		if err == nil {
			w.l.Fatal("the service was stopped, and should have failed")
		}
	case <-w.l.ctx(time.Minute).Done():
		w.l.Fatal("the service goes on writing into a server that should be down")
	}
}

// wrote waits until n more events are committed.
func (l *lab) wrote(n int) {
	l.Helper()
	want := l.truth.Committed() + n
	l.soon(time.Minute, fmt.Sprintf("%d more events written", n), func() bool { return l.truth.Committed() >= want })
}

// soon asks again and again, for what no signal tells.
func (l *lab) soon(bound time.Duration, what string, ok func() bool) {
	l.Helper()
	ctx := l.ctx(bound)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.Fatalf("waited %s in vain: %s", bound, what)
		}
	}
}

// sender is the pid of the walsender that holds the lab's slot, "" none.
func (l *lab) sender() string {
	l.Helper()
	return l.ask("select coalesce(max(active_pid)::text, '') from pg_replication_slots where slot_name = $1", l.slot())
}

// confirmed is confirmed_flush_lsn of the lab's slot, 0 none.
func (l *lab) confirmed() event.LSN {
	l.Helper()
	lsn, err := event.ParseLSN(l.ask("select coalesce(max(confirmed_flush_lsn), '0/0')::text from pg_replication_slots where slot_name = $1", l.slot()))
	l.check(err)
	return lsn
}

// logged waits for a line of r's log.
func (l *lab) logged(r *rig.Relay, text string, bound time.Duration) string {
	l.Helper()
	line, err := r.WaitLog(l.ctx(bound), text)
	l.check(err)
	return line
}

// restarts is how often r's pipeline took the recovery path.
func (l *lab) restarts(r *rig.Relay) int {
	l.Helper()
	n, err := r.Metric(l.ctx(10*time.Second), "cdc_relay_restarts_total")
	l.check(err)
	return int(n)
}

// delivered reads until n records are there.
func (l *lab) delivered(r *rig.Reader, n int, bound time.Duration) {
	l.Helper()
	l.check(r.Read(l.ctx(bound), func(have int) bool { return have >= n }))
}

// stops ends r with SIGTERM and demands exit code 0.
func (l *lab) stops(r *rig.Relay) {
	l.Helper()
	code, err := r.Stop(l.ctx(30 * time.Second))
	if err != nil || code != 0 {
		l.Fatalf("SIGTERM: exit code %d, %v\n%s", code, err, r.Log())
	}
}

// gone waits until r ended by itself with the exit code, and demands that its
// log holds every one of texts.
func (l *lab) gone(r *rig.Relay, code int, bound time.Duration, texts ...string) {
	l.Helper()
	got, err := r.Exit(l.ctx(bound))
	l.check(err)
	if got != code {
		l.Errorf("exit code %d, want %d\n%s", got, code, r.Log())
	}
	for _, text := range texts {
		if !strings.Contains(r.Log(), text) {
			l.Errorf("the log does not say %q:\n%s", text, r.Log())
		}
	}
}

// refused starts a relay that a guard has to refuse, for the reason given.
func (l *lab) refused(texts ...string) {
	l.Helper()
	l.gone(l.launch("run"), 3, 40*time.Second, texts...)
}

// change changes the configuration; the next relay has it.
func (l *lab) change(do func(*rig.Config)) {
	l.Helper()
	c := l.conf
	c.Kafka = maps.Clone(c.Kafka)
	do(&c)
	l.write(c)
}

// checkpointTopic is the default one.
const checkpointTopic = "cdc-relay.checkpoints"

// pipeline is the name of the lab's one pipeline: its database.
func (l *lab) pipeline() string { return l.ask("select current_database()") }

// ownCheckpoints gives the lab a checkpoint topic of its own, <name>.checkpoints.
func ownCheckpoints(l *lab, c *rig.Config) {
	c.Extra += "checkpoint_topic: " + l.name + ".checkpoints\n"
}

func (l *lab) kgo(opts ...kgo.Opt) *kgo.Client {
	l.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(l.kafka.Bootstrap())}, opts...)...)
	l.check(err)
	l.Cleanup(c.Close)
	return c
}

// forge writes a checkpoint as if a relay of the lab's name had: what a guard
// has to find out about cannot always be brought about.
func (l *lab) forge(s event.Saved) {
	l.Helper()
	value, err := json.Marshal(s)
	l.check(err)
	l.forgeRaw(value)
}

// forgeRaw writes any value as the checkpoint; nil deletes it.
func (l *lab) forgeRaw(value []byte) {
	l.Helper()
	r := &kgo.Record{Topic: checkpointTopic, Key: []byte(l.name + "/" + l.pipeline()), Value: value}
	l.check(l.kgo().ProduceSync(l.ctx(time.Minute), r).FirstErr())
}

// saved is the lab's checkpoint, as the command line shows it.
func (l *lab) saved() event.Saved {
	l.Helper()
	var all map[string]event.Saved
	l.run("checkpoint", "show", "-o", "json").json(&all)
	return all[l.pipeline()]
}

// transaction is the state the broker gives the lab's transactional id number
// i: Empty, Ongoing, PrepareCommit, CompleteAbort …; "" it does not know it.
func (l *lab) transaction(c *kgo.Client, i int) string {
	l.Helper()
	id := fmt.Sprintf("%s/%s/%d", l.name, l.pipeline(), i)
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	ctx := l.ctx(10 * time.Second)
	for _, shard := range c.RequestSharded(ctx, req) {
		l.check(shard.Err)
		for _, t := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
			err := kerr.ErrorForCode(t.ErrorCode)
			if errors.Is(err, kerr.TransactionalIDNotFound) {
				return ""
			}
			l.check(err)
			return t.State
		}
	}
	return ""
}

// pending reports whether an open transaction has written to topic: its last
// stable offset is behind its end.
func (l *lab) pending(c *kgo.Client, topic string, partitions int32) bool {
	l.Helper()
	end := func(isolation int8) (sum int64) {
		req := kmsg.NewPtrListOffsetsRequest()
		req.IsolationLevel = isolation
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for i := range partitions {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp = i, -1
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
		for _, shard := range c.RequestSharded(l.ctx(10*time.Second), req) {
			l.check(shard.Err)
			for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
				for _, p := range t.Partitions {
					l.check(kerr.ErrorForCode(p.ErrorCode))
					sum += p.Offset
				}
			}
		}
		return sum
	}
	return end(1) < end(0)
}

// frozen stops r with SIGSTOP while one of its transactions is open on the
// broker and its last record, the checkpoint, was sent; it returns the number
// of the transactional id. There has to be traffic, and a checkpoint topic of
// its own.
func (l *lab) frozen(r *rig.Relay, c *kgo.Client, topic string) int {
	l.Helper()
	for range 1000 {
		l.check(r.Signal(syscall.SIGSTOP))
		for id := range 2 {
			if l.transaction(c, id) == "Ongoing" && l.pending(c, topic, checkpointPartitions) {
				return id
			}
		}
		l.check(r.Signal(syscall.SIGCONT))
		l.wrote(1) // gives it a turn
	}
	l.Fatal("1000 stops, and no transaction was open at any")
	return -1
}

// checkpointPartitions is how many the relay makes the topic with.
const checkpointPartitions = 25

// readyCode is the status r's /readyz answers with.
func (l *lab) readyCode(r *rig.Relay) int {
	l.Helper()
	ctx := l.ctx(10 * time.Second)
	addr, err := r.Addr(ctx)
	l.check(err)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	l.check(err)
	res, err := http.DefaultClient.Do(req)
	l.check(err)
	l.check(res.Body.Close())
	return res.StatusCode
}

// said reports whether r has logged text.
func said(r *rig.Relay, text string) bool { return strings.Contains(r.Log(), text) }
