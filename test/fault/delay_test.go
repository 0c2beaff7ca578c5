package fault

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// delaying returns delays whose first request (or answer) of key 26 is hit as is
// wanted; other keys are left alone.
func delaying(t *testing.T, around time.Duration, request, answer func(hit) bool) *Delays {
	t.Helper()
	for seed := range uint64(10_000) {
		odds := Odds{Seed: seed, Rate: map[int16]float64{EndTxn: 1}, Around: []time.Duration{around}}
		if answer != nil {
			odds.Rate[EndTxn] = 0.5
		}
		d := NewDelays(odds)
		d.enter()
		if h := d.request(EndTxn); request(h) && (answer == nil || answer(d.answer(EndTxn))) {
			return NewDelays(odds)
		}
	}
	t.Fatal("no seed does that")
	return nil
}

func left(h hit) bool    { return h == hit{} }
func slow(h hit) bool    { return h.late > 0 && !h.reset }
func atOnce(h hit) bool  { return h.reset && h.after == 0 }
func midway(h hit) bool  { return h.reset && h.after > 0 }
func instead(h hit) bool { return h.reset }

func TestDelayedRequestIsInItsOrder(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	d := delaying(t, time.Hour, slow, nil)
	p.Delay(d)
	client, target := pair(t, p, conns)
	client.slowly(request(3, 1, "first") + request(26, 2, "late") + request(3, 3, "behind"))
	target.want(request(3, 1, "first"))
	target.mute()
	target.send(reply(1, "answers go on"))
	client.want(reply(1, "answers go on"))
	d.Calm()
	target.want(request(26, 2, "late") + request(3, 3, "behind"))
	_ = client.CloseWrite()
	target.ends(io.EOF)
	other, target2 := pair(t, p, conns)
	other.send(request(26, 1, "nothing is hit any more"))
	target2.want(request(26, 1, "nothing is hit any more"))
}

func TestRequestIsLateByItsDelay(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	const around = 200 * time.Millisecond
	p.Delay(delaying(t, around, slow, nil))
	client, target := pair(t, p, conns)
	begin := time.Now()
	client.send(request(26, 1, ""))
	target.want(request(26, 1, ""))
	if took := time.Since(begin); took < around/2 {
		t.Errorf("%s late, want at least %s", took, around/2)
	}
}

// The client is told of a reset, at once or meanwhile, and its request arrives.
func TestElderRequestOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		how    func(hit) bool
		around time.Duration
	}{"reset at once": {atOnce, time.Hour}, "reset meanwhile": {midway, 100 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, conns := server(t)
			p := proxy(t, NewKafka, addr)
			d := delaying(t, c.around, c.how, nil)
			elder := d.Elders(1)
			p.Delay(d)
			client, target := pair(t, p, conns)
			client.send(request(3, 1, "first"))
			target.want(request(3, 1, "first"))
			client.send(request(26, 2, "elder"))
			client.isReset()
			if c.around == time.Hour {
				target.mute()
				open(t, elder)
				target.send(reply(1, "to nobody"))
				d.Calm()
			}
			target.want(request(26, 2, "elder"))
			closed(t, elder)
			target.ends(io.EOF)
		})
	}
}

// A client that closes its end does not stop its request either.
func TestClientThatGaveUp(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	d := delaying(t, time.Hour, slow, nil)
	p.Delay(d)
	client, target := pair(t, p, conns)
	client.send(request(3, 1, "") + request(26, 2, "elder"))
	target.want(request(3, 1, ""))
	_ = client.Close()
	target.send(reply(1, "to nobody") + reply(9, "nor this"))
	target.mute()
	d.Calm()
	target.want(request(26, 2, "elder"))
	closed(t, d.Elders(1))
}

func TestAnswerThatNeverComes(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	p.Delay(delaying(t, time.Millisecond, left, instead))
	client, target := pair(t, p, conns)
	client.send(request(26, 1, "") + request(3, 2, "behind"))
	target.want(request(26, 1, "") + request(3, 2, "behind"))
	target.send(reply(1, "never") + reply(2, "comes"))
	client.isReset()
	target.ends(io.EOF)
}

func TestAnswerThatIsLate(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	d := delaying(t, time.Hour, left, slow)
	p.Delay(d)
	client, target := pair(t, p, conns)
	client.send(request(26, 1, ""))
	target.want(request(26, 1, ""))
	target.send(reply(1, "late"))
	client.mute()
	d.Calm()
	client.want(reply(1, "late"))
}

func TestNewConnectionIsReset(t *testing.T) {
	t.Parallel()
	addr, _ := server(t)
	p := proxy(t, NewKafka, addr)
	p.Delay(NewDelays(Odds{New: 1}))
	isRefused(t, p)
}

func TestDelaysLeaveOtherProtocolsAlone(t *testing.T) {
	t.Parallel()
	addr, conns := server(t)
	p := proxy(t, NewKafka, addr)
	p.Delay(NewDelays(Odds{Other: 1, Around: []time.Duration{time.Hour}}))
	client, target := pair(t, p, conns)
	const text = "GET / HTTP/1.1\r\nHost: here\r\n\r\n"
	client.send(text)
	target.want(text)
	client.send("\x00")
	_ = client.CloseWrite()
	target.want("\x00")
	target.ends(io.EOF)
}

// Everything at once, with a client that asks again: once each, in order.
func TestClientGetsThroughDelays(t *testing.T) {
	t.Parallel()
	p, cl, direct := kafka(t, kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))
	ctx := bounded(t)
	d := NewDelays(Odds{Seed: 1, Rate: map[int16]float64{Produce: 0.3}, Other: 0.05, New: 0.05,
		Around: []time.Duration{time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond}})
	p.Delay(d)
	const n = 100
	for i := range n {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	d.Calm()
	for i := 0; i < n; {
		f := direct.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Records() {
			if string(r.Value) != fmt.Sprint(i) {
				t.Fatalf("record %d is %q", i, r.Value)
			}
			i++
		}
	}
}
