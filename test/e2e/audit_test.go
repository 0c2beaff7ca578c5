package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// often makes the relay's checkpoint follow the log closely, so that an audit
// has not long to wait.
func often(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 300ms}\n" }

// audits runs an audit and demands its exit code.
func (l *lab) audits(code int, args ...string) audit.Report {
	l.Helper()
	c := l.run(append([]string{"audit", "-o", "json"}, args...)...).exits(code)
	var r audit.Report
	if err := json.Unmarshal([]byte(c.out), &r); err != nil {
		l.Fatalf("%v: %s", err, c)
	}
	if r.Sound != (code == 0) {
		l.Errorf("sound %v: %s", r.Sound, c)
	}
	return r
}

// found are the event ids of a kind's findings.
func found(r audit.Report, k audit.Kind) []string {
	var ids []string
	for _, d := range r.Details {
		if d.Kind == k {
			ids = append(ids, d.EventID)
		}
	}
	slices.Sort(ids)
	return ids
}

func (n *lane) foundExactly(r audit.Report, k audit.Kind, want ...string) {
	n.Helper()
	slices.Sort(want)
	if got := found(r, k); !slices.Equal(got, want) {
		n.Errorf("%s: %v, want %v", k, got, want)
	}
}

// stray produces records as somebody else would, in one transaction that is
// committed or not.
func (l *lab) stray(commit bool, records ...*kgo.Record) {
	l.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.kafka.Bootstrap()), kgo.TransactionalID(l.name+"-stray"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	l.check(err)
	defer c.Close()
	ctx := l.ctx(time.Minute)
	l.check(c.BeginTransaction())
	l.check(c.ProduceSync(ctx, records...).FirstErr())
	l.check(c.EndTransaction(ctx, kgo.TransactionEndTry(commit)))
}

// again is a copy of a record that can be produced.
func again(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: slices.Clone(r.Headers), Timestamp: r.Timestamp}
}

// The ordinary case: all that was committed is there once, in order; an aborted
// transaction of somebody else is not counted. Then one planted duplicate and
// one planted disorder are found, and nothing else.
func TestAuditFindsWhatWasPlanted(t *testing.T) {
	n := newLane(t, with(often))
	r := n.start()
	n.publish(30)
	n.arrived(n.reader(n.topic))
	ids := n.tape(n.topic).records
	n.stray(false, again(ids[3]), again(ids[4]))

	rep := n.audits(0)
	if rep.TableRows != 30 || rep.ExpectedRecords != 30 || rep.KafkaRecords != 30 || rep.RelayBehind || rep.Unknown != 0 || len(rep.Details) != 0 || rep.SafeLSN < rep.SnapshotLSN {
		t.Errorf("a sound topic: %+v", rep)
	}
	n.run("audit").exits(0).says("30  rows in the table, 30 records expected", "0  missing", "0  duplicate", "sound (")

	n.stray(true, again(ids[7]))
	rep = n.audits(3)
	n.foundExactly(rep, audit.Duplicate, n.want[7].ID)
	if rep.Duplicate != 1 || rep.Missing != 0 || rep.Unknown != 0 || rep.KafkaRecords != 31 {
		t.Errorf("one duplicate: %+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.Duplicate && (len(d.Records) != 2 || d.Records[0].Offset != ids[7].Offset || d.Key != n.want[7].Key || d.RowID != n.want[7].ID || d.Topic != n.topic) {
			t.Errorf("the duplicate: %+v", d)
		}
	}

	// A stranger with the key of an event and a commit time long before it; one
	// that is of a replay is no disorder.
	late := again(ids[29])
	late.Timestamp = time.Now().Add(-time.Hour)
	late.Headers[0] = kgo.RecordHeader{Key: "event_id", Value: []byte("a stranger")}
	replay := again(late)
	replay.Headers[0] = kgo.RecordHeader{Key: "event_id", Value: []byte(n.want[1].ID)}
	replay.Headers = append(replay.Headers, kgo.RecordHeader{Key: event.ReplayHeader, Value: []byte("x")})
	n.stray(true, late, replay)
	rep = n.audits(3)
	if rep.OutOfOrder != 1 || rep.Duplicate != 1 || rep.Missing != 0 || rep.Unknown != 1 || rep.Replayed != 1 {
		t.Errorf("disorder: %+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.OutOfOrder && (d.EventID != "a stranger" || d.Key != n.want[29].Key || len(d.Records) != 2 || d.Records[0].Offset <= ids[29].Offset || d.Records[1].Offset < ids[27].Offset) {
			t.Errorf("the disorder: %+v", d)
		}
	}
	n.run("audit").exits(3).says("1  duplicate", "1  out of order", "1  records of a replay", "1  records of no row", "NOT SOUND", "event_id "+n.want[7].ID, "next: ")
	n.stopped(r, 0)
}

// Rows that were committed while nobody kept the log for them are missing, by
// name; rows a relay that is down will still bring are not.
func TestAuditFindsAGap(t *testing.T) {
	n := newLane(t, with(often))
	r := n.start()
	n.publish(5)
	n.arrived(n.reader(n.topic))
	n.acknowledged()
	n.run("slots", "anchor", "before").exits(0)
	n.stopped(r, 0)
	n.publish(4) // the gap
	n.run("slots", "recreate", "--accept-gap").exits(0)
	gap := slices.Clone(n.want[5:9])
	n.publish(3) // will come

	// While the relay is down nobody may call a row missing that it will bring.
	// How many of the others are known to be lost depends on how far the new
	// slot has come.
	c := n.run("audit", "-o", "json", "--wait", "0s")
	var rep audit.Report
	n.check(json.Unmarshal([]byte(c.out), &rep))
	if rep.Missing+rep.NotRelayedYet != 7 || rep.NotRelayedYet < 3 || !rep.RelayBehind {
		t.Errorf("behind: %s", c)
	}
	var want []string
	for _, e := range gap {
		want = append(want, e.ID)
	}
	n.want = slices.Delete(n.want, 5, 9)
	r = n.start()
	n.arrived(n.reader(n.topic))
	rep = n.audits(3)
	n.foundExactly(rep, audit.Missing, want...)
	for _, d := range rep.Details {
		if d.XID == 0 || d.Created == "" || d.Key == "" || d.Topic != n.topic || d.RowID != d.EventID {
			t.Errorf("a missing row is not described: %+v", d)
		}
	}
	if rep.Missing != 4 || rep.NotRelayedYet != 0 || rep.RelayBehind {
		t.Errorf("caught up: %+v", rep)
	}
	// The log is there still, under another name, and knows the LSNs.
	last := event.LSN(0)
	rep = n.audits(3, "--anchor", "before")
	for _, e := range gap {
		for _, d := range rep.Details {
			if d.EventID != e.ID {
				continue
			}
			if lsn, err := event.ParseLSN(d.LSN); err != nil || lsn <= last {
				t.Errorf("event %s was committed at %q, after %s: %v", e.ID, d.LSN, last, err)
			} else {
				last = lsn
			}
		}
	}
	if last == 0 {
		t.Error("no LSN was found")
	}
	n.run("audit", "--anchor", "nobody").exits(3).says(`no anchor "nobody"`)
	n.run("slots", "anchor", "before", "--drop").exits(0)
	// The range leaves the gap out.
	if rep = n.audits(0, "--since", rep.SnapshotTime); rep.TableRows != 0 {
		t.Errorf("an empty range: %+v", rep)
	}
	n.run("audit", "--since", "nonsense").exits(2).says(`"nonsense" is no time`)
	n.run("audit", "--time-column", "nobody").exits(2).says(`no column "nobody"`)
	n.stopped(r, 0)
}

// While services write and the relay publishes, an audit finds nothing wrong.
func TestAuditUnderLoad(t *testing.T) {
	l := newLab(t, with(often))
	r := l.start()
	w := l.traffic("load", 5*time.Millisecond)
	for range 4 {
		l.wrote(60)
		if rep := l.audits(0); rep.TableRows == 0 || rep.Unknown != 0 || rep.NotRelayedYet != 0 {
			t.Errorf("under load: %+v", rep)
		}
	}
	w.end()
	l.stops(r)
}

// What the topic's own retention took away is not called missing.
func TestAuditKnowsRetention(t *testing.T) {
	n := newLane(t, with(often))
	r := n.start()
	n.publish(10)
	n.arrived(n.reader(n.topic))
	c, err := kgo.NewClient(kgo.SeedBrokers(n.kafka.Bootstrap()))
	n.check(err)
	defer c.Close()
	req, topic, part := kmsg.NewPtrDeleteRecordsRequest(), kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = 0, n.tape(n.topic).records[6].Offset
	topic.Topic, topic.Partitions = n.topic, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(n.ctx(time.Minute), c)
	n.check(err)
	n.check(kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
	if rep := n.audits(0); rep.Removed != 6 || rep.Missing != 0 || rep.KafkaRecords != 4 {
		t.Errorf("after the deletion: %+v", rep)
	}
	n.stopped(r, 0)
}

// Which headers the records have, by type.
func TestAuditHeaders(t *testing.T) {
	n := newLane(t, with(often))
	r := n.start()
	n.publish(3)
	e := n.next()
	row := e.Outbox()
	row.Headers = map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	n.exec("select cdc_relay.publish_to_outbox($1, $2, $3, $4::json, null, null, $5::json)", row.AggregateType, row.AggregateID, row.Type, e.Payload(), `{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`)
	n.delivered(n.reader(n.topic), 4, time.Minute)
	var counts []audit.HeaderCount
	n.run("audit", "--headers", "-o", "json").json(&counts)
	if len(counts) != 1 || counts[0].Type != rig.Types[0] || counts[0].Records != 4 || counts[0].With["event_id"] != 4 || counts[0].With["traceparent"] != 1 {
		t.Errorf("headers: %+v", counts)
	}
	out := n.run("audit", "--headers").exits(0).says("EVENT_TYPE", "TRACEPARENT").out
	if !strings.Contains(out, "25.0%") || !strings.Contains(out, "100%") {
		t.Errorf("shares:\n%s", out)
	}
	n.stopped(r, 0)
}

// Of a compacted topic a row is called missing only if no later record of its
// key could have taken the place of its record.
func TestAuditOfACompactedTopic(t *testing.T) {
	n := newLane(t, with(often), with(func(c *rig.Config) {
		c.Contract = strings.Replace(laneContract, "cleanup.policy: delete", "cleanup.policy: compact", 1)
	}))
	r := n.start()
	n.publish(3) // keys k1 k2 k0
	n.arrived(n.reader(n.topic))
	n.stopped(r, 0)
	gap := n.gap(2, 1) // k1 k2
	r = n.start()
	n.made += 3
	n.publish(1) // k0
	n.arrived(n.reader(n.topic))
	n.foundExactly(n.audits(3), audit.Missing, gap[0].ID, gap[1].ID)
	n.publish(1) // k1: what was lost of it may have been compacted away
	n.arrived(n.reader(n.topic))
	rep := n.audits(3)
	n.foundExactly(rep, audit.Missing, gap[1].ID)
	n.foundExactly(rep, audit.Removed, gap[0].ID)
	n.stopped(r, 0)
}

// A row that nothing can be made of is named with the reason; a repair leaves it
// alone. Before anything was relayed, all rows are missing.
func TestAuditNamesWhatCannotBeEncoded(t *testing.T) {
	n := newLane(t)
	n.run("topics", "apply").exits(0)
	n.publish(2)
	n.exec(`select cdc_relay.publish_to_outbox('essay', 'k9', 'essay.state.changed', '{"event_id": 7}')`)
	rep := n.audits(3, "--wait", "0s")
	if rep.Missing != 2 || rep.Unencodable != 1 || rep.TableRows != 3 || rep.ExpectedRecords != 2 {
		t.Errorf("%+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.Unencodable && (d.RowID == "" || d.XID == 0 || !strings.Contains(d.Why, "EssayStateChangedEventV1") || strings.Contains(d.Why, "0/0")) {
			t.Errorf("%+v", d)
		}
	}
	n.run("repair", "--yes", "--wait", "0s").exits(3).says("there is no checkpoint", "cdc-relay run")
}

// The tables of others: no created_at, ids in another header, topics by row.
func TestAuditOfAMappedTable(t *testing.T) {
	n := newLane(t, with(often), with(func(c *rig.Config) {
		c.Extra += "mapping: debezium\n"
		c.Contract = "unknown_event: default\ndefaults: {encoding: json}\n"
	}))
	router := "outbox.event." + n.name
	n.check(n.kafka.CreateTopic(n.ctx(time.Minute), router, 1, nil))
	n.exec(debeziumTable)
	r := n.start()
	n.exec(`insert into outboxevent select gen_random_uuid(), $1, 'o-' || i % 3, 'OrderCreated', '{"a": 1}' from generate_series(1, 20) i`, n.name)
	n.delivered(n.reader(router), 20, time.Minute)
	if rep := n.audits(0); rep.TableRows != 20 || rep.ExpectedRecords != 20 || rep.KafkaRecords != 20 || rep.Unknown+rep.Unidentified != 0 {
		t.Errorf("%+v", rep)
	}
	n.run("audit", "--since", "1h").exits(2).says("--time-column")
	n.stopped(r, 0)
}
