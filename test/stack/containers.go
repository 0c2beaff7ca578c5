package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
	"github.com/testcontainers/testcontainers-go/modules/redpanda"
)

// redpandaImage is the release of the kind redpanda.
const redpandaImage = "redpandadata/redpanda:v25.2.4"

// engineAnswers is nil when a container engine can be used.
func engineAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return guarded(func() error {
		p, err := testcontainers.NewDockerProvider(testcontainers.WithLogger(quiet()))
		if err != nil {
			return err
		}
		return p.Health(ctx) // closes the client
	})
}

// guarded turns the panics of testcontainers into errors: it has several for
// engines that are missing or refuse.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("no container engine: %v", r)
		}
	}()
	return f()
}

// quiet is a logger that says nothing: the stack prints its own lines.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// box is one container with fixed ports on 127.0.0.1, so that it comes back to
// the same address. testcontainers' reaper removes it when this process dies.
type box struct {
	client *testcontainers.DockerClient
	ctr    testcontainers.Container
	ports  map[string]*lease
}

// newBox takes a port for each of the container's ports.
func (s *Stack) newBox(ctx context.Context, ports ...string) (*box, error) {
	b := &box{ports: map[string]*lease{}}
	for _, p := range ports {
		l, err := leasePort(s.cache)
		if err != nil {
			b.release()
			return nil, err
		}
		b.ports[p] = l
	}
	err := guarded(func() (err error) {
		b.client, err = testcontainers.NewDockerClientWithOpts(ctx)
		return err
	})
	if err != nil {
		b.release()
		return nil, fmt.Errorf("%w: no container engine: %w", errUnavailable, err)
	}
	return b, nil
}

func (b *box) release() {
	for _, l := range b.ports {
		l.release()
	}
}

// bind maps the container's ports to ours.
func (b *box) bind(host *container.HostConfig) {
	if host.PortBindings == nil {
		host.PortBindings = nat.PortMap{}
	}
	for p, l := range b.ports {
		host.PortBindings[nat.Port(p)] = []nat.PortBinding{{HostIP: "127.0.0.1", HostPort: strconv.Itoa(l.port)}}
	}
}

func (b *box) id() string { return b.ctr.GetContainerID() }

// signal sends a signal to the container's first process and waits for its end.
func (b *box) signal(ctx context.Context, name string) error {
	ended, failed := b.client.ContainerWait(ctx, b.id(), container.WaitConditionNotRunning)
	if err := b.client.ContainerKill(ctx, b.id(), name); err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case err := <-failed:
		return err
	}
}

func (b *box) up(ctx context.Context) error {
	return b.client.ContainerStart(ctx, b.id(), container.StartOptions{})
}

func (b *box) pauseBox() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return b.client.ContainerPause(ctx, b.id())
}

func (b *box) resumeBox() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return b.client.ContainerUnpause(ctx, b.id())
}

func (b *box) killBox() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return b.signal(ctx, "SIGKILL")
}

func (b *box) close() error {
	defer b.release()
	var err error
	if b.ctr != nil {
		err = testcontainers.TerminateContainer(b.ctr, testcontainers.StopTimeout(0))
	}
	return errors.Join(err, b.client.Close())
}

// notMade marks the failure to make a container at all: its image cannot be had.
func notMade(missing bool, err error) error {
	if err != nil && missing {
		return fmt.Errorf("%w: %w", errUnavailable, err)
	}
	return err
}

// pgContainer runs the official image, by testcontainers' module.
type pgContainer struct {
	*box
	pg *PG
}

func (s *Stack) newPGContainer(ctx context.Context, version int, c pgConfig) (*PG, error) {
	if c.tls {
		return nil, fmt.Errorf("TLS in a container: %w", errors.ErrUnsupported)
	}
	b, err := s.newBox(ctx, "5432/tcp")
	if err != nil {
		return nil, err
	}
	cmd := []string{"postgres"}
	all := c.merged(version)
	delete(all, "listen_addresses") // the container's own network: all of it
	for _, name := range slices.Sorted(maps.Keys(all)) {
		cmd = append(cmd, "-c", name+"="+all[name])
	}
	err = guarded(func() error {
		ctr, err := postgres.Run(ctx, "postgres:"+strconv.Itoa(version),
			postgres.WithUsername("postgres"), postgres.WithDatabase("postgres"),
			testcontainers.WithEnv(map[string]string{"POSTGRES_HOST_AUTH_METHOD": "trust"}),
			testcontainers.WithCmd(cmd...), testcontainers.WithHostConfigModifier(b.bind))
		if ctr != nil {
			b.ctr = ctr
		}
		return notMade(ctr == nil, err)
	})
	pg := &PG{own: true, running: true, info: PGInfo{
		Address: fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", b.ports["5432/tcp"].addr()),
		Version: version, Kind: "container",
	}}
	pg.server = &pgContainer{box: b, pg: pg}
	if err == nil {
		// The image first runs a server without TCP to make its database.
		err = pg.ready(ctx, 2*time.Minute)
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return pg, nil
}

func (p *pgContainer) start(ctx context.Context) error {
	if err := p.up(ctx); err != nil {
		return err
	}
	return p.pg.ready(ctx, time.Minute)
}

func (p *pgContainer) stop(ctx context.Context, mode string) error {
	sig, ok := pgSignals()[mode]
	if !ok {
		return fmt.Errorf("mode %q: smart, fast or immediate", mode)
	}
	return p.signal(ctx, sig.name)
}

func (p *pgContainer) kill() error   { return p.killBox() }
func (p *pgContainer) pause() error  { return p.pauseBox() }
func (p *pgContainer) resume() error { return p.resumeBox() }

// panda runs one Redpanda broker with its registry, by testcontainers' module.
type panda struct {
	*box
	info KafkaInfo
}

// newRedpanda starts a broker. It takes the module's one-core developer mode,
// but not its disregard of fsync and write caching: a killed broker must still
// have what it acknowledged.
func (s *Stack) newRedpanda(ctx context.Context, c brokerConfig) (*Kafka, error) {
	if c.brokers != 1 {
		return nil, fmt.Errorf("%d Redpanda brokers: %w", c.brokers, errors.ErrUnsupported)
	}
	b, err := s.newBox(ctx, "9092/tcp", "8081/tcp")
	if err != nil {
		return nil, err
	}
	settings := map[string]string{
		"write_caching_default":         "false",
		"group_initial_rebalance_delay": "0",
		"default_topic_replications":    "1",
	}
	maps.Copy(settings, c.settings)
	opts := []testcontainers.ContainerCustomizer{
		testcontainers.WithHostConfigModifier(b.bind),
		testcontainers.WithCmd("redpanda", "start", "--mode=dev-container", "--unsafe-bypass-fsync=false",
			"--smp=1", "--memory=1G"),
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		opts = append(opts, redpanda.WithBootstrapConfig(name, settings[name]))
	}
	p := &panda{box: b}
	err = guarded(func() error {
		ctr, err := redpanda.Run(ctx, redpandaImage, opts...)
		if ctr != nil {
			b.ctr = ctr
		}
		if err != nil {
			return notMade(ctr == nil, err)
		}
		if p.info.Bootstrap, err = ctr.KafkaSeedBroker(ctx); err != nil {
			return err
		}
		p.info.Registry, err = ctr.SchemaRegistryAddress(ctx)
		return err
	})
	p.info.Kind = "redpanda"
	if err == nil {
		err = p.ready(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return &Kafka{info: p.info, server: p, own: true}, nil
}

// ready waits for broker and registry, and sets what Confluent has by default.
func (p *panda) ready(ctx context.Context) error {
	none := func() error { return nil }
	if err := brokersReady(ctx, p.info.Bootstrap, 1, none); err != nil {
		return err
	}
	if err := registryReady(ctx, p.info.Registry, none); err != nil {
		return err
	}
	return setBackward(ctx, p.info.Registry)
}

func (p *panda) start(ctx context.Context, _ []int) error {
	if err := p.up(ctx); err != nil {
		return err
	}
	return p.ready(ctx)
}

func (p *panda) stop(ctx context.Context, _ []int) error { return p.signal(ctx, "SIGTERM") }
func (p *panda) kill([]int) error                        { return p.killBox() }
func (p *panda) pause([]int) error                       { return p.pauseBox() }
func (p *panda) resume([]int) error                      { return p.resumeBox() }

// pandaRegistry is the registry inside a Redpanda broker: it stops with it.
type pandaRegistry struct{ *panda }

func (p pandaRegistry) start(ctx context.Context) error { return p.panda.start(ctx, nil) }

func (p pandaRegistry) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.panda.stop(ctx, nil)
}
