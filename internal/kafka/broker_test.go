package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

func open(t *testing.T, bootstrap string, properties map[string]string) *Client {
	t.Helper()
	all := map[string]string{"bootstrap.servers": bootstrap}
	for k, v := range properties {
		all[k] = v
	}
	s, err := NewSettings(all)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func client(t *testing.T, bootstrap string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func produce(t *testing.T, cl *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestTopicsOfARealBroker(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	c := open(t, b.Bootstrap(), nil)
	ctx := t.Context()
	if id, err := c.ClusterID(ctx); err != nil || id == "" {
		t.Fatalf("cluster id %q, %v", id, err)
	}
	name := b.Topic(t, 3, map[string]string{"max.message.bytes": "20000", "cleanup.policy": "compact"})
	got, err := c.Topics(ctx, name, "no-such-topic", name)
	if err != nil {
		t.Fatal(err)
	}
	if there := got[name]; !there.Exists || there.Partitions != 3 || there.Replicas != 1 || there.MaxMessageBytes != 20000 || !there.Compacted() || !there.May("write") {
		t.Errorf("%+v", there)
	}
	if gone := got["no-such-topic"]; gone.Exists || gone.Allowed != nil {
		t.Errorf("%+v", gone)
	}
	if again, err := c.Topics(ctx, "no-such-topic"); err != nil || again["no-such-topic"].Exists {
		t.Errorf("asking created the topic: %+v, %v", again, err)
	}
}

func TestTopicsAreCreatedOnce(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	c := open(t, b.Bootstrap(), nil)
	ctx := t.Context()
	there := b.Topic(t, 1, nil)
	name := there + "-cp"
	t.Cleanup(func() { _ = b.DeleteTopic(context.WithoutCancel(ctx), name) })
	created, err := c.CreateTopics(ctx, CheckpointSpec(name, 0), NewTopic{Name: there, Partitions: 9})
	if err != nil || len(created) != 1 || created[0] != name {
		t.Fatalf("created %v, %v", created, err)
	}
	if err := c.EnsureCheckpoint(ctx, name, 0); err != nil {
		t.Fatal(err)
	}
	got, err := c.Topics(ctx, name, there)
	if err != nil {
		t.Fatal(err)
	}
	if cp := got[name]; cp.Partitions != 25 || cp.Config["cleanup.policy"] != "compact" || cp.Config["segment.bytes"] != "16777216" || cp.Config["min.cleanable.dirty.ratio"] != "0.01" {
		t.Errorf("%+v", cp)
	}
	if got[there].Partitions != 1 {
		t.Error("an existing topic was altered")
	}
	_, err = c.CreateTopics(ctx, NewTopic{Name: there + "-bad", Partitions: 1, Config: map[string]string{"cleanup.policy": "sometimes"}})
	wantRefusal(t, "bad configuration", err, there+"-bad")
	if err := c.EnsureCheckpoint(ctx, there, 0); err == nil {
		t.Error("a checkpoint topic that deletes was taken")
	}
}

// Two pipelines of one process, or two relays, make the same topic at the same
// moment: for whoever is told that it exists, it is there.
func TestTopicsAreThereForWhoCameSecond(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	clients := []*Client{open(t, b.Bootstrap(), nil), open(t, b.Bootstrap(), nil), open(t, b.Bootstrap(), nil)}
	for i := range 20 {
		name := fmt.Sprintf("second-%d-%d", time.Now().UnixNano(), i)
		var group sync.WaitGroup
		for _, c := range clients {
			group.Go(func() {
				if _, err := c.CreateTopics(t.Context(), NewTopic{Name: name, Partitions: 3}); err != nil {
					t.Error(err)
					return
				}
				if got, err := c.Topics(t.Context(), name); err != nil || !got[name].Exists {
					t.Errorf("created, and then: %+v, %v", got[name], err)
				}
			})
		}
		group.Wait()
		if t.Failed() {
			return
		}
	}
}

func TestReadLast(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	c := open(t, b.Bootstrap(), nil)
	cl := client(t, b.Bootstrap())
	name := b.Topic(t, 25, map[string]string{"cleanup.policy": "compact"})
	home := Partition([]byte("mine"), 25)
	read := func(key string) Found {
		t.Helper()
		f, err := c.ReadLast(t.Context(), Query{Topic: name, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := read("mine"); f.Exists {
		t.Fatalf("an empty topic has %+v", f)
	}
	at := func(p int32, key, value string) *kgo.Record {
		r := &kgo.Record{Topic: name, Partition: p, Key: []byte(key), Value: []byte(value)}
		if value == "" {
			r.Value = nil
		}
		return r
	}
	produce(t, cl, at(home, "mine", "1"), at(home, "other", "x"), at(home, "mine", "2"), at(home, "other", "y"))
	if f := read("mine"); !f.Exists || string(f.Value) != "2" || f.Offset != 2 || f.Partition != home {
		t.Fatalf("%+v", f)
	}
	// Somebody altered the number of partitions: the key is elsewhere, once.
	stray := (Partition([]byte("moved"), 25) + 7) % 25
	produce(t, cl, at(stray, "moved", "3"), at(stray, "moved", "4"))
	if f := read("moved"); !f.Exists || string(f.Value) != "4" || f.Partition != stray {
		t.Fatalf("%+v", f)
	}
	// … and twice: nobody can say which is later.
	produce(t, cl, at((stray+1)%25, "moved", "5"))
	_, err := c.ReadLast(t.Context(), Query{Topic: name, Key: "moved"})
	wantRefusal(t, "two strays", err, "altered more than once")
	produce(t, cl, at(home, "mine", ""))
	if f := read("mine"); f.Exists || f.Offset != 4 {
		t.Fatalf("a tombstone is none: %+v", f)
	}
}

// An open transaction before our record hides it from committed readers. The
// read waits for its end instead of believing an older record.
func TestReadLastWaitsForAnOpenTransaction(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	c := open(t, b.Bootstrap(), nil)
	plain := client(t, b.Bootstrap())
	other := client(t, b.Bootstrap(), kgo.TransactionalID(t.Name()+b.Bootstrap()))
	name := b.Topic(t, 1, map[string]string{"cleanup.policy": "compact"})
	ctx := t.Context()
	rec := func(key, value string) *kgo.Record {
		return &kgo.Record{Topic: name, Key: []byte(key), Value: []byte(value)}
	}
	produce(t, plain, rec("mine", "old"))
	if err := other.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, other, rec("other", "open"))
	produce(t, plain, rec("mine", "new"))

	f, err := c.ReadLast(ctx, Query{Topic: name, Key: "mine", Visible: true})
	if err != nil || string(f.Value) != "old" {
		t.Fatalf("visible: %+v, %v", f, err)
	}
	// However long it is given; on a busy machine it has to be given more until it
	// has read what can be read.
	for bound := 700 * time.Millisecond; ; bound *= 2 {
		short, cancel := context.WithTimeout(ctx, bound)
		_, err = c.ReadLast(short, Query{Topic: name, Key: "mine"})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || event.VerdictOf(err) != event.Restart {
			t.Fatalf("with the transaction open: %v", err)
		}
		if strings.Contains(err.Error(), "up to offset 1 of 3") {
			break
		}
		if bound > 2*time.Minute {
			t.Fatalf("within %s, with the transaction open: %v", bound, err)
		}
	}
	type answer struct {
		f   Found
		err error
	}
	answers := make(chan answer, 2)
	for _, q := range []Query{{Topic: name, Key: "mine"}, {Topic: name, Key: "nobody's", Visible: true}} {
		go func() {
			f, err := c.ReadLast(ctx, q)
			answers <- answer{f, err}
		}()
	}
	select {
	case a := <-answers:
		t.Fatalf("answered while the transaction was open: %+v", a)
	case <-time.After(300 * time.Millisecond):
	}
	if err := other.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	values := map[string]bool{}
	for range 2 {
		a := <-answers
		if a.err != nil {
			t.Fatal(a.err)
		}
		values[string(a.f.Value)] = true
	}
	if !values["new"] || !values[""] {
		t.Errorf("read %v, want the new record and none", values)
	}
}

func TestReadLastBehindManyRecords(t *testing.T) {
	t.Parallel()
	b := stack.Broker(t)
	c := open(t, b.Bootstrap(), nil)
	cl := client(t, b.Bootstrap(), kgo.MaxBufferedRecords(200_000), kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	name := b.Topic(t, 2, map[string]string{"cleanup.policy": "compact"})
	home := Partition([]byte("mine"), 2)
	const many = 120_000
	produce(t, cl, &kgo.Record{Topic: name, Partition: home, Key: []byte("oldest"), Value: []byte("first")})
	records := make([]*kgo.Record, many)
	for i := range records {
		records[i] = &kgo.Record{Topic: name, Partition: home, Key: fmt.Appendf(nil, "key-%d", i), Value: []byte(strings.Repeat("v", 300))}
	}
	records[many-3000].Key = []byte("mine")
	produce(t, cl, records...)
	for key, want := range map[string]int64{"mine": many - 3000 + 1, "oldest": 0} {
		begin := time.Now()
		f, err := c.ReadLast(t.Context(), Query{Topic: name, Key: key})
		took := time.Since(begin)
		t.Logf("%s: %s", key, took)
		if err != nil || !f.Exists || f.Offset != want {
			t.Errorf("%s: %+v, %v", key, f, err)
		}
		if took > 10*time.Second {
			t.Errorf("%s took %s", key, took)
		}
	}
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	c := open(t, "127.0.0.1:1", nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := c.ClusterID(ctx)
	if event.VerdictOf(err) != event.Restart || err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want the address and the reason", err)
	}
}

// kfake knows ACLs without an authorizer to set up: the relay's user may read
// the checkpoint topic and no consumer group.
// A broker that was frozen until its session was over answers that it knows no
// broker; a fake says so on demand. The library's DescribeCluster ends the
// process at such an answer.
func TestBrokerThatKnowsNoBroker(t *testing.T) {
	t.Parallel()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	var empty atomic.Int32 // answers still to be given
	fake.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if empty.Add(-1) < 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.Version = req.GetVersion()
		return resp, nil, true
	})
	c := open(t, strings.Join(fake.ListenAddrs(), ","), nil)
	for _, n := range []int32{0, 5} {
		empty.Store(n)
		id, brokers, err := c.Cluster(t.Context())
		if err != nil || id == "" || brokers != 1 {
			t.Errorf("cluster %q of %d brokers, %v", id, brokers, err)
		}
		if left := empty.Load(); left >= 0 {
			t.Errorf("%d empty answers were not asked for", left)
		}
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	allow := func(resource kmsg.ACLResourceType, name string, ops ...kmsg.ACLOperation) []kfake.ACL {
		var out []kfake.ACL
		for _, op := range ops {
			out = append(out, kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return out
	}
	acls := allow(kmsg.ACLResourceTypeTopic, "cp", kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs)
	acls = append(acls, allow(kmsg.ACLResourceTypeTopic, "readable", kmsg.ACLOperationRead, kmsg.ACLOperationDescribe)...)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "root"),
		kfake.User("PLAIN", "relay", "pw", acls...), kfake.SeedTopics(2, "cp", "readable", "hidden"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	as := func(user, password string) *Client {
		return open(t, strings.Join(fake.ListenAddrs(), ","), map[string]string{
			"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": password,
		})
	}
	c := as("relay", "pw")
	topics, err := c.Topics(t.Context(), "cp", "readable", "hidden")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckTopics(map[string]Topic{"cp": topics["cp"]}); err != nil {
		t.Errorf("cp: %v", err)
	}
	if f, err := c.ReadLast(t.Context(), Query{Topic: "cp", Key: "k"}); err != nil || f.Exists {
		t.Errorf("read without a right to any group: %+v, %v", f, err)
	}
	if topics["hidden"].Exists {
		t.Error("hidden is seen")
	}
	if topics["readable"].Config != nil {
		t.Error("the configuration was read without DescribeConfigs")
	}
	if _, err := c.CreateTopics(t.Context(), NewTopic{Name: "new", Partitions: 1, Replicas: 1}); event.VerdictOf(err) != event.Refuse {
		t.Errorf("create without a right: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := as("relay", "wrong").ClusterID(ctx); err == nil || !strings.Contains(strings.ToLower(err.Error()), "authentication") {
		t.Errorf("wrong password: %v", err)
	}
}

// Not parallel: it looks at every goroutine there is.
func TestCloseLeavesNothingBehind(t *testing.T) {
	b := stack.Broker(t)
	before := goleak.IgnoreCurrent()
	s, err := NewSettings(map[string]string{"bootstrap.servers": b.Bootstrap()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	name := b.Topic(t, 1, nil)
	if _, err := c.ReadLast(t.Context(), Query{Topic: name, Key: "k"}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	goleak.VerifyNone(t, before)
}
