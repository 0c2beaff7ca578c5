package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
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

// Traffic is a service that writes until it is told to stop.
type Traffic struct {
	l    *Lab
	stop chan struct{}
	once sync.Once
	done chan error
}

// Traffic starts a service that commits a few transactions every so often.
func (l *Lab) Traffic(name string, every time.Duration) *Traffic {
	l.Helper()
	w := &Traffic{l: l, stop: make(chan struct{}), done: make(chan error, 1)}
	s := l.service(name)
	ctx := l.Ctx(5 * time.Minute)
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
			if err := s.Write(ctx, l.DB, s.MaxTx, nil); err != nil {
				w.done <- err
				return
			}
		}
	}()
	return w
}

// End stops the service and demands that every write of it went well.
func (w *Traffic) End() {
	w.l.Helper()
	w.once.Do(func() { close(w.stop) })
	w.l.Check(<-w.done)
}

// Broken waits until a write fails, because the server is gone.
func (w *Traffic) Broken() {
	w.l.Helper()
	select {
	case err := <-w.done:
		if err == nil {
			w.l.Fatal("the service was stopped, and should have failed")
		}
	case <-w.l.Ctx(time.Minute).Done():
		w.l.Fatal("the service goes on writing into a server that should be down")
	}
}

// Wrote waits until n more events are committed.
func (l *Lab) Wrote(n int) {
	l.Helper()
	want := l.Truth.Committed() + n
	l.Soon(time.Minute, fmt.Sprintf("%d more events written", n), func() bool { return l.Truth.Committed() >= want })
}

// Soon asks again and again, for what no signal tells.
func (l *Lab) Soon(bound time.Duration, what string, ok func() bool) {
	l.Helper()
	ctx := l.Ctx(bound)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.Fatalf("waited %s in vain: %s", patience*bound, what)
		}
	}
}

// Sender is the pid of the walsender that holds the lab's slot, "" none.
func (l *Lab) Sender() string {
	l.Helper()
	return l.Ask("select coalesce(max(active_pid)::text, '') from pg_replication_slots where slot_name = $1", l.Slot())
}

// Confirmed is confirmed_flush_lsn of the lab's slot, 0 none.
func (l *Lab) Confirmed() event.LSN {
	l.Helper()
	lsn, err := event.ParseLSN(l.Ask("select coalesce(max(confirmed_flush_lsn), '0/0')::text from pg_replication_slots where slot_name = $1", l.Slot()))
	l.Check(err)
	return lsn
}

// Logged waits for a line of r's log.
func (l *Lab) Logged(r *rig.Relay, text string, bound time.Duration) string {
	l.Helper()
	line, err := r.WaitLog(l.Ctx(bound), text)
	l.Check(err)
	return line
}

// Restarts is how often r's pipeline took the recovery path.
func (l *Lab) Restarts(r *rig.Relay) int {
	l.Helper()
	n, err := r.Metric(l.Ctx(10*time.Second), "cdc_relay_restarts_total")
	l.Check(err)
	return int(n)
}

// Delivered reads until n records are there.
func (l *Lab) Delivered(r *rig.Reader, n int, bound time.Duration) {
	l.Helper()
	l.Check(r.Read(l.Ctx(bound), func(have int) bool { return have >= n }))
}

// Stops ends r with SIGTERM and demands exit code 0.
func (l *Lab) Stops(r *rig.Relay) {
	l.Helper()
	code, err := r.Stop(l.Ctx(30 * time.Second))
	if err != nil || code != 0 {
		l.Fatalf("SIGTERM: exit code %d, %v\n%s", code, err, r.Log())
	}
}

// Gone waits until r ended by itself with the exit code, and demands that its
// log holds every one of texts.
func (l *Lab) Gone(r *rig.Relay, code int, bound time.Duration, texts ...string) {
	l.Helper()
	got, err := r.Exit(l.Ctx(bound))
	l.Check(err)
	if got != code {
		l.Errorf("exit code %d, want %d\n%s", got, code, r.Log())
	}
	for _, text := range texts {
		if !strings.Contains(r.Log(), text) {
			l.Errorf("the log does not say %q:\n%s", text, r.Log())
		}
	}
}

// Refused starts a relay that a guard has to refuse, for the reason given.
func (l *Lab) Refused(texts ...string) {
	l.Helper()
	l.Gone(l.Launch("run"), 3, 40*time.Second, texts...)
}

// Change changes the configuration; the next relay has it.
func (l *Lab) Change(do func(*rig.Config)) {
	l.Helper()
	c := l.Conf
	c.Kafka = maps.Clone(c.Kafka)
	do(&c)
	l.Configure(c)
}

// checkpointTopic is the default one.
const checkpointTopic = "cdc-relay.checkpoints"

// Pipeline is the name of the lab's one pipeline: its database.
func (l *Lab) Pipeline() string { return l.Ask("select current_database()") }

// OwnCheckpoints gives the lab a checkpoint topic of its own, <name>.checkpoints.
func OwnCheckpoints(l *Lab, c *rig.Config) {
	c.Extra += "checkpoint_topic: " + l.ID + ".checkpoints\n"
}

// Client is a client of the lab's broker.
func (l *Lab) Client(opts ...kgo.Opt) *kgo.Client {
	l.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(l.Kafka.Bootstrap())}, opts...)...)
	l.Check(err)
	l.Cleanup(c.Close)
	return c
}

// Forge writes a checkpoint as if a relay of the lab's name had: what a guard
// has to find out about cannot always be brought about.
func (l *Lab) Forge(s event.Saved) {
	l.Helper()
	value, err := json.Marshal(s)
	l.Check(err)
	l.ForgeRaw(value)
}

// ForgeRaw writes any value as the checkpoint; nil deletes it.
func (l *Lab) ForgeRaw(value []byte) {
	l.Helper()
	r := &kgo.Record{Topic: checkpointTopic, Key: []byte(l.ID + "/" + l.Pipeline()), Value: value}
	l.Check(l.Client().ProduceSync(l.Ctx(time.Minute), r).FirstErr())
}

// Saved is the lab's checkpoint, as the command line shows it.
func (l *Lab) Saved() event.Saved {
	l.Helper()
	var all map[string]event.Saved
	l.Command("checkpoint", "show", "-o", "json").JSON(&all)
	return all[l.Pipeline()]
}

// Transaction is the state the broker gives the lab's transactional id number
// i: Empty, Ongoing, PrepareCommit, CompleteAbort …; "" it does not know it.
func (l *Lab) Transaction(c *kgo.Client, i int) string {
	l.Helper()
	id := fmt.Sprintf("%s/%s/%d", l.ID, l.Pipeline(), i)
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	ctx := l.Ctx(10 * time.Second)
	for _, shard := range c.RequestSharded(ctx, req) {
		l.Check(shard.Err)
		for _, t := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
			err := kerr.ErrorForCode(t.ErrorCode)
			if errors.Is(err, kerr.TransactionalIDNotFound) {
				return ""
			}
			l.Check(err)
			return t.State
		}
	}
	return ""
}

// pending reports whether an open transaction has written to topic: its last
// stable offset is behind its end.
func (l *Lab) pending(c *kgo.Client, topic string, partitions int32) bool {
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
		for _, shard := range c.RequestSharded(l.Ctx(10*time.Second), req) {
			l.Check(shard.Err)
			for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
				for _, p := range t.Partitions {
					l.Check(kerr.ErrorForCode(p.ErrorCode))
					sum += p.Offset
				}
			}
		}
		return sum
	}
	return end(1) < end(0)
}

// Frozen stops r with SIGSTOP while one of its transactions is open on the
// broker and its last record, the checkpoint, was sent; it returns the number
// of the transactional id. There has to be traffic, and a checkpoint topic of
// its own.
func (l *Lab) Frozen(r *rig.Relay, c *kgo.Client, topic string) int {
	l.Helper()
	for range 1000 {
		l.Check(r.Signal(syscall.SIGSTOP))
		for id := range 2 {
			if l.Transaction(c, id) == "Ongoing" && l.pending(c, topic, CheckpointPartitions) {
				return id
			}
		}
		l.Check(r.Signal(syscall.SIGCONT))
		l.Wrote(1) // gives it a turn
	}
	l.Fatal("1000 stops, and no transaction was open at any")
	return -1
}

// CheckpointPartitions is how many the relay makes the topic with.
const CheckpointPartitions = 25

// ReadyCode is the status r's /readyz answers with.
func (l *Lab) ReadyCode(r *rig.Relay) int {
	l.Helper()
	ctx := l.Ctx(10 * time.Second)
	addr, err := r.Addr(ctx)
	l.Check(err)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	l.Check(err)
	res, err := http.DefaultClient.Do(req)
	l.Check(err)
	l.Check(res.Body.Close())
	return res.StatusCode
}

// Said reports whether r has logged text.
func Said(r *rig.Relay, text string) bool { return strings.Contains(r.Log(), text) }

// Acknowledged waits until the slot has confirmed all there is now.
func (l *Lab) Acknowledged() {
	l.Helper()
	end := l.Flushed()
	l.Soon(time.Minute, "all is acknowledged", func() bool { return l.Confirmed() >= end })
}

// Flushed is the end of the server's write-ahead log.
func (l *Lab) Flushed() event.LSN {
	l.Helper()
	return l.LSN("select pg_current_wal_flush_lsn()::text")
}

// WordAfter is the word in text that follows mark.
func WordAfter(t *testing.T, text, mark string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, mark)
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		t.Fatalf("no %q in:\n%s", mark, text)
	}
	return words[0]
}

// Alter sets settings of a topic by hand (name, value, …) and waits until the
// broker says so: it answers before it has learnt it from the controller.
func (l *Lab) Alter(topic string, pairs ...string) {
	l.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for i := 0; i < len(pairs); i += 2 {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = pairs[i], kmsg.IncrementalAlterConfigOpSet, &pairs[i+1]
		res.Configs = append(res.Configs, c)
	}
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(l.Ctx(time.Minute), l.Client())
	l.Check(err)
	for _, r := range resp.Resources {
		l.Check(kerr.ErrorForCode(r.ErrorCode))
	}
	l.Until("the settings of "+topic+" are "+strings.Join(pairs, " "), func() bool {
		got := l.settings(topic)
		for i := 0; i < len(pairs); i += 2 {
			if got[pairs[i]] != pairs[i+1] {
				return false
			}
		}
		return true
	})
}

// settings are a topic's, as the broker knows them now.
func (l *Lab) settings(topic string) map[string]string {
	l.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(l.Ctx(time.Minute), l.Client())
	l.Check(err)
	all := map[string]string{}
	for _, r := range resp.Resources {
		l.Check(kerr.ErrorForCode(r.ErrorCode))
		for _, c := range r.Configs {
			if c.Value != nil {
				all[c.Name] = *c.Value
			}
		}
	}
	return all
}
