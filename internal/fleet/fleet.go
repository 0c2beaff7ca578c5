package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/admin"
	"github.com/cdc-relay/cdc-relay/internal/claim"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/replay"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/sink"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

var (
	_ relay.Source      = (*replication.Source)(nil)
	_ relay.Sink        = (*sink.Sink)(nil)
	_ relay.Sink        = claiming{}
	_ relay.Former      = former{}
	_ relay.Transformer = (*transform.Transformer)(nil)
)

// Options are what a Fleet is made of. All are required.
type Options struct {
	Config     *config.Config
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Status     *admin.Status
	Version    string
}

// Fleet holds what the pipelines of one process share.
type Fleet struct {
	Options
	settings *kafka.Settings
	schemas  *registry.Schemas // nil: no event is Avro
	ids      *registry.Client  // nil: no event is Avro
	pool     *event.Pool
	claims   *claim.Store // nil: no bucket is configured
}

// New checks everything that can be checked without a connection.
func New(o Options) (*Fleet, error) {
	f := &Fleet{Options: o, pool: event.NewPool(int(o.Config.Memory))}
	var err error
	if f.settings, err = kafka.NewSettings(o.Config.Kafka); err != nil {
		return nil, err
	}
	if err := f.settings.Validate(); err != nil {
		return nil, err
	}
	if c := o.Config.ClaimCheck; c.Bucket != "" {
		f.claims = claim.New(claim.Options{Bucket: c.Bucket, Prefix: c.Prefix, URI: c.URI, Timeout: c.Timeout, Parallel: c.Parallel})
	}
	if !o.Config.NeedsRegistry() {
		return f, nil
	}
	if f.schemas, err = registry.LoadSchemas(os.DirFS(o.Config.Schemas)); err != nil {
		return nil, fmt.Errorf("schemas in %s: %w", o.Config.Schemas, err)
	}
	f.ids, err = newRegistry(o)
	return f, err
}

func newRegistry(o Options) (*registry.Client, error) {
	r := o.Config.Registry
	files := registry.TLSFiles{CA: r.TLS.CA, Cert: r.TLS.Cert, Key: r.TLS.Key}
	tls, err := registry.LoadTLS(files)
	if err != nil {
		return nil, err
	}
	return registry.New(registry.Options{
		URL: r.URL, Username: r.Username, Password: r.Password, BearerToken: r.Token, TLS: tls,
		Timeout: r.Timeout, Logger: o.Log, Registerer: o.Registerer,
	}), nil
}

// Run runs the pipelines named, or all when names is empty, until ctx is done
// or none can go on. The error joins what ended each: a pipeline that fails is
// FAILED while the others run.
func (f *Fleet) Run(ctx context.Context, names []string, again *replay.Request) error {
	chosen, err := f.choose(names)
	if err != nil {
		return err
	}
	if again != nil && len(chosen) > 1 {
		return &UsageError{"an LSN belongs to one server's log: say with --pipeline which pipeline is to be replayed"}
	}
	for _, m := range f.Misnamed() {
		f.Log.Warn("a topic's name breaks the naming rule", "topic", m)
	}
	var running, observing sync.WaitGroup
	observed, stop := context.WithCancel(ctx)
	failed := make([]error, len(chosen))
	for i, p := range chosen {
		u := f.unit(p)
		live := u.pipeline(role{relay: true})
		running.Go(func() {
			if err := u.run(ctx, live, again); err != nil {
				u.log.Error("the pipeline cannot go on", "err", err)
				failed[i] = named(p.Name, err)
				observing.Go(func() { u.observe(observed, live.Metrics) })
			}
		})
	}
	running.Wait()
	stop()
	observing.Wait()
	return errors.Join(failed...)
}

// named says whose error it is, unless the error, as those of the guards do,
// says so itself.
func named(pipeline string, err error) error {
	prefix := "pipeline " + pipeline + ": "
	if strings.HasPrefix(err.Error(), prefix) {
		return err
	}
	return fmt.Errorf("%s%w", prefix, err)
}

// choose finds pipelines by name.
func (f *Fleet) choose(names []string) ([]config.Pipeline, error) {
	all := f.Config.Pipelines()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []config.Pipeline
	for _, n := range names {
		p, err := f.one(n)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

// one finds a pipeline by name; "" finds the only one.
func (f *Fleet) one(name string) (config.Pipeline, error) {
	all := f.Config.Pipelines()
	if name == "" && len(all) == 1 {
		return all[0], nil
	}
	var known []string
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
		known = append(known, p.Name)
	}
	if name == "" {
		return config.Pipeline{}, &UsageError{fmt.Sprintf("there are %d pipelines: say which with --pipeline, one of %q", len(all), known)}
	}
	return config.Pipeline{}, &UsageError{fmt.Sprintf("no pipeline %q; there are %q", name, known)}
}

// UsageError is a mistake on the command line.
type UsageError struct{ What string }

func (e *UsageError) Error() string { return e.What }
