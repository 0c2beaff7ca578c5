package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

var _ relay.Sink = (*Sink)(nil)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	stack.Main(m)
}

// bench is what the tests of one cluster use.
type bench struct {
	t         testing.TB
	bootstrap string
	cp        string // checkpoint topic
}

func newBench(t testing.TB, b *stack.Kafka) bench {
	return bench{t: t, bootstrap: b.Bootstrap(), cp: b.Topic(t, 5, map[string]string{"cleanup.policy": "compact"})}
}

// sink makes a Sink named after the test; properties are pairs.
func (b bench) sink(pipeline string, change func(*Options), properties ...string) *Sink {
	b.t.Helper()
	props := map[string]string{"bootstrap.servers": b.bootstrap}
	for i := 0; i < len(properties); i += 2 {
		props[properties[i]] = properties[i+1]
	}
	settings, err := kafka.NewSettings(props)
	if err != nil {
		b.t.Fatal(err)
	}
	opt := Options{Name: b.cp, Pipeline: pipeline, Settings: settings, CheckpointTopic: b.cp, RelayVersion: "test", Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&opt)
	}
	s := New(opt)
	b.t.Cleanup(s.Close)
	return s
}

// start takes a Sink through Look, Fence, Read and Resume.
func start(t testing.TB, s *Sink) event.Saved {
	t.Helper()
	saved, err := restart(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func restart(ctx context.Context, s *Sink) (event.Saved, error) {
	if _, err := s.Look(ctx); err != nil {
		return event.Saved{}, err
	}
	if err := s.Fence(ctx); err != nil {
		return event.Saved{}, err
	}
	saved, err := s.Read(ctx)
	if err != nil {
		return event.Saved{}, err
	}
	s.Resume(event.Saved{State: event.StateStreaming, SystemID: "7", Database: "db", Slot: "slot"})
	return saved, nil
}

var pool = event.NewPool(64 << 20)

// batch makes n records for topic with values <tag>-0 … and a checkpoint at lsn.
func batch(topic, tag string, n int, lsn event.LSN) *event.Batch {
	b := event.NewBatch(pool)
	for i := range n {
		v := b.Keep(append(b.Buf(32), fmt.Sprintf("%s-%d", tag, i)...))
		hs := b.KeepHeaders(append(b.HeaderBuf(2), event.Header{Key: "event_id", Value: v}, event.Header{Key: "none"}))
		b.Records = append(b.Records, event.Record{Topic: &topic, Key: fmt.Appendf(nil, "key-%d", i%7), Value: v, Headers: hs, Time: time.Now().UnixMicro()})
	}
	b.End = event.Checkpoint{Last: event.Position{Commit: lsn, Ord: uint64(n)}, XID: 9, Safe: lsn + 8, Time: 1_700_000_000_123_456, Events: uint64(n)}
	return b
}

// committed reads everything a committed reader sees of topic, up to its end.
func (b bench) committed(topic string) []*kgo.Record {
	b.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.bootstrap), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		b.t.Fatal(err)
	}
	defer cl.Close()
	var out []*kgo.Record
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.t.Context()), 20*time.Second)
	defer cancel()
	left := b.ends(ctx, topic)
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			b.t.Fatalf("read %s, partitions left %v: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if strings.HasPrefix(string(r.Key), marker) {
				delete(left, r.Partition)
				return
			}
			out = append(out, r)
		})
	}
	return out
}

const marker = "end of test "

// ends puts a record of the test at the end of each partition: whoever reads it
// has read everything that was committed before.
func (b bench) ends(ctx context.Context, topic string) map[int32]bool {
	b.t.Helper()
	writer, err := kgo.NewClient(kgo.SeedBrokers(b.bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer writer.Close()
	parts, err := b.partitions(ctx, topic)
	if err != nil {
		b.t.Fatal(err)
	}
	left := map[int32]bool{}
	for p := range int32(parts) {
		left[p] = true
		r := &kgo.Record{Topic: topic, Partition: p, Key: []byte(marker + b.t.Name()), Value: []byte("x")}
		if err := writer.ProduceSync(ctx, r).FirstErr(); err != nil {
			b.t.Fatal(err)
		}
	}
	return left
}

func (b bench) partitions(ctx context.Context, topic string) (int, error) {
	settings, err := kafka.NewSettings(map[string]string{"bootstrap.servers": b.bootstrap})
	if err != nil {
		return 0, err
	}
	c, err := kafka.Open(settings, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	topics, err := c.Topics(ctx, topic)
	return topics[topic].Partitions, err
}

func wantVerdict(t testing.TB, err error, v event.Verdict, words ...string) {
	t.Helper()
	if err == nil || event.VerdictOf(err) != v {
		t.Errorf("verdict %d, want %d: %v", event.VerdictOf(err), v, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v, want it to say %q", err, w)
		}
	}
}

func TestRecordsAndCheckpointAreOne(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 3, nil)
	s := b.sink("p", func(o *Options) { o.Topics = []string{topic} })
	if saved := start(t, s); saved.Exists() {
		t.Fatalf("a checkpoint before the first: %+v", saved)
	}
	const n, batches = 50, 4
	for i := range batches {
		if err := s.Commit(t.Context(), batch(topic, fmt.Sprint("b", i), n, event.LSN(100*(i+1)))); err != nil {
			t.Fatal(err)
		}
	}
	records := b.committed(topic)
	if len(records) != n*batches {
		t.Fatalf("%d records, want %d", len(records), n*batches)
	}
	last := map[string]string{}
	producers := map[string]int64{}
	for _, r := range records {
		if want := kafka.Partition(r.Key, 3); r.Partition != want {
			t.Fatalf("key %q on partition %d, a Java producer takes %d", r.Key, r.Partition, want)
		}
		if len(r.Headers) != 2 || r.Headers[0].Key != "event_id" || string(r.Headers[0].Value) != string(r.Value) || r.Headers[1].Value != nil {
			t.Fatalf("headers %v", r.Headers)
		}
		if age := time.Since(r.Timestamp); age < 0 || age > time.Minute {
			t.Fatalf("timestamp %s", r.Timestamp)
		}
		if !after(string(r.Value), last[string(r.Key)]) {
			t.Fatalf("key %s: %s after %s", r.Key, r.Value, last[string(r.Key)])
		}
		last[string(r.Key)] = string(r.Value)
		tag := string(r.Value[:2])
		if p, ok := producers[tag]; ok && p != r.ProducerID {
			t.Fatalf("batch %s came from two producers", tag)
		}
		producers[tag] = r.ProducerID
	}
	if producers["b0"] == producers["b1"] || producers["b0"] != producers["b2"] || producers["b1"] != producers["b3"] {
		t.Errorf("the ids do not take turns: %v", producers)
	}
	checkpoints := b.committed(b.cp)
	if len(checkpoints) != batches {
		t.Fatalf("%d checkpoints, want %d", len(checkpoints), batches)
	}
	var last4 map[string]any
	if err := json.Unmarshal(checkpoints[3].Value, &last4); err != nil {
		t.Fatal(err)
	}
	if last4["ids"] != 2.0 || last4["v"] != 1.0 || last4["relay_version"] != "test" || last4["cluster_id"] == "" || last4["safe_lsn"] != "0/198" || last4["slot"] != "slot" {
		t.Errorf("%s", checkpoints[3].Value)
	}
	if string(checkpoints[3].Key) != b.cp+"/p" || checkpoints[3].Partition != kafka.Partition(checkpoints[3].Key, 5) {
		t.Errorf("key %s on %d", checkpoints[3].Key, checkpoints[3].Partition)
	}
	next := b.sink("p", nil)
	if saved := start(t, next); saved.Checkpoint() != batch(topic, "x", n, 400).End {
		t.Errorf("read %+v", saved)
	}
}

// after compares values "b<i>-<j>".
func after(v, w string) bool {
	var a, b, c, d int
	if w == "" {
		return true
	}
	_, err1 := fmt.Sscanf(v, "b%d-%d", &a, &b)
	_, err2 := fmt.Sscanf(w, "b%d-%d", &c, &d)
	return err1 == nil && err2 == nil && (a > c || a == c && b > d)
}

func TestSecondSinkFencesTheFirst(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	old := b.sink("p", nil)
	start(t, old)
	if err := old.Save(t.Context(), event.Saved{State: event.StateCreating, Slot: "s", Safe: 5}); err != nil {
		t.Fatal(err)
	}
	next := b.sink("p", nil)
	if saved, err := next.Look(t.Context()); err != nil || saved.State != event.StateCreating || saved.Safe != 5 {
		t.Fatalf("%+v, %v", saved, err)
	}
	// A look fences nobody: both ids still work.
	for i := range 2 {
		if err := old.Commit(t.Context(), batch(topic, "old", 3, event.LSN(10+i))); err != nil {
			t.Fatal(err)
		}
	}
	start(t, next)
	err := old.Commit(t.Context(), batch(topic, "fenced", 3, 99))
	wantVerdict(t, err, event.Fenced, old.id(1), "taken over")
	if err := old.Commit(t.Context(), batch(topic, "fenced", 3, 99)); err == nil {
		t.Error("a sink went on after an error")
	}
	if err := next.Commit(t.Context(), batch(topic, "next", 3, 20)); err != nil {
		t.Fatal(err)
	}
	// The one recovery path: close and start again takes it back.
	old.Close()
	if saved := start(t, old); saved.Checkpoint().Last.Commit != 20 {
		t.Errorf("read %+v", saved)
	}
	for _, r := range b.committed(topic) {
		if strings.HasPrefix(string(r.Value), "fenced") {
			t.Fatalf("a fenced record is visible: %s", r.Value)
		}
	}
}

// The first start fences twice in one life: before the slot is made and after
// it is taken.
func TestFenceTwice(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	s := b.sink("p", nil)
	for i := range 3 {
		start(t, s)
		if s.turn != 0 || len(s.producers) != 2 {
			t.Fatalf("turn %d of %d", s.turn, len(s.producers))
		}
		if err := s.Save(t.Context(), event.Saved{State: event.StateStreaming, Safe: event.LSN(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if saved := start(t, s); saved.Safe != 3 {
		t.Errorf("%+v", saved)
	}
}

func TestReadFencesTheIDsTheCheckpointNames(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	wide := b.sink("p", func(o *Options) { o.IDs = 4 })
	start(t, wide)
	if err := wide.Commit(t.Context(), batch(topic, "a", 1, 7)); err != nil {
		t.Fatal(err)
	}
	wide.turn = 3
	if saved := start(t, b.sink("p", nil)); saved.IDs != 4 || saved.Safe != 15 {
		t.Fatalf("%+v", saved)
	}
	wantVerdict(t, wide.Commit(t.Context(), batch(topic, "b", 1, 8)), event.Fenced, "/p/3")
}

func TestCheckpointIsRefused(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	key := []byte(b.cp + "/p")
	for _, tc := range []struct{ value, want string }{
		{`{"v":1,"cluster_id":"elsewhere"}`, "Kafka cluster elsewhere"},
		{`{"v":2,"relay_version":"9.9"}`, "newer relay"},
		{`hello`, "not a checkpoint"},
		{`{"safe_lsn":"0/1"}`, "version 0"},
	} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(b.bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		err = cl.ProduceSync(t.Context(), &kgo.Record{Topic: b.cp, Key: key, Value: []byte(tc.value), Partition: kafka.Partition(key, 5)}).FirstErr()
		cl.Close()
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.sink("p", nil).Look(t.Context())
		wantVerdict(t, err, event.Refuse, tc.want, "next: ")
	}
	if saved, err := b.sink("other", nil).Look(t.Context()); err != nil || saved.Exists() {
		t.Errorf("another key: %+v, %v", saved, err)
	}
}

func TestTopicsAreCheckedBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	_, err := b.sink("p", func(o *Options) { o.Topics = []string{"missing-b", "missing-a"} }).Look(t.Context())
	wantVerdict(t, err, event.Refuse, `no topic "missing-a", "missing-b"`, "cdc-relay topics apply")
	_, err = b.sink("p", func(o *Options) { o.CheckpointTopic = "missing" }).Look(t.Context())
	wantVerdict(t, err, event.Refuse, `no checkpoint topic "missing"`, "cdc-relay topics apply")
	plain := k.Topic(t, 5, nil)
	_, err = b.sink("p", func(o *Options) { o.CheckpointTopic = plain }).Look(t.Context())
	wantVerdict(t, err, event.Refuse, "exactly compact", plain)
	judged := b.sink("p", func(o *Options) {
		o.Topics = []string{plain}
		o.Judge = func(all map[string]kafka.Topic) ([]kafka.Concern, error) {
			return nil, event.Refusef("mend it", "%d topics, %s has %d partitions", len(all), plain, all[plain].Partitions)
		}
	})
	_, err = judged.Look(t.Context())
	wantVerdict(t, err, event.Refuse, "1 topics, "+plain+" has 5 partitions", "next: mend it")
}
