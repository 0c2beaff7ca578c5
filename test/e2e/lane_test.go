package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// lane is a lab whose events all go into one partition, so that the whole order
// of what was published can be compared with the order of the commits.
type lane struct {
	*lab
	conf  rig.Config // what the configuration was made of
	topic string
	want  []rig.Event // that were committed, in order
	made  int
}

// laneContract sends one type of event to one partition.
const laneContract = `unknown_event: stop
events:
  - {type: essay.state.changed, topic: TOPIC, key: [aggregate_id], schema: EssayStateChangedEvent, encoding: avro, topic_class: lane}
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`

func newLane(t *testing.T, setups ...setup) *lane {
	t.Helper()
	n := &lane{}
	keep := func(l *lab, c *rig.Config) {
		n.topic = l.name + ".lane"
		if c.Contract == "" {
			c.Contract = laneContract
		}
		c.Contract = strings.ReplaceAll(c.Contract, "TOPIC", n.topic)
		n.conf = *c
	}
	n.lab = newLab(t, append(slices.Clone(setups), keep)...)
	n.conf.Postgres, n.conf.Bootstrap, n.conf.Registry = n.url, n.kafka.Bootstrap(), n.sr.URL()
	return n
}

// rewrite changes the configuration; the next relay has it.
func (n *lane) rewrite(change func(*rig.Config)) {
	n.Helper()
	n.conf.Kafka = maps.Clone(n.conf.Kafka)
	change(&n.conf)
	n.write(n.conf)
}

// next makes an event. It counts as published only after committed.
func (n *lane) next() rig.Event {
	n.made++
	return rig.Event{ID: uuid.NewString(), Type: rig.Types[0], Key: fmt.Sprintf("k%d", n.made%3), Seq: n.made, Tx: 1, Of: 1}
}

// committed notes that the events are to arrive, in this order.
func (n *lane) committed(events ...rig.Event) {
	n.want = append(n.want, events...)
}

// publish commits each event in a transaction of its own.
func (n *lane) publish(count int) {
	n.Helper()
	for range count {
		e := n.next()
		n.check(pgx.BeginFunc(n.ctx(time.Minute), n.db, func(tx pgx.Tx) error {
			return outbox.Publish(n.Context(), tx, e.Outbox())
		}))
		n.committed(e)
	}
}

// begin opens a transaction on a connection of its own.
func (n *lane) begin() *open {
	n.Helper()
	tx, err := n.db.Begin(n.ctx(5 * time.Minute))
	n.check(err)
	// A test that fails in between must not wait for the connection for ever.
	// After a commit this does nothing.
	n.Cleanup(func() { tx.Rollback(context.WithoutCancel(n.Context())) })
	return &open{n, tx}
}

// open is a transaction in hand.
type open struct {
	n  *lane
	tx pgx.Tx
}

func (o *open) insert(events ...rig.Event) {
	o.n.Helper()
	rows := make([]outbox.Event, len(events))
	for i, e := range events {
		rows[i] = e.Outbox()
	}
	o.n.check(outbox.Publish(o.n.Context(), o.tx, rows...))
}

// event makes one event and inserts it.
func (o *open) event() rig.Event {
	o.n.Helper()
	e := o.n.next()
	o.insert(e)
	return e
}

func (o *open) exec(sql string) {
	o.n.Helper()
	if _, err := o.tx.Exec(o.n.Context(), sql); err != nil {
		o.n.Fatalf("%s: %v", sql, err)
	}
}

func (o *open) commit() { o.n.Helper(); o.n.check(o.tx.Commit(o.n.Context())) }

// arrived reads until every event committed so far is there, and demands that
// nothing else is, in this order.
func (n *lane) arrived(r *rig.Reader) {
	n.Helper()
	n.check(r.Read(n.ctx(time.Minute), func(got int) bool { return got >= len(n.want) }))
	ids := make([]string, len(r.All))
	for i := range r.All {
		ids[i] = r.All[i].Headers["event_id"]
	}
	n.same(ids)
}

// finished stops the relay in good order and compares the whole topic, to its
// end, with what was committed: order, keys, headers and values.
func (n *lane) finished(r *rig.Relay) *tape {
	n.Helper()
	n.stopped(r, 0)
	t := n.tape(n.topic)
	n.same(t.ids())
	n.contents(t)
	return t
}

// stopped ends the relay with SIGTERM and demands an exit code.
func (l *lab) stopped(r *rig.Relay, code int) {
	l.Helper()
	got, err := r.Stop(l.ctx(30 * time.Second))
	if err != nil || got != code {
		l.Fatalf("exit code %d (%v), want %d:\n%s", got, err, code, r.Log())
	}
}

// same demands that got are the ids of what was committed, in that order.
func (n *lane) same(got []string) {
	n.Helper()
	want := make([]string, len(n.want))
	for i, e := range n.want {
		want[i] = e.ID
	}
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			n.Fatalf("%d events arrived, %d were committed; they differ from number %d on:\n arrived   %v\n committed %v",
				len(got), len(want), i+1, got[min(i, len(got)):min(i+3, len(got))], want[min(i, len(want)):min(i+3, len(want))])
		}
	}
}

// contents demands of each record the key and, through the registry, the value
// of the event it is.
func (n *lane) contents(t *tape) {
	n.Helper()
	dec, err := rig.NewDecoder(n.sr.URL())
	n.check(err)
	ctx := n.ctx(time.Minute)
	for i, r := range t.records {
		e := n.want[i]
		v, err := dec.Decode(ctx, r.Value)
		if err != nil {
			n.Fatalf("event %s at offset %d: %v", e.ID, r.Offset, err)
		}
		meta, _ := v["metadata"].(map[string]any)
		if string(r.Key) != e.Key || header(r, "event_type") != e.Type || v["event_type"] != e.Type || meta["seq"] != fmt.Sprint(e.Seq) {
			n.Fatalf("event %+v at offset %d: key %s, headers %v, value %v", e, r.Offset, r.Key, r.Headers, v)
		}
	}
}

// tape is everything a read_committed consumer sees of a topic up to its end.
type tape struct {
	records         []*kgo.Record // of partition 0 first, each in order
	commits, aborts int           // markers
	// perTx are the records of each committed transaction by producer, for one
	// partition: the relay's two producers take turns, and the marker of one
	// may be written behind the first records of the other.
	perTx map[int64][]int
	open  map[int64]int // records since the producer's last marker
}

// tape reads a topic to the end it has when the call begins. Aborted records
// are not in it, their markers are counted.
func (l *lab) tape(topic string) *tape {
	l.Helper()
	ctx := l.ctx(time.Minute)
	ends := l.offsets(ctx, topic, false)
	from := map[int32]kgo.Offset{}
	for p := range ends {
		from[p] = kgo.NewOffset().At(0)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(l.kafka.Bootstrap()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	l.check(err)
	defer c.Close()
	maps.DeleteFunc(ends, func(_ int32, end int64) bool { return end == 0 })
	t := &tape{perTx: map[int64][]int{}, open: map[int64]int{}}
	for len(ends) > 0 {
		f := c.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), f.Err()); err != nil {
			l.Fatalf("read %s to its end %v: %v", topic, ends, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			t.note(l, r)
			if end, left := ends[r.Partition]; left && r.Offset >= end-1 {
				delete(ends, r.Partition)
			}
		})
	}
	slices.SortStableFunc(t.records, func(a, b *kgo.Record) int { return int(a.Partition) - int(b.Partition) })
	return t
}

func (t *tape) note(l *lab, r *kgo.Record) {
	if !r.Attrs.IsControl() {
		t.records = append(t.records, r)
		t.open[r.ProducerID]++
		return
	}
	var k kmsg.ControlRecordKey
	l.check(k.ReadFrom(r.Key))
	switch k.Type {
	case kmsg.ControlRecordKeyTypeCommit:
		t.commits++
		t.perTx[r.ProducerID] = append(t.perTx[r.ProducerID], t.open[r.ProducerID])
	case kmsg.ControlRecordKeyTypeAbort:
		t.aborts++
	}
	t.open[r.ProducerID] = 0
}

func (t *tape) ids() []string {
	ids := make([]string, len(t.records))
	for i, r := range t.records {
		ids[i] = header(r, "event_id")
	}
	return ids
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// offsets asks for the end of each partition: the last stable offset, or, not
// committed, the end of the log.
func (l *lab) offsets(ctx context.Context, topic string, committed bool) map[int32]int64 {
	l.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.kafka.Bootstrap()))
	l.check(err)
	defer c.Close()
	ends, err := endOffsets(ctx, c, topic, committed)
	l.check(err)
	return ends
}

func endOffsets(ctx context.Context, c *kgo.Client, topic string, committed bool) (map[int32]int64, error) {
	meta := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = &topic
	meta.Topics = append(meta.Topics, mt)
	about, err := meta.RequestWith(ctx, c)
	if err != nil {
		return nil, err
	}
	ask := kmsg.NewPtrListOffsetsRequest()
	if committed {
		ask.IsolationLevel = 1
	}
	at := kmsg.NewListOffsetsRequestTopic()
	at.Topic = topic
	for _, p := range about.Topics[0].Partitions {
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Partition, lp.Timestamp = p.Partition, -1
		at.Partitions = append(at.Partitions, lp)
	}
	ask.Topics = append(ask.Topics, at)
	ends := map[int32]int64{}
	for _, shard := range c.RequestSharded(ctx, ask) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					return nil, fmt.Errorf("offsets of %s/%d: error %d", topic, p.Partition, p.ErrorCode)
				}
				ends[p.Partition] = p.Offset
			}
		}
	}
	return ends, nil
}

// saved is the checkpoint in Kafka, as the command line shows it.
func (n *lane) saved() event.Saved {
	n.Helper()
	var all map[string]event.Saved
	n.run("checkpoint", "show", "-o", "json").json(&all)
	if len(all) != 1 {
		n.Fatalf("checkpoint show: %v", all)
	}
	for _, s := range all {
		return s
	}
	return event.Saved{}
}

// confirmed is the slot's confirmed_flush_lsn.
func (n *lane) confirmed() event.LSN {
	n.Helper()
	return n.lsn(`select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1`, n.slot())
}

func (l *lab) lsn(sql string, args ...any) event.LSN {
	l.Helper()
	at, err := event.ParseLSN(l.ask(sql, args...))
	l.check(err)
	return at
}

// until asks again and again; for what no signal tells.
func (l *lab) until(what string, ok func() bool) {
	l.Helper()
	ctx := l.ctx(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.Fatalf("waited in vain until %s", what)
		}
	}
}
