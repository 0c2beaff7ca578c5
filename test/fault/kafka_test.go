package fault

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// request and reply are frames of an imagined API.
func request(key int16, id int32, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, 7)
	return string(binary.BigEndian.AppendUint32(b, uint32(id))) + body
}

func reply(id int32, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	return string(binary.BigEndian.AppendUint32(b, uint32(id))) + body
}

// slowly sends byte by byte, each in a packet of its own.
func (c conn) slowly(s string) {
	c.t.Helper()
	for i := range len(s) {
		c.send(s[i : i+1])
	}
}

func TestDropAnswerHitsOneRequest(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	done := p.DropAnswer(26, 2)
	client, target := pair(t, p, conns)
	all := request(26, 1, "commit") + request(3, 2, "") + request(26, 3, strings.Repeat("body", 50_000)) + request(26, 4, "x")
	client.slowly(all[:45]) // the third's head is whole
	target.want(all[:45])
	client.send(all[45:])
	target.want(all[45:])
	open(t, done)
	target.slowly(reply(1, "one") + reply(2, ""))
	client.want(reply(1, "one") + reply(2, ""))
	open(t, done)
	target.send(reply(3, "decided") + reply(4, "too"))
	closed(t, done)
	client.isReset()
	target.isReset()
}

func TestHoldRequestHoldsOnlyWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	reached, release := p.HoldRequest(0, 1)
	client, target := pair(t, p, conns)
	client.send(request(3, 1, "first"))
	target.want(request(3, 1, "first"))
	if v, none := p.Version(3), p.Version(0); v != 7 || none != -1 {
		t.Errorf("versions %d and %d of what came and of what did not, want 7 and -1", v, none)
	}
	client.slowly(request(0, 2, "held") + request(3, 3, "behind"))
	closed(t, reached)
	target.mute()
	target.send(reply(1, "answers go on"))
	client.want(reply(1, "answers go on"))
	other, target2 := pair(t, p, conns)
	other.send(request(0, 1, "another"))
	target2.want(request(0, 1, "another"))
	release()
	release()
	target.want(request(0, 2, "held") + request(3, 3, "behind"))
}

func TestHeldRequestEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	reached, release := p.HoldRequest(26, 1)
	defer release()
	client, target := pair(t, p, conns)
	client.send(request(26, 1, ""))
	closed(t, reached)
	p.Cut()
	client.isReset()
	target.isReset()
}

// What is no Kafka passes, hooks or not.
func TestOtherProtocolsPass(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	client, target := pair(t, p, conns)
	const text = "GET / HTTP/1.1\r\nHost: here\r\n\r\n"
	client.send(text)
	target.want(text)
	target.send("HTTP/1.1 200 OK\r\n\r\n")
	client.want("HTTP/1.1 200 OK\r\n\r\n")
	client.send("\x00") // and a torn head before the end
	_ = client.CloseWrite()
	target.want("\x00")
}

// kafka returns clients of an imitation of Kafka, one through the proxy only.
func kafka(t *testing.T, opts ...kgo.Opt) (p *Proxy, through, direct *kgo.Client) {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	p = proxy(t, NewKafka, fake.ListenAddrs()[0])
	client := func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(fake.ListenAddrs()...), kgo.DefaultProduceTopic("events"))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return cl
	}
	through = client(append(opts, kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, p.Addr())
	}))...)
	return p, through, client(kgo.ConsumeTopics("events"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestLostAnswerOfACommit(t *testing.T) {
	t.Parallel()
	p, cl, direct := kafka(t, kgo.TransactionalID("tx"))
	ctx := bounded(t)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("committed")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	done := p.DropAnswer(EndTxn, 1)
	end := kmsg.NewPtrEndTxnRequest()
	id, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = "tx", id, epoch, true
	if answer, err := cl.SeedBrokers()[0].Request(ctx, end); err == nil {
		t.Fatalf("the client learned the outcome: %v", answer)
	}
	closed(t, done)
	f := direct.PollFetches(ctx)
	if f.Err() != nil || f.NumRecords() != 1 || string(f.Records()[0].Value) != "committed" {
		t.Fatalf("%d records, %v", f.NumRecords(), f.Err())
	}
}

func TestProduceHeldBack(t *testing.T) {
	t.Parallel()
	p, cl, direct := kafka(t)
	ctx := bounded(t)
	reached, release := p.HoldRequest(Produce, 1)
	produced := make(chan error, 1)
	go func() { produced <- cl.ProduceSync(ctx, kgo.StringRecord("late")).FirstErr() }()
	closed(t, reached)
	if n := endOffset(t, ctx, cl); n != 0 { // through the proxy: other requests go on
		t.Fatalf("%d records while the request is held", n)
	}
	release()
	if err := <-produced; err != nil {
		t.Fatal(err)
	}
	if n := endOffset(t, ctx, direct); n != 1 {
		t.Fatalf("%d records after the release", n)
	}
}

func endOffset(t *testing.T, ctx context.Context, cl *kgo.Client) int64 {
	t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	topic, part := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	topic.Topic, part.Timestamp = "events", -1
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].Partitions[0].Offset
}
