package flow

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
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// readyz is what /readyz says and its status code.
func readyz(l *lab.Lab, r *rig.Relay) (admin.Readiness, int) {
	l.Helper()
	body, code := get(l, r, "/readyz")
	var v admin.Readiness
	if err := json.Unmarshal(body, &v); err != nil {
		l.Fatalf("/readyz: %v: %s", err, body)
	}
	return v, code
}

func get(l *lab.Lab, r *rig.Relay, path string) ([]byte, int) {
	l.Helper()
	addr, err := r.Addr(l.Ctx(time.Minute))
	l.Check(err)
	res, err := http.Get("http://" + addr + path)
	l.Check(err)
	defer res.Body.Close() // read to the end
	body, err := io.ReadAll(res.Body)
	l.Check(err)
	return body, res.StatusCode
}

// Of two databases in one process one lacks its table: that one is FAILED and
// says what to do, the other flows as if it were alone, and the process tells
// by its exit code.
func TestOneOfTwoDatabasesLacksItsTable(t *testing.T) {
	n := lab.NewLane(t)
	other := n.PG.Database(t)
	n.Rewrite(func(c *rig.Config) {
		c.Server, c.Postgres = n.PG.URL(""), ""
		c.Databases = map[string]string{
			"essays": "dbname: " + lab.DatabaseName(n.URL) + ", service: essay_service",
			"legacy": "dbname: " + lab.DatabaseName(other) + ", mapping: debezium",
		}
	})
	r := n.Launch("run")
	n.Check(r.State(n.Ctx(time.Minute), "legacy", string(relay.Failed)))
	n.Check(r.State(n.Ctx(time.Minute), "essays", string(relay.Running)))
	n.Publish(20)
	n.Arrived(n.Reader(n.Topic))

	v, code := readyz(n.Lab, r)
	if code != http.StatusServiceUnavailable || v.Ready || !slices.Equal(v.NotReady, []string{"legacy"}) {
		t.Errorf("/readyz: %d %+v; want 503 naming legacy", code, v)
	}
	_, alive := get(n.Lab, r, "/healthz")
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
	line, err := r.WaitLog(n.Ctx(time.Minute), "the pipeline cannot go on")
	n.Check(err)
	if !strings.Contains(line, "pipeline=legacy") || !strings.Contains(line, "public.outboxevent") {
		t.Errorf("the log does not name pipeline and table: %s", line)
	}
	t.Log(line)

	// Stopped, the process ends with the code of the one that was refused.
	n.Publish(5)
	n.Stopped(r, 3)
	if !strings.Contains(r.Log(), "\ncdc-relay: pipeline legacy: table public.outboxevent does not exist") {
		t.Errorf("the last word does not name the pipeline that failed:\n%s", r.Log())
	}

	// The table is made, and the same configuration runs.
	pool := n.Pool(other)
	_, err = pool.Exec(n.Context(), lab.DebeziumTable)
	n.Check(err)
	r = n.Start()
	n.Publish(1)
	n.Arrived(n.Reader(n.Topic))
	n.Finished(r)
}
