package topics

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// results is the first users' class, and there a topic made by it.
func results() (Want, Have) {
	w := Want{Name: "results", Role: Events, Class: "assessment_result", Partitions: 12, Replicas: 3,
		Config: map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "604800000"}, Pipelines: []string{"essays"}}
	h := Have{Exists: true, Partitions: 12, Replicas: 3, Config: map[string]string{
		"cleanup.policy": "compact,delete", "retention.ms": "604800000", "retention.bytes": "-1", "max.message.bytes": "1048588",
		"delete.retention.ms": "86400000", "min.insync.replicas": "2", "unclean.leader.election.enable": "false", "segment.bytes": "1073741824",
		"min.cleanable.dirty.ratio": "0.5",
	}}
	return w, h
}

func TestCompare(t *testing.T) {
	t.Parallel()
	set := func(pairs ...string) func(*Want, *Have) {
		return func(w *Want, _ *Have) {
			for i := 0; i < len(pairs); i += 2 {
				w.Config[pairs[i]] = pairs[i+1]
			}
		}
	}
	is := func(pairs ...string) func(*Want, *Have) {
		return func(_ *Want, h *Have) {
			for i := 0; i < len(pairs); i += 2 {
				h.Config[pairs[i]] = pairs[i+1]
			}
		}
	}
	both := func(all ...func(*Want, *Have)) func(*Want, *Have) {
		return func(w *Want, h *Have) {
			for _, f := range all {
				f(w, h)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Want, *Have)
		want   string // the changes: "what [flag] risk", one a line
		never  string
	}{
		{"as it should be", func(*Want, *Have) {}, "", ""},
		{"missing", func(_ *Want, h *Have) { *h = Have{} },
			"create with 12 partitions, replication factor 3, cleanup.policy=compact,delete, retention.ms=604800000 [] ", ""},
		{"policies have no order", is("cleanup.policy", "delete, compact"), "", ""},
		{"numbers are numbers", both(set("min.cleanable.dirty.ratio", "0.50"), set("unclean.leader.election.enable", "FALSE")), "", ""},
		{"what is not named stays", is("segment.bytes", "1", "retention.bytes", "5"), "", ""},
		{"more partitions", func(w *Want, h *Have) { h.Partitions = 3 },
			"partitions: 3 → 12 [--accept-repartitioning] MOVES KEYS: 75 % of the keys", ""},
		{"more partitions, no multiple", func(w *Want, h *Have) { h.Partitions = 11 }, "partitions: 11 → 12 [--accept-repartitioning] MOVES KEYS: 92 %", ""},
		{"fewer partitions", func(w *Want, h *Have) { h.Partitions = 24 }, "", "partitions is 24, not 12: Kafka takes no partition away; write partitions: 24 in class assessment_result"},
		{"replicas", func(w *Want, h *Have) { h.Replicas = 1 }, "", "replication_factor is 1, not 3: moving replicas"},
		{"an old name is left as it is", func(w *Want, h *Have) {
			w.Legacy, h.Partitions, h.Replicas, h.Config["cleanup.policy"] = true, 3, 1, "delete"
		}, "", ""},
		{"an old name is made like the new one", func(w *Want, h *Have) { w.Legacy, *h = true, Have{} }, "create with 12 partitions, replication factor 3, cleanup.policy=compact,delete", ""},
		{"no word about replicas", func(w *Want, h *Have) { w.Replicas, h.Replicas = 0, 1 }, "", ""},
		{"no class", func(w *Want, h *Have) { w.Class, w.Config, w.Replicas, h.Partitions = "", nil, 0, 1 }, "", ""},
		{"no such setting", set("retention.msec", "1"), "", "retention.msec is unknown to the brokers, not 1: they have no topic setting of that name"},
		{"longer retention", is("retention.ms", "86400000"), "retention.ms: 86400000 → 604800000 [] ", ""},
		{"for ever", set("retention.ms", "-1"), "retention.ms: 604800000 → -1 [] ", ""},
		{"shorter retention", is("retention.ms", "-1"), "retention.ms: -1 → 604800000 [--accept-data-loss] LOSES EVENTS: those older than 7 days are deleted", ""},
		{"shorter retention, odd", set("retention.ms", "5400000"), "retention.ms: 604800000 → 5400000 [--accept-data-loss] LOSES EVENTS: those older than 5400 s", ""},
		{"less room", set("retention.bytes", "1000"), "retention.bytes: -1 → 1000 [--accept-data-loss] LOSES EVENTS: the oldest beyond 1000 bytes", ""},
		{"shorter retention of what is not deleted", both(set("cleanup.policy", "compact"), is("cleanup.policy", "compact", "retention.ms", "-1")),
			"retention.ms: -1 → 604800000 [] ", ""},
		{"delete to compact", both(set("cleanup.policy", "compact"), is("cleanup.policy", "delete", "retention.ms", "-1")),
			"cleanup.policy: delete → compact [--accept-data-loss] LOSES EVENTS: of each key only the last one stays\n" +
				"retention.ms: -1 → 604800000 [--accept-data-loss] LOSES EVENTS: those older", ""},
		{"delete to both", is("cleanup.policy", "delete"), "cleanup.policy: delete → compact,delete [--accept-data-loss] LOSES EVENTS: of each key only the last one stays", ""},
		{"compact to both", is("cleanup.policy", "compact"), "cleanup.policy: compact → compact,delete [--accept-data-loss] LOSES EVENTS: the last one of a key, which was kept for ever, is deleted after 7 days", ""},
		{"compact to delete, kept by size", both(set("cleanup.policy", "delete", "retention.ms", "-1"), is("cleanup.policy", "compact", "retention.ms", "-1")),
			"cleanup.policy: compact → delete [--accept-data-loss] LOSES EVENTS: the last one of a key, which was kept for ever, is deleted after retention.bytes are exceeded", ""},
		{"no longer compacted", set("cleanup.policy", "delete"), "cleanup.policy: compact,delete → delete [] ", ""},
		{"no longer deleted", set("cleanup.policy", "compact"), "cleanup.policy: compact,delete → compact [] ", ""},
		{"tombstones", set("delete.retention.ms", "3600000"), "delete.retention.ms: 86400000 → 3600000 [--accept-data-loss] LOSES DELETIONS: a reader that is 1 h behind", ""},
		{"unclean", set("unclean.leader.election.enable", "true"), "unclean.leader.election.enable: false → true [--accept-data-loss] LOSES EVENTS: a broker that lags", ""},
		{"limit down", set("max.message.bytes", "1000"), "max.message.bytes: 1048588 → 1000 [] an event between", ""},
		{"limit up", set("max.message.bytes", "2000000"), "max.message.bytes: 1048588 → 2000000 [] ", ""},
		{"fewer in sync", set("min.insync.replicas", "1"), "min.insync.replicas: 2 → 1 [] an acknowledged event is kept by fewer", ""},
		{"anything else", set("segment.bytes", "16777216"), "segment.bytes: 1073741824 → 16777216 [] ", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, h := results()
			c.change(&w, &h)
			p := Compare([]Want{w}, map[string]Have{w.Name: h})
			var got, never []string
			for _, ch := range p.Topics[0].Changes {
				got = append(got, ch.String()+" ["+string(ch.Needs)+"] "+ch.Risk)
			}
			for _, n := range p.Topics[0].Never {
				never = append(never, n.Setting+" is "+n.Is+", not "+n.Want+": "+n.Why)
			}
			begins(t, got, c.want)
			begins(t, never, c.never)
		})
	}
}

// begins demands that each line of want is how one of got begins, in order; a
// line that ends in a blank is all of it.
func begins(t *testing.T, got []string, want string) {
	t.Helper()
	var lines []string
	if want != "" {
		lines = strings.Split(want, "\n")
	}
	if len(got) != len(lines) {
		t.Fatalf("got  %q\nwant %q", got, lines)
	}
	for i := range lines {
		if !strings.HasPrefix(got[i], lines[i]) || strings.HasSuffix(lines[i], "] ") && got[i] != lines[i] {
			t.Errorf("got  %q\nwant %q", got[i], lines[i])
		}
	}
}

func TestCompareWithoutRights(t *testing.T) {
	t.Parallel()
	w, h := results()
	h.Config, h.Partitions = nil, 3
	blind := Compare([]Want{w}, map[string]Have{w.Name: h})
	if got := blind.Topics[0]; got.Unknown == "" || len(got.Changes) != 1 || got.Changes[0].Kind != Partitions {
		t.Errorf("configuration not to be read: %+v", got)
	}
	hidden := Compare([]Want{w}, map[string]Have{w.Name: {Hidden: true}})
	if got := hidden.Unknown(); !slices.Equal(got, []string{"results"}) || hidden.Changes() != 0 {
		t.Errorf("hidden: %v, %+v", got, hidden)
	}
	w.Config = nil
	if p := Compare([]Want{w}, map[string]Have{w.Name: {Exists: true, Partitions: 12, Replicas: 3}}); len(p.Unknown()) > 0 {
		t.Error("nothing of the configuration is named, so that none has to be read")
	}
}

// The checkpoint topic's partitions are never altered, and it is not made to
// forget: it may be somebody else's.
func TestCompareCheckpoint(t *testing.T) {
	t.Parallel()
	w := Want{Name: "cp", Role: Checkpoint, Partitions: 25, Config: map[string]string{"cleanup.policy": "compact"}}
	p := Compare([]Want{w}, map[string]Have{"cp": {Exists: true, Partitions: 3, Replicas: 1, Config: map[string]string{"cleanup.policy": "delete"}}})
	got := p.Topics[0]
	if len(got.Changes) != 1 || got.Changes[0].Needs != AcceptDataLoss || !strings.Contains(got.Changes[0].Risk, "if the topic is not the relay's own") {
		t.Errorf("changes %+v", got.Changes)
	}
	if len(got.Never) != 1 || got.Never[0].Setting != "partitions" {
		t.Errorf("never %+v", got.Never)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	a, _ := results()
	b := a
	b.Pipelines = []string{"batches"}
	plain := Want{Name: "results", Role: Events, Partitions: 12, Pipelines: []string{"other"}}
	cp := Want{Name: "cp", Role: Checkpoint, Partitions: 25}
	all, err := Merge([]Want{cp}, []Want{plain}, []Want{a}, []Want{b})
	if err != nil || len(all) != 2 || all[0].Name != "cp" || all[1].Class != "assessment_result" || !slices.Equal(all[1].Pipelines, []string{"batches", "essays", "other"}) {
		t.Errorf("%+v, %v", all, err)
	}
	b.Partitions = 3
	if _, err := Merge([]Want{a}, []Want{b}); err == nil || !strings.Contains(err.Error(), `topic "results": pipeline essays has it with 12 partitions`) {
		t.Errorf("two classes: %v", err)
	}
	cp.Name = "results"
	if _, err := Merge([]Want{cp}, []Want{a}); err == nil || !strings.Contains(err.Error(), "is wanted for checkpoint and for events") {
		t.Errorf("two roles: %v", err)
	}
}

func TestDrifts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Want, *Have)
		want   []string // "grave: …" or "mild: …"
	}{
		{"none", func(*Want, *Have) {}, nil},
		{"missing is another guard's", func(_ *Want, h *Have) { *h = Have{} }, nil},
		{"fewer partitions", func(_ *Want, h *Have) { h.Partitions = 3 }, []string{"grave: it has 3 partitions, class assessment_result says 12"}},
		{"more partitions", func(_ *Want, h *Have) { h.Partitions = 24 }, nil},
		{"retention", func(_ *Want, h *Have) { h.Config["retention.ms"] = "1" }, nil},
		{"policy", func(_ *Want, h *Have) { h.Config["cleanup.policy"] = "delete" },
			[]string{"grave: it has cleanup.policy delete, class assessment_result says compact,delete"}},
		{"compacted by surprise", func(w *Want, h *Have) { w.Config["cleanup.policy"] = "delete" },
			[]string{"grave: it has cleanup.policy compact,delete, class assessment_result says delete: an event is replaced by the next one of its key"}},
		{"not to be read", func(_ *Want, h *Have) { h.Config = nil }, nil},
		{"limit below the class", func(w *Want, h *Have) { w.Config["max.message.bytes"] = "2000000" },
			[]string{"grave: it has max.message.bytes 1048588, class assessment_result says 2000000"}},
		{"limit below the relay's", func(_ *Want, h *Have) { h.Config["max.message.bytes"] = "999999" },
			[]string{"mild: its max.message.bytes is 999999, below max_event_bytes (1000000): an event between the two cannot be published"}},
		{"no class", func(w *Want, h *Have) { w.Class, w.Config, h.Partitions = "", nil, 1 }, nil},
		{"an old name", func(w *Want, h *Have) { w.Legacy, h.Partitions, h.Config["cleanup.policy"] = true, 1, "delete" }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, h := results()
			c.change(&w, &h)
			var got []string
			for _, d := range Drifts(w, h, 1_000_000) {
				level := "mild: "
				if d.Grave {
					level = "grave: "
				}
				got = append(got, level+d.What)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestMended(t *testing.T) {
	t.Parallel()
	w, h := results()
	h.Partitions, h.Config["cleanup.policy"], h.Config["retention.ms"] = 3, "delete", "1"
	before := maps.Clone(h.Config)
	m := Mended(w, h)
	if m.Partitions != 3 || m.Config["cleanup.policy"] != "delete" || m.Config["retention.ms"] != "604800000" {
		t.Errorf("%+v", m)
	}
	if !maps.Equal(before, h.Config) {
		t.Error("what the cluster said was changed")
	}
}

// Whatever the class and the topic are: after all changes nothing is left to do,
// and without flags only what needs one is left; no change is one that no flag
// guards and that shortens what is kept.
func TestChangesLeadThere(t *testing.T) {
	t.Parallel()
	policy := rapid.SampledFrom([]string{"delete", "compact", "compact,delete", "delete,compact"})
	retention := rapid.SampledFrom([]string{"-1", "1000", "86400000", "604800000"})
	rapid.Check(t, func(t *rapid.T) {
		w, h := results()
		w.Partitions, h.Partitions = rapid.IntRange(1, 20).Draw(t, "want"), rapid.IntRange(1, 20).Draw(t, "have")
		for _, key := range []string{"cleanup.policy", "retention.ms", "retention.bytes"} {
			values := retention
			if key == "cleanup.policy" {
				values = policy
			}
			w.Config[key], h.Config[key] = values.Draw(t, "want "+key), values.Draw(t, "have "+key)
		}
		for _, accept := range []bool{false, true} {
			now := Have{Exists: true, Partitions: h.Partitions, Replicas: h.Replicas, Config: maps.Clone(h.Config)}
			for _, c := range compare(w, h).Changes {
				switch {
				case c.Needs != "" && !accept:
				case c.Kind == Config:
					now.Config[c.Setting] = c.To
				case c.Kind == Partitions:
					now.Partitions = w.Partitions
				}
			}
			for _, c := range compare(w, now).Changes {
				if accept || c.Needs == "" {
					t.Fatalf("accept %v: left over: %s", accept, c)
				}
			}
			if accept {
				continue
			}
			for policy := range strings.SplitSeq(now.Config["cleanup.policy"], ",") {
				if !slices.Contains(list(h.Config["cleanup.policy"]), policy) {
					t.Fatalf("%s came without a flag", policy)
				}
			}
			kept, was := limit(now, "retention.ms"), limit(h, "retention.ms")
			if slices.Contains(list(now.Config["cleanup.policy"]), "delete") && kept < was {
				t.Fatalf("retention went from %d to %d without a flag", was, kept)
			}
			if now.Partitions != h.Partitions {
				t.Fatal("partitions came without a flag")
			}
		}
	})
}

func limit(h Have, key string) uint64 {
	n, _ := strconv.ParseInt(h.Config[key], 10, 64)
	return uint64(n) // -1 is the most
}

func TestText(t *testing.T) {
	t.Parallel()
	w, h := results()
	missing, fine := w, w
	missing.Name, fine.Name = "missing", "fine"
	sound := h
	sound.Config = maps.Clone(h.Config)
	h.Partitions, h.Replicas, h.Config["retention.ms"] = 3, 1, "-1"
	p := Compare([]Want{missing, w, fine, {Name: "dark", Class: "c", Partitions: 1}}, map[string]Have{"results": h, "fine": sound, "dark": {Hidden: true}})
	p.Misnamed = []string{`events.yaml:5: events[0].topic: "x" breaks the naming rule`}
	for i := range 12 {
		p.Unnamed = append(p.Unnamed, "old"+strconv.Itoa(i))
	}
	want := `topic missing (class assessment_result)
  + create with 12 partitions, replication factor 3, cleanup.policy=compact,delete, retention.ms=604800000
topic results (class assessment_result)
  ~ retention.ms: -1 → 604800000
      LOSES EVENTS: those older than 7 days are deleted
      only with cdc-relay topics apply --accept-data-loss
  ~ partitions: 3 → 12
      MOVES KEYS: 75 % of the keys go to another partition from then on, and what they have published stays where it is: a consumer may read a key's new events before its old ones, and state kept per partition no longer meets its keys
      only with cdc-relay topics apply --accept-repartitioning
  ! replication_factor is 1, not 3: never changed; moving replicas loads the brokers and is their operator's to plan: kafka-reassign-partitions.sh
topic dark (class c)
  ? the relay's user may not see it; grant Describe and DescribeConfigs on it
name: events.yaml:5: events[0].topic: "x" breaks the naming rule
in no contract: old0, old1, old2, old3, old4, old5, old6, old7, old8, old9 and 2 more; topics are never deleted: when nobody reads one any more, kafka-topics.sh --delete --topic NAME
3 changes; 1 topic is as it should be
`
	if got := p.Text(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if p.Changes() != 3 || !slices.Equal(p.Needs(), []Flag{AcceptDataLoss, AcceptRepartitioning}) {
		t.Errorf("%d changes, flags %v", p.Changes(), p.Needs())
	}
	raw, err := json.Marshal(&p)
	for _, part := range []string{`{"topic":"missing","role":"events","topic_class":"assessment_result","partitions":12,`, `"exists":false,"changes":[{"kind":"create",`,
		`{"kind":"partitions","from":"3","to":"12","risk":"MOVES KEYS`, `"needs":"--accept-repartitioning"}`, `"changes":[]`} {
		if err != nil || !strings.Contains(string(raw), part) {
			t.Errorf("JSON lacks %s: %v\n%s", part, err, raw)
		}
	}
}
