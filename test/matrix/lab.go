package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// Bounds, generous for a machine that has other things to do.
const (
	readyWithin   = 60 * time.Second
	reachWithin   = 30 * time.Second
	recoverWithin = 60 * time.Second
	stopWithin    = 30 * time.Second
	visibleWithin = 1500 * time.Millisecond
)

// What the relays of a cell are configured with: short enough for a cell of a
// few seconds.
const (
	batchEvents   = 40
	txnTimeout    = 2 * time.Second
	senderTimeout = 3 * time.Second
	checkpoints   = "cdc-relay.checkpoints"
)

// lab is one cell's surroundings: a database, topics and a name of its own.
type lab struct {
	ctx      context.Context
	w        *World
	seed     uint64
	dir      string // of logs, kept when the cell fails
	short    string // of sockets, whose paths must be short
	name     string // of the relay, and prefix of the topics
	database string
	url      string // of the database, past the proxy
	slot     string
	config   string // path of the configuration
	conf     rig.Config

	watch    *watch
	load     *load
	relays   []*relay
	launched int
	kills    int
	hitches  [][2]time.Time // times in which a consumer could not see what was committed
	hitched  bool           // the last of them lasts until events arrive again
	limit    int            // events in a batch
	visible  time.Duration  // how soon a consumer sees a checkpoint that was committed
	judged   judged
	after    []func() error // at the end
}

// judged is the evidence of a server that was left behind: it was judged then.
type judged struct {
	records        map[string]bool // event ids
	marks, samples int
}

// newLab makes a database, a configuration and the truth's slot. change, which
// may be nil, is asked before the configuration is written.
func newLab(ctx context.Context, w *World, dir string, seed uint64, change func(*rig.Config)) (*lab, error) {
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:10]
	l := &lab{ctx: ctx, w: w, seed: seed, dir: dir, name: "m" + id, database: "m" + id, limit: batchEvents, visible: visibleWithin}
	var err error
	if l.short, err = os.MkdirTemp("", "crash"); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l.url = w.PG.URL("postgres")
	if err := l.sql("create database " + l.database); err != nil {
		return nil, err
	}
	l.url = w.PG.URL(l.database)
	if _, err := migrations.Up(ctx, l.url); err != nil {
		return nil, err
	}
	through, err := fault.URL(l.url, w.pg)
	if err != nil {
		return nil, err
	}
	l.conf = rig.Config{
		Name: l.name, Prefix: l.name, Postgres: through, Bootstrap: w.bootstrap(), Registry: w.registry.URL + registryPath(w.Registry),
		Kafka: map[string]string{"transaction.timeout.ms": fmt.Sprint(txnTimeout.Milliseconds())},
		Extra: fmt.Sprintf("batch: {events: %d}\nidle_checkpoint: {interval: 300ms}\n", batchEvents),
		Lines: []string{fmt.Sprintf("  sender_timeout: %s", senderTimeout)},
	}
	if change != nil {
		change(&l.conf)
	}
	if err := l.configure(""); err != nil {
		return nil, err
	}
	if err := l.makeTruth(); err != nil {
		return nil, err
	}
	l.watch, err = l.watchAll()
	return l, err
}

// configure writes the configuration into a folder of its own.
func (l *lab) configure(sub string) error {
	dir := filepath.Join(l.dir, sub)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path, err := l.conf.Write(dir)
	if err != nil {
		return err
	}
	l.config = path
	cfg, err := config.Load([]string{path}, os.LookupEnv)
	if err != nil {
		return err
	}
	l.slot = cfg.Pipelines()[0].Slot
	return nil
}

func (l *lab) topics() []string { return rig.Topics(l.name)[:2] }
func (l *lab) key() string      { return l.name + "/" + l.database }
func (l *lab) seeds() []string  { return strings.Split(l.w.Kafka.Bootstrap(), ",") }

// run starts a relay and waits until it streams.
func (l *lab) run(arms ...arm) (*relay, error) {
	r, err := l.launch([]string{"run"}, arms...)
	if err != nil {
		return nil, err
	}
	return r, l.running(r)
}

func (l *lab) running(r *relay) error {
	ctx, cancel := context.WithTimeout(l.ctx, readyWithin)
	defer cancel()
	return r.State(ctx, l.database, "RUNNING")
}

// made has a relay make the first start and end, so that what follows is an
// ordinary start.
func (l *lab) made() error {
	r, err := l.run()
	if err != nil {
		return err
	}
	return r.stop(l.ctx)
}

// hitch notes that consumers cannot see what is committed from begin until the
// next event arrives.
func (l *lab) hitch(begin time.Time) {
	l.hitches, l.hitched = append(l.hitches, [2]time.Time{begin, time.Now()}), true
}

// late is when a checkpoint committed at t is sure to have been seen.
func (l *lab) late(t time.Time) time.Time {
	by := t.Add(l.visible)
	for _, h := range l.hitches {
		if by.After(h[0]) && t.Before(h[1].Add(time.Second)) {
			by = maxTime(by, h[1].Add(5*time.Second))
		}
	}
	return by
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// flows demands that events written now arrive.
func (l *lab) flows() error {
	ids, err := l.publish(3)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := l.arrived(ids...); err != nil {
		return err
	}
	if l.hitched {
		l.hitches[len(l.hitches)-1][1], l.hitched = time.Now(), false
	}
	return nil
}

// arrived waits until every one of ids was read, as long as a relay is alive.
func (l *lab) arrived(ids ...string) error {
	var err error
	for by := time.Now().Add(recoverWithin); time.Now().Before(by); {
		if err = l.watch.arrived(time.Second, ids...); err == nil {
			return nil
		}
		if !l.alive() {
			break
		}
	}
	return errors.Join(fmt.Errorf("events do not arrive (%s given): %w", recoverWithin, err), l.dead())
}

func (l *lab) alive() bool {
	for _, r := range l.relays {
		select {
		case <-r.Done():
		default:
			return true
		}
	}
	return false
}

// dead names relays that ended, for messages.
func (l *lab) dead() error {
	var errs []error
	for i, r := range l.relays {
		select {
		case <-r.Done():
			errs = append(errs, fmt.Errorf("relay %d has ended (%w)", i+1, r.Wait()))
		default:
			errs = append(errs, fmt.Errorf("relay %d:\n%s", i+1, tail(r.Log())))
		}
	}
	return errors.Join(errs...)
}

// settle stops the load, waits until everything that was committed arrived,
// ends the relays that still run in good order, reads to the end, and judges.
//
// Of a story that failed only what was seen is judged.
func (l *lab) settle(failed bool) (*Verdict, *Evidence, error) {
	var flows error
	if !failed {
		flows = l.flows() // the load goes on behind the fault for a while
	}
	if l.load != nil {
		l.load.stop()
	}
	if !failed && flows == nil {
		flows = l.flows()
	}
	for _, r := range l.relays {
		select {
		case <-r.Done():
		default:
			flows = errors.Join(flows, r.stop(l.ctx))
		}
	}
	if !failed {
		flows = errors.Join(flows, l.watch.toTheEnd(recoverWithin))
	}
	e, err := l.evidence()
	if err != nil {
		return nil, nil, errors.Join(flows, err)
	}
	return Check(e), e, flows
}

func (l *lab) evidence() (*Evidence, error) {
	rows, err := l.truth()
	if err != nil {
		return nil, fmt.Errorf("read the truth: %w", err)
	}
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	e := &Evidence{Rows: rows, Marks: l.watch.marks[l.judged.marks:], Samples: l.watch.samples[l.judged.samples:], Limit: l.limit, Late: l.late}
	for _, r := range l.watch.records {
		if !l.judged.records[r.ID] {
			e.Records = append(e.Records, r)
		}
	}
	return e, nil
}

// close ends everything and forgets the database and the topics.
func (l *lab) close() {
	if l.load != nil {
		l.load.stop()
	}
	for _, r := range l.relays {
		r.close()
	}
	if l.watch != nil {
		l.watch.close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), stopWithin)
	defer cancel()
	_ = l.w.PG.DropDatabase(ctx, l.database) // what is left goes with the world
	for _, t := range l.topics() {
		_ = l.w.Kafka.DeleteTopic(ctx, t)
	}
	_ = os.RemoveAll(l.short)
	for _, end := range l.after {
		_ = end() // the stack ends what is left
	}
}

// keep writes down what a failed cell saw.
func (l *lab) keep(e *Evidence, v *Verdict) {
	if e == nil {
		return
	}
	for name, what := range map[string]any{"rows": e.Rows, "records": e.Records, "marks": e.Marks, "samples": e.Samples, "verdict": v} {
		text, err := json.MarshalIndent(what, "", " ")
		if err == nil {
			_ = os.WriteFile(filepath.Join(l.dir, name+".json"), text, 0o644) // the failure is told anyway
		}
	}
}

// registryPath is the path of a registry's base URL.
func registryPath(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return "" // the stack has checked it
	}
	return u.Path
}
