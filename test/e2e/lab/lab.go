package lab

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

// Binary is the relay under test, built once.
var Binary string

// parallel is how many tests run at the same time, unless -parallel says so:
// most of their time they wait for other processes, which want a processor too.
var parallel = strconv.Itoa(2 * runtime.GOMAXPROCS(0))

// Main is the TestMain of a package of end-to-end tests.
func Main(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set(parallel) // a number
	}
	var err error
	if Binary, err = rig.Tested(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stack.Main(m)
}

// Lab is one test's surroundings: a database, topics and a name of its own on
// servers that tests share, unless a test brings its own.
type Lab struct {
	*testing.T
	PG     *stack.PG
	Kafka  *stack.Kafka
	SR     *stack.SR
	URL    string // of the database
	DB     *pgxpool.Pool
	ID     string // of the relay, and prefix of the topics
	Dir    string
	Config string // its path
	Conf   rig.Config
	Truth  *rig.Truth
	Env    []string // of the relay, besides ours
}

// Setup changes a lab before its configuration is written.
type Setup func(*Lab, *rig.Config)

// OwnPostgres gives the lab a server of its own, which may be stopped.
func OwnPostgres(opts ...stack.PGOption) Setup {
	return func(l *Lab, _ *rig.Config) { l.PG = stack.NewPostgres(l.T, opts...) }
}

// OwnBroker gives the lab a broker of its own, which may be killed.
func OwnBroker(opts ...stack.BrokerOption) Setup {
	return func(l *Lab, _ *rig.Config) { l.Kafka = stack.NewBroker(l.T, opts...) }
}

// With changes the configuration.
func With(change func(*rig.Config)) Setup {
	return func(_ *Lab, c *rig.Config) { change(c) }
}

// Property sets a client property of Kafka.
func Property(name, value string) Setup {
	return With(func(c *rig.Config) { c.Kafka[name] = value })
}

// New makes a lab; the test runs beside others from here on.
func New(t *testing.T, setups ...Setup) *Lab {
	t.Helper()
	t.Parallel()
	if testing.Short() {
		t.Skip("end-to-end tests need a broker of their own")
	}
	return Second(t, setups...)
}

// Second makes a lab for a test that is parallel already: a second one.
func Second(t *testing.T, setups ...Setup) *Lab {
	t.Helper()
	if err := rig.Sources(); err != nil {
		t.Fatal(err)
	}
	l := &Lab{T: t, Dir: t.TempDir(), ID: "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:10], Truth: rig.NewTruth()}
	c := rig.Config{Name: l.ID, Prefix: l.ID, Kafka: map[string]string{"transaction.timeout.ms": "10000"}}
	for _, s := range setups {
		s(l, &c)
	}
	if l.PG == nil {
		l.PG = stack.Postgres(t)
	}
	if l.Kafka == nil {
		l.Kafka = stack.Broker(t)
	}
	if l.SR == nil {
		l.SR = stack.Registry(t)
	}
	l.URL = l.PG.Database(t)
	l.DB = l.Pool(l.URL)
	c.Postgres, c.Bootstrap = l.URL, l.Kafka.Bootstrap()
	if c.Registry == "" {
		c.Registry = l.SR.URL()
	}
	l.Configure(c)
	l.Must(migrations.Up(l.Ctx(time.Minute), l.URL))
	return l
}

// Configure writes (again) the configuration.
func (l *Lab) Configure(c rig.Config) {
	l.Helper()
	path, err := c.Write(l.Dir)
	if err != nil {
		l.Fatal(err)
	}
	l.Config, l.Conf = path, c
}

// Must is Check for a call whose result is of no interest.
func (l *Lab) Must(_ any, err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// Check ends the test with an error.
func (l *Lab) Check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// patience is how much longer a test waits than it would have to on a quiet
// machine. Its bounds are for what hangs, and claim nothing about speed.
const patience = 4

// Ctx is the test's context, bounded.
func (l *Lab) Ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(l.Context(), patience*d)
	l.Cleanup(cancel)
	return ctx
}

// Pool connects to a database.
func (l *Lab) Pool(url string) *pgxpool.Pool {
	l.Helper()
	p, err := pgxpool.New(l.Context(), url)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(p.Close)
	return p
}

// Exec runs a statement in the lab's database.
func (l *Lab) Exec(sql string, args ...any) {
	l.Helper()
	if _, err := l.DB.Exec(l.Ctx(time.Minute), sql, args...); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
}

// Ask returns the one text value of a query.
func (l *Lab) Ask(sql string, args ...any) string {
	l.Helper()
	var s string
	if err := l.DB.QueryRow(l.Ctx(time.Minute), sql, args...).Scan(&s); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
	return s
}

// Launch starts a relay and does not wait for anything.
func (l *Lab) Launch(args ...string) *rig.Relay {
	l.Helper()
	log, err := os.OpenFile(filepath.Join(l.Dir, "relay.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.Fatal(err)
	}
	r, err := rig.Start(Binary, l.Env, log, append([]string{"-c", l.Config}, args...)...)
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

// Start starts a relay and waits until it streams.
func (l *Lab) Start(args ...string) *rig.Relay {
	l.Helper()
	r := l.Launch(append([]string{"run"}, args...)...)
	l.Check(r.Ready(l.Ctx(time.Minute)))
	return r
}

// Slot is the name of the lab's slot.
func (l *Lab) Slot() string {
	cfg, err := config.Load([]string{l.Config}, os.LookupEnv)
	if err != nil {
		l.Fatal(err)
	}
	return cfg.Pipelines()[0].Slot
}

// service returns a service that writes into the lab's database.
func (l *Lab) service(name string) *rig.Service {
	return &rig.Service{Name: name, Truth: l.Truth, Keys: 6, MaxTx: 5, Rollback: 7, Seed: uint64(len(name)) + 7}
}

// Writes has a service write n events.
func (l *Lab) Writes(name string, n int) {
	l.Helper()
	l.Check(l.service(name).Write(l.Ctx(5*time.Minute), l.DB, n, nil))
}

// Reader is a consumer of topics, of the contract's without any.
func (l *Lab) Reader(topics ...string) *rig.Reader {
	l.Helper()
	if len(topics) == 0 {
		topics = rig.Topics(l.ID)
	}
	r, err := rig.NewReader(l.Kafka.Bootstrap(), topics...)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(r.Close)
	return r
}

// Settled reads until everything the truth holds is there and nothing more
// comes, and demands that it is exact.
func (l *Lab) Settled(bound time.Duration) *rig.Report {
	l.Helper()
	r := l.Reader()
	return l.Exact(r, bound)
}

// Exact is Settled for a reader that has read some already.
func (l *Lab) Exact(r *rig.Reader, bound time.Duration) *rig.Report {
	l.Helper()
	l.Check(r.Read(l.Ctx(bound), func(n int) bool { return n >= l.Truth.Committed() }))
	l.Check(r.Settle(l.Ctx(bound), 1500*time.Millisecond))
	dec, err := rig.NewDecoder(l.SR.URL())
	if err != nil {
		l.Fatal(err)
	}
	report, err := rig.Check(l.Ctx(bound), l.Truth, r.All, dec)
	if err != nil {
		l.Fatal(err)
	}
	if !report.Exact() {
		l.Errorf("not exactly once: %s", report)
	}
	return report
}
