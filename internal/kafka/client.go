package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// callTimeout bounds every admin call that has no nearer deadline.
const callTimeout = 15 * time.Second

// Client is an admin connection. It is safe for concurrent use.
type Client struct {
	settings *Settings
	log      *slog.Logger
	producer *ck.Producer
	admin    *ck.AdminClient
	drained  *Drain
	readers  sync.WaitGroup // that are being closed
}

// Open makes a Client. It starts the library's threads; brokers are reached at
// the first call. Close ends it.
func Open(s *Settings, log *slog.Logger) (*Client, error) {
	d, cfg := NewDrain(s.plainConfig(), log)
	p, err := ck.NewProducer(cfg)
	if err != nil {
		return nil, fmt.Errorf("make Kafka client: %w", err)
	}
	d.Start(p.Events())
	a, err := ck.NewAdminClientFromProducer(p)
	if err != nil {
		p.Close()
		d.Wait()
		return nil, fmt.Errorf("make Kafka admin client: %w", err)
	}
	return &Client{settings: s, log: log, producer: p, admin: a, drained: d}, nil
}

// Close ends the client and its goroutine.
func (c *Client) Close() {
	c.admin.Close()
	c.producer.Close()
	c.drained.Wait()
	c.readers.Wait()
}

// Hint is what the client last reported on its own (a refused connection, say).
func (c *Client) Hint() string { return c.drained.Hint() }

// classify makes a Fault of err, naming what was done.
func (c *Client) classify(err error, doing, topic string) error {
	return Classify(err, nil, Where{Doing: doing, Topic: topic, Bootstrap: c.settings.bootstrap, Hint: c.Hint()})
}

// within bounds a call.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTimeout)
}

// requestTimeout is what is left of ctx, so that the library gives up, with a
// reason, when we would.
func requestTimeout(ctx context.Context) ck.AdminOptionRequestTimeout {
	left := callTimeout
	if t, ok := ctx.Deadline(); ok {
		left = max(time.Until(t), 2*time.Millisecond)
	}
	return ck.SetAdminRequestTimeout(left)
}

// ClusterID returns the id of the Kafka cluster.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	id, _, err := c.Cluster(ctx)
	return id, err
}

// Cluster returns the id of the Kafka cluster and how many brokers it has.
//
// The library's DescribeCluster would say both in one call, but it ends the
// process (rdkafka_admin.c, "Assertion 'rko_result' failed", 2.15.1) when a
// broker answers that it knows no broker, as one does that was frozen until its
// session was over.
func (c *Client) Cluster(ctx context.Context) (id string, brokers int, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	const doing = "ask Kafka for its cluster id"
	if brokers, err = c.brokers(ctx); err != nil {
		return "", 0, c.classify(err, doing, "")
	}
	// Answered from the library's cache: the metadata above carried it.
	if id, err = c.admin.ClusterID(ctx); err != nil {
		return "", 0, c.classify(err, doing, "")
	}
	return id, brokers, nil
}

// firstAsk is how long a broker has for the first answer; each further one has
// twice as long. The call does not notice the end of ctx.
const firstAsk = 500 * time.Millisecond

// brokers asks a broker now how many there are.
func (c *Client) brokers(ctx context.Context) (int, error) {
	for ask := firstAsk; ; ask *= 2 {
		left := callTimeout
		if t, ok := ctx.Deadline(); ok {
			left = time.Until(t)
		}
		m, err := c.producer.GetMetadata(nil, false, int(max(min(ask, left), time.Millisecond).Milliseconds()))
		switch {
		case err == nil:
			return len(m.Brokers), nil
		case ctx.Err() != nil:
			return 0, errors.Join(ctx.Err(), err)
		}
		select { // a broker that knows no broker answers at once
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Drain takes the events and log lines of one client of the library, so that
// neither fills a channel nor lands on standard error. Its goroutine ends with
// the client.
type Drain struct {
	log  *slog.Logger
	logs chan ck.LogEvent
	hint atomic.Pointer[hint]
	wg   sync.WaitGroup
}

// NewDrain returns a Drain and the configuration of the client it is for. Start
// it with the client's events, and Wait for it after the client's Close.
func NewDrain(cfg *ck.ConfigMap, log *slog.Logger) (*Drain, *ck.ConfigMap) {
	d := &Drain{log: log, logs: make(chan ck.LogEvent, 64)}
	(*cfg)["go.logs.channel.enable"] = true
	(*cfg)["go.logs.channel"] = d.logs
	return d, cfg
}

// Start takes events until their channel is closed.
func (d *Drain) Start(events <-chan ck.Event) {
	d.wg.Go(func() {
		for {
			select {
			case l := <-d.logs:
				d.line(l)
			case ev, ok := <-events:
				if !ok {
					return
				}
				d.event(ev)
			}
		}
	})
}

// Wait waits until the channel of Start is closed.
func (d *Drain) Wait() { d.wg.Wait() }

// hintAge is how long a report of the client explains a failed call.
const hintAge = time.Minute

type hint struct {
	text string
	at   time.Time
}

// Hint is the last error the client reported on its own, "" for none of late.
func (d *Drain) Hint() string {
	if h := d.hint.Load(); h != nil && time.Since(h.at) < hintAge {
		return h.text
	}
	return ""
}

// event looks at what the library says besides its answers. Outages (-187,
// -195) are information: the library reconnects by itself, and a fatal error is
// found where the next call fails.
func (d *Drain) event(ev ck.Event) {
	if e, ok := ev.(ck.Error); ok {
		if e.Code() != ck.ErrAllBrokersDown { // the error before it says why
			d.note(e.Error())
		}
		d.log.Debug("kafka client reports", "code", int(e.Code()), "error", e.Error())
	}
}

func (d *Drain) line(l ck.LogEvent) {
	switch {
	case l.Tag == "CONFWARN":
		// The properties are shared by producers and consumers on purpose.
		d.log.Debug("kafka client", "tag", l.Tag, "message", l.Message)
	case l.Level <= 4: // syslog: warning and worse
		d.note(l.Message)
		d.log.Warn("kafka client", "client", l.Name, "tag", l.Tag, "message", l.Message)
	default:
		d.log.Debug("kafka client", "client", l.Name, "tag", l.Tag, "message", l.Message)
	}
}

func (d *Drain) note(s string) { d.hint.Store(&hint{text: s, at: time.Now()}) }
