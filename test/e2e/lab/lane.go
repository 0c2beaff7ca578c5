package lab

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// DebeziumTable is the table Debezium's outbox event router reads by default.
const DebeziumTable = `create table public.outboxevent (
	id uuid not null primary key, aggregatetype varchar(255) not null, aggregateid varchar(255) not null,
	type varchar(255) not null, payload jsonb)`

// DatabaseName is the database of a URL.
func DatabaseName(url string) string {
	_, name, _ := strings.Cut(strings.TrimPrefix(url, "postgres://"), "/")
	name, _, _ = strings.Cut(name, "?")
	return name
}

// Lane is a lab whose events all go into one partition, so that the whole order
// of what was published can be compared with the order of the commits.
type Lane struct {
	*Lab
	Conf  rig.Config // what the configuration was made of
	Topic string
	Want  []rig.Event // that were committed, in order
	Made  int
}

// LaneContract sends one type of event to one partition.
const LaneContract = `unknown_event: stop
events:
  - {type: essay.state.changed, topic: TOPIC, key: [aggregate_id], schema: EssayStateChangedEvent, encoding: avro, topic_class: lane}
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`

// NewLane makes a lab with a lane.
func NewLane(t *testing.T, setups ...Setup) *Lane {
	t.Helper()
	n := &Lane{}
	keep := func(l *Lab, c *rig.Config) {
		n.Topic = l.ID + ".lane"
		if c.Contract == "" {
			c.Contract = LaneContract
		}
		c.Contract = strings.ReplaceAll(c.Contract, "TOPIC", n.Topic)
		n.Conf = *c
	}
	n.Lab = New(t, append(slices.Clone(setups), keep)...)
	n.Conf.Postgres, n.Conf.Bootstrap, n.Conf.Registry = n.URL, n.Kafka.Bootstrap(), n.SR.URL()
	return n
}

// Rewrite changes the configuration; the next relay has it.
func (n *Lane) Rewrite(change func(*rig.Config)) {
	n.Helper()
	n.Conf.Kafka = maps.Clone(n.Conf.Kafka)
	change(&n.Conf)
	n.Configure(n.Conf)
}

// Next makes an event. It counts as published only after committed.
func (n *Lane) Next() rig.Event {
	n.Made++
	return rig.Event{ID: uuid.NewString(), Type: rig.Types[0], Key: fmt.Sprintf("k%d", n.Made%3), Seq: n.Made, Tx: 1, Of: 1}
}

// Committed notes that the events are to arrive, in this order.
func (n *Lane) Committed(events ...rig.Event) {
	n.Want = append(n.Want, events...)
}

// Publish commits each event in a transaction of its own.
func (n *Lane) Publish(count int) {
	n.Helper()
	for range count {
		e := n.Next()
		n.Check(pgx.BeginFunc(n.Ctx(time.Minute), n.DB, func(tx pgx.Tx) error {
			return outbox.Publish(n.Context(), tx, e.Outbox())
		}))
		n.Committed(e)
	}
}

// Begin opens a transaction on a connection of its own.
func (n *Lane) Begin() *Open {
	n.Helper()
	tx, err := n.DB.Begin(n.Ctx(5 * time.Minute))
	n.Check(err)
	// A test that fails in between must not wait for the connection for ever.
	// After a commit this does nothing.
	n.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(n.Context())) }) // nothing is left of it in any case
	return &Open{n, tx}
}

// Open is a transaction in hand.
type Open struct {
	n  *Lane
	Tx pgx.Tx
}

// Insert inserts events.
func (o *Open) Insert(events ...rig.Event) {
	o.n.Helper()
	rows := make([]outbox.Event, len(events))
	for i, e := range events {
		rows[i] = e.Outbox()
	}
	o.n.Check(outbox.Publish(o.n.Context(), o.Tx, rows...))
}

// Event makes one event and inserts it.
func (o *Open) Event() rig.Event {
	o.n.Helper()
	e := o.n.Next()
	o.Insert(e)
	return e
}

// Exec runs a statement in the transaction.
func (o *Open) Exec(sql string) {
	o.n.Helper()
	if _, err := o.Tx.Exec(o.n.Context(), sql); err != nil {
		o.n.Fatalf("%s: %v", sql, err)
	}
}

// Commit commits it.
func (o *Open) Commit() { o.n.Helper(); o.n.Check(o.Tx.Commit(o.n.Context())) }

// Arrived reads until every event committed so far is there, and demands that
// nothing else is, in this order.
func (n *Lane) Arrived(r *rig.Reader) {
	n.Helper()
	n.Check(r.Read(n.Ctx(time.Minute), func(got int) bool { return got >= len(n.Want) }))
	ids := make([]string, len(r.All))
	for i := range r.All {
		ids[i] = r.All[i].Headers["event_id"]
	}
	n.Same(ids)
}

// Finished stops the relay in good order and compares the whole topic, to its
// end, with what was committed: order, keys, headers and values.
func (n *Lane) Finished(r *rig.Relay) *Tape {
	n.Helper()
	n.Stopped(r, 0)
	t := n.Tape(n.Topic)
	n.Same(t.IDs())
	n.contents(t)
	return t
}

// Stopped ends the relay with SIGTERM and demands an exit code.
func (l *Lab) Stopped(r *rig.Relay, code int) {
	l.Helper()
	got, err := r.Stop(l.Ctx(30 * time.Second))
	if err != nil || got != code {
		l.Fatalf("exit code %d (%v), want %d:\n%s", got, err, code, r.Log())
	}
}

// Same demands that got are the ids of what was committed, in that order.
func (n *Lane) Same(got []string) {
	n.Helper()
	want := make([]string, len(n.Want))
	for i, e := range n.Want {
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
func (n *Lane) contents(t *Tape) {
	n.Helper()
	dec, err := rig.NewDecoder(n.SR.URL())
	n.Check(err)
	ctx := n.Ctx(time.Minute)
	for i, r := range t.Records {
		e := n.Want[i]
		v, err := dec.Decode(ctx, r.Value)
		if err != nil {
			n.Fatalf("event %s at offset %d: %v", e.ID, r.Offset, err)
		}
		meta, _ := v["metadata"].(map[string]any)
		if string(r.Key) != e.Key || Header(r, "event_type") != e.Type || v["event_type"] != e.Type || meta["seq"] != fmt.Sprint(e.Seq) {
			n.Fatalf("event %+v at offset %d: key %s, headers %v, value %v", e, r.Offset, r.Key, r.Headers, v)
		}
	}
}

// Saved is the checkpoint in Kafka, as the command line shows it.
func (n *Lane) Saved() event.Saved {
	n.Helper()
	var all map[string]event.Saved
	n.Command("checkpoint", "show", "-o", "json").JSON(&all)
	if len(all) != 1 {
		n.Fatalf("checkpoint show: %v", all)
	}
	for _, s := range all {
		return s
	}
	return event.Saved{}
}

// Confirmed is the slot's confirmed_flush_lsn.
func (n *Lane) Confirmed() event.LSN {
	n.Helper()
	return n.LSN(`select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1`, n.Slot())
}

// LSN is the position a query returns.
func (l *Lab) LSN(sql string, args ...any) event.LSN {
	l.Helper()
	at, err := event.ParseLSN(l.Ask(sql, args...))
	l.Check(err)
	return at
}

// Until asks again and again; for what no signal tells.
func (l *Lab) Until(what string, ok func() bool) {
	l.Helper()
	ctx := l.Ctx(time.Minute)
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

// Metric is the sum of a metric's series.
func (n *Lane) Metric(r *rig.Relay, name string) float64 {
	n.Helper()
	v, err := r.Metric(n.Ctx(time.Minute), name, fmt.Sprintf(`pipeline=%q`, DatabaseName(n.URL)))
	n.Check(err)
	return v
}

// Allow widens the bound of normalized_score in a schema file.
func (n *Lane) Allow(path string) {
	n.Helper()
	text, err := os.ReadFile(path)
	n.Check(err)
	mended := strings.Replace(string(text), `"maximum": 1`, `"maximum": 2`, 1)
	if mended == string(text) {
		n.Fatalf("%s has no bound to widen", path)
	}
	n.Check(os.WriteFile(path, []byte(mended), 0o600))
}
