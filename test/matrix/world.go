package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"

	"github.com/cdc-relay/cdc-relay/test/fault"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Kind is what a world is made of.
type Kind string

// The kinds of worlds.
const (
	Single   Kind = "single"   // one broker and its controller
	Three    Kind = "three"    // replication factor 3, min.insync.replicas 2
	Expiring Kind = "expiring" // transactional ids expire within seconds
)

// World is a PostgreSQL, a Kafka cluster and a registry, each behind a proxy.
// Cells run in it one after the other.
type World struct {
	Kind     Kind
	Binary   string // the relay, built with the tag crashpoints
	Older    string // the relay that is left behind by its successor; the same, but for mutants
	PG       *stack.PG
	Kafka    *stack.Kafka
	Registry string // of the stack

	stack    *stack.Stack
	pg       *fault.Proxy
	registry *httptest.Server // of what relays are told
	broken   atomic.Bool      // it answers 503
	delays   *fault.Delays    // of Kafka, or nil
	end      []func() error
}

// NewWorld starts the parts of a world.
func NewWorld(ctx context.Context, s *stack.Stack, kind Kind, binary, registry string) (_ *World, err error) {
	w := &World{Kind: kind, Binary: binary, Older: binary, Registry: registry, stack: s}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a world (%s): %w", kind, err), w.Close())
		}
	}()
	pg, end, err := s.NewPostgres(ctx)
	if err != nil {
		return nil, err
	}
	w.PG, w.end = pg, append(w.end, end)
	opts := []stack.BrokerOption{stack.Proxied()}
	switch kind {
	case Three:
		opts = append(opts, stack.Brokers(3))
	case Expiring:
		opts = append(opts, stack.BrokerSetting("transactional.id.expiration.ms", "3000"),
			stack.BrokerSetting("transaction.remove.expired.transaction.cleanup.interval.ms", "500"))
	}
	kafka, end, err := s.NewBroker(ctx, opts...)
	if errors.Is(err, stack.ErrProxied) {
		// Another kind than Apache Kafka: what needs a proxy before the broker is
		// left out there, and says so.
		kafka, end, err = s.NewBroker(ctx, opts[1:]...)
	}
	if err != nil {
		return nil, err
	}
	w.Kafka, w.end = kafka, append(w.end, end)
	base, err := url.Parse(pg.URL("postgres"))
	if err != nil {
		return nil, err
	}
	if w.pg, err = fault.New(base.Host); err != nil {
		return nil, err
	}
	w.end = append(w.end, func() error { w.pg.Close(); return nil })
	return w, w.proxyRegistry()
}

// proxyRegistry puts a proxy before the registry that can be told to fail.
func (w *World) proxyRegistry() error {
	target, err := url.Parse(w.Registry)
	if err != nil {
		return err
	}
	target.Path = "" // relays are told the path
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	w.registry = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if w.broken.Load() {
			http.Error(rw, `{"error_code":50301,"message":"out of order"}`, http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(rw, req)
	}))
	w.end = append(w.end, func() error { w.registry.Close(); return nil })
	return nil
}

// heal undoes what a cell may have left behind.
func (w *World) heal() error {
	w.broken.Store(false)
	w.pg.Thaw()
	w.pg.Refuse(false)
	for _, p := range w.Kafka.Proxies() {
		p.Thaw()
		p.Refuse(false)
	}
	if w.delays != nil {
		w.delays.Calm()
	}
	return nil
}

// bootstrap is what relays are told: the proxies, where there are any.
func (w *World) bootstrap() string {
	if through := w.Kafka.ProxiedBootstrap(); through != "" {
		return through
	}
	return w.Kafka.Bootstrap()
}

// kafkaCut ends every connection of relays to Kafka.
func (w *World) kafkaCut() {
	for _, p := range w.Kafka.Proxies() {
		p.Cut()
	}
}

// Close ends the parts, the last started first.
func (w *World) Close() error {
	var errs []error
	for i := len(w.end) - 1; i >= 0; i-- {
		errs = append(errs, w.end[i]())
	}
	return errors.Join(errs...)
}
