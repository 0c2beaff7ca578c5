package examples_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

func none(string) (string, bool) { return "", false }

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	cfg, err := config.Load([]string{file}, none)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return cfg
}

// schemasExist demands a schema file for every subject a configuration needs.
func schemasExist(t *testing.T, cfg *config.Config) {
	t.Helper()
	all, err := registry.LoadSchemas(os.DirFS(cfg.Schemas))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cfg.Pipelines() {
		if len(p.Contract.Subjects()) == 0 {
			t.Errorf("%s publishes no Avro", p.Name)
		}
		for _, s := range p.Contract.Subjects() {
			if !slices.Contains(all.Versions(s.Schema), 1) {
				t.Errorf("%s, topic %s: %v", p.Name, s.Topic, all.Missing(s.Schema, 1))
			}
		}
	}
}

func TestMinimal(t *testing.T) {
	t.Parallel()
	cfg := load(t, filepath.Join("minimal", "cdc-relay.yaml"))
	if cfg.Environment != config.Production || len(cfg.Pipelines()) != 1 || cfg.Pipelines()[0].Key != "essays/essays" {
		t.Errorf("environment %s, pipelines %+v", cfg.Environment, cfg.Pipelines())
	}
	schemasExist(t, cfg)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cfg := load(t, filepath.Join("cluster", "cdc-relay.yaml"))
	var services []string
	for _, p := range cfg.Pipelines() {
		services = append(services, p.Service)
	}
	if !slices.Equal(services, []string{"cj_assessment_service", "essay_lifecycle_service"}) {
		t.Errorf("services %v", services)
	}
	schemasExist(t, cfg)
}

// deployed lays the files of deploy/ and the schemas out as the image has them.
func deployed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"cdc-relay.yaml", "events.yaml"} {
		raw, err := os.ReadFile(filepath.Join("..", "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "schemas"), os.DirFS(filepath.Join("..", "schemas"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	cfg := load(t, filepath.Join(deployed(t), "cdc-relay.yaml"))
	if !cfg.Environment.MayCreate() {
		t.Errorf("environment %s may not migrate", cfg.Environment)
	}
	schemasExist(t, cfg)
}

// compose is what the test looks at of a compose file.
type compose struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Context, Dockerfile string }
		Environment map[string]string
		Volumes     []string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]any
}

// What compose.yaml and the Dockerfile name is there, and the relay waits for
// the others.
func TestCompose(t *testing.T) {
	t.Parallel()
	var c compose
	raw, err := os.ReadFile(filepath.Join("..", "deploy", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	relay := c.Services["relay"]
	if _, err := os.Stat(filepath.Join("..", "deploy", relay.Build.Context, relay.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	for name, s := range c.Services {
		if len(s.Healthcheck.Test) == 0 {
			t.Errorf("%s has no healthcheck", name)
		}
		if name != "relay" && relay.DependsOn[name].Condition != "service_healthy" {
			t.Errorf("the relay does not wait for %s", name)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(filepath.Join("..", "deploy", from)); err != nil {
					t.Error(err)
				}
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: volume %s is not declared", name, from)
			}
		}
	}
}

// The statement the README shows works on the table, and its event has a rule
// and fits its schema.
func TestPublishSQL(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "deploy", "publish.sql"))
	if err != nil {
		t.Fatal(err)
	}
	url := stack.Postgres(t).Database(t)
	if _, err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	if _, err := c.Exec(t.Context(), string(raw)); err != nil {
		t.Fatal(err)
	}
	var kind, payload string
	if err := c.QueryRow(t.Context(), "select event_type, payload::text from cdc_relay.outbox").Scan(&kind, &payload); err != nil {
		t.Fatal(err)
	}
	cfg := load(t, filepath.Join(deployed(t), "cdc-relay.yaml"))
	rule, ok := cfg.Pipelines()[0].Contract.Lookup([]byte(kind))
	if !ok {
		t.Fatalf("deploy/events.yaml has no %s", kind)
	}
	all, err := registry.LoadSchemas(os.DirFS(cfg.Schemas))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := all.Schema(rule.Forms[0].Schema, 1)
	program, err := avrojson.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := program.NewEncoder().Append(nil, []byte(payload)); err != nil {
		t.Error(err)
	}
}
