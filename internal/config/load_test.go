package config

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	eventsYAML = "events:\n  - {type: essay.scored, topic: essays.scored.v1, encoding: json}\n"
	smallest   = `name: essays
postgres: {url: "postgres://relay@db/essays"}
kafka: {bootstrap.servers: "broker:9092"}
events: [events.yaml]
`
)

// folder writes files into a new folder and returns it.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load writes the files and loads those named.
func load(t *testing.T, files map[string]string, lookup func(string) (string, bool), names ...string) (*Config, error) {
	t.Helper()
	dir := folder(t, files)
	for i := range names {
		names[i] = filepath.Join(dir, names[i])
	}
	return Load(names, lookup)
}

func mustLoad(t *testing.T, files map[string]string, lookup func(string) (string, bool), names ...string) *Config {
	t.Helper()
	cfg, err := load(t, files, lookup, names...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestSmallest(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, map[string]string{"c.yml": smallest, "events.yaml": eventsYAML}, noEnv, "c.yml")
	want := defaults()
	if cfg.Name != "essays" || cfg.Environment != Production || cfg.Environment.MayCreate() || cfg.Batch != want.Batch || cfg.Memory != 256<<20 ||
		cfg.CheckpointTopic != "cdc-relay.checkpoints" || cfg.IdleCheckpoint != want.IdleCheckpoint || cfg.HTTP.Listen != ":9464" {
		t.Errorf("defaults are not in force: %+v", cfg)
	}
	ps := cfg.Pipelines()
	if len(ps) != 1 {
		t.Fatalf("%d pipelines", len(ps))
	}
	p := ps[0]
	if _, ok := p.Contract.Lookup([]byte("essay.scored")); !ok {
		t.Error("the contract has no essay.scored")
	}
	p.Contract = nil
	if w := (Pipeline{Name: "essays", Key: "essays/essays", Service: "essays", Database: "essays", URL: "postgres://relay@db/essays",
		Table: "cdc_relay.outbox", Slot: "cdc_relay_essays_essays", Publication: "cdc_relay", Mapping: want.Mapping,
		DeadLetterTopic: "essays.essays.dead-letters"}); !reflect.DeepEqual(p, w) {
		t.Errorf("got  %+v\nwant %+v", p, w)
	}
	if cfg.NeedsRegistry() {
		t.Error("json alone needs no registry")
	}
}

func TestDatabases(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("very_long_", 8)
	cfg := mustLoad(t, map[string]string{
		"events.yaml":      eventsYAML,
		"team/own.yaml":    "events:\n  - {type: exam.held, topic: exams.held.v1, encoding: json}\n",
		"schemas/avro/.ok": "",
		"c.yml": `name: HuleEdu-1
environment: ${ENVIRONMENT:-development}
postgres: {url: "postgres://relay:p%40ss@h1:5432,h2:5433/ignored?sslmode=disable&dbname=x", publication: outbox_pub}
kafka: {bootstrap.servers: "a:1,b:2", linger.ms: 5, enable.metrics.push: false}
events: events.yaml
mapping: debezium
databases:
  essays: {service: essay_service, slot: my_slot, publication: mine}
  exams:
    events: [team/own.yaml]
    mapping: {type: [kind, const:exam], payload: body, headers: []}
    table: public.events
    dbname: exams-2
  elsewhere: {url: "postgres://other/real_name"}
  kv: {url: "host=other user=relay dbname='it\\'s'"}
  off: {enabled: false}
  ` + long + `:
`}, env("ENVIRONMENT", ""), "c.yml")
	if cfg.Environment != Development || !cfg.Environment.MayCreate() {
		t.Errorf("environment %q", cfg.Environment)
	}
	if want := map[string]string{"bootstrap.servers": "a:1,b:2", "linger.ms": "5", "enable.metrics.push": "false"}; !maps.Equal(cfg.Kafka, want) {
		t.Errorf("kafka %v", cfg.Kafka)
	}
	got := map[string]Pipeline{}
	for _, p := range cfg.Pipelines() {
		got[p.Name] = p
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"elsewhere", "essays", "exams", "kv", long}) {
		t.Fatalf("pipelines %q", names)
	}
	check := func(name string, field func(Pipeline) string, want string) {
		t.Helper()
		if g := field(got[name]); g != want {
			t.Errorf("%s: got %q, want %q", name, g, want)
		}
	}
	url := func(p Pipeline) string { return p.URL }
	check("essays", url, "postgres://relay:p%40ss@h1:5432,h2:5433/essays?sslmode=disable")
	check("exams", url, "postgres://relay:p%40ss@h1:5432,h2:5433/exams-2?sslmode=disable")
	check("elsewhere", url, "postgres://other/real_name")
	check("kv", func(p Pipeline) string { return p.Database }, "it's")
	check("kv", url, `host=other user=relay dbname='it\'s' dbname='it\'s'`)
	check("elsewhere", func(p Pipeline) string { return p.Database }, "real_name")
	check("essays", func(p Pipeline) string { return p.Slot }, "my_slot")
	check("essays", func(p Pipeline) string { return p.Publication }, "mine")
	check("exams", func(p Pipeline) string { return p.Publication }, "outbox_pub")
	check("exams", func(p Pipeline) string { return p.Slot }, "cdc_relay_huleedu_1_exams")
	check("exams", func(p Pipeline) string { return p.Service }, "exams")
	check("exams", func(p Pipeline) string { return p.Table }, "public.events")
	check("essays", func(p Pipeline) string { return p.Table }, "public.outboxevent")
	if m := got["exams"].Mapping; m.Preset != "" || !slices.Equal(m.Type, []string{"kind", "const:exam"}) || !slices.Equal(m.Payload, []string{"body"}) || m.Headers == nil || len(m.Headers) != 0 || m.ID != nil {
		t.Errorf("mapping of exams %+v", m)
	}
	if s := got[long].Slot; len(s) > 63 || !slotForm.MatchString(s) || s == defaultSlot("HuleEdu-1", long+"x") {
		t.Errorf("slot of a long name: %q", s)
	}
	if _, ok := got["exams"].Contract.Lookup([]byte("exam.held")); !ok {
		t.Error("exams lacks its own events")
	}
	if _, ok := got["essays"].Contract.Lookup([]byte("exam.held")); ok {
		t.Error("essays has the events of exams")
	}
}

// Two files: maps merge, lists and single values are replaced, relative paths
// are those of the file that wrote them, and every value knows its place.
func TestMerge(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"base/c.yml":       smallest + "log: {level: debug, format: json}\nschemas: avro\nregistry: {url: \"http://r:1\", tls: {ca: ca.pem}}\n",
		"base/events.yaml": eventsYAML, "base/ca.pem": "x",
		"prod/p.yml":       "log: {level: warn}\nevents: [mine.yaml]\nkafka: {security.protocol: SSL}\ndatabases:\n",
		"prod/mine.yaml":   "events:\n  - {type: other, topic: o, encoding: json}\n",
		"prod/unused.yaml": "",
	}
	// `databases:` with nothing below it is several databases, of which there are none.
	if _, err := load(t, files, noEnv, "base/c.yml", "prod/p.yml"); err == nil || !strings.Contains(err.Error(), "no database to read") {
		t.Fatalf("got %v", err)
	}
	files["prod/p.yml"] = strings.TrimSuffix(files["prod/p.yml"], "databases:\n") + "batch:\n"
	dir := folder(t, files)
	cfg, err := Load([]string{filepath.Join(dir, "base/c.yml"), filepath.Join(dir, "prod/p.yml")}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Log != (Log{"warn", "json"}) || cfg.Kafka["security.protocol"] != "SSL" || cfg.Kafka["bootstrap.servers"] != "broker:9092" {
		t.Errorf("merged: %+v %v", cfg.Log, cfg.Kafka)
	}
	if !slices.Equal(cfg.Events, []string{filepath.Join(dir, "prod/mine.yaml")}) || cfg.Schemas != filepath.Join(dir, "base/avro") || cfg.Registry.TLS.CA != filepath.Join(dir, "base/ca.pem") {
		t.Errorf("paths: %v %s %s", cfg.Events, cfg.Schemas, cfg.Registry.TLS.CA)
	}
	var out bytes.Buffer
	if err := cfg.Show(&out, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"level: warn +# .*/prod/p.yml:1$", "format: json +# .*/base/c.yml:5$", "security.protocol: SSL +# .*prod/p.yml:3$", "events: 2000 +# default$"} {
		if !matchLine(out.String(), want) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	x := expander{
		lookup: env("A", "1", "EMPTY", "", "DB_PASSWORD", "hush", "NESTED", "${A}"),
		read: func(name string) ([]byte, error) {
			if name == filepath.Join("conf", "pw") || name == "/abs/pw" {
				return []byte("sec}ret\r\n"), nil
			}
			return nil, fs.ErrNotExist
		},
	}
	for _, c := range []struct{ in, text, shown, problem string }{
		{"plain $5 and $", "plain $5 and $", "plain $5 and $", ""},
		{"${A}-${A}", "1-1", "1-1", ""},
		{"${EMPTY}|${EMPTY:-d}|${NONE:-}|${NONE:-a:-b}", "|d||a:-b", "|d||a:-b", ""},
		{"$${A} $$${A}", "${A} $${A}", "${A} $${A}", ""},
		{"${NESTED}", "${A}", "${A}", ""},
		{"u:${DB_PASSWORD}@", "u:hush@", "u:xxxxx@", ""},
		{"${file:pw}", "sec}ret", "xxxxx", ""},
		{"<${file:/abs/pw}>", "<sec}ret>", "<xxxxx>", ""},
		{"${NONE}", "", "", "NONE"},
		{"${file:nope}", "", "", "nope"},
		{"${file:}", "", "", "names no file"},
		{"${", "", "", "closing"},
		{"${a b}", "", "", "not a variable name"},
	} {
		text, shown, _, problem := x.expand("conf/c.yml", c.in)
		if text != c.text || shown != c.shown || (problem == "") != (c.problem == "") || !strings.Contains(problem, c.problem) {
			t.Errorf("%s: %q %q %q", c.in, text, shown, problem)
		}
	}
}

// What Show prints loads again, to the same configuration; no secret is in it.
func TestShow(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"events.yaml": "events:\n  - {type: essay.scored, topic: essays.scored.v1, schema: EssayScored}\n", "schemas/avro/x": "",
		"pw": "s3cret-p%40ss\n",
		"c.yml": `name: huleedu
environment: testing
postgres: {url: "postgres://relay:${file:pw}@db:5432/x?sslpassword=s3cret", sender_timeout: 1m30s}
kafka:
  bootstrap.servers: "${BROKERS}"
  sasl.password: "s3cret"
  ssl.key.pem: "s3cret"
  sasl.oauthbearer.client.secret: "s3cret"
  sasl.username: "yes"
registry: {url: "https://u:s3cret@registry", username: u, password: "${file:pw}"}
events: [events.yaml]
checkpoint_topic: checkpoints
mapping: {preset: native, topic: [topic, "const:$${x}"], headers: []}
databases:
  essays:
  exams: {enabled: true, url: "host=db password='s3cret \\' x' user=u", events: []}
http: {listen: "127.0.0.1:0"}
claim_check: {bucket: "s3://artifacts?region=eu-north-1", prefix: events/claims, timeout: 1m}
`}
	cfg := mustLoad(t, files, env("BROKERS", "b: 1"), "c.yml")
	if !cfg.NeedsRegistry() {
		t.Error("avro needs a registry")
	}
	for _, origins := range []bool{false, true} {
		var out bytes.Buffer
		if err := cfg.Show(&out, origins); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "s3cret") {
			t.Errorf("a secret is shown:\n%s", out.String())
		}
		if origins && !matchLine(out.String(), `bootstrap.servers: "b: 1" +# .*c.yml:5, \$BROKERS$`) {
			t.Errorf("no origin with its variable:\n%s", out.String())
		}
		again := mustLoad(t, map[string]string{"c.yml": out.String()}, noEnv, "c.yml")
		a, b := *cfg, *again
		strip := func(c *Config) {
			c.from, c.places, c.pipelines = nil, nil, nil
			c.Postgres.URL, c.Registry.URL, c.Registry.Password = "", "", ""
			c.Kafka = maps.Clone(c.Kafka)
			for k := range c.Kafka {
				if secretKey(k) {
					delete(c.Kafka, k)
				}
			}
			c.Databases = maps.Clone(c.Databases)
			for k, db := range c.Databases {
				db.URL = ""
				c.Databases[k] = db
			}
		}
		strip(&a)
		strip(&b)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("shown and loaded again:\n%+v\nwant\n%+v\n%s", b, a, out.String())
		}
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Init(&out); err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, map[string]string{"cdc-relay.yml": out.String(), "events.yaml": eventsYAML}, noEnv, "cdc-relay.yml")
	if p := cfg.Pipelines()[0]; p.Database != "essays" || p.URL != "postgres://relay@localhost:5432/essays" {
		t.Errorf("%+v", p)
	}
}

// Without a URL the PG* variables say where the server is.
func TestPGVariables(t *testing.T) {
	t.Parallel()
	files := map[string]string{"c.yml": strings.Replace(smallest, `postgres: {url: "postgres://relay@db/essays"}`, "", 1), "events.yaml": eventsYAML}
	if p := mustLoad(t, files, env("PGDATABASE", "from-env"), "c.yml").Pipelines()[0]; p.Database != "from-env" || p.URL != "postgres:///from-env" {
		t.Errorf("%+v", p)
	}
	if _, err := load(t, files, noEnv, "c.yml"); err == nil || !strings.Contains(err.Error(), "no database is named") {
		t.Errorf("got %v", err)
	}
	files["c.yml"] += "database: explicit\n"
	if p := mustLoad(t, files, env("PGDATABASE", "from-env"), "c.yml").Pipelines()[0]; p.Database != "explicit" || p.Name != "explicit" {
		t.Errorf("%+v", p)
	}
}

func TestContractLines(t *testing.T) {
	t.Parallel()
	_, err := load(t, map[string]string{"c.yml": strings.Replace(smallest, "events.yaml", "a.yaml, b.yaml", 1),
		"a.yaml": eventsYAML, "b.yaml": "# two\n" + eventsYAML}, noEnv, "c.yml")
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 1 || filepath.Base(ps[0].At.File) != "b.yaml" || ps[0].At.Line != 3 || !strings.Contains(ps[0].What, "a.yaml:2") {
		t.Errorf("got %+v", err)
	}
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"postgres://u:s3cret@h/db?sslmode=disable":           "postgres://u:xxxxx@h/db?sslmode=disable",
		"postgres://u:s3/cr?et@x@h/db":                       "postgres://u:xxxxx@h/db",
		"postgres://u@h/db?a=1&password=s3cret x&sslmode=no": "postgres://u@h/db?a=1&password=xxxxx&sslmode=no",
		"postgres://h/db?sslpassword=s3cret":                 "postgres://h/db?sslpassword=xxxxx",
		"https://h:8081/apis":                                "https://h:8081/apis",
		`host=h password='s3\'cr = et' user=u`:               "host=h password=xxxxx user=u",
		"host=h password = s3cret and more user=u":           "host=h password = xxxxx user=u",
		"password='s3cret user=u":                            "password=xxxxx",
		"host=h user=u":                                      "host=h user=u",
	} {
		if got := redactURL(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestNoFiles(t *testing.T) {
	t.Parallel()
	var ps Problems
	if _, err := Load(nil, noEnv); !errors.As(err, &ps) || !strings.Contains(err.Error(), "config init") {
		t.Errorf("got %v", err)
	}
	if _, err := Load([]string{filepath.Join(t.TempDir(), "none.yml")}, noEnv); !errors.As(err, &ps) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

func TestScalars(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Size{"0": 0, "17": 17, "17B": 17, "8MiB": 8 << 20, "8 mib": 8 << 20, "1GB": 1e9, "64KiB": 64 << 10, "3GiB": 3 << 30} {
		got, err := ParseSize(s)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", s, got, err)
		}
		if back, err := ParseSize(got.String()); err != nil || back != got {
			t.Errorf("%s reads back as %d, %v", got, back, err)
		}
	}
	for _, s := range []string{"", "-1", "1.5MiB", "MiB", "9999999999GiB", "1 PiB", "99999999999999999999"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d", s, got)
		}
	}
	for _, d := range []time.Duration{0, time.Millisecond, 90 * time.Second, time.Minute, time.Hour, 25 * time.Hour, time.Hour + time.Second} {
		if got, err := ParseDuration(formatDuration(d)); err != nil || got != d {
			t.Errorf("%s is shown as %s and reads back as %s, %v", d, formatDuration(d), got, err)
		}
	}
}

func matchLine(text, pattern string) bool {
	return regexpMultiline(pattern).MatchString(text)
}
