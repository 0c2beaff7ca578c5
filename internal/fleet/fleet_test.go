package fleet

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/admin"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/replay"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// example makes a Fleet of a configuration in examples; nothing is connected.
func example(t *testing.T, name string) *Fleet {
	t.Helper()
	cfg, err := config.Load([]string{filepath.Join("..", "..", "examples", name, "cdc-relay.yaml")}, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return fleetOf(t, cfg)
}

func fleetOf(t *testing.T, cfg *config.Config) *Fleet {
	t.Helper()
	f, err := New(Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Status: admin.NewStatus(prometheus.NewRegistry()), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestExamplesCompile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"minimal", "cluster"} {
		if err := example(t, name).CheckSchemas(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChoosing(t *testing.T) {
	t.Parallel()
	f := example(t, "cluster")
	if all, err := f.choose(nil); err != nil || len(all) != 2 {
		t.Errorf("all: %v, %v", all, err)
	}
	if one, err := f.choose([]string{"essay_lifecycle"}); err != nil || len(one) != 1 || one[0].Name != "essay_lifecycle" {
		t.Errorf("one: %v, %v", one, err)
	}
	for name, want := range map[string]string{"": "there are 2 pipelines", "nobody": `no pipeline "nobody"`} {
		_, err := f.one(name)
		if _, usage := errors.AsType[*UsageError](err); !usage || !strings.Contains(err.Error(), want) {
			t.Errorf("one(%q): %v, want a usage error with %q", name, err, want)
		}
	}
	if p, err := example(t, "minimal").one(""); err != nil || p.Name != "essays" {
		t.Errorf("the only one: %v, %v", p, err)
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	f := example(t, "minimal")
	p, _ := f.one("")
	anchor, err := replay.AnchorSlot(p.Slot, "a")
	if err != nil {
		t.Fatal(err)
	}
	for slot, want := range map[string]string{p.Slot: "essays", anchor: "essays anchor a", "stranger": ""} {
		if got := f.Owner(slot); got != want {
			t.Errorf("Owner(%q) = %q, want %q", slot, got, want)
		}
	}
}

func TestTopicsAreMadeAsTheirClassSays(t *testing.T) {
	t.Parallel()
	f := example(t, "minimal")
	p, _ := f.one("")
	specs := f.unit(p).wanted()
	if len(specs) != 1 || specs[0].Partitions != 12 || specs[0].Config["cleanup.policy"] != "compact,delete" || specs[0].Config["retention.ms"] != "604800000" {
		t.Errorf("specs %+v", specs)
	}
	if s := f.wantedCheckpoint(); s.Partitions != 25 || s.Config["cleanup.policy"] != "compact" {
		t.Errorf("checkpoint topic %+v", s)
	}
}

func TestRefusedPropertyIsNamed(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load([]string{filepath.Join("..", "..", "examples", "minimal", "cdc-relay.yaml")}, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Kafka["acks"] = "1"
	_, err = New(Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Status: admin.NewStatus(prometheus.NewRegistry())})
	if err == nil || !strings.Contains(err.Error(), `"acks"`) {
		t.Errorf("New: %v", err)
	}
}

// Migrations are for the table they make, whatever the mapping of another one
// is based on.
func TestNative(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		preset, table string
		want          bool
	}{
		{"native", "cdc_relay.outbox", true}, {"", "cdc_relay.outbox", true}, {"native", "public.event_outbox", false},
		{"", "public.event_outbox", false}, {"debezium", "public.outboxevent", false}, {"debezium", "cdc_relay.outbox", false},
	} {
		p := config.Pipeline{Table: tc.table, Mapping: transform.Mapping{Preset: tc.preset}}
		if got := native(p); got != tc.want {
			t.Errorf("preset %q, table %s: %v", tc.preset, tc.table, got)
		}
	}
}
