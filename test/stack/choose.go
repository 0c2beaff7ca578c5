package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// The variables that choose; README.md describes them.
const (
	brokerVariable    = "CDC_RELAY_TEST_BROKER"
	bootstrapVariable = "CDC_RELAY_TEST_BOOTSTRAP"
	registryVariable  = "CDC_RELAY_TEST_REGISTRY"
	postgresVariable  = "CDC_RELAY_TEST_POSTGRES"
	installVariable   = "CDC_RELAY_TEST_INSTALL"
)

// way is one way to get a part.
type way[T any] struct {
	kind, why string
	start     func(context.Context) (T, error)
}

// errUnavailable marks what a machine lacks: a program, a download. Only then is
// the next way tried. A part that is there and fails is an error: falling to
// another kind would hide it, and at last run the tests against an imitation.
var errUnavailable = errors.New("not here")

// machine is what was found out about this machine, once each.
type machine struct {
	mu     sync.Mutex
	engine func() error
	java   func() error
	said   map[string]bool
}

// engineHere is nil when a container engine answers.
func (s *Stack) engineHere(ctx context.Context) error {
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	if s.machine.engine == nil {
		err := engineAnswers(ctx)
		s.machine.engine = func() error { return err }
	}
	return s.machine.engine()
}

// javaHere is nil when Java 17 or newer and Maven are here. Where they are not
// but may be installed, they are.
func (s *Stack) javaHere(ctx context.Context) error {
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	if s.machine.java == nil {
		err := javaAndMaven(ctx)
		if err != nil && mayInstall() == nil {
			err = errors.Join(s.install(ctx, "openjdk-17-jre-headless", "openjdk-21-jre-headless", "default-jre-headless"),
				s.install(ctx, "maven"), javaAndMaven(ctx))
		}
		s.machine.java = func() error { return err }
	}
	return s.machine.java()
}

func javaAndMaven(ctx context.Context) error {
	_, err := findJava(ctx)
	if _, lookErr := exec.LookPath("mvn"); lookErr != nil {
		err = errors.Join(err, fmt.Errorf("no Maven: %w", lookErr))
	}
	return err
}

// mayInstall is nil where packages may be installed: as root on a Debian or
// Ubuntu, unless the variable forbids it.
func mayInstall() error {
	if os.Getenv(installVariable) == "no" {
		return fmt.Errorf("%s=no", installVariable)
	}
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	_, err := exec.LookPath("apt-get")
	return err
}

// install installs the first of the packages that the distribution has.
func (s *Stack) install(ctx context.Context, alternatives ...string) error {
	unlock, err := s.cache.lock(ctx, "apt")
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, round := range []string{"", "update"} {
		if round != "" {
			if out, err := exec.CommandContext(ctx, "apt-get", round, "-q").CombinedOutput(); err != nil {
				return fmt.Errorf("apt-get %s: %w\n%s", round, err, out)
			}
		}
		for _, name := range alternatives {
			start := time.Now()
			s.out.line("installing the package %s (apt-get)", name)
			cmd := exec.CommandContext(ctx, "apt-get", "install", "-q", "-y", "--no-install-recommends", name)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			out, err := cmd.CombinedOutput()
			if err == nil {
				s.out.line("installed %s in %.1f s", name, time.Since(start).Seconds())
				return nil
			}
			errs = append(errs, fmt.Errorf("apt-get install %s: %w\n%s", name, err, out))
		}
	}
	return errors.Join(errs...)
}

// firstOf takes the first way that the machine has, and says once what was
// chosen and why.
func firstOf[T any](ctx context.Context, s *Stack, part string, ways []way[T]) (got T, err error) {
	var errs []error
	for _, w := range ways {
		start := time.Now()
		got, err = w.start(ctx)
		if err == nil {
			s.sayOnce(part+w.kind, "%s: %s, because %s (up in %.1f s)", part, w.kind, w.why, time.Since(start).Seconds())
			return got, nil
		}
		errs = append(errs, fmt.Errorf("%s by %s: %w", part, w.kind, err))
		if ctx.Err() != nil || !errors.Is(err, errUnavailable) && !errors.Is(err, errors.ErrUnsupported) {
			break
		}
		if len(ways) > 1 {
			s.sayOnce("no "+part+w.kind, "%s: not %s: %s", part, w.kind, firstLine(err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("no way to get a %s on this machine: README.md in test/stack lists them", part))
	}
	return got, errors.Join(errs...)
}

// needs asks a condition before a start. It is asked only when the way's turn
// comes, because Java may be installed by asking.
func needs[T any](condition func(context.Context) error, start func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (got T, _ error) {
		if err := condition(ctx); err != nil {
			return got, fmt.Errorf("%w: %w", errUnavailable, err)
		}
		return start(ctx)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// sayOnce prints a line the first time its key is seen.
func (s *Stack) sayOnce(key, format string, args ...any) {
	s.machine.mu.Lock()
	first := !s.machine.said[key]
	s.machine.said[key] = true
	s.machine.mu.Unlock()
	if first {
		s.out.line(format, args...)
	}
}

// brokerWays lists the ways to a broker. external is left out where an own one
// is asked for that may be stopped.
func (s *Stack) brokerWays(c brokerConfig, own bool) ([]way[*Kafka], error) {
	all := map[string]way[*Kafka]{
		"external": {start: func(ctx context.Context) (*Kafka, error) { return externalBroker(ctx) }},
		"redpanda": {start: needs(s.engineHere, func(ctx context.Context) (*Kafka, error) { return s.newRedpanda(ctx, c) })},
		"apache":   {start: needs(s.javaHere, func(ctx context.Context) (*Kafka, error) { return s.newApache(ctx, c) })},
		"embedded": {start: func(ctx context.Context) (*Kafka, error) { return s.newEmbedded(ctx, c) }},
	}
	var ways []way[*Kafka]
	add := func(kind, why string) {
		w := all[kind]
		w.kind, w.why = kind, why
		ways = append(ways, w)
	}
	kind := os.Getenv(brokerVariable)
	if kind == "" && os.Getenv(bootstrapVariable) != "" {
		kind = "external"
	}
	if kind == "external" && own {
		s.sayOnce("own broker", "an own broker is asked for, which an external one cannot be")
		kind = ""
	}
	if kind != "" {
		if _, ok := all[kind]; !ok {
			return nil, fmt.Errorf("%s=%s: apache, redpanda, external or embedded", brokerVariable, kind)
		}
		if c.proxied && kind != "apache" {
			return nil, fmt.Errorf("%s=%s: %w", brokerVariable, kind, ErrProxied)
		}
		add(kind, "the environment says so")
		return ways, nil
	}
	if c.proxied {
		add("apache", "it is to be proxied")
		return ways, nil
	}
	add("redpanda", "a container engine answers")
	add("apache", "Java and Maven are here")
	add("embedded", "there is no container engine and no Java with Maven that could be used")
	return ways, nil
}

// externalBroker takes the addresses of the environment.
func externalBroker(ctx context.Context) (*Kafka, error) {
	bootstrap := os.Getenv(bootstrapVariable)
	if bootstrap == "" {
		return nil, fmt.Errorf("%s is empty; set it to host:port[,host:port]", bootstrapVariable)
	}
	if err := brokersReady(ctx, bootstrap, 1, func() error { return nil }); err != nil {
		return nil, err
	}
	info := KafkaInfo{Bootstrap: bootstrap, Kind: "external", Registry: os.Getenv(registryVariable)}
	return &Kafka{info: info, server: foreign{}}, nil
}

// registryWays follow the broker's: a Redpanda brings its registry.
func (s *Stack) registryWays(own bool) ([]way[*SR], error) {
	if url := strings.TrimSuffix(os.Getenv(registryVariable), "/"); url != "" && !own {
		return []way[*SR]{{"external", "the environment says so", func(ctx context.Context) (*SR, error) {
			if err := registryReady(ctx, url, func() error { return nil }); err != nil {
				return nil, err
			}
			return &SR{info: RegistryInfo{URL: url, Kind: "external"}, server: foreignRegistry{}}, nil
		}}}, nil
	}
	apicurio := way[*SR]{"apicurio", "Java and Maven are here", needs(s.javaHere, s.newApicurio)}
	brokers, err := s.brokerWays(brokerConfig{brokers: 1}, false)
	if err != nil {
		return nil, err
	}
	var ways []way[*SR]
	for _, b := range brokers {
		switch b.kind {
		case "redpanda":
			start := func(ctx context.Context) (*SR, error) { return s.redpandaRegistry(ctx, own) }
			ways = append(ways, way[*SR]{b.kind, "the broker brings it", needs(s.engineHere, start)})
		case "embedded":
			ways = append(ways, way[*SR]{b.kind, b.why, s.newEmbeddedRegistry})
		default:
			ways = append(ways, apicurio)
		}
	}
	return ways, nil
}

// redpandaRegistry takes the registry of the shared broker, or of one of its own.
func (s *Stack) redpandaRegistry(ctx context.Context, own bool) (*SR, error) {
	if own {
		k, err := s.newRedpanda(ctx, brokerConfig{brokers: 1})
		if err != nil {
			return nil, err
		}
		p := k.server.(*panda)
		return &SR{info: RegistryInfo{URL: k.info.Registry, Kind: "redpanda"}, server: pandaRegistry{p}, own: true}, nil
	}
	k, err := s.sharedBroker(ctx)
	if err != nil {
		return nil, err
	}
	if k.info.Registry == "" {
		return nil, fmt.Errorf("%w: the broker is %s and brings no registry", errUnavailable, k.info.Kind)
	}
	return &SR{info: RegistryInfo{URL: strings.TrimSuffix(k.info.Registry, "/"), Kind: k.info.Kind}, server: foreignRegistry{}}, nil
}

// postgresWays lists the ways to a server. Processes come before containers
// here: they start sooner, and have a data folder, a socket and TLS.
func (s *Stack) postgresWays(ctx context.Context, c pgConfig, own bool) ([]way[*PG], error) {
	wish := os.Getenv(postgresVariable)
	if strings.Contains(wish, "://") {
		if !own && c.version == 0 && len(c.settings) == 0 && !c.tls {
			return []way[*PG]{{"external", "the environment says so", func(ctx context.Context) (*PG, error) {
				return externalPostgres(ctx, wish)
			}}}, nil
		}
		s.sayOnce("own postgres", "an own PostgreSQL is asked for, which an external one cannot be")
		wish = ""
	}
	if !slices.Contains([]string{"", "installed", "maven", "container"}, wish) {
		return nil, fmt.Errorf("%s=%s: installed, maven, container or postgres://…", postgresVariable, wish)
	}
	version := c.version
	if version == 0 {
		version = pgDefault
	}
	var ways []way[*PG]
	add := func(kind, why string, start func(context.Context) (*PG, error)) {
		if wish == "" || wish == kind {
			ways = append(ways, way[*PG]{fmt.Sprintf("%s %d", kind, version), why, start})
		}
	}
	installed := installedPostgres(ctx)
	if v := newest(installed, c.version); v != 0 {
		version = v
		add("installed", "it is on this machine", func(ctx context.Context) (*PG, error) {
			return s.newPGProcess(ctx, "installed", installed[v], v, c)
		})
		if c.version == 0 {
			version = pgDefault
		}
	}
	v := version
	add("maven", "Maven has its programs", needs(s.javaHere, func(ctx context.Context) (*PG, error) {
		bin, err := s.cache.mavenPostgres(ctx, v)
		if err != nil {
			return nil, err
		}
		return s.newPGProcess(ctx, "maven", bin, v, c)
	}))
	add("container", "a container engine answers", needs(s.engineHere, func(ctx context.Context) (*PG, error) {
		return s.newPGContainer(ctx, v, c)
	}))
	if mayInstall() == nil {
		add("installed", "its package can be installed", func(ctx context.Context) (*PG, error) {
			return s.packagePostgres(ctx, c)
		})
	}
	return ways, nil
}

// newest returns the wished version if it is there, without a wish the newest.
func newest(installed map[int]string, wish int) int {
	if wish == 0 && len(installed) > 0 {
		return slices.Max(slices.Collect(maps.Keys(installed)))
	}
	if _, ok := installed[wish]; ok {
		return wish
	}
	return 0
}

// packagePostgres installs the distribution's server; its own cluster, which
// the package would start, is not wanted.
func (s *Stack) packagePostgres(ctx context.Context, c pgConfig) (*PG, error) {
	const dir = "/etc/postgresql-common/createcluster.d"
	const file = dir + "/cdc-relay-test-stack.conf"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte("create_main_cluster = false\n"), 0o644); err != nil {
		return nil, err
	}
	name := "postgresql"
	if c.version != 0 {
		name += "-" + strconv.Itoa(c.version)
	}
	if err := errors.Join(s.install(ctx, name), os.Remove(file)); err != nil {
		return nil, err
	}
	installed := installedPostgres(ctx)
	v := newest(installed, c.version)
	if v == 0 {
		return nil, fmt.Errorf("the package %s brought no server of %d to %d", name, pgOldest, pgNewest)
	}
	return s.newPGProcess(ctx, "installed", installed[v], v, c)
}

// externalPostgres takes the address of the environment: a superuser's.
func externalPostgres(ctx context.Context, address string) (*PG, error) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", postgresVariable, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var version int
	var level string
	err = conn.QueryRow(ctx, `select current_setting('server_version_num')::int / 10000, current_setting('wal_level')`).Scan(&version, &level)
	if err != nil {
		return nil, err
	}
	if level != "logical" && (version < 19 || level != "replica") {
		return nil, fmt.Errorf("%s has wal_level=%s; run: alter system set wal_level = logical; and restart it", postgresVariable, level)
	}
	return &PG{info: PGInfo{Address: address, Version: version, Kind: "external"}, server: foreignPostgres{}, running: true}, nil
}
