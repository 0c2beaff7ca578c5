package topics

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Drift is a difference between a topic and its class that changes what its
// readers get. It is what a start is judged by; other differences are for
// `topics plan` alone.
type Drift struct {
	Topic, What string
	// Grave is false for what the relay can live with: it is warned of, whatever
	// the policy.
	Grave bool
}

// Drifts compares one topic of the contract with its class, and its limit with
// limit, the largest record the relay makes, in bytes. What is unknown has not
// drifted.
func Drifts(w Want, h Have, limit int) []Drift {
	if !h.Exists || w.Role != Events {
		return nil
	}
	var out []Drift
	say := func(grave bool, format string, args ...any) {
		out = append(out, Drift{w.Name, fmt.Sprintf(format, args...), grave})
	}
	if w.says() && h.Partitions < w.Partitions {
		say(true, "it has %d partitions, %s says %d", h.Partitions, w.whose(), w.Partitions)
	}
	is, known := h.Config["cleanup.policy"]
	if want, said := w.Config["cleanup.policy"]; w.says() && said && known && !same("cleanup.policy", is, want) {
		what := "it has cleanup.policy " + is + ", " + w.whose() + " says " + want
		if slices.Contains(list(is), "compact") && !slices.Contains(list(want), "compact") {
			what += ": an event is replaced by the next one of its key"
		}
		say(true, "%s", what)
	}
	bytes, err := strconv.Atoi(h.Config["max.message.bytes"])
	if err != nil {
		return out
	}
	switch want, err := strconv.Atoi(w.Config["max.message.bytes"]); {
	case w.says() && err == nil && bytes < want:
		say(true, "it has max.message.bytes %d, %s says %d", bytes, w.whose(), want)
	case bytes < limit:
		say(false, "its max.message.bytes is %d, below max_event_bytes (%d): an event between the two cannot be published", bytes, limit)
	}
	return out
}

// Mended is h after a start in an environment that may change topics: with every
// change that does no harm.
func Mended(w Want, h Have) Have {
	for _, c := range compare(w, h).Changes {
		if c.Needs != "" || c.Kind != Config {
			continue
		}
		h.Config = maps.Clone(h.Config)
		h.Config[c.Setting] = c.To
	}
	return h
}
