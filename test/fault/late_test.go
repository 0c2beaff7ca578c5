package fault

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is a request as it is sent, and answered.
func wire(r kmsg.Request, version int16, id int32) string {
	r.SetVersion(version)
	return string(kmsg.NewRequestFormatter(kmsg.FormatterClientID("us")).AppendRequest(nil, r, id))
}

func answerTo(r kmsg.Response, version int16, id int32) string {
	r.SetVersion(version)
	body := ""
	if r.IsFlexible() {
		body = "\x00" // no tags
	}
	return reply(id, body+string(r.AppendTo(nil)))
}

func endTxn(id string, commit bool) *kmsg.EndTxnRequest {
	r := kmsg.NewPtrEndTxnRequest()
	r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Commit = id, 7, 3, commit
	return r
}

func ended(code int16) *kmsg.EndTxnResponse {
	r := kmsg.NewPtrEndTxnResponse()
	r.ErrorCode = code
	return r
}

// isCommit are the commits of a transactional id.
func isCommit(id string) func(Request) bool {
	return func(r Request) bool { return r.Key == EndTxn && r.ID == id && r.Commit }
}

// deliver has the request arrive; the broker's answer is read from the channel.
func deliver(t *testing.T, late *Late) <-chan int16 {
	t.Helper()
	ctx, code := bounded(t), make(chan int16, 1)
	go func() {
		c, err := late.Deliver(ctx)
		if err != nil {
			c = unread
		}
		code <- c
	}()
	return code
}

func TestDelayHoldsTheOneThatIsMeant(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	late := Delay([]*Proxy{p}, 2, isCommit("a"))
	client, target := pair(t, p, conns)
	before := wire(endTxn("b", true), 1, 1) + wire(endTxn("a", false), 3, 2) + wire(endTxn("a", true), 1, 3) + request(3, 4, "other")
	client.send(before)
	target.want(before)
	open(t, late.Held())
	held := wire(endTxn("a", true), 1, 5)
	client.slowly(held[:20])
	client.send(held[20:] + request(3, 6, "behind"))
	closed(t, late.Held())
	if r := late.Request(); r != (Request{Key: EndTxn, ID: "a", Commit: true}) {
		t.Errorf("held %+v", r)
	}
	target.mute()
	target.send(answerTo(ended(0), 1, 1))
	client.want(answerTo(ended(0), 1, 1)) // answers go on, until the client is gone
	late.Reset()
	client.isReset()
	target.mute()
	target.send(answerTo(ended(0), 1, 3)) // to nobody

	again, target2 := pair(t, p, conns)
	again.send(wire(endTxn("a", true), 1, 1))
	target2.want(wire(endTxn("a", true), 1, 1))
	target2.send(answerTo(ended(51), 1, 1))
	again.want(answerTo(ended(51), 1, 1))
	open(t, late.Again()) // an error is no answer
	again.send(wire(endTxn("a", true), 3, 2))
	target2.want(wire(endTxn("a", true), 3, 2))
	target2.send(answerTo(ended(0), 3, 2))
	again.want(answerTo(ended(0), 3, 2))
	closed(t, late.Again())

	code := deliver(t, late)
	target.want(held + request(3, 6, "behind"))
	target.send(answerTo(ended(47), 1, 5))
	if c := <-code; c != 47 {
		t.Errorf("the broker answered %d, want 47", c)
	}
	target.isReset()
}

// A client that hangs up by itself, and a broker that has ended the connection
// before the request is delivered.
func TestDeliverOnAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	late := Delay([]*Proxy{p}, 1, isCommit("a"))
	client, target := pair(t, p, conns)
	held := wire(endTxn("a", true), 4, 1)
	client.send(held)
	closed(t, late.Held())
	_ = client.Close()
	target.mute()
	_ = target.Close()
	code := deliver(t, late)
	next := accepted(t, conns)
	next.want(held)
	next.send(answerTo(ended(0), 4, 1))
	if c := <-code; c != 0 {
		t.Errorf("the broker answered %d, want 0", c)
	}
}

func TestDropForgets(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	late, never := Delay([]*Proxy{p}, 1, isCommit("a")), Delay([]*Proxy{p}, 1, isCommit("b"))
	client, target := pair(t, p, conns)
	client.send(wire(endTxn("a", true), 1, 1))
	closed(t, late.Held())
	late.Drop()
	client.isReset()
	target.isReset()
	never.Drop()
	client, target = pair(t, p, conns)
	client.send(wire(endTxn("b", true), 1, 1))
	target.want(wire(endTxn("b", true), 1, 1))
}

// What a request asks for, in the old and in the flexible way of writing it.
func TestParse(t *testing.T) {
	t.Parallel()
	produce := kmsg.NewPtrProduceRequest()
	topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	topic.Topic, part.Partition, part.Records = "events", 4, []byte("records")
	topic.Partitions = append(topic.Partitions, part)
	produce.TransactionID, produce.Topics = kmsg.StringPtr("x"), append(produce.Topics, topic)
	find, first, add := kmsg.NewPtrFindCoordinatorRequest(), kmsg.NewPtrInitProducerIDRequest(), kmsg.NewPtrAddPartitionsToTxnRequest()
	find.CoordinatorKey, first.TransactionalID, add.TransactionalID = "x", kmsg.StringPtr("x"), "x"
	for _, c := range []struct {
		r        kmsg.Request
		versions []int16
		want     Request
	}{
		{endTxn("x", true), []int16{0, 2, 3, 4}, Request{Key: EndTxn, ID: "x", Commit: true}},
		{endTxn("x", false), []int16{0, 3}, Request{Key: EndTxn, ID: "x"}},
		{produce, []int16{3, 8, 9, 12}, Request{Key: Produce, ID: "x", Topic: "events", Part: 4}},
		{find, []int16{0, 2, 3}, Request{Key: FindCoordinator, ID: "x"}},
		{first, []int16{0, 1, 2, 4}, Request{Key: InitProducerID, ID: "x"}},
		{add, []int16{0, 2, 3}, Request{Key: AddPartitionsToTxn, ID: "x"}},
	} {
		for _, v := range c.versions {
			if got, ok := parse([]byte(wire(c.r, v, 1)[lengthSize:])); !ok || got != c.want {
				t.Errorf("version %d: %+v, %v; want %+v", v, got, ok, c.want)
			}
		}
	}
	if _, ok := parse([]byte(wire(endTxn("x", true), 0, 1)[lengthSize : lengthSize+16])); ok {
		t.Error("half a request was read")
	}
	if _, ok := parse([]byte(request(EndTxn, 1, "version 7")[lengthSize:])); ok {
		t.Error("a version nobody knows was read")
	}
}

// A real client asks again by itself, and the elder request arrives. What a broker
// makes of it is the matter of test/matrix.
func TestCommitArrivesLate(t *testing.T) {
	t.Parallel()
	p, cl, _ := kafka(t, kgo.TransactionalID("tx"))
	ctx := bounded(t)
	begin := func(value string) {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	late := Delay([]*Proxy{p}, 1, isCommit("tx"))
	begin("first")
	done := make(chan error, 1)
	go func() { done <- cl.EndTransaction(ctx, kgo.TryCommit) }()
	closed(t, late.Held())
	late.Reset()
	if err := <-done; err != nil { // it asks again by itself
		t.Fatal(err)
	}
	closed(t, late.Again())
	begin("second")
	if _, err := late.Deliver(ctx); err != nil {
		t.Fatal(err)
	}
}
