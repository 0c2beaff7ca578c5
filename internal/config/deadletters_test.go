package config

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/deadletter"
)

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	text := smallest + "dead_letters: {topic: letters, max_share: 0.5, window: 10, at_least: 2, max_held: 7}\n"
	cfg := mustLoad(t, map[string]string{"c.yml": text, "events.yaml": eventsYAML}, noEnv, "c.yml")
	if d := cfg.DeadLetters; d.Limit() != (deadletter.Limit{Share: 0.5, Window: 10, AtLeast: 2}) || d.MaxHeld != 7 || cfg.Pipelines()[0].DeadLetterTopic != "letters" {
		t.Errorf("%+v", d)
	}
	var shown strings.Builder
	if err := cfg.Show(&shown, false); err != nil || !strings.Contains(shown.String(), "dead_letters:\n  topic: letters\n  max_share: 0.5\n") {
		t.Errorf("%v\n%s", err, shown.String())
	}
}

func TestDefaultDeadLetterTopic(t *testing.T) {
	t.Parallel()
	if got := DefaultDeadLetterTopic("huleedu", "cj"); got != "huleedu.cj.dead-letters" {
		t.Error(got)
	}
	long := strings.Repeat("n", 100)
	seen := map[string]bool{}
	for _, pipeline := range []string{strings.Repeat("p", 140), strings.Repeat("p", 139) + "q", strings.Repeat("p", 141)} {
		topic := DefaultDeadLetterTopic(long, pipeline)
		if err := contract.CheckTopic(topic); err != nil || seen[topic] || !strings.HasSuffix(topic, ".dead-letters") {
			t.Errorf("%s: %v", topic, err)
		}
		seen[topic] = true
	}
}
