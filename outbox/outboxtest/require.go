package outboxtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// RequirePublished ends the test unless exactly the wanted events were written
// in tx, in this order; none wanted: none written.
//
// A field that is zero in a wanted event is not compared. Of Headers, those
// that are wanted must be there. Payload is compared as JSON: neither the order
// of members nor blanks count, and 1 is 1.0. OccurredAt is compared to the
// microsecond.
func RequirePublished(t testing.TB, tx pgx.Tx, want ...outbox.Event) {
	t.Helper()
	exactly(t, Published(t, tx), want)
}

// RequirePublishedSQL is RequirePublished for database/sql.
func RequirePublishedSQL(t testing.TB, tx SQLTx, want ...outbox.Event) {
	t.Helper()
	exactly(t, PublishedSQL(t, tx), want)
}

// RequireIncludes ends the test unless the wanted events are among those written
// in tx, in this order; others may be between them. They are compared as
// RequirePublished does.
func RequireIncludes(t testing.TB, tx pgx.Tx, want ...outbox.Event) {
	t.Helper()
	includes(t, Published(t, tx), want)
}

// RequireIncludesSQL is RequireIncludes for database/sql.
func RequireIncludesSQL(t testing.TB, tx SQLTx, want ...outbox.Event) {
	t.Helper()
	includes(t, PublishedSQL(t, tx), want)
}

func exactly(t testing.TB, got, want []outbox.Event) {
	t.Helper()
	var out []string
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(want):
			out = append(out, fmt.Sprintf("event %d was not wanted:\n%s", i, describe(got[i])))
		case i >= len(got):
			out = append(out, fmt.Sprintf("event %d is missing:\n%s", i, describe(want[i])))
		default:
			if lines := differences(got[i], want[i]); len(lines) > 0 {
				out = append(out, fmt.Sprintf("event %d (%s) differs:\n%s", i, got[i].Type, indent(lines)))
			}
		}
	}
	if len(out) > 0 {
		t.Fatalf("outboxtest: %d events were published in this transaction, %d wanted\n%s", len(got), len(want), strings.Join(out, "\n"))
	}
}

func includes(t testing.TB, got, want []outbox.Event) {
	t.Helper()
	from := 0
	for i, w := range want {
		at := slices.IndexFunc(got[from:], func(g outbox.Event) bool { return len(differences(g, w)) == 0 })
		if at >= 0 {
			from += at + 1
			continue
		}
		var out []string
		for n, g := range got {
			why := indent(differences(g, w))
			if why == "" {
				why = "  fits, but comes before another that was wanted first"
			}
			out = append(out, fmt.Sprintf("event %d (%s):\n%s", n, g.Type, why))
		}
		t.Fatalf("outboxtest: wanted event %d is not among the %d that were published in this transaction:\n%s\n%s",
			i, len(got), describe(w), strings.Join(out, "\n"))
	}
}

// differences says, a line each, where got is not what is wanted.
func differences(got, want outbox.Event) []string {
	var out []string
	text := func(name, g, w string) {
		if w != "" && g != w {
			out = append(out, fmt.Sprintf("%s: got %q, want %q", name, g, w))
		}
	}
	if want.ID != (outbox.ID{}) {
		text("ID", got.ID.String(), want.ID.String())
	}
	text("AggregateType", got.AggregateType, want.AggregateType)
	text("AggregateID", got.AggregateID, want.AggregateID)
	text("Type", got.Type, want.Type)
	text("Topic", got.Topic, want.Topic)
	text("Key", got.Key, want.Key)
	for _, name := range slices.Sorted(maps.Keys(want.Headers)) {
		g, there := got.Headers[name]
		switch {
		case !there:
			out = append(out, fmt.Sprintf("Headers[%q]: missing, want %q", name, want.Headers[name]))
		case g != want.Headers[name]:
			out = append(out, fmt.Sprintf("Headers[%q]: got %q, want %q", name, g, want.Headers[name]))
		}
	}
	if w := want.OccurredAt; !w.IsZero() {
		const micros = "2006-01-02T15:04:05.000000Z"
		text("OccurredAt", got.OccurredAt.UTC().Round(time.Microsecond).Format(micros), w.UTC().Round(time.Microsecond).Format(micros))
	}
	if want.Payload != nil {
		out = append(out, payloads(got.Payload, want.Payload)...)
	}
	return out
}

// payloads compares two payloads as JSON.
func payloads(got, want any) []string {
	w, err := decode(want)
	if err != nil {
		return []string{fmt.Sprintf("Payload: the wanted one is no JSON: %v", err)}
	}
	g, err := decode(got)
	if err != nil {
		return []string{fmt.Sprintf("Payload: the published one is no JSON: %v", err)}
	}
	return values("Payload", g, w)
}

// decode reads a payload as Publish would write it.
func decode(payload any) (v any, err error) {
	var raw []byte
	switch p := payload.(type) {
	case []byte:
		raw = p
	case json.RawMessage:
		raw = p
	case string:
		raw = []byte(p)
	default:
		if raw, err = json.Marshal(p); err != nil {
			return nil, err
		}
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// values compares two decoded JSON values and names the path of each difference.
func values(path string, got, want any) []string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		var out []string
		all := maps.Clone(g)
		maps.Copy(all, w)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			gv, inGot := g[name]
			wv, inWant := w[name]
			at := path + "." + name
			switch {
			case !inGot:
				out = append(out, fmt.Sprintf("%s: missing, want %s", at, short(wv)))
			case !inWant:
				out = append(out, fmt.Sprintf("%s: got %s, not wanted", at, short(gv)))
			default:
				out = append(out, values(at, gv, wv)...)
			}
		}
		return out
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		var out []string
		for i := range w {
			out = append(out, values(fmt.Sprintf("%s[%d]", path, i), g[i], w[i])...)
		}
		return out
	case json.Number:
		if g, ok := got.(json.Number); ok && sameNumber(g, w) {
			return nil
		}
	default:
		if reflect.DeepEqual(got, want) {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: got %s, want %s", path, short(got), short(want))}
}
