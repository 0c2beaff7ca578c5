package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// tailed is one line of `tail -o json`.
type tailed struct {
	Topic     string
	Partition int32
	Offset    int64
	Timestamp time.Time
	Key       any
	Headers   map[string]any
	SchemaID  int `json:"schema_id"`
	Format    string
	Value     any
	Base64    string `json:"value_base64"`
	Error     string
}

// tail runs `tail --no-follow -o json` and returns what it shows.
func (l *lab) tail(args ...string) []tailed {
	l.Helper()
	c := l.run(append([]string{"tail", "--no-follow", "-o", "json"}, args...)...).exits(0)
	var all []tailed
	for line := range strings.Lines(c.out) {
		var one tailed
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			l.Fatalf("%v: %s", err, line)
		}
		all = append(all, one)
	}
	return all
}

// shows demands that exactly these offsets of the lane's topic are shown.
func (n *lane) shows(all []tailed, offsets ...int64) {
	n.Helper()
	got := make([]int64, len(all))
	for i, one := range all {
		got[i] = one.Offset
	}
	if fmt.Sprint(got) != fmt.Sprint(offsets) {
		n.Errorf("offsets %v, want %v", got, offsets)
	}
}

// other is a producer that is not the relay.
func (l *lab) other(opts ...kgo.Opt) *kgo.Client {
	l.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(l.kafka.Bootstrap()), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	l.check(err)
	l.Cleanup(c.Close)
	return c
}

// tail shows what the relay published, decoded; nothing of an aborted or open
// transaction; what cannot be decoded with the reason; and filters it all.
func TestTail(t *testing.T) {
	n := newLane(t)
	r := n.start()
	n.publish(4)
	n.arrived(n.reader(n.topic))
	n.stopped(r, 0)
	relayed := n.tail()
	if len(relayed) != 4 {
		t.Fatalf("%d events, want 4", len(relayed))
	}
	for i, one := range relayed {
		e := n.want[i]
		value, _ := one.Value.(map[string]any)
		data, _ := value["data"].(map[string]any)
		if one.Topic != n.topic || one.Format != "avro" || one.SchemaID <= 0 || one.Key != e.Key || one.Error != "" ||
			one.Headers["event_id"] != e.ID || one.Headers["content_type"] != "application/avro" || value["event_id"] != e.ID || data["entity_ref"] != e.Key {
			t.Errorf("event %+v is shown as %+v", e, one)
		}
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(value["event_timestamp"]))
		if err != nil || time.Since(at) > time.Hour || time.Since(one.Timestamp) > time.Hour {
			t.Errorf("times %v and %v: %v", value["event_timestamp"], one.Timestamp, err)
		}
	}

	// Others write too: an aborted transaction, an unknown schema, a value that
	// does not fit its schema, JSON, a tombstone, and a transaction left open.
	end := func(o int64) string { return fmt.Sprint(o) }
	txn := n.other(kgo.TransactionalID(n.name+"-other"), kgo.TransactionTimeout(time.Minute))
	rec := func(value []byte, headers ...string) *kgo.Record {
		r := &kgo.Record{Topic: n.topic, Key: []byte("other"), Value: value}
		for i := 0; i < len(headers); i += 2 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
		}
		return r
	}
	n.check(txn.BeginTransaction())
	n.check(txn.ProduceSync(n.ctx(time.Minute), rec([]byte(`{"aborted":true}`))).FirstErr())
	n.check(txn.EndTransaction(n.ctx(time.Minute), kgo.TryAbort))
	plain := n.other()
	first := relayed[0]
	framed := []byte{0, 0, 0, byte(first.SchemaID >> 8), byte(first.SchemaID), 0xff}
	n.check(plain.ProduceSync(n.ctx(time.Minute),
		rec([]byte{0, 0x7f, 0xff, 0xff, 0, 1}, "event_type", "essay.unknown"), rec(framed), rec([]byte(`{"event_type": "order.placed", "a": 1.50}`), "tenant", "acme"), rec(nil)).FirstErr())
	n.check(txn.BeginTransaction())
	n.check(txn.ProduceSync(n.ctx(time.Minute), rec([]byte(`{"open":true}`))).FirstErr())

	all := n.tail()
	if len(all) != 8 {
		t.Fatalf("%d events, want 8: %+v", len(all), all)
	}
	unknown, unfit, plainJSON, tombstone := all[4], all[5], all[6], all[7]
	if unknown.Format != "binary" || !strings.Contains(unknown.Error, "this schema is not registered") || unknown.SchemaID != 0x7fffff00 || unknown.Base64 != "AH///wAB" {
		t.Errorf("an unknown schema: %+v", unknown)
	}
	if unfit.Format != "binary" || !strings.Contains(unfit.Error, fmt.Sprintf("does not fit its schema %d", first.SchemaID)) {
		t.Errorf("bytes that do not fit: %+v", unfit)
	}
	if v, _ := plainJSON.Value.(map[string]any); plainJSON.Format != "json" || v["a"] != 1.5 || tombstone.Format != "null" || tombstone.Value != nil {
		t.Errorf("%+v %+v", plainJSON, tombstone)
	}

	// Filters, alone and together.
	start, u := first.Offset, unknown.Offset
	n.shows(n.tail("--type", "essay.*"), all[0].Offset, all[1].Offset, all[2].Offset, all[3].Offset, u)
	n.shows(n.tail("--type", "order.placed"), plainJSON.Offset) // by its value
	n.shows(n.tail("--id", n.want[2].ID), all[2].Offset)
	n.shows(n.tail("--key", "other", "--header", "tenant"), plainJSON.Offset)
	n.shows(n.tail("--key", n.want[0].Key, "--type", "essay.state.changed", "--limit", "1"), start)
	n.shows(n.tail("--header", "tenant=acme", "--header", "event_id"))
	n.shows(n.tail("--from", end(u), "--limit", "2"), u, u+1)
	n.shows(n.tail("--from", "-2"), tombstone.Offset-1, tombstone.Offset)
	n.shows(n.tail("--from", "latest"))
	n.shows(n.tail("--from", "1h", "--key", "other"), u, u+1, u+2, u+3)
	n.shows(n.tail("--topic", n.topic, "--partition", "0", "--limit", "1"), start)
	n.check(txn.EndTransaction(n.ctx(time.Minute), kgo.TryAbort))

	n.run("tail", "--no-follow", "--limit", "1").exits(0).says("essay.state.changed  20", "  key "+n.want[0].Key+"\n  topic "+n.topic+", partition 0, offset "+end(start)+", schema ",
		"\n  event_id        "+n.want[0].ID+"\n", "\n    \"event_type\": \"essay.state.changed\",\n")
	n.run("tail", "--no-follow", "--one-line", "--from", end(u), "--limit", "1").exits(0).says(
		n.topic+"[0]@"+end(u)+" key=other type=essay.unknown cannot be decoded: schema 2147483392: ", "(6 bytes, base64: AH///wAB)\n")
}

// tail follows: what is committed after it began is shown as it comes, and
// Ctrl-C is its end, not an error.
func TestTailFollows(t *testing.T) {
	n := newLane(t)
	r := n.start()
	n.publish(1) // before it began
	n.arrived(n.reader(n.topic))
	tail := n.launch("tail", "--one-line")
	_, err := tail.WaitLog(n.ctx(time.Minute), "following 1 topics, Ctrl-C ends it")
	n.check(err)
	n.publish(3)
	for _, e := range n.want[1:] {
		_, err := tail.WaitLog(n.ctx(time.Minute), " type=essay.state.changed id="+e.ID+` {"event_id":"`+e.ID)
		n.check(err)
	}
	if strings.Contains(tail.Log(), n.want[0].ID) {
		t.Errorf("an event from before is shown:\n%s", tail.Log())
	}
	n.check(tail.Signal(syscall.SIGINT))
	if code, err := tail.Exit(n.ctx(30 * time.Second)); code != 0 {
		t.Errorf("exit code %d, %v:\n%s", code, err, tail.Log())
	}
	n.finished(r)
}

// tail outlives the broker it follows, and a registry that is away costs it the
// values only.
func TestTailOutlivesItsServers(t *testing.T) {
	n := newLane(t, ownBroker())
	r := n.start()
	n.publish(1)
	n.arrived(n.reader(n.topic))
	tail := n.launch("tail", "--one-line", "--from", "earliest")
	seen := func() {
		t.Helper()
		_, err := tail.WaitLog(n.ctx(2*time.Minute), "id="+n.want[len(n.want)-1].ID+` {"event_id"`)
		n.check(err)
	}
	seen()
	n.check(n.kafka.Kill())
	n.check(n.kafka.Start())
	n.publish(1)
	seen()
	n.check(tail.Signal(syscall.SIGTERM))
	if code, err := tail.Exit(n.ctx(30 * time.Second)); code != 0 {
		t.Errorf("exit code %d, %v:\n%s", code, err, tail.Log())
	}
	n.finished(r)

	n.rewrite(func(c *rig.Config) { c.Registry = "http://127.0.0.1:9" })
	n.run("tail", "--no-follow", "--one-line").exits(0).says(
		"id="+n.want[0].ID+" cannot be decoded: schema ", "id="+n.want[1].ID+" cannot be decoded: schema ", "http://127.0.0.1:9: it cannot be reached")
}

// What cannot be asked for is a usage error; a topic that is not there is
// refused with what mends it.
func TestTailRefuses(t *testing.T) {
	n := newLane(t)
	n.run("tail", "--no-follow").exits(3).says("Kafka has no topic \""+n.topic+"\"", "cdc-relay topics apply")
	n.run("topics", "apply").exits(0)
	n.run("tail", "--no-follow").exits(0)
	for _, bad := range [][]string{
		{"--from", "soon"}, {"--header", "=x"}, {"--type", "[x"}, {"--limit", "-1"}, {"--pipeline", "nobody"}, {"--partition", "1"}, {"surplus"},
	} {
		n.run(append([]string{"tail", "--no-follow"}, bad...)...).exits(2)
	}
	n.run("tail", "--no-follow", "--topic", n.topic, "--topic", n.name+".no").exits(0).says("not there (yet)", n.name+".no")
}

// The commands of the page run as they stand there.
func TestTailCommandsOfThePage(t *testing.T) {
	n := newLane(t)
	r := n.start()
	n.publish(3)
	n.arrived(n.reader(n.topic))
	n.stopped(r, 0)
	text, err := rig.Example("docs/tail.md", "commands")
	n.check(err)
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.ReplaceAll(line, "'", ""))
		c := n.run(words[1:]...).exits(0)
		switch {
		case strings.Contains(line, "--limit 2") && strings.Count(c.out, "\nessay.state.changed  ")+1 != 2,
			strings.Contains(line, "json") && strings.Count(c.out, "\n") != 3:
			t.Errorf("%s", c)
		}
	}
}
