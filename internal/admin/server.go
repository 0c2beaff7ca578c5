package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds of a request and of the end. They are short: nothing here waits for
// Kafka or Postgres.
const (
	headerWithin  = 5 * time.Second
	requestWithin = 30 * time.Second
	idleWithin    = 2 * time.Minute
	closeWithin   = 3 * time.Second
	maxHeader     = 16 << 10
)

// Options say what a Server shows. All fields are required but Log.
type Options struct {
	Listen   string // host:port; port 0 takes a free one
	Gatherer prometheus.Gatherer
	Status   *Status
	Log      *slog.Logger // nil: discards
}

// Server is the HTTP actor of the process.
type Server struct {
	opts  Options
	ready chan struct{} // closed when addr is set
	addr  string
}

// NewServer checks nothing and opens nothing; Run does.
func NewServer(opts Options) *Server {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.Log = opts.Log.With("component", "admin")
	return &Server{opts: opts, ready: make(chan struct{})}
}

// Addr is the address the server listens on, with the port that was taken. It
// waits until Run listens, or until ctx is done ("").
func (s *Server) Addr(ctx context.Context) string {
	select {
	case <-s.ready:
		return s.addr
	case <-ctx.Done():
		return ""
	}
}

// Run serves until ctx is done and then ends within 3 s: running requests are
// let finish, new ones are not taken. It returns nil after that, or why it
// cannot serve. Call it once.
func (s *Server) Run(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.opts.Listen)
	if err != nil {
		return fmt.Errorf("listen on http.listen %s for health and metrics (another address: http: {listen: \":PORT\"}): %w", s.opts.Listen, err)
	}
	s.addr = ln.Addr().String()
	close(s.ready)
	s.opts.Log.Info("serving /healthz, /readyz and /metrics", "addr", s.addr)
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerWithin,
		ReadTimeout:       requestWithin,
		WriteTimeout:      requestWithin,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err = <-served:
		return fmt.Errorf("serve health and metrics on %s: %w", s.addr, err)
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	if err = srv.Shutdown(bound); err != nil {
		err = errors.Join(fmt.Errorf("requests were cut off at the end: %w", err), srv.Close())
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) { // nothing of ours is left running
		err = errors.Join(err, end)
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		s.write(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelWarn),
		ErrorHandling:     promhttp.ContinueOnError, // one broken collector must not hide the others
		EnableOpenMetrics: true,
	}))
	return mux
}

// Readiness is the body of /readyz.
type Readiness struct {
	Ready     bool       `json:"ready"`
	NotReady  []string   `json:"not_ready,omitempty"` // the pipelines that are neither RUNNING nor STANDBY
	Reason    string     `json:"reason,omitempty"`
	Pipelines []Pipeline `json:"pipelines"`
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	r := Readiness{Pipelines: s.opts.Status.Pipelines()}
	r.NotReady = notReady(r.Pipelines)
	r.Ready = len(r.Pipelines) > 0 && len(r.NotReady) == 0
	code := http.StatusOK
	if !r.Ready {
		code = http.StatusServiceUnavailable
	}
	if len(r.Pipelines) == 0 {
		r.Reason = "no pipeline has started yet"
	}
	s.write(w, code, r)
}

func (s *Server) write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(body); err != nil {
		s.opts.Log.Debug("an answer was not read to its end", "err", err)
	}
}
