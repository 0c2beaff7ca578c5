package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/admin"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// readyz is what /readyz says and its status code.
func (l *lab) readyz(r *rig.Relay) (admin.Readiness, int) {
	l.Helper()
	body, code := l.get(r, "/readyz")
	var v admin.Readiness
	if err := json.Unmarshal(body, &v); err != nil {
		l.Fatalf("/readyz: %v: %s", err, body)
	}
	return v, code
}

func (l *lab) get(r *rig.Relay, path string) ([]byte, int) {
	l.Helper()
	addr, err := r.Addr(l.ctx(time.Minute))
	l.check(err)
	res, err := http.Get("http://" + addr + path)
	l.check(err)
	defer res.Body.Close() // read to the end
	body, err := io.ReadAll(res.Body)
	l.check(err)
	return body, res.StatusCode
}

// Of two databases in one process one lacks its table: that one is FAILED and
// says what to do, the other flows as if it were alone, and the process tells
// by its exit code.
func TestOneOfTwoDatabasesLacksItsTable(t *testing.T) {
	n := newLane(t)
	other := n.pg.Database(t)
	n.rewrite(func(c *rig.Config) {
		c.Server, c.Postgres = n.pg.URL(""), ""
		c.Databases = map[string]string{
			"essays": "dbname: " + databaseName(n.url) + ", service: essay_service",
			"legacy": "dbname: " + databaseName(other) + ", mapping: debezium",
		}
	})
	r := n.launch("run")
	n.check(r.State(n.ctx(time.Minute), "legacy", string(relay.Failed)))
	n.check(r.State(n.ctx(time.Minute), "essays", string(relay.Running)))
	n.publish(20)
	n.arrived(n.reader(n.topic))

	v, code := n.readyz(r)
	if code != http.StatusServiceUnavailable || v.Ready || !slices.Equal(v.NotReady, []string{"legacy"}) {
		t.Errorf("/readyz: %d %+v; want 503 naming legacy", code, v)
	}
	_, alive := n.get(r, "/healthz")
	if alive != http.StatusOK {
		t.Errorf("/healthz: %d; a failed pipeline is no reason to kill the others", alive)
	}
	for _, p := range v.Pipelines {
		if p.Name != "legacy" {
			continue
		}
		for _, part := range []string{"table public.outboxevent does not exist", "next: "} {
			if !strings.Contains(p.Reason, part) {
				t.Errorf("the reason of legacy does not say %q: %s", part, p.Reason)
			}
		}
	}
	line, err := r.WaitLog(n.ctx(time.Minute), "the pipeline cannot go on")
	n.check(err)
	if !strings.Contains(line, "pipeline=legacy") || !strings.Contains(line, "public.outboxevent") {
		t.Errorf("the log does not name pipeline and table: %s", line)
	}
	t.Log(line)

	// Stopped, the process ends with the code of the one that was refused.
	n.publish(5)
	n.stopped(r, 3)
	if !strings.Contains(r.Log(), "\ncdc-relay: pipeline legacy: table public.outboxevent does not exist") {
		t.Errorf("the last word does not name the pipeline that failed:\n%s", r.Log())
	}

	// The table is made, and the same configuration runs.
	pool := n.pool(other)
	_, err = pool.Exec(n.Context(), debeziumTable)
	n.check(err)
	r = n.start()
	n.publish(1)
	n.arrived(n.reader(n.topic))
	n.finished(r)
}

// debeziumTable is the table Debezium's outbox event router reads by default.
const debeziumTable = `create table public.outboxevent (
	id uuid not null primary key, aggregatetype varchar(255) not null, aggregateid varchar(255) not null,
	type varchar(255) not null, payload jsonb)`

func databaseName(url string) string {
	_, name, _ := strings.Cut(strings.TrimPrefix(url, "postgres://"), "/")
	name, _, _ = strings.Cut(name, "?")
	return name
}
