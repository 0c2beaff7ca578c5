package flow

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
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
func tail(l *lab.Lab, args ...string) []tailed {
	l.Helper()
	c := l.Command(append([]string{"tail", "--no-follow", "-o", "json"}, args...)...).Exits(0)
	var all []tailed
	for line := range strings.Lines(c.Out) {
		var one tailed
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			l.Fatalf("%v: %s", err, line)
		}
		all = append(all, one)
	}
	return all
}

// shows demands that exactly these offsets of the lane's topic are shown.
func shows(n *lab.Lane, all []tailed, offsets ...int64) {
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
func other(l *lab.Lab, opts ...kgo.Opt) *kgo.Client {
	l.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(l.Kafka.Bootstrap()), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	l.Check(err)
	l.Cleanup(c.Close)
	return c
}

// tail shows what the relay published, decoded; nothing of an aborted or open
// transaction; what cannot be decoded with the reason; and filters it all.
func TestTail(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Start()
	n.Publish(4)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	relayed := tail(n.Lab)
	if len(relayed) != 4 {
		t.Fatalf("%d events, want 4", len(relayed))
	}
	for i, one := range relayed {
		e := n.Want[i]
		value, _ := one.Value.(map[string]any)
		data, _ := value["data"].(map[string]any)
		if one.Topic != n.Topic || one.Format != "avro" || one.SchemaID <= 0 || one.Key != e.Key || one.Error != "" ||
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
	txn := other(n.Lab, kgo.TransactionalID(n.ID+"-other"), kgo.TransactionTimeout(time.Minute))
	rec := func(value []byte, headers ...string) *kgo.Record {
		r := &kgo.Record{Topic: n.Topic, Key: []byte("other"), Value: value}
		for i := 0; i < len(headers); i += 2 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
		}
		return r
	}
	n.Check(txn.BeginTransaction())
	n.Check(txn.ProduceSync(n.Ctx(time.Minute), rec([]byte(`{"aborted":true}`))).FirstErr())
	n.Check(txn.EndTransaction(n.Ctx(time.Minute), kgo.TryAbort))
	plain := other(n.Lab)
	first := relayed[0]
	framed := []byte{0, 0, 0, byte(first.SchemaID >> 8), byte(first.SchemaID), 0xff}
	n.Check(plain.ProduceSync(n.Ctx(time.Minute),
		rec([]byte{0, 0x7f, 0xff, 0xff, 0, 1}, "event_type", "essay.unknown"), rec(framed), rec([]byte(`{"event_type": "order.placed", "a": 1.50}`), "tenant", "acme"), rec(nil)).FirstErr())
	n.Check(txn.BeginTransaction())
	n.Check(txn.ProduceSync(n.Ctx(time.Minute), rec([]byte(`{"open":true}`))).FirstErr())

	all := tail(n.Lab)
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
	shows(n, tail(n.Lab, "--type", "essay.*"), all[0].Offset, all[1].Offset, all[2].Offset, all[3].Offset, u)
	shows(n, tail(n.Lab, "--type", "order.placed"), plainJSON.Offset) // by its value
	shows(n, tail(n.Lab, "--id", n.Want[2].ID), all[2].Offset)
	shows(n, tail(n.Lab, "--key", "other", "--header", "tenant"), plainJSON.Offset)
	shows(n, tail(n.Lab, "--key", n.Want[0].Key, "--type", "essay.state.changed", "--limit", "1"), start)
	shows(n, tail(n.Lab, "--header", "tenant=acme", "--header", "event_id"))
	shows(n, tail(n.Lab, "--from", end(u), "--limit", "2"), u, u+1)
	shows(n, tail(n.Lab, "--from", "-2"), tombstone.Offset-1, tombstone.Offset)
	shows(n, tail(n.Lab, "--from", "latest"))
	shows(n, tail(n.Lab, "--from", "1h", "--key", "other"), u, u+1, u+2, u+3)
	shows(n, tail(n.Lab, "--topic", n.Topic, "--partition", "0", "--limit", "1"), start)
	n.Check(txn.EndTransaction(n.Ctx(time.Minute), kgo.TryAbort))

	n.Command("tail", "--no-follow", "--limit", "1").Exits(0).Says("essay.state.changed  20", "  key "+n.Want[0].Key+"\n  topic "+n.Topic+", partition 0, offset "+end(start)+", schema ",
		"\n  event_id        "+n.Want[0].ID+"\n", "\n    \"event_type\": \"essay.state.changed\",\n")
	n.Command("tail", "--no-follow", "--one-line", "--from", end(u), "--limit", "1").Exits(0).Says(
		n.Topic+"[0]@"+end(u)+" key=other type=essay.unknown cannot be decoded: schema 2147483392: ", "(6 bytes, base64: AH///wAB)\n")
}

// tail follows: what is committed after it began is shown as it comes, and
// Ctrl-C is its end, not an error.
func TestTailFollows(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Start()
	n.Publish(1) // before it began
	n.Arrived(n.Reader(n.Topic))
	tail := n.Launch("tail", "--one-line")
	_, err := tail.WaitLog(n.Ctx(time.Minute), "following 1 topics, Ctrl-C ends it")
	n.Check(err)
	n.Publish(3)
	for _, e := range n.Want[1:] {
		_, err := tail.WaitLog(n.Ctx(time.Minute), " type=essay.state.changed id="+e.ID+` {"event_id":"`+e.ID)
		n.Check(err)
	}
	if strings.Contains(tail.Log(), n.Want[0].ID) {
		t.Errorf("an event from before is shown:\n%s", tail.Log())
	}
	n.Check(tail.Signal(syscall.SIGINT))
	if code, err := tail.Exit(n.Ctx(30 * time.Second)); code != 0 {
		t.Errorf("exit code %d, %v:\n%s", code, err, tail.Log())
	}
	n.Finished(r)
}

// tail outlives the broker it follows, and a registry that is away costs it the
// values only.
func TestTailOutlivesItsServers(t *testing.T) {
	n := lab.NewLane(t, lab.OwnBroker())
	r := n.Start()
	n.Publish(1)
	n.Arrived(n.Reader(n.Topic))
	tail := n.Launch("tail", "--one-line", "--from", "earliest")
	seen := func() {
		t.Helper()
		_, err := tail.WaitLog(n.Ctx(2*time.Minute), "id="+n.Want[len(n.Want)-1].ID+` {"event_id"`)
		n.Check(err)
	}
	seen()
	n.Check(n.Kafka.Kill())
	n.Check(n.Kafka.Start())
	n.Publish(1)
	seen()
	n.Check(tail.Signal(syscall.SIGTERM))
	if code, err := tail.Exit(n.Ctx(30 * time.Second)); code != 0 {
		t.Errorf("exit code %d, %v:\n%s", code, err, tail.Log())
	}
	n.Finished(r)

	n.Rewrite(func(c *rig.Config) { c.Registry = "http://127.0.0.1:9" })
	n.Command("tail", "--no-follow", "--one-line").Exits(0).Says(
		"id="+n.Want[0].ID+" cannot be decoded: schema ", "id="+n.Want[1].ID+" cannot be decoded: schema ", "http://127.0.0.1:9: it cannot be reached")
}

// What cannot be asked for is a usage error; a topic that is not there is
// refused with what mends it.
func TestTailRefuses(t *testing.T) {
	n := lab.NewLane(t)
	n.Command("tail", "--no-follow").Exits(3).Says("Kafka has no topic \""+n.Topic+"\"", "cdc-relay topics apply")
	n.Command("topics", "apply").Exits(0)
	n.Command("tail", "--no-follow").Exits(0)
	for _, bad := range [][]string{
		{"--from", "soon"}, {"--header", "=x"}, {"--type", "[x"}, {"--limit", "-1"}, {"--pipeline", "nobody"}, {"--partition", "1"}, {"surplus"},
	} {
		n.Command(append([]string{"tail", "--no-follow"}, bad...)...).Exits(2)
	}
	n.Command("tail", "--no-follow", "--topic", n.Topic, "--topic", n.ID+".no").Exits(0).Says("not there (yet)", n.ID+".no")
}

// The commands of the page run as they stand there.
func TestTailCommandsOfThePage(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Start()
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)
	text, err := rig.Example("docs/tail.md", "commands")
	n.Check(err)
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.ReplaceAll(line, "'", ""))
		c := n.Command(words[1:]...).Exits(0)
		switch {
		case strings.Contains(line, "--limit 2") && strings.Count(c.Out, "\nessay.state.changed  ")+1 != 2,
			strings.Contains(line, "json") && strings.Count(c.Out, "\n") != 3:
			t.Errorf("%s", c)
		}
	}
}
