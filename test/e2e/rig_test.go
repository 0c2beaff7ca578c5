package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// binary is the relay under test, built once.
var binary string

// parallel is how many tests run at the same time, unless -parallel says so:
// most of their time they wait for other processes, which want a processor too.
var parallel = strconv.Itoa(2 * runtime.GOMAXPROCS(0))

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set(parallel) // a number
	}
	var err error
	if binary, err = rig.Tested(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stack.Main(m)
}

// lab is one test's surroundings: a database, topics and a name of its own on
// servers that tests share, unless a test brings its own.
type lab struct {
	*testing.T
	pg     *stack.PG
	kafka  *stack.Kafka
	sr     *stack.SR
	url    string // of the database
	db     *pgxpool.Pool
	name   string // of the relay, and prefix of the topics
	dir    string
	config string // its path
	conf   rig.Config
	truth  *rig.Truth
	env    []string // of the relay, besides ours
}

// setup changes a lab before its configuration is written.
type setup func(*lab, *rig.Config)

func ownPostgres(opts ...stack.PGOption) setup {
	return func(l *lab, _ *rig.Config) { l.pg = stack.NewPostgres(l.T, opts...) }
}

func ownBroker(opts ...stack.BrokerOption) setup {
	return func(l *lab, _ *rig.Config) { l.kafka = stack.NewBroker(l.T, opts...) }
}

// with changes the configuration.
func with(change func(*rig.Config)) setup {
	return func(_ *lab, c *rig.Config) { change(c) }
}

// property sets a client property of Kafka.
func property(name, value string) setup {
	return with(func(c *rig.Config) { c.Kafka[name] = value })
}

func newLab(t *testing.T, setups ...setup) *lab {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		t.Skip("end-to-end tests need a broker of their own")
	}
	return makeLab(t, setups...)
}

// makeLab makes a lab for a test that is parallel already: a second one.
func makeLab(t *testing.T, setups ...setup) *lab {
	t.Helper()
	if err := rig.Sources(); err != nil {
		t.Fatal(err)
	}
	l := &lab{T: t, dir: t.TempDir(), name: "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:10], truth: rig.NewTruth()}
	c := rig.Config{Name: l.name, Prefix: l.name, Kafka: map[string]string{"transaction.timeout.ms": "10000"}}
	for _, s := range setups {
		s(l, &c)
	}
	if l.pg == nil {
		l.pg = stack.Postgres(t)
	}
	if l.kafka == nil {
		l.kafka = stack.Broker(t)
	}
	if l.sr == nil {
		l.sr = stack.Registry(t)
	}
	l.url = l.pg.Database(t)
	l.db = l.pool(l.url)
	c.Postgres, c.Bootstrap = l.url, l.kafka.Bootstrap()
	if c.Registry == "" {
		c.Registry = l.sr.URL()
	}
	l.write(c)
	l.must(migrations.Up(l.ctx(time.Minute), l.url))
	return l
}

// write writes (again) the configuration.
func (l *lab) write(c rig.Config) {
	l.Helper()
	path, err := c.Write(l.dir)
	if err != nil {
		l.Fatal(err)
	}
	l.config, l.conf = path, c
}

func (l *lab) must(_ any, err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(l.Context(), d)
	l.Cleanup(cancel)
	return ctx
}

func (l *lab) pool(url string) *pgxpool.Pool {
	l.Helper()
	p, err := pgxpool.New(l.Context(), url)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(p.Close)
	return p
}

func (l *lab) exec(sql string, args ...any) {
	l.Helper()
	if _, err := l.db.Exec(l.ctx(time.Minute), sql, args...); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
}

// ask returns the one text value of a query.
func (l *lab) ask(sql string, args ...any) string {
	l.Helper()
	var s string
	if err := l.db.QueryRow(l.ctx(time.Minute), sql, args...).Scan(&s); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
	return s
}

// launch starts a relay and does not wait for anything.
func (l *lab) launch(args ...string) *rig.Relay {
	l.Helper()
	log, err := os.OpenFile(filepath.Join(l.dir, "relay.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.Fatal(err)
	}
	r, err := rig.Start(binary, l.env, log, append([]string{"-c", l.config}, args...)...)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		r.Kill()
		if l.Failed() {
			l.Logf("log of relay %d:\n%s", r.PID(), r.Log())
		}
		log.Close() // a copy of the log
	})
	return r
}

// start starts a relay and waits until it streams.
func (l *lab) start(args ...string) *rig.Relay {
	l.Helper()
	r := l.launch(append([]string{"run"}, args...)...)
	l.check(r.Ready(l.ctx(time.Minute)))
	return r
}

// slot is the name of the lab's slot.
func (l *lab) slot() string {
	cfg, err := config.Load([]string{l.config}, os.LookupEnv)
	if err != nil {
		l.Fatal(err)
	}
	return cfg.Pipelines()[0].Slot
}

// service returns a service that writes into the lab's database.
func (l *lab) service(name string) *rig.Service {
	return &rig.Service{Name: name, Truth: l.truth, Keys: 6, MaxTx: 5, Rollback: 7, Seed: uint64(len(name)) + 7}
}

// writes has a service write n events.
func (l *lab) writes(name string, n int) {
	l.Helper()
	l.check(l.service(name).Write(l.ctx(5*time.Minute), l.db, n, nil))
}

func (l *lab) reader(topics ...string) *rig.Reader {
	l.Helper()
	if len(topics) == 0 {
		topics = rig.Topics(l.name)
	}
	r, err := rig.NewReader(l.kafka.Bootstrap(), topics...)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(r.Close)
	return r
}

// settled reads until everything the truth holds is there and nothing more
// comes, and demands that it is exact.
func (l *lab) settled(bound time.Duration) *rig.Report {
	l.Helper()
	r := l.reader()
	return l.exact(r, bound)
}

func (l *lab) exact(r *rig.Reader, bound time.Duration) *rig.Report {
	l.Helper()
	l.check(r.Read(l.ctx(bound), func(n int) bool { return n >= l.truth.Committed() }))
	l.check(r.Settle(l.ctx(bound), 1500*time.Millisecond))
	dec, err := rig.NewDecoder(l.sr.URL())
	if err != nil {
		l.Fatal(err)
	}
	report, err := rig.Check(l.ctx(bound), l.truth, r.All, dec)
	if err != nil {
		l.Fatal(err)
	}
	if !report.Exact() {
		l.Errorf("not exactly once: %s", report)
	}
	return report
}
