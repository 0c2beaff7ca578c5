package replication

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// vanished is the address of a host that vanished: it takes connections and never
// says a word.
func vanished(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() }) // the client may have gone
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func hostOf(t *testing.T, p *stack.PG) string {
	t.Helper()
	u, err := url.Parse(p.Info().Address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// Which of several hosts is taken, and how soon: the primary wherever it is in
// the list, whatever the others do; a standby only where there is no primary.
func TestHosts(t *testing.T) {
	t.Parallel()
	p := stack.NewPostgres(t, stack.Version(15))
	standby, primary := hostOf(t, p.Standby(t)), hostOf(t, p)
	closed, gone := "127.0.0.1:1", vanished(t)
	const soon, later = 3 * time.Second, 6 * time.Second // of 10 s that a silent host may take
	for _, c := range []struct {
		hosts, attrs string
		want         string
		within       time.Duration
	}{
		{primary, "", primary, soon},
		{standby, "", standby, soon},
		{primary + "," + standby, "", primary, soon},
		{standby + "," + primary, "", primary, soon},
		{standby + "," + primary, "read-write", primary, soon},
		{closed + "," + primary, "primary", primary, soon},
		{gone + "," + primary, "", primary, soon},
		{gone + "," + standby + "," + primary, "read-write", primary, soon},
		{standby + "," + closed, "", standby, soon},
		{standby, "read-write", standby, soon},
		{standby + "," + closed, "primary", standby, soon},
		{gone + "," + standby, "read-write", standby, later},
		{primary + "," + standby, "standby", standby, soon},
		{primary, "prefer-standby", primary, soon},
		{primary, "standby", "", soon},
		{closed + "," + closed, "", "", soon},
	} {
		t.Run(c.hosts+" "+c.attrs, func(t *testing.T) {
			cfg, err := pgconn.ParseConfig(fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=prefer&target_session_attrs=%s", c.hosts, or(c.attrs, "any")))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), connectTimeout)
			defer cancel()
			since := time.Now()
			pc, err := connectPrimary(ctx, cfg)
			if took := time.Since(since); took > c.within {
				t.Errorf("took %s", took)
			}
			if c.want == "" {
				if err == nil {
					t.Error("connected")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close(ctx)
			if got := pc.Conn().RemoteAddr().String(); got != c.want {
				t.Errorf("connected to %s, want %s", got, c.want)
			}
		})
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
