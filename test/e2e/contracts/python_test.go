package contracts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// foreign is a record as a consumer printed it.
type foreign struct {
	Key       string
	Headers   [][2]string
	Timestamp int64 // ms
	Value     any
}

// Consumers that are not ours read what was published: the key, every header in
// its order, and the value through the registry. Between the events lie records
// of an aborted transaction, which a consumer sees that does not ask for
// committed ones only.
func TestConsumersThatAreNotOurs(t *testing.T) {
	n := lab.NewLane(t, lab.Property("compression.type", "lz4"))
	r := n.Start()
	python := stack.Python(t)
	n.Publish(3)
	n.Arrived(n.Reader(n.Topic))
	aborted(n, 2)
	given := given(n)
	n.Arrived(n.Reader(n.Topic))
	n.Stopped(r, 0)

	aio := []string{"aio.py", n.Kafka.Bootstrap(), n.SR.URL(), n.Topic}
	understood(n, script(n, python, "confluent.py", n.Kafka.Bootstrap(), n.SR.URL(), n.Topic, strconv.Itoa(len(n.Want))), given)
	understood(n, script(n, python, slices.Concat(aio, []string{strconv.Itoa(len(n.Want)), "read_committed"})...), given)

	// The same with aiokafka's default shows that the check above means something.
	all := script(n, python, slices.Concat(aio, []string{"4", "read_uncommitted"})...)
	if all[3].Key != "aborted" {
		t.Errorf("without read_committed the fourth record is %+v, want an aborted one", all[3])
	}
}

// given publishes an event whose row says everything a row can say, and returns
// the headers it is to have.
func given(n *lab.Lane) [][2]string {
	n.Helper()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	e := n.Next()
	row := e.Outbox()
	row.Key = "given-key"
	row.OccurredAt = time.Date(2026, 2, 3, 4, 5, 6, 7000, time.FixedZone("", 3600))
	row.Headers = map[string]string{"trace_id": trace, "tenant": "Åre & co"}
	o := n.Begin()
	n.Check(outbox.Publish(n.Context(), o.Tx, row))
	o.Commit()
	e.Key = "given-key"
	n.Committed(e)
	return [][2]string{
		{"event_id", e.ID}, {"event_type", e.Type}, {"schema_version", "1"}, {"occurred_at", "2026-02-03T03:05:06.000007Z"},
		{"content_type", "application/avro"}, {"trace_id", trace}, {"correlation_id", e.ID},
		{"traceparent", "00-" + trace + "-" + strings.ReplaceAll(e.ID, "-", "")[:16] + "-01"}, {"tenant", "Åre & co"},
	}
}

// understood demands that what a consumer printed is what was published.
func understood(n *lab.Lane, got []foreign, given [][2]string) {
	n.Helper()
	for i, e := range n.Want {
		g := got[i]
		wantKey, want := e.Key, [][2]string{
			{"event_id", e.ID}, {"event_type", e.Type}, {"schema_version", "1"}, {"occurred_at", g.header("occurred_at")},
			{"content_type", "application/avro"}, {"trace_id", e.ID}, {"correlation_id", e.ID},
		}
		if i == len(n.Want)-1 {
			want = given
		}
		if g.Key != wantKey || !slices.Equal(g.Headers, want) {
			n.Errorf("record %d: key %q, headers %q; want %q, %q", i, g.Key, g.Headers, wantKey, want)
		}
		at, err := time.Parse(time.RFC3339Nano, g.header("occurred_at"))
		if err != nil || time.Since(time.UnixMilli(g.Timestamp)) > time.Hour || at.IsZero() {
			n.Errorf("record %d: occurred_at %q (%v), timestamp %d", i, g.header("occurred_at"), err, g.Timestamp)
		}
		value, _ := g.Value.(map[string]any)
		data, _ := value["data"].(map[string]any)
		meta, _ := value["metadata"].(map[string]any)
		if value["event_id"] != e.ID || value["event_type"] != e.Type || meta["seq"] != fmt.Sprint(e.Seq) ||
			data["state_version"] != float64(e.Seq) || data["reason"] != nil || data["batch_id"] != "batch-7" {
			n.Errorf("record %d: value %v", i, g.Value)
		}
	}
}

func (f foreign) header(name string) string {
	for _, h := range f.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// script runs a consumer to its end and reads what it printed.
func script(n *lab.Lane, python string, args ...string) []foreign {
	n.Helper()
	args[0] = filepath.Join(rig.Root(), "test", "e2e", "testdata", args[0])
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(n.Ctx(time.Minute), python, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		n.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, errs.String())
	}
	var all []foreign
	for dec := json.NewDecoder(&out); dec.More(); {
		var f foreign
		n.Check(dec.Decode(&f))
		all = append(all, f)
	}
	if count, err := strconv.Atoi(args[4]); err != nil || len(all) != count {
		n.Fatalf("%s printed %d records, want %s", args[0], len(all), args[4])
	}
	return all
}

// aborted writes records in a transaction that is aborted.
func aborted(n *lab.Lane, count int) {
	n.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(n.Kafka.Bootstrap()), kgo.TransactionalID(n.ID+"-aborted"), kgo.DefaultProduceTopic(n.Topic))
	n.Check(err)
	defer c.Close()
	n.Check(c.BeginTransaction())
	for range count {
		n.Check(c.ProduceSync(n.Ctx(time.Minute), &kgo.Record{Key: []byte("aborted"), Value: []byte("aborted")}).FirstErr())
	}
	n.Check(errors.Join(c.Flush(n.Ctx(time.Minute)), c.EndTransaction(context.WithoutCancel(n.Context()), kgo.TryAbort)))
}
