package contracts

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// group is the consumer group of the services in docs/consuming.md.
const group = "result-aggregator"

// service is one of docs/consuming.md: it counts the events of each key.
type service struct {
	binary string
	args   []string
	vars   []string
}

// goService builds what the page shows, as it is.
func goService(l *lab.Lab) service {
	l.Helper()
	source := exampleFile(l, "go service", "main.go")
	out := filepath.Join(l.Dir, "service")
	cmd := exec.CommandContext(l.Ctx(3*time.Minute), "go", "build", "-o", out, source)
	cmd.Dir = rig.Root() // so that it finds this module
	if text, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("build the Go service of the page: %v\n%s", err, text)
	}
	return service{binary: out}
}

func pythonService(l *lab.Lab) service {
	l.Helper()
	return service{
		binary: stack.Python(l.T), args: []string{"-u", exampleFile(l, "python service", "service.py")},
		vars: []string{"PYTHONPATH=" + filepath.Join(rig.Root(), "clients", "python")},
	}
}

// exampleFile writes an example of the page into the lab's folder.
func exampleFile(l *lab.Lab, name, file string) string {
	l.Helper()
	text, err := rig.Example("docs/consuming.md", name)
	l.Check(err)
	path := filepath.Join(l.Dir, file)
	l.Check(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// consumers are instances of one service with a database of their own.
type consumers struct {
	*lab.Lab
	service
	own  *pgxpool.Pool
	url  string
	made int
}

func newConsumers(l *lab.Lab, s service) *consumers {
	l.Helper()
	c := &consumers{Lab: l, service: s, url: l.PG.Database(l.T)}
	c.own = l.Pool(c.url)
	c.Must(c.own.Exec(l.Context(), `create table essay_changes (essay_id text primary key, changes bigint not null)`))
	return c
}

// instance is one process of the service.
type instance struct {
	*rig.Relay
	metrics string
}

func (c *consumers) instance(bootstrap string) *instance {
	c.Helper()
	port := freePort(c.Lab)
	c.made++
	log, err := os.Create(filepath.Join(c.Dir, fmt.Sprintf("consumer%d.log", c.made)))
	c.Check(err)
	env := append([]string{"DATABASE_URL=" + c.url, "KAFKA_BOOTSTRAP=" + bootstrap, "TOPICS=" + strings.Join(rig.Topics(c.ID), ","), "METRICS_PORT=" + port}, c.vars...)
	r, err := rig.Start(c.binary, env, log, c.args...)
	c.Check(err)
	number := c.made
	c.Cleanup(func() {
		r.Kill()
		if c.Failed() {
			c.Logf("log of consumer %d, its end:\n%s", number, r.Log()[max(0, len(r.Log())-4000):])
		}
		log.Close() // a copy of the log
	})
	return &instance{r, "http://127.0.0.1:" + port + "/metrics"}
}

// freePort is one nobody listens on; the service cannot tell which it would
// choose.
func freePort(l *lab.Lab) string {
	l.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	l.Check(err)
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	l.Check(err)
	return port
}

// of asks the consumers' database for a number.
func (c *consumers) of(query string) int {
	c.Helper()
	n := 0
	c.Check(c.own.QueryRow(c.Ctx(time.Minute), query).Scan(&n))
	return n
}

// claimed is how many events the service has claimed; 0 also before the first
// instance made the table.
func (c *consumers) claimed() int {
	c.Helper()
	if c.of(`select (to_regclass('cdc_relay.inbox') is not null)::int`) == 0 {
		return 0
	}
	return c.of(`select count(*) from cdc_relay.inbox`)
}

// counted demands that the effects are those of every committed event, once.
func (c *consumers) counted() {
	c.Helper()
	c.Soon(2*time.Minute, fmt.Sprintf("%d events counted", c.Truth.Committed()), func() bool { return c.claimed() >= c.Truth.Committed() })
	c.same("")
}

// same demands the same of the present moment.
func (c *consumers) same(when string) {
	c.Helper()
	want := c.Ask(`select string_agg(k || ' ' || n, E'\n' order by k) from (select aggregate_id as k, count(*) as n from cdc_relay.outbox group by 1) as o`)
	var got string
	c.Check(c.own.QueryRow(c.Ctx(time.Minute), `select string_agg(essay_id || ' ' || changes, E'\n' order by essay_id) from essay_changes`).Scan(&got))
	if got != want {
		c.Errorf("effects differ from what was committed %s\ncounted\n%s\ncommitted\n%s", when, got, want)
	}
	if n := c.claimed(); n != c.Truth.Committed() {
		c.Errorf("%d claims %s, %d events were committed", n, when, c.Truth.Committed())
	}
}

// duplicates are those an instance has logged.
func (i *instance) duplicates() int { return strings.Count(i.Log(), "duplicate: ") }

// stable waits until the group has n members, each with partitions.
func (c *consumers) stable(n int) {
	c.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Kafka.Bootstrap()))
	c.Check(err)
	defer client.Close()
	c.Soon(2*time.Minute, fmt.Sprintf("a group of %d", n), func() bool {
		req := kmsg.NewDescribeGroupsRequest()
		req.Groups = []string{group}
		res, err := req.RequestWith(c.Ctx(30*time.Second), client)
		c.Check(err)
		g := res.Groups[0]
		if kerr.ErrorForCode(g.ErrorCode) != nil || g.State != "Stable" || len(g.Members) != n {
			return false
		}
		for _, m := range g.Members {
			var a kmsg.ConsumerMemberAssignment
			if a.ReadFrom(m.MemberAssignment) != nil || len(a.Topics) == 0 {
				return false
			}
		}
		return true
	})
}

// A service as the page shows it, in Go and in Python: an instance is killed
// between the commit of its database and that of its offset; a second and a third
// take over, share, and lose one another; the third freezes in the middle of a
// transaction and comes back when a fourth has its partitions; then everything is
// replayed. Each event takes effect once.
func TestServicesOfThePage(t *testing.T) {
	for name, service := range map[string]func(*lab.Lab) service{"go": goService, "python": pythonService} {
		t.Run(name, func(t *testing.T) {
			l := lab.New(t, lab.OwnBroker(stack.Proxied()), lab.With(func(c *rig.Config) { c.Extra += "idle_checkpoint: {interval: 500ms}\n" }))
			c := newConsumers(l, service(l))
			relay := l.Start()
			l.Writes("anchored", 20)
			l.Delivered(l.Reader(), 20, time.Minute)
			l.Acknowledged()
			from := lab.WordAfter(t, l.Command("slots", "anchor", "all").Exits(0).Out, "--from-lsn ")
			l.Writes("before", 300)
			abortedEvent(l, rig.Topics(l.ID)[0])

			killed := c.killedBeforeItsOffset()
			second := c.instance(l.Kafka.Bootstrap())
			// Once the killed one's session has expired, what it did comes again: its
			// offset is where it began.
			c.Soon(2*time.Minute, fmt.Sprintf("%d duplicates", killed), func() bool { return second.duplicates() >= killed })
			c.counted()
			if n := second.duplicates(); n != killed {
				t.Errorf("%d duplicates; the killed instance had done the work of %d events and committed no offset", n, killed)
			}
			third := c.shared(second)
			fourth := c.zombie(third)
			c.replayed(relay, fourth, from)
		})
	}
}

// abortedEvent writes an event in a transaction that is aborted: its effect
// would show that a service reads what was not committed.
func abortedEvent(l *lab.Lab, topic string) {
	l.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.Kafka.Bootstrap()), kgo.TransactionalID(l.ID+"-aborted"))
	l.Check(err)
	defer c.Close()
	l.Check(c.BeginTransaction())
	r := &kgo.Record{Topic: topic, Key: []byte("aborted"), Headers: []kgo.RecordHeader{{Key: "event_id", Value: []byte("aborted")}}}
	l.Check(c.ProduceSync(l.Ctx(time.Minute), r).FirstErr())
	l.Check(c.EndTransaction(l.Ctx(time.Minute), kgo.TryAbort))
}

// killedBeforeItsOffset runs an instance up to its first commit of an offset,
// which does not reach the broker, and kills it there. It returns how many
// events it had done the work of.
func (c *consumers) killedBeforeItsOffset() int {
	c.Helper()
	proxy := c.Kafka.Proxies()[0]
	reached, _ := proxy.HoldRequest(fault.OffsetCommit, 1) // never released
	first := c.instance(c.Kafka.ProxiedBootstrap())
	select {
	case <-reached:
	case <-first.Done():
		c.Fatalf("the first instance ended: %v\n%s", first.Wait(), first.Log())
	case <-c.Ctx(time.Minute).Done():
		c.Fatalf("the first instance commits no offset\n%s", first.Log())
	}
	done := c.of(`select sum(changes)::int from essay_changes`) // that it is there before the offset is the point
	first.Kill()
	proxy.Cut()
	if done == 0 || done != c.claimed() || first.duplicates() != 0 {
		c.Fatalf("killed with %d effects, %d claims and %d duplicates", done, c.claimed(), first.duplicates())
	}
	return done
}

// shared has a third instance join while events come, and kills the second. It
// returns the third.
func (c *consumers) shared(second *instance) *instance {
	c.Helper()
	w := c.Traffic("rebalanced", 50*time.Millisecond)
	third := c.instance(c.Kafka.Bootstrap())
	c.stable(2)
	c.Wrote(100)
	second.Kill()
	c.Wrote(100)
	w.End()
	c.counted()
	c.stable(1)
	return third
}

// zombie freezes an instance that has claimed an event and not committed, until
// another one has its partitions and waits for that claim. It returns the other.
func (c *consumers) zombie(frozen *instance) *instance {
	c.Helper()
	work, err := c.own.Begin(c.Ctx(5 * time.Minute))
	c.Check(err)
	defer work.Rollback(context.WithoutCancel(c.Context())) // no effect the second time
	c.Must(work.Exec(c.Context(), `lock table essay_changes in exclusive mode`))
	c.Writes("zombie", 60)
	held := 0
	c.Soon(time.Minute, "an event claimed, its work held up", func() bool {
		held = c.of(`select coalesce(max(pid), 0) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
		return held != 0
	})
	c.Check(frozen.Signal(syscall.SIGSTOP))
	dropped := frozen.duplicates()
	c.Check(work.Rollback(c.Context()))
	other := c.instance(c.Kafka.Bootstrap())
	c.Soon(2*time.Minute, "the other to wait for the frozen one's claim", func() bool {
		return c.of(fmt.Sprintf(`select count(*) from pg_stat_activity where datname = current_database() and %d = any (pg_blocking_pids(pid))`, held)) > 0
	})
	c.Check(frozen.Signal(syscall.SIGCONT))
	c.counted()
	// Whose transaction came second dropped it: the other's, or that of the frozen
	// one, if a deadlock between their batches was solved at its expense.
	c.Soon(time.Minute, "one of the two to drop what the other did", func() bool { return other.duplicates()+frozen.duplicates() > dropped })
	select {
	case <-frozen.Done():
		c.Errorf("the frozen instance ended (%v) instead of going on without its partitions:\n%s", frozen.Wait(), frozen.Log())
	default:
	}
	frozen.Kill()
	c.stable(1)
	return other
}

// replayed publishes everything behind from again: as many duplicates, no
// effects.
func (c *consumers) replayed(relay *rig.Relay, i *instance, from string) {
	c.Helper()
	c.Acknowledged()
	c.Stopped(relay, 0)
	before, again := i.duplicates(), c.Truth.Committed()-20 // those before the anchor
	relay = c.Launch("run", "--from-lsn", from)
	c.Soon(2*time.Minute, fmt.Sprintf("%d duplicates more than %d", again, before), func() bool { return i.duplicates() >= before+again })
	c.Writes("afterwards", 30)
	c.counted()
	if n := i.duplicates(); n != before+again {
		c.Errorf("%d duplicates, want %d and then those of %d replayed events", n, before, again)
	}
	want := fmt.Sprintf("kafka_duplicate_events_total{consumer_group=%q,deduplication_method=\"inbox\",service=\"result_aggregator\"} %d", group, before+again)
	if text := i.metric(c.Lab, "kafka_duplicate_events_total"); text != want {
		c.Errorf("metric %s, want %s", text, want)
	}
	c.Stops(relay)
}

var number = regexp.MustCompile(`^(.*) ([0-9.e+]+)$`)

// metric is the one series of a metric as the instance serves it, with labels in
// order and the value as an integer.
func (i *instance) metric(l *lab.Lab, name string) string {
	l.Helper()
	req, err := http.NewRequestWithContext(l.Ctx(10*time.Second), http.MethodGet, i.metrics, nil)
	l.Check(err)
	res, err := http.DefaultClient.Do(req)
	l.Check(err)
	defer res.Body.Close() // read to the end
	body, err := io.ReadAll(res.Body)
	l.Check(err)
	for line := range strings.Lines(string(body)) {
		m := number.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !strings.HasPrefix(line, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(m[2], 64)
		l.Check(err)
		return fmt.Sprintf("%s %d", sorted(m[1]), int(v))
	}
	return ""
}

// sorted orders the labels of a series by name; no value here holds a comma.
func sorted(series string) string {
	name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	parts := strings.Split(labels, ",")
	slices.Sort(parts)
	return name + "{" + strings.Join(parts, ",") + "}"
}

// The inbox is made in a database that no configuration names.
func TestMigrateInbox(t *testing.T) {
	l := lab.New(t)
	url := l.PG.Database(t)
	migrate := []string{"-c", "there-is-none.yaml", "migrate", "--inbox", url}
	name := url[strings.LastIndexByte(url, '/')+1:]
	name, _, _ = strings.Cut(name, "?")
	l.Bare(append(migrate, "--dry-run")...).Exits(0).Says("-- database "+name+": inbox, version 1", "create table if not exists cdc_relay.inbox")
	l.Bare(migrate...).Exits(0).Says("database " + name + ": made the inbox, version 1")
	l.Bare(append(migrate, "--dry-run")...).Exits(0).Says("the inbox is up to date (version 1)")
	l.Bare(migrate...).Exits(0).Says("database " + name + ": the inbox is up to date (version 1)")
	own := l.Pool(url)
	var tables string
	l.Check(own.QueryRow(l.Ctx(time.Minute), `select string_agg(relname, ' ' order by relname) from pg_class where relnamespace = 'cdc_relay'::regnamespace and relkind = 'r'`).Scan(&tables))
	if tables != "inbox" {
		t.Errorf("tables %s, want the inbox alone", tables)
	}
	l.Bare("migrate", "--inbox", "postgres://nobody@127.0.0.1:"+freePort(l)+"/none").Exits(1).Says("connect to the database of --inbox", "refused")
	l.Bare("migrate", "--inbox", url, "--pipeline", "x").Exits(2).Says("say one of them")
}
