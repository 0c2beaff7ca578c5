package letters

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
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// often makes the relay's checkpoint follow the log closely, so that an audit
// has not long to wait.
func often(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 300ms}\n" }

// audits runs an audit and demands its exit code.
func audits(l *lab.Lab, code int, args ...string) audit.Report {
	l.Helper()
	c := l.Command(append([]string{"audit", "-o", "json"}, args...)...).Exits(code)
	var r audit.Report
	if err := json.Unmarshal([]byte(c.Out), &r); err != nil {
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

func foundExactly(n *lab.Lane, r audit.Report, k audit.Kind, want ...string) {
	n.Helper()
	slices.Sort(want)
	if got := found(r, k); !slices.Equal(got, want) {
		n.Errorf("%s: %v, want %v", k, got, want)
	}
}

// stray produces records as somebody else would, in one transaction that is
// committed or not.
func stray(l *lab.Lab, commit bool, records ...*kgo.Record) {
	l.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.Kafka.Bootstrap()), kgo.TransactionalID(l.ID+"-stray"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	l.Check(err)
	defer c.Close()
	ctx := l.Ctx(time.Minute)
	l.Check(c.BeginTransaction())
	l.Check(c.ProduceSync(ctx, records...).FirstErr())
	l.Check(c.EndTransaction(ctx, kgo.TransactionEndTry(commit)))
}

// again is a copy of a record that can be produced.
func again(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: slices.Clone(r.Headers), Timestamp: r.Timestamp}
}

// The ordinary case: all that was committed is there once, in order; an aborted
// transaction of somebody else is not counted. Then one planted duplicate and
// one planted disorder are found, and nothing else.
func TestAuditFindsWhatWasPlanted(t *testing.T) {
	n := lab.NewLane(t, lab.With(often))
	r := n.Start()
	n.Publish(30)
	n.Arrived(n.Reader(n.Topic))
	ids := n.Tape(n.Topic).Records
	stray(n.Lab, false, again(ids[3]), again(ids[4]))

	rep := audits(n.Lab, 0)
	if rep.TableRows != 30 || rep.ExpectedRecords != 30 || rep.KafkaRecords != 30 || rep.RelayBehind || rep.Unknown != 0 || len(rep.Details) != 0 || rep.SafeLSN < rep.SnapshotLSN {
		t.Errorf("a sound topic: %+v", rep)
	}
	n.Command("audit").Exits(0).Says("30  rows in the table, 30 records expected", "0  missing", "0  duplicate", "sound (")

	stray(n.Lab, true, again(ids[7]))
	rep = audits(n.Lab, 3)
	foundExactly(n, rep, audit.Duplicate, n.Want[7].ID)
	if rep.Duplicate != 1 || rep.Missing != 0 || rep.Unknown != 0 || rep.KafkaRecords != 31 {
		t.Errorf("one duplicate: %+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.Duplicate && (len(d.Records) != 2 || d.Records[0].Offset != ids[7].Offset || d.Key != n.Want[7].Key || d.RowID != n.Want[7].ID || d.Topic != n.Topic) {
			t.Errorf("the duplicate: %+v", d)
		}
	}

	// A stranger with the key of an event and a commit time long before it; one
	// that is of a replay is no disorder.
	late := again(ids[29])
	late.Timestamp = time.Now().Add(-time.Hour)
	late.Headers[0] = kgo.RecordHeader{Key: "event_id", Value: []byte("a stranger")}
	replay := again(late)
	replay.Headers[0] = kgo.RecordHeader{Key: "event_id", Value: []byte(n.Want[1].ID)}
	replay.Headers = append(replay.Headers, kgo.RecordHeader{Key: event.ReplayHeader, Value: []byte("x")})
	stray(n.Lab, true, late, replay)
	rep = audits(n.Lab, 3)
	if rep.OutOfOrder != 1 || rep.Duplicate != 1 || rep.Missing != 0 || rep.Unknown != 1 || rep.Replayed != 1 {
		t.Errorf("disorder: %+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.OutOfOrder && (d.EventID != "a stranger" || d.Key != n.Want[29].Key || len(d.Records) != 2 || d.Records[0].Offset <= ids[29].Offset || d.Records[1].Offset < ids[27].Offset) {
			t.Errorf("the disorder: %+v", d)
		}
	}
	n.Command("audit").Exits(3).Says("1  duplicate", "1  out of order", "1  records of a replay", "1  records of no row", "NOT SOUND", "event_id "+n.Want[7].ID, "next: ")
	n.Stopped(r, 0)
}

// Rows that were committed while nobody kept the log for them are missing, by
// name; rows a relay that is down will still bring are not.
func TestAuditFindsAGap(t *testing.T) {
	n := lab.NewLane(t, lab.With(often))
	r := n.Start()
	n.Publish(5)
	n.Arrived(n.Reader(n.Topic))
	n.Acknowledged()
	n.Command("slots", "anchor", "before").Exits(0)
	n.Stopped(r, 0)
	n.Publish(4) // the gap
	n.Command("slots", "recreate", "--accept-gap").Exits(0)
	gap := slices.Clone(n.Want[5:9])
	n.Publish(3) // will come

	// While the relay is down nobody may call a row missing that it will bring.
	// How many of the others are known to be lost depends on how far the new
	// slot has come.
	c := n.Command("audit", "-o", "json", "--wait", "0s")
	var rep audit.Report
	n.Check(json.Unmarshal([]byte(c.Out), &rep))
	if rep.Missing+rep.NotRelayedYet != 7 || rep.NotRelayedYet < 3 || !rep.RelayBehind {
		t.Errorf("behind: %s", c)
	}
	var want []string
	for _, e := range gap {
		want = append(want, e.ID)
	}
	n.Want = slices.Delete(n.Want, 5, 9)
	r = n.Start()
	n.Arrived(n.Reader(n.Topic))
	rep = audits(n.Lab, 3)
	foundExactly(n, rep, audit.Missing, want...)
	for _, d := range rep.Details {
		if d.XID == 0 || d.Created == "" || d.Key == "" || d.Topic != n.Topic || d.RowID != d.EventID {
			t.Errorf("a missing row is not described: %+v", d)
		}
	}
	if rep.Missing != 4 || rep.NotRelayedYet != 0 || rep.RelayBehind {
		t.Errorf("caught up: %+v", rep)
	}
	// The log is there still, under another name, and knows the LSNs.
	last := event.LSN(0)
	rep = audits(n.Lab, 3, "--anchor", "before")
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
	n.Command("audit", "--anchor", "nobody").Exits(3).Says(`no anchor "nobody"`)
	n.Command("slots", "anchor", "before", "--drop").Exits(0)
	// The range leaves the gap out.
	if rep = audits(n.Lab, 0, "--since", rep.SnapshotTime); rep.TableRows != 0 {
		t.Errorf("an empty range: %+v", rep)
	}
	n.Command("audit", "--since", "nonsense").Exits(2).Says(`"nonsense" is no time`)
	n.Command("audit", "--time-column", "nobody").Exits(2).Says(`no column "nobody"`)
	n.Stopped(r, 0)
}

// While services write and the relay publishes, an audit finds nothing wrong.
func TestAuditUnderLoad(t *testing.T) {
	l := lab.New(t, lab.With(often))
	r := l.Start()
	w := l.Traffic("load", 5*time.Millisecond)
	for range 4 {
		l.Wrote(60)
		if rep := audits(l, 0); rep.TableRows == 0 || rep.Unknown != 0 || rep.NotRelayedYet != 0 {
			t.Errorf("under load: %+v", rep)
		}
	}
	w.End()
	l.Stops(r)
}

// What the topic's own retention took away is not called missing.
func TestAuditKnowsRetention(t *testing.T) {
	n := lab.NewLane(t, lab.With(often))
	r := n.Start()
	n.Publish(10)
	n.Arrived(n.Reader(n.Topic))
	c, err := kgo.NewClient(kgo.SeedBrokers(n.Kafka.Bootstrap()))
	n.Check(err)
	defer c.Close()
	req, topic, part := kmsg.NewPtrDeleteRecordsRequest(), kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = 0, n.Tape(n.Topic).Records[6].Offset
	topic.Topic, topic.Partitions = n.Topic, append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(n.Ctx(time.Minute), c)
	n.Check(err)
	n.Check(kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
	if rep := audits(n.Lab, 0); rep.Removed != 6 || rep.Missing != 0 || rep.KafkaRecords != 4 {
		t.Errorf("after the deletion: %+v", rep)
	}
	n.Stopped(r, 0)
}

// Which headers the records have, by type.
func TestAuditHeaders(t *testing.T) {
	n := lab.NewLane(t, lab.With(often))
	r := n.Start()
	n.Publish(3)
	e := n.Next()
	row := e.Outbox()
	row.Headers = map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	n.Exec("select cdc_relay.publish_to_outbox($1, $2, $3, $4::json, null, null, $5::json)", row.AggregateType, row.AggregateID, row.Type, e.Payload(), `{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`)
	n.Delivered(n.Reader(n.Topic), 4, time.Minute)
	var counts []audit.HeaderCount
	n.Command("audit", "--headers", "-o", "json").JSON(&counts)
	if len(counts) != 1 || counts[0].Type != rig.Types[0] || counts[0].Records != 4 || counts[0].With["event_id"] != 4 || counts[0].With["traceparent"] != 1 {
		t.Errorf("headers: %+v", counts)
	}
	out := n.Command("audit", "--headers").Exits(0).Says("EVENT_TYPE", "TRACEPARENT").Out
	if !strings.Contains(out, "25.0%") || !strings.Contains(out, "100%") {
		t.Errorf("shares:\n%s", out)
	}
	n.Stopped(r, 0)
}

// Of a compacted topic a row is called missing only if no later record of its
// key could have taken the place of its record.
func TestAuditOfACompactedTopic(t *testing.T) {
	n := lab.NewLane(t, lab.With(often), lab.With(func(c *rig.Config) {
		c.Contract = strings.Replace(lab.LaneContract, "cleanup.policy: delete", "cleanup.policy: compact", 1)
	}))
	r := n.Start()
	n.Publish(3) // keys k1 k2 k0
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	gap := gap(n, 2, 1) // k1 k2
	r = n.Start()
	n.Made += 3
	n.Publish(1) // k0
	n.Arrived(n.Reader(n.Topic))
	foundExactly(n, audits(n.Lab, 3), audit.Missing, gap[0].ID, gap[1].ID)
	n.Publish(1) // k1: what was lost of it may have been compacted away
	n.Arrived(n.Reader(n.Topic))
	rep := audits(n.Lab, 3)
	foundExactly(n, rep, audit.Missing, gap[1].ID)
	foundExactly(n, rep, audit.Removed, gap[0].ID)
	n.Stopped(r, 0)
}

// A row that nothing can be made of is named with the reason; a repair leaves it
// alone. Before anything was relayed, all rows are missing.
func TestAuditNamesWhatCannotBeEncoded(t *testing.T) {
	n := lab.NewLane(t)
	n.Command("topics", "apply").Exits(0)
	n.Publish(2)
	n.Exec(`select cdc_relay.publish_to_outbox('essay', 'k9', 'essay.state.changed', '{"event_id": 7}')`)
	rep := audits(n.Lab, 3, "--wait", "0s")
	if rep.Missing != 2 || rep.Unencodable != 1 || rep.TableRows != 3 || rep.ExpectedRecords != 2 {
		t.Errorf("%+v", rep)
	}
	for _, d := range rep.Details {
		if d.Kind == audit.Unencodable && (d.RowID == "" || d.XID == 0 || !strings.Contains(d.Why, "EssayStateChangedEventV1") || strings.Contains(d.Why, "0/0")) {
			t.Errorf("%+v", d)
		}
	}
	n.Command("repair", "--yes", "--wait", "0s").Exits(3).Says("there is no checkpoint", "cdc-relay run")
}

// The tables of others: no created_at, ids in another header, topics by row.
func TestAuditOfAMappedTable(t *testing.T) {
	n := lab.NewLane(t, lab.With(often), lab.With(func(c *rig.Config) {
		c.Extra += "mapping: debezium\n"
		c.Contract = "unknown_event: default\ndefaults: {encoding: json}\n"
	}))
	router := "outbox.event." + n.ID
	n.Check(n.Kafka.CreateTopic(n.Ctx(time.Minute), router, 1, nil))
	n.Exec(lab.DebeziumTable)
	r := n.Start()
	n.Exec(`insert into outboxevent select gen_random_uuid(), $1, 'o-' || i % 3, 'OrderCreated', '{"a": 1}' from generate_series(1, 20) i`, n.ID)
	n.Delivered(n.Reader(router), 20, time.Minute)
	if rep := audits(n.Lab, 0); rep.TableRows != 20 || rep.ExpectedRecords != 20 || rep.KafkaRecords != 20 || rep.Unknown+rep.Unidentified != 0 {
		t.Errorf("%+v", rep)
	}
	n.Command("audit", "--since", "1h").Exits(2).Says("--time-column")
	n.Stopped(r, 0)
}
