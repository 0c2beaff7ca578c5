package fault

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Odds say how likely and how long [Delays] are.
type Odds struct {
	Seed uint64
	// Rate is how likely a request is hit, by API key; Other is that of any other
	// key. Its answer is hit a quarter as often. New is how likely a new connection is
	// reset at once.
	Rate       map[int16]float64
	Other, New float64
	// Around are the delays: one of them, each as often as the others, and anything
	// from half of it to one and a half times as long.
	Around []time.Duration
	// Log, if not nil, is told of every hit.
	Log io.Writer
}

// Delays hit requests, answers and connections of Kafka proxies at random.
//
// A request that is hit reaches the broker late, with what its client sent behind
// it on the same connection. In one third of the cases the client finds its
// connection slow; else it finds it reset, at once or meanwhile: it asks again on
// a new one, and the elder request reaches the broker all the same, on the old
// half of the connection and in its order there. An answer that is hit
// comes late, or never: what comes is a reset.
type Delays struct {
	odds Odds
	calm chan struct{} // closed: nothing is hit any more
	once sync.Once

	mu     sync.Mutex
	random *rand.Rand
	links  int // that were made
	hits   int
	elders int
	wait   []elders
}

// elders waits for so many.
type elders struct {
	n    int
	done chan struct{}
}

// NewDelays makes delays for [Proxy.Delay].
func NewDelays(odds Odds) *Delays {
	return &Delays{odds: odds, calm: make(chan struct{}), random: rand.New(rand.NewPCG(odds.Seed, 0))} //nolint:gosec // repeatable by its seed
}

// Delay has d hit the connections made from now on. Several proxies may share d.
// Only one of [NewKafka] knows requests.
func (p *Proxy) Delay(d *Delays) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delays = d
}

// delaying returns what hits a new connection, or nil.
func (p *Proxy) delaying() *Delays {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.kafka || p.delays.isCalm() {
		return nil
	}
	return p.delays
}

// Calm ends it: what is held goes on at once, in its order, and nothing is hit
// any more.
func (d *Delays) Calm() { d.once.Do(func() { close(d.calm) }) }

// Elders returns a channel that is closed once so many requests have been sent on
// to a broker after their client was told of a reset, and could ask again.
func (d *Delays) Elders(n int) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := elders{n, make(chan struct{})}
	if d.elders >= n {
		close(w.done)
	} else {
		d.wait = append(d.wait, w)
	}
	return w.done
}

// Count says how many requests, answers and connections were hit, and how many
// requests became elders.
func (d *Delays) Count() (hits, elders int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits, d.elders
}

func (d *Delays) elder() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.elders++
	for _, w := range d.wait {
		if w.n == d.elders {
			close(w.done)
		}
	}
}

// isCalm may be asked of nil.
func (d *Delays) isCalm() bool {
	if d == nil {
		return true
	}
	select {
	case <-d.calm:
		return true
	default:
		return false
	}
}

// hit is what happens to one frame.
type hit struct {
	late  time.Duration
	reset bool          // the client's half, after
	after time.Duration // at most late
}

// request chooses for a request.
func (d *Delays) request(key int16) hit {
	if d.isCalm() {
		return hit{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.happens(d.rate(key)) {
		return hit{}
	}
	h := hit{late: d.delay()}
	switch d.random.IntN(3) {
	case 0:
		h.reset = true
	case 1:
		h.reset, h.after = true, time.Duration(d.random.Int64N(int64(h.late)+1))
	}
	return h
}

// answer chooses for an answer. One with a reset never comes.
func (d *Delays) answer(key int16) hit {
	if d.isCalm() {
		return hit{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.happens(d.rate(key) / 4) {
		return hit{}
	}
	h := hit{late: d.delay(), reset: d.random.IntN(2) == 0}
	h.after = h.late
	return h
}

// happens takes no random number for what never does.
func (d *Delays) happens(rate float64) bool {
	if rate <= 0 || d.random.Float64() >= rate {
		return false
	}
	d.hits++
	return true
}

func (d *Delays) rate(key int16) float64 {
	if r, ok := d.odds.Rate[key]; ok {
		return r
	}
	return d.odds.Other
}

func (d *Delays) delay() time.Duration {
	around := d.odds.Around[d.random.IntN(len(d.odds.Around))]
	return time.Duration(float64(around) * (0.5 + d.random.Float64()))
}

// enter counts a connection and says whether it is to be reset at once.
func (d *Delays) enter() (number int, reset bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links++
	return d.links, d.happens(d.odds.New)
}

func (d *Delays) log(format string, args ...any) {
	if d.odds.Log == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.odds.Log, "%s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}
