package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// How long the hosts of a connection string are waited for. A host that vanished
// answers nothing at all, and must not keep the others from being asked.
const (
	nextHostAfter   = 300 * time.Millisecond // the next host is asked beside one that has not answered
	primaryWaitedBy = 2 * time.Second        // for a primary, once a server in recovery has answered
)

// connectPrimary prefers the primary where several hosts are named, or the kind
// of server that target_session_attrs asks for. With none it takes a server in
// recovery, whatever was asked for: that there is no primary yet is a fact to
// report, which makes the relay wait, not an error.
//
// The hosts are asked in their order, each a moment after the one before: the
// first primary counts. The connections of the others are closed.
func connectPrimary(ctx context.Context, cfg *pgconn.Config) (*pgconn.PgConn, error) {
	wish := cfg.ValidateConnect
	hosts := perHost(cfg)
	if wish == nil && len(hosts) == 1 {
		return pgconn.ConnectConfig(ctx, cfg)
	}
	if wish == nil {
		wish = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan answer)
	r := race{answers: asked, left: len(hosts)}
	defer func() {
		cancel() // ends what has not answered yet
		r.drain()
	}()
	next := time.NewTimer(0)
	defer next.Stop()
	for started := 0; ; {
		select {
		case a := <-asked:
			if pc, over := r.take(a); over {
				return pc, r.err
			}
			next.Reset(0) // its turn is over
		case <-next.C:
			if started < len(hosts) {
				go func(cfg *pgconn.Config) { asked <- ask(ctx, cfg, wish) }(hosts[started])
				started++
				r.running++
				next.Reset(nextHostAfter)
			}
		case <-r.enough():
			return r.give(), nil
		}
	}
}

// answer is what came of one host.
type answer struct {
	pc  *pgconn.PgConn
	as  bool // it is the kind of server that was wished for
	err error
}

// ask connects to one host and finds out what it is.
func ask(ctx context.Context, cfg *pgconn.Config, wish pgconn.ValidateConnectFunc) answer {
	var a answer
	cfg.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		err := wish(ctx, pc)
		a.as = err == nil
		if _, lesser := errors.AsType[*pgconn.NotPreferredError](err); lesser || a.as {
			return nil
		}
		if pgconn.ValidateConnectTargetSessionAttrsStandby(ctx, pc) == nil {
			return nil
		}
		return err
	}
	a.pc, a.err = pgconn.ConnectConfig(ctx, cfg)
	if a.err != nil {
		a.err = fmt.Errorf("host %s: %w", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), a.err)
	}
	return a
}

// race gathers the answers. It owns the connections until it gives one away.
type race struct {
	answers <-chan answer
	left    int            // hosts that have not answered
	running int            // of them, those that were asked
	second  *pgconn.PgConn // the best so far: a server in recovery
	timer   *time.Timer    // how long a better one is waited for
	err     error          // of every host
}

// take notes an answer; over says that there is nothing better to come.
func (r *race) take(a answer) (pc *pgconn.PgConn, over bool) {
	r.left--
	r.running--
	switch {
	case a.err != nil:
		r.err = errors.Join(r.err, a.err)
	case a.as:
		r.err = nil
		return a.pc, true
	case r.second == nil:
		r.second, r.timer = a.pc, time.NewTimer(primaryWaitedBy)
	default:
		discard(a.pc)
	}
	if r.left > 0 {
		return nil, false
	}
	if r.second != nil {
		r.err = nil
	}
	return r.give(), true
}

// enough fires when a server in recovery has to do.
func (r *race) enough() <-chan time.Time {
	if r.timer == nil {
		return nil
	}
	return r.timer.C
}

func (r *race) give() *pgconn.PgConn {
	pc := r.second
	r.second = nil
	return pc
}

// drain closes what was not given away. Every host that was asked is waited for:
// its context is over, so that takes no time.
func (r *race) drain() {
	if r.second != nil {
		discard(r.second)
	}
	if r.timer != nil {
		r.timer.Stop()
	}
	for ; r.running > 0; r.running-- {
		if a := <-r.answers; a.pc != nil {
			discard(a.pc)
		}
	}
}

// discard closes a connection nobody needs, without waiting for its server.
func discard(pc *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = pc.Close(ctx) // the server sees the end of the socket in any case
}

// perHost takes cfg apart: one configuration per host, in their order, with what
// sslmode adds for the same host.
func perHost(cfg *pgconn.Config) []*pgconn.Config {
	var hosts []*pgconn.Config
	add := func(f *pgconn.FallbackConfig) {
		if n := len(hosts); n > 0 && hosts[n-1].Host == f.Host && hosts[n-1].Port == f.Port {
			hosts[n-1].Fallbacks = append(hosts[n-1].Fallbacks, f)
			return
		}
		c := cfg.Copy()
		c.Host, c.Port, c.TLSConfig, c.Fallbacks = f.Host, f.Port, f.TLSConfig, nil
		hosts = append(hosts, c)
	}
	add(&pgconn.FallbackConfig{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig})
	for _, f := range cfg.Fallbacks {
		add(f)
	}
	return hosts
}
