package contract

import (
	"slices"
	"strings"
	"unicode"
)

// Where a topic's name stands decides how one gets from an old name to the
// right one.
const (
	ofDefaults = "list it under naming.exceptions"
	ofEvent    = ""
	ofAlso     = "write legacy: true beside it until its consumers have moved"
)

// advice says what to write instead of a wrong name, and how to get there
// without a consumer noticing.
func (n *naming) advice(topic, eventType, otherwise string) string {
	right, missing := n.propose(topic, eventType)
	if right == "" || n.judge(strings.ToLower(right)) != "" {
		right, missing = "a name such as "+n.sample(), false
		if otherwise == ofEvent {
			otherwise = ofDefaults
		}
	}
	do := "write " + right
	if missing {
		do += " with the right word for what is in capitals, such as published for EVENT"
	}
	if otherwise == ofEvent {
		otherwise = "publish both until its consumers have moved: also: [{topic: " + topic + ", legacy: true}]"
		return do + ", and " + otherwise
	}
	return do + ", or " + otherwise
}

// sample is a name that keeps the rule.
func (n *naming) sample() string { return n.join(slices.Clone(n.words), "v1") }

func (n *naming) join(words []string, version string) string {
	if n.prefix != "" {
		words = append([]string{n.prefix}, words...)
	}
	if n.versioned {
		words = append(words, version)
	}
	return strings.Join(words, ".")
}

// propose makes the right name of a wrong one: its own words where their number
// is right, else those of the event's type, which knows what happened
// (assessment.result.published), else its own words with the type's verb. What
// nobody knows stands in capitals, and missing is true.
func (n *naming) propose(topic, eventType string) (name string, missing bool) {
	own, v := n.bare(split(topic, false))
	typ, _ := n.bare(split(eventType, true))
	want := len(n.words)
	words := own
	switch {
	case len(own) == want:
	case len(typ) >= want:
		words = fold(typ, want)
	case len(own) == want-1 && len(typ) > 0 && n.words[want-1] == "event" && typ[len(typ)-1] != own[len(own)-1]:
		words = append(slices.Clone(own), typ[len(typ)-1])
	case len(own) > want:
		words = fold(own, want)
	case len(own) == 0:
		return "", false
	default:
		words = slices.Clone(own)
		for _, part := range n.words[len(own):] {
			words = append(words, strings.ToUpper(part))
		}
		missing = true
	}
	words = slices.Clone(words)
	for i, part := range n.words {
		if part == "entity" {
			words[i], _ = n.one(words[i])
		}
	}
	return n.join(words, v), missing
}

// bare takes prefix and version off.
func (n *naming) bare(words []string) (_ []string, v string) {
	v = "v1"
	if n.prefix != "" {
		if p := strings.Split(n.prefix, "."); len(words) > len(p) && slices.Equal(words[:len(p)], p) {
			words = words[len(p):]
		}
	}
	if k := len(words) - 1; n.versioned && k > 0 && version.MatchString(words[k]) {
		words, v = words[:k], words[k]
	}
	return words, v
}

// fold makes n words of more: the first ones become one with hyphens. A service
// has the long name (cj-assessment.result.published), what happened a short one.
func fold(words []string, n int) []string {
	k := len(words) - n
	return append([]string{strings.Join(words[:k+1], "-")}, words[k+1:]...)
}

// split takes a name apart into words in lower case. Dots part words; in an
// event type without a dot (ESSAY_SPELLCHECK_COMPLETED, EssayCompleted) so does
// what else does.
func split(name string, eventType bool) []string {
	var out []string
	for part := range strings.SplitSeq(name, ".") {
		if w := hyphens(part); w != "" {
			out = append(out, w)
		}
	}
	if eventType && len(out) == 1 {
		return strings.Split(out[0], "-")
	}
	return out
}

// hyphens writes resultPublished, Result_Published and RESULT__PUBLISHED as
// result-published.
func hyphens(s string) string {
	var b strings.Builder
	prev := rune(0)
	for i, r := range s {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			r = '-'
		case unicode.IsUpper(r) && i > 0 && (unicode.IsLower(prev) || unicode.IsDigit(prev) || unicode.IsUpper(prev) && startsLower(s[i+1:])):
			b.WriteByte('-')
		}
		prev = r
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.Join(strings.FieldsFunc(b.String(), func(r rune) bool { return r == '-' }), "-")
}

func startsLower(s string) bool { return s != "" && s[0] >= 'a' && s[0] <= 'z' }
