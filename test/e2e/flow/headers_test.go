package flow

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// block is a block of a page of the documentation, its topics made the lane's.
func block(l *lab.Lab, page, name string) string {
	l.Helper()
	text, err := rig.Example(page, name)
	l.Check(err)
	return strings.ReplaceAll(text, "huleedu.", l.ID+".")
}

// rollout is a fleet of two databases whose events get their headers step by
// step. Those of each database go to topics of its own.
type rollout struct {
	*lab.Lane
	dbs   [2]*pgxpool.Pool
	want  map[string][]rolled // by topic
	relay *rig.Relay
}

// rolled is an event that was committed.
type rolled struct {
	id   string
	with string // headers: on, off, or either while relays change over
}

// steps are the contracts of the page, in their order, and which types have
// headers then: both, the first of them, none.
var steps = []struct{ example, state, thin string }{
	{"rollout-off", "off", "off"},
	{"rollout-one", "on", "off"},
	{"rollout-all", "on", "on"},
	{"rollback-one", "on", "off"},
	{"rollout-off", "off", "off"},
}

func newRollout(t *testing.T) *rollout {
	n := lab.NewLane(t)
	o := &rollout{Lane: n, want: map[string][]rolled{}}
	second := n.PG.Database(t)
	n.Must(migrations.Up(n.Ctx(time.Minute), second))
	o.dbs = [2]*pgxpool.Pool{n.DB, n.Pool(second)}
	n.Rewrite(func(c *rig.Config) {
		c.Server, c.Postgres = n.PG.URL(""), ""
		c.Databases = map[string]string{
			"essays": "dbname: " + lab.DatabaseName(n.URL) + ", service: essay_service",
			"nlp":    "dbname: " + lab.DatabaseName(second) + ", service: nlp_service",
		}
	})
	for db := range o.dbs {
		for _, kind := range rig.Types[:2] {
			n.Check(n.Kafka.CreateTopic(n.Ctx(time.Minute), o.topicOf(db, kind), 1, nil))
		}
	}
	return o
}

func (o *rollout) topicOf(db int, kind string) string {
	return fmt.Sprintf("%s.db%d.%s", o.ID, db, kind)
}

// commit publishes count events of each type in each database and notes what is
// expected of their headers.
func (o *rollout) commit(count int, state, thin string) {
	o.Helper()
	for i := range count {
		for db := range o.dbs {
			for k, with := range []string{state, thin} {
				e := rig.Event{ID: uuid.NewString(), Type: rig.Types[k], Key: "k", Seq: i + 1, Tx: 1, Of: 1}
				row := e.Outbox()
				row.Topic, row.Headers = o.topicOf(db, e.Type), map[string]string{"x-own": e.ID}
				o.Check(pgx.BeginFunc(o.Ctx(time.Minute), o.dbs[db], func(tx pgx.Tx) error { return outbox.Publish(o.Context(), tx, row) }))
				o.want[row.Topic] = append(o.want[row.Topic], rolled{e.ID, with})
			}
		}
	}
}

// arrived waits until everything committed so far can be read.
func (o *rollout) arrived() {
	o.Helper()
	total, topics := 0, []string{}
	for topic, all := range o.want {
		topics, total = append(topics, topic), total+len(all)
	}
	o.Check(o.Reader(topics...).Read(o.Ctx(2*time.Minute), func(got int) bool { return got >= total }))
}

// change rolls the fleet over to a contract as people do: a relay with the new
// one stands by, then the old one is stopped.
func (o *rollout) change(contract string) {
	o.Helper()
	o.Rewrite(func(c *rig.Config) { c.Contract = contract })
	next := o.Launch("run")
	if o.relay != nil {
		for _, p := range []string{"essays", "nlp"} {
			o.Check(next.State(o.Ctx(2*time.Minute), p, "STANDBY"))
		}
		o.commit(5, "either", "either")
		o.Stopped(o.relay, 0)
	}
	for _, p := range []string{"essays", "nlp"} {
		o.Check(next.State(o.Ctx(2*time.Minute), p, "RUNNING"))
	}
	o.relay = next
}

// Headers are rolled out type by type on a fleet that goes on publishing, and
// rolled back: no event is lost, doubled or out of order, the row's own headers
// are there at every step, and the metrics tell whose events lack something.
func TestHeadersAreRolledOutAndBack(t *testing.T) {
	o := newRollout(t)
	for i, s := range steps {
		o.change(block(o.Lab, "docs/keys-and-headers.md", s.example))
		o.arrived() // what was committed while the relays changed over
		o.commit(10, s.state, s.thin)
		o.arrived()
		if i == 2 {
			// Ten events of each type with headers were published by this relay
			// for sure, and no row gave a trace id; those of the change-over may
			// be its or its predecessor's.
			body, _ := get(o.Lab, o.relay, "/metrics")
			for _, service := range []string{"essay_service", "nlp_service"} {
				for _, kind := range rig.Types[:2] {
					series := fmt.Sprintf("\nkafka_event_headers_missing_total{event_type=%q,service=%q} 1", kind, service)
					if !strings.Contains(string(body), series) {
						t.Errorf("/metrics has no series%s…", series)
					}
				}
			}
		}
	}
	o.Stopped(o.relay, 0)
	for topic, want := range o.want {
		o.judge(topic, want)
	}
}

// judge compares the whole topic with what was committed.
func (o *rollout) judge(topic string, want []rolled) {
	o.Helper()
	records := o.Tape(topic).Records
	var got []string
	for _, r := range records {
		got = append(got, lab.Header(r, "x-own"))
	}
	if len(records) != len(want) || !slices.EqualFunc(got, want, func(id string, w rolled) bool { return id == w.id }) {
		o.Fatalf("%s: %d events arrived, %d were committed, or they are in another order", topic, len(records), len(want))
	}
	for i, r := range records {
		var names []string
		for _, h := range r.Headers {
			names = append(names, h.Key)
		}
		state := "off"
		switch {
		case slices.Equal(names, []string{"event_id", "event_type", "schema_version", "occurred_at", "content_type", "trace_id", "correlation_id", "region", "tenant", "x-own"}):
			state = "on"
		case !slices.Equal(names, []string{"x-own"}):
			o.Fatalf("%s, event %d: headers %q", topic, i, names)
		}
		if want[i].with != "either" && want[i].with != state {
			o.Errorf("%s, event %d: headers are %s, want %s", topic, i, state, want[i].with)
		}
		if state == "on" && (lab.Header(r, "tenant") != "none" || lab.Header(r, "region") != "eu-north-1") {
			o.Errorf("%s, event %d: tenant %q, region %q", topic, i, lab.Header(r, "tenant"), lab.Header(r, "region"))
		}
	}
}

// The contract of the page: keys of every kind of source, added headers, a
// second form with headers of its own.
func TestKeysAndHeadersOfThePage(t *testing.T) {
	n := lab.NewLane(t)
	n.Rewrite(func(c *rig.Config) { c.Contract = block(n.Lab, "docs/keys-and-headers.md", "contract") })
	r := n.Start()
	publish := func(kind, key, headers, payload string) {
		n.Exec(`insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, message_key, headers, payload, occurred_at)
			values (gen_random_uuid(), 'order', 'o-1', $1, nullif($2, ''), nullif($3, '')::json, $4::json, '2026-05-01 12:00:00+00')`, kind, key, headers, payload)
	}
	publish("order.placed", "", `{"trace_id":"t-1"}`, `{"tenant_id":"acme","order":{"id":77}}`)
	publish("order.placed", "", `{"trace_id":"t-1","tenant":"own"}`, `{"order":{"id":78}}`)
	publish("order.placed", "mine", `{"trace_id":"t-1"}`, `{"tenant_id":"acme","order":{"id":79}}`)
	publish("order.paid", "", `{"trace_id":"t-1","context":{"region":"north"}}`, `{"tenant_id":"acme"}`)
	publish("order.paid", "", `{"trace_id":"t-1"}`, `{"tenant_id":"acme"}`)
	placed, paid, legacy := n.ID+".order.placed.v1", n.ID+".order.paid.v1", n.ID+".orders"
	n.Check(n.Reader(placed, paid, legacy).Read(n.Ctx(time.Minute), func(got int) bool { return got >= 7 }))
	exactly(n.Lab, r, fmt.Sprintf(`cdc_relay_partition_key_fallthrough_total{event_type="order.placed",pipeline=%[1]q,service=%[1]q} 1`, lab.DatabaseName(n.URL)))
	n.Stopped(r, 0)

	std := func(kind string, more ...string) []string {
		return append([]string{"event_id=*", "event_type=" + kind, "schema_version=1", "occurred_at=2026-05-01T12:00:00.000000Z",
			"content_type=application/json", "trace_id=t-1", "correlation_id=t-1"}, more...)
	}
	read(n, placed,
		plain{"acme:77", std("order.placed", "source=order-service", "tenant=acme"), `{"tenant_id":"acme","order":{"id":77}}`},
		plain{"o-1", std("order.placed", "source=order-service", "tenant=own"), `{"order":{"id":78}}`},
		plain{"mine", std("order.placed", "source=order-service", "tenant=acme"), `{"tenant_id":"acme","order":{"id":79}}`})
	read(n, paid,
		plain{"north/o-1", std("order.paid", "source=order-service", "tenant=acme", `context={"region":"north"}`), `{"tenant_id":"acme"}`},
		plain{"everyone", std("order.paid", "source=order-service", "tenant=acme"), `{"tenant_id":"acme"}`})
	read(n, legacy,
		plain{"o-1", []string{"trace_id=t-1", `context={"region":"north"}`}, `{"tenant_id":"acme"}`},
		plain{"o-1", []string{"trace_id=t-1"}, `{"tenant_id":"acme"}`})
}
