package outboxtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// maxExponent bounds the numbers that are compared by value: 1e999999999 would
// take a gigabyte.
const maxExponent = 4

// sameNumber compares by value, without rounding.
func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	if len(exponent(a)) > maxExponent || len(exponent(b)) > maxExponent {
		return false
	}
	x, ok := new(big.Rat).SetString(a.String())
	y, fine := new(big.Rat).SetString(b.String())
	return ok && fine && x.Cmp(y) == 0
}

func exponent(n json.Number) string {
	_, e, _ := strings.Cut(strings.ToLower(n.String()), "e")
	return e
}

// maxShort is how many bytes of a value a message shows.
const maxShort = 300

// short is a value as JSON, cut where it is long.
func short(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%v", v)
	}
	if len(text) > maxShort {
		return strings.ToValidUTF8(string(text[:maxShort]), "") + "…"
	}
	return string(text)
}

// describe shows what an event says, a line for each field that is not zero.
func describe(e outbox.Event) string {
	var lines []string
	line := func(name, value string) {
		if value != "" {
			lines = append(lines, fmt.Sprintf("%s: %q", name, value))
		}
	}
	line("AggregateType", e.AggregateType)
	line("AggregateID", e.AggregateID)
	line("Type", e.Type)
	line("Topic", e.Topic)
	line("Key", e.Key)
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		lines = append(lines, fmt.Sprintf("Headers[%q]: %q", name, e.Headers[name]))
	}
	if e.Payload != nil {
		v, err := decode(e.Payload)
		if err != nil {
			v = fmt.Sprint(e.Payload)
		}
		lines = append(lines, "Payload: "+short(v))
	}
	return indent(lines)
}

func indent(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "  " + strings.Join(lines, "\n  ")
}
