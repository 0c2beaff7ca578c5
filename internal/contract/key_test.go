package contract

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Each source has one form in which it is written and shown.
func TestKeySourceRoundTrip(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"message_key", "aggregate_id", "aggregate_type", "event_type", "payload.a.b", "payload[0]", `payload["a{b"].c`,
		"header.x-y.z", `header["ctx"].tenant[0]`, `header["a{b"]`, "column.order id", "column.body.data.id", `column["a.b"].c`, "column.items[2].id",
		"const:a,b", "const:{x}", "{payload.a}:{aggregate_id}", "batch-{payload.data.batch_id}", `{{{payload["}"]}}}{header.h}`, "{aggregate_type}/{aggregate_id}@{event_type}",
		`["{payload.a}"]`,
	} {
		k, err := ParseKeySource(s)
		if err != nil || k.String() != s {
			t.Errorf("%s → %s, %v", s, k, err)
		}
	}
	// One source in braces is that source.
	for s, want := range map[string]string{"{payload.a}": "payload.a", `{column["x"]}`: "column.x"} {
		if k, err := ParseKeySource(s); err != nil || k.String() != want {
			t.Errorf("%s → %s, %v; want %s", s, k, err, want)
		}
	}
}

func TestKeySourceRefuses(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":                       `"" is no source; write message_key`,
		"aggregate":              `is no source; write message_key, aggregate_id, aggregate_type`,
		"payload":                `is no source`,
		"payload.":               `write payload.PATH`,
		"payload.a}":             `a brace in a name; write the name as ["…"]`,
		"payload.{aggregate_id}": `a brace in a name`,
		"header.":                `no name; write header.NAME`,
		"header[0]":              `no name; write header.NAME, or header["any name"]`,
		`header[""]`:             `the name is empty`,
		"header.a{b":             `a brace in a name`,
		"column.a..b":            `what follows the name of a column is a path into its JSON`,
		"column.":                `no name; write column.NAME`,
		"{payload.a":             `a { without its }`,
		"payload-a}":             `a } without its {`,
		"{}":                     `is no source`,
		"{{payload.a}}":          `no source in braces`,
		"${payload.a}:x":         `write {SOURCE} without $`,
		"{const:x}:{payload.a}":  `inside braces; write its text outside of them`,
		"{payload.a}:{nope}":     `"nope" is no source`,
		`{payload["a}:x`:         `a { without its }`,
	} {
		if k, err := ParseKeySource(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s → %v, %v; want %s", s, k, err, want)
		}
	}
}

// What String prints of any source is read as that source.
func TestKeySourceStringIsUnambiguous(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching("[a-z .\\[\\]{}\"$:å-]{1,6}")
	text := rapid.StringMatching("[a-z .\\[\\]{}\":å-]{1,6}") // a $ before a brace is refused
	path := rapid.Custom(func(r *rapid.T) Path {
		var p Path
		for range rapid.IntRange(1, 3).Draw(r, "steps") {
			if rapid.Bool().Draw(r, "member") {
				p = append(p, Step{Name: name.Draw(r, "name"), Member: true})
			} else {
				p = append(p, Step{Index: rapid.IntRange(0, 20).Draw(r, "index")})
			}
		}
		return p
	})
	source := rapid.Custom(func(r *rapid.T) KeySource {
		s := KeySource{Kind: rapid.SampledFrom([]KeyKind{KeyMessageKey, KeyAggregateID, KeyAggregateType, KeyEventType, KeyPayload, KeyHeader, KeyColumn}).Draw(r, "kind")}
		switch s.Kind {
		case KeyPayload:
			s.Path = path.Draw(r, "path")
		case KeyHeader, KeyColumn:
			s.Name = name.Draw(r, "name")
			if rapid.Bool().Draw(r, "inside") {
				s.Path = path.Draw(r, "path")
			}
		}
		return s
	})
	rapid.Check(t, func(r *rapid.T) {
		s := source.Draw(r, "source")
		if rapid.Bool().Draw(r, "composite") {
			// Text and sources in turn, so that no two texts stand together.
			s = KeySource{Kind: KeyComposite, Parts: []KeySource{{Kind: KeyConst, Text: "k" + text.Draw(r, "text")}, s, {Kind: KeyConst, Text: text.Draw(r, "between")}, source.Draw(r, "second")}}
		}
		again, err := ParseKeySource(s.String())
		if err != nil || again.String() != s.String() {
			r.Fatalf("%+v prints as %s, which reads as %s, %v", s, s, again, err)
		}
		if a, b := flat(s), flat(again); a != b {
			r.Fatalf("%s: %s became %s", s, a, b)
		}
	})
}

// flat is a source in full, without the forms under test.
func flat(s KeySource) string {
	var b strings.Builder
	s.Walk(func(s KeySource) {
		b.WriteString(string(rune('0'+s.Kind)) + "|" + s.Name + "|" + s.Text + "|")
		for _, step := range s.Path {
			b.WriteString(step.Name + "#" + string(rune('0'+step.Index)) + ";")
		}
	})
	return b.String()
}
