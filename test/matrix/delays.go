package matrix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// What the relays of these cells are configured with.
const (
	socketTimeout  = 1500 * time.Millisecond
	lastingTimeout = 8 * time.Second
)

// elders is how many requests of a cell outlive their client's connection before
// the relay is killed, at most; outliveWithin bounds the waiting for them, and
// within delayedWithin consumers see a commit: an open transaction may be before it.
const (
	elders        = 10
	outliveWithin = 6 * time.Second
	delayedWithin = 6 * time.Second
	behindMost    = 200
)

// delayCells are of random delays, a seed each.
func delayCells() []Cell {
	var out []Cell
	for n := range 30 {
		c := Cell{Name: fmt.Sprintf("random-delays/%02d", n+1), Kind: Single, proxied: true, change: lasting, story: randomDelays}
		if n >= 26 {
			c.Kind = Three // a request and the next one may go to different brokers
		}
		out = append(out, c)
	}
	return out
}

// hasty has the library give an answer up before many a delay is over.
func hasty(c *rig.Config) {
	c.Kafka["socket.timeout.ms"] = fmt.Sprint(socketTimeout.Milliseconds())
}

// lasting is hasty with transactions that outlive several delays.
func lasting(c *rig.Config) {
	hasty(c)
	c.Kafka["transaction.timeout.ms"] = fmt.Sprint(lastingTimeout.Milliseconds())
}

// odds hit the requests of transactions often and others seldom, for a while, for
// as long as the library waits until it asks again, for longer than it waits for
// an answer, and for much longer.
func odds(seed uint64, often float64) fault.Odds {
	return fault.Odds{
		Seed: seed,
		Rate: map[int16]float64{
			fault.Produce: 0.06 * often, fault.AddPartitionsToTxn: 0.05 * often, fault.EndTxn: 0.25 * often,
			fault.InitProducerID: 0.15 * often, fault.FindCoordinator: 0.08 * often,
		},
		Other: 0.002 * often, New: 0.02 * often,
		Around: []time.Duration{4 * time.Millisecond, 40 * time.Millisecond, 300 * time.Millisecond, time.Second, socketTimeout, 3 * time.Second},
	}
}

// delay has the connections to Kafka made from now on meet random delays, until
// the world is healed; what is hit is written into the cell's folder.
func (l *lab) delay(often float64) (*fault.Delays, error) {
	log, err := os.Create(filepath.Join(l.dir, "delays.log"))
	if err != nil {
		return nil, err
	}
	l.after = append(l.after, log.Close)
	odds := odds(l.seed, often)
	odds.Log = log
	d := fault.NewDelays(odds)
	for _, p := range l.w.Kafka.Proxies() {
		p.Delay(d)
	}
	l.w.delays = d
	return d, nil
}

// randomDelays has every request meet random delays while rows are published. Two
// of three seeds kill the relay in the middle, or give its slot to a second one.
func randomDelays(l *lab) error {
	l.visible = delayedWithin
	random := rand.New(rand.NewPCG(l.seed, 4)) //nolint:gosec // repeatable by its seed
	d, r, err := l.delayed(random)
	if err != nil {
		return err
	}
	if err := l.elder(d); err != nil {
		return err
	}
	middle := 1 + random.IntN(elders)
	l.outlive(d, middle)
	switch random.IntN(3) {
	case 0:
		err = killRelay(l, r, "")
	case 1:
		err = takeOver(l)
	}
	l.outlive(d, middle+elders/2)
	return err
}

// delayed is a relay that streams under load and meets delays: of three seeds, one
// has them from the first start on.
func (l *lab) delayed(random *rand.Rand) (*fault.Delays, *relay, error) {
	early := random.IntN(3) == 0
	var r *relay
	var err error
	if !early {
		if r, err = l.followed(behindMost); err != nil {
			return nil, nil, err
		}
	}
	d, err := l.delay(1)
	if err != nil {
		return nil, nil, err
	}
	if early {
		r, err = l.followed(behindMost)
	} else {
		l.w.kafkaCut() // connections are made anew
	}
	return d, r, err
}

// followed is streaming with writers that wait while consumers are so many events
// behind: what piles up behind delays on a slow machine has its bounds, too.
func (l *lab) followed(behind int) (*relay, error) {
	r, err := l.run()
	if err != nil {
		return nil, err
	}
	l.load = l.startLoad(pace, behind)
	return r, l.flows()
}

// elder demands that a request outlives its client's connection.
func (l *lab) elder(d *fault.Delays) error {
	select {
	case <-d.Elders(1):
		return nil
	case <-time.After(recoverWithin):
		return errors.Join(fmt.Errorf("no request outlived its connection within %s", recoverWithin), l.dead())
	}
}

// outlive waits until so many have, but not for long: how many a machine gets
// through is not the subject.
func (l *lab) outlive(d *fault.Delays, n int) {
	select {
	case <-d.Elders(n):
	case <-time.After(outliveWithin):
	case <-l.ctx.Done():
	}
}

// takeOver ends the session of the relay while a second one waits for it.
func takeOver(l *lab) error {
	second, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, readyWithin)
	defer cancel()
	if err := second.State(ctx, l.database, "STANDBY"); err != nil {
		return err
	}
	return l.terminate()
}
