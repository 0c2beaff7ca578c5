package flow

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The same pipeline over TLS with a checked certificate, then over the Unix
// socket: both connections of the relay, and nothing lost between.
func TestTLSAndUnixSocket(t *testing.T) {
	n := lab.NewLane(t, lab.OwnPostgres(stack.TLS()))
	database := lab.DatabaseName(n.URL)
	reader := n.Reader(n.Topic)
	const ways = `select coalesce(string_agg(distinct case when client_addr is null then 'socket' when s.ssl then 'tls' else 'plain' end, ' '), 'none')
		from pg_stat_activity a join pg_stat_ssl s using (pid)
		where a.application_name like 'cdc-relay %' and a.backend_type = $1`
	for _, to := range []struct{ way, url string }{
		{"tls", n.PG.TLSURL(database)},
		{"socket", n.PG.SocketURL(database)},
		{"plain", n.URL},
	} {
		if to.url == "" && to.way == "socket" {
			t.Logf("Postgres (%s) is not a process of this machine: it has no socket here", n.PG.Info().Kind)
			continue
		}
		n.Rewrite(func(c *rig.Config) { c.Postgres = to.url })
		n.Command("config", "validate").Exits(0)
		r := n.Start()
		n.Publish(5)
		n.Arrived(reader)
		for _, kind := range []string{"walsender", "client backend"} {
			if got := n.Ask(ways, kind); got != to.way {
				t.Errorf("the relay's %s connects by %s, want %s", kind, got, to.way)
			}
		}
		n.Stopped(r, 0)
	}
	n.Finished(n.Start())
}
