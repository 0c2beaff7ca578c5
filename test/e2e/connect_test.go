package e2e

import (
	"testing"

	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The same pipeline over TLS with a checked certificate, then over the Unix
// socket: both connections of the relay, and nothing lost between.
func TestTLSAndUnixSocket(t *testing.T) {
	n := newLane(t, ownPostgres(stack.TLS()))
	database := databaseName(n.url)
	reader := n.reader(n.topic)
	const ways = `select coalesce(string_agg(distinct case when client_addr is null then 'socket' when s.ssl then 'tls' else 'plain' end, ' '), 'none')
		from pg_stat_activity a join pg_stat_ssl s using (pid)
		where a.application_name like 'cdc-relay %' and a.backend_type = $1`
	for _, to := range []struct{ way, url string }{
		{"tls", n.pg.TLSURL(database)},
		{"socket", n.pg.SocketURL(database)},
		{"plain", n.url},
	} {
		if to.url == "" && to.way == "socket" {
			t.Logf("Postgres (%s) is not a process of this machine: it has no socket here", n.pg.Info().Kind)
			continue
		}
		n.rewrite(func(c *rig.Config) { c.Postgres = to.url })
		n.run("config", "validate").exits(0)
		r := n.start()
		n.publish(5)
		n.arrived(reader)
		for _, kind := range []string{"walsender", "client backend"} {
			if got := n.ask(ways, kind); got != to.way {
				t.Errorf("the relay's %s connects by %s, want %s", kind, got, to.way)
			}
		}
		n.stopped(r, 0)
	}
	n.finished(n.start())
}
