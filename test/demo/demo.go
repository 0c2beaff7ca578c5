package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// demo is one run. Its parts are made in the order of run, and ended by close.
type demo struct {
	options
	screen *screen
	parts  *parts
	binary string
	config string // path

	name     string // of the relay, and prefix of the topics
	database string // its name
	url      string // of it

	log    *os.File
	relay  *rig.Relay
	truth  *rig.Truth
	reader *rig.Reader
	dec    *rig.Decoder
	flow   flow
}

// Bounds of what the demo waits for.
const (
	readyWithin   = time.Minute
	settleFor     = 1500 * time.Millisecond // silence after which nothing more is expected
	arriveWithin  = 2 * time.Minute         // behind the last commit
	cleanUpWithin = 20 * time.Second
)

// run is the demo from the start of the stack to the table. exact reports that
// every committed event arrived exactly once, in order, and nothing else did.
func (d *demo) run(ctx context.Context) (exact bool, err error) {
	began := time.Now()
	d.screen.print("%s  %s events, Postgres to Kafka, exactly once, with a SIGKILL in the middle",
		d.screen.style(bold, "cdc-relay demo"), number(d.events))
	for _, step := range []func(context.Context) error{d.startParts, d.migrate, d.startRelay} {
		if err := step(ctx); err != nil {
			return false, err
		}
	}
	if err := d.play(ctx); err != nil {
		return false, err
	}
	report, err := rig.Check(ctx, d.truth, d.reader.All, d.dec)
	if err != nil {
		return false, err
	}
	sum := d.flow.summary(d.reader.All)
	d.table(report, sum)
	if err := d.write(report, sum); err != nil {
		return false, err
	}
	d.screen.print("  %s", d.screen.style(faint, fmt.Sprintf("%.0f s in all; these figures are in build/demo.json, the relay's log in build/demo/relay.log", time.Since(began).Seconds())))
	return report.Exact(), nil
}

// startParts starts the stack while the relay is built.
func (d *demo) startParts(ctx context.Context) error {
	d.screen.heading("stack", "Postgres, Kafka and a schema registry, and the relay built from this tree")
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		d.parts, err = openParts(gctx, &stackLines{s: d.screen})
		return err
	})
	g.Go(func() (err error) {
		d.binary, err = rig.Build(gctx, dir())
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	p := d.parts
	d.name, d.database = p.names()
	d.url = p.pg.URL(d.database)
	d.screen.field("postgres", "%d (%s), %s", p.pg.Version(), p.pg.Info().Kind, hostOf(d.url))
	d.screen.field("kafka", "%s, %s", p.kafka.Kind(), p.kafka.Bootstrap())
	d.screen.field("registry", "%s, %s", p.sr.Kind(), p.sr.URL())
	d.screen.field("ready after", "%.1f s", time.Since(began).Seconds())
	return p.createDatabase(ctx, d.database)
}

// configure writes the relay's configuration: that of a developer's machine,
// where it creates topics and registers schemas itself.
func (d *demo) configure() error {
	c := rig.Config{
		Name: d.name, Environment: "development", Postgres: d.url,
		Bootstrap: d.parts.kafka.Bootstrap(), Registry: d.parts.sr.URL(), Prefix: d.name,
		// A transaction the SIGKILL leaves open is aborted when the relay comes
		// back; this is only the bound for a relay that never does.
		Kafka: map[string]string{"transaction.timeout.ms": "10000"},
	}
	var err error
	d.config, err = c.Write(dir())
	return err
}

// migrate applies the migrations, as an operator would.
func (d *demo) migrate(ctx context.Context) error {
	if err := d.configure(); err != nil {
		return err
	}
	d.screen.heading("migrate", "cdc-relay -c build/demo/cdc-relay.yaml migrate")
	r, err := rig.Start(d.binary, nil, nil, "-c", d.config, "migrate")
	if err != nil {
		return err
	}
	defer r.Kill()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	code, err := r.Exit(ctx)
	if err != nil {
		return err
	}
	d.screen.print("%s", indent(r.Log()))
	if code != 0 {
		return fmt.Errorf("cdc-relay migrate ended with code %d", code)
	}
	return nil
}

// startRelay starts the binary as a process of its own and waits until it
// streams.
func (d *demo) startRelay(ctx context.Context) error {
	if d.log == nil {
		f, err := os.Create(filepath.Join(dir(), "relay.log"))
		if err != nil {
			return err
		}
		d.log = f
		d.screen.heading("relay", "cdc-relay -c build/demo/cdc-relay.yaml run")
	}
	began := time.Now()
	r, err := rig.Start(d.binary, nil, d.log, "-c", d.config, "run")
	if err != nil {
		return err
	}
	d.relay = r
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := r.Ready(ctx); err != nil {
		return err
	}
	d.screen.print("  process %d streams after %.1f s", r.PID(), time.Since(began).Seconds())
	return nil
}

// play lets the service, the consumer and the kill run beside each other until
// everything has arrived.
func (d *demo) play(ctx context.Context) error {
	var err error
	d.truth = rig.NewTruth()
	if d.dec, err = rig.NewDecoder(d.parts.sr.URL()); err != nil {
		return err
	}
	if d.reader, err = rig.NewReader(d.parts.kafka.Bootstrap(), rig.Topics(d.name)...); err != nil {
		return err
	}
	db, err := pgxpool.New(ctx, d.url)
	if err != nil {
		return err
	}
	defer db.Close()
	d.screen.heading("events", "one of each type in full, as a read_committed consumer sees it; Avro decoded by the registry's schema")
	d.flow.begin(d)
	d.reader.On = func(r *rig.Record) { d.flow.saw(ctx, r) }

	g, gctx := errgroup.WithContext(ctx)
	written := make(chan struct{})
	half := make(chan struct{})
	g.Go(func() error {
		defer close(written)
		return d.serve(gctx, db, half)
	})
	g.Go(func() error { return d.killOnce(gctx, half) })
	g.Go(func() error { return d.consume(gctx, written) })
	err = g.Wait()
	d.screen.progress("")
	return err
}

// serve is the small service: it commits events at the wished rate, rolls some
// transactions back, and closes half in the middle.
func (d *demo) serve(ctx context.Context, db *pgxpool.Pool, half chan<- struct{}) error {
	s := &rig.Service{Name: "demo", Truth: d.truth, Keys: 12, MaxTx: 5, Rollback: 8, Seed: 1}
	began, passed := time.Now(), false
	pace := time.NewTimer(0)
	defer pace.Stop()
	return s.Write(ctx, db, d.events, func(committed int) {
		if !passed && committed >= d.events/2 {
			passed = true
			close(half)
		}
		d.flow.show()
		due := began.Add(time.Duration(committed) * time.Second / time.Duration(d.rate))
		pace.Reset(time.Until(due))
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	})
}

// killOnce ends the relay with SIGKILL and starts it again.
func (d *demo) killOnce(ctx context.Context, half <-chan struct{}) error {
	select {
	case <-half:
	case <-ctx.Done():
		return ctx.Err()
	}
	pid := d.relay.PID()
	d.flow.killed(time.Now())
	d.relay.Kill()
	d.screen.print("\n  %s", d.screen.style(red, fmt.Sprintf("SIGKILL: process %d is gone, %s events were delivered; starting it again", pid, number(d.flow.count()))))
	if err := d.startRelay(ctx); err != nil {
		return err
	}
	d.flow.streamsAgain(time.Now())
	return nil
}

// consume reads until all that was committed is there and nothing more comes.
func (d *demo) consume(ctx context.Context, written <-chan struct{}) error {
	all := func(n int) bool {
		select {
		case <-written:
			return n >= d.truth.Committed()
		default:
			return false
		}
	}
	bound, cancel := context.WithTimeout(ctx, time.Duration(d.events/d.rate)*time.Second+arriveWithin)
	defer cancel()
	err := d.reader.Read(bound, all)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil // the table says what is missing
	}
	if err != nil {
		return err
	}
	return d.reader.Settle(ctx, settleFor)
}

// close ends everything, the last made first.
func (d *demo) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpWithin)
	defer cancel()
	var errs []error
	if d.relay != nil {
		if _, err := d.relay.Stop(ctx); err != nil {
			errs = append(errs, err)
			d.relay.Kill()
		}
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	if d.reader != nil {
		d.reader.Close()
	}
	if d.parts != nil {
		errs = append(errs, d.parts.close(ctx, d.database, rig.Topics(d.name)))
	}
	return errors.Join(errs...)
}
