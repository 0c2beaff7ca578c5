package contract

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Naming is the rule the names of topics are held against. Without a naming
// section nothing is checked. Several files may say the same, and each may add
// to Singular and Exceptions.
type Naming struct {
	// Rule names the parts of a topic's name: prefix only first, vN (the
	// version) only last, words between. Empty: DefaultNamingRule. The word
	// called entity is held against Singular.
	Rule string `yaml:"rule"`
	// Prefix is what the part prefix is: one word, or several with dots between.
	Prefix string `yaml:"prefix"`
	// Level says what a wrong name is: an error (also when empty), a warning
	// (warn), or nothing (off).
	Level string `yaml:"level"`
	// Singular lists plurals and what to write instead. What is not in it is
	// never called a plural: status and analysis end in an s, too.
	Singular map[string]string `yaml:"singular"`
	// Exceptions are topics whose names stay as they are.
	Exceptions []string `yaml:"exceptions"`
}

// DefaultNamingRule is the rule of a naming section that names none.
const DefaultNamingRule = "prefix.domain.entity.event.vN"

// Misnamed are the topics whose names break the naming rule under level: warn,
// each with its place and the right name. It must not be changed.
func (c *Contract) Misnamed() []string { return c.misnamed }

// TopicPrefix is the prefix the naming rule prescribes; "" none.
func (c *Contract) TopicPrefix() string { return c.prefix }

// naming is Naming, checked.
type naming struct {
	at         *place // of the first section; nil: there is none
	level      string // "" nothing is checked
	rule       string
	prefix     string   // "" the rule has none
	words      []string // what the rule calls the words between
	versioned  bool
	singular   map[string]string
	exceptions map[string]bool
}

func (m *merger) collectNaming(f *File) {
	n := &f.Naming
	if cmp.Or(n.Rule, n.Prefix, n.Level) == "" && len(n.Singular)+len(n.Exceptions) == 0 {
		return
	}
	at := place{f, "naming"}
	if m.naming.at == nil {
		m.naming.at, m.naming.singular, m.naming.exceptions = &at, map[string]string{}, map[string]bool{}
	}
	m.say(f, "naming.rule", n.Rule)
	m.say(f, "naming.prefix", n.Prefix)
	m.say(f, "naming.level", n.Level)
	for _, plural := range slices.Sorted(maps.Keys(n.Singular)) {
		m.plural(at.sub("singular."+plural), plural, n.Singular[plural])
	}
	for i, topic := range n.Exceptions {
		if err := CheckTopic(topic); err != nil {
			m.bad(at.sub(fmt.Sprintf("exceptions[%d]", i)), "%q: %v; write the whole name of a topic", topic, err)
		}
		m.naming.exceptions[topic] = true
	}
}

func (m *merger) plural(at place, plural, one string) {
	switch first, ok := m.naming.singular[plural]; {
	case !nameWord.MatchString(plural) || !nameWord.MatchString(one):
		m.bad(at, "%q: write two words in lower case, as in results: result", plural+": "+one)
	case plural == one:
		m.bad(at, "is its own singular; delete the line: a word that is not listed is never called a plural")
	case ok && first != one:
		m.bad(at, "%q contradicts %q in another file; keep one of them", one, first)
	default:
		m.naming.singular[plural] = one
	}
}

var (
	// Words are joined by hyphens. Kafka takes an underscore for a dot in the
	// names of its metrics, so it refuses a.b_c beside a.b.c.
	nameWord = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	version  = regexp.MustCompile(`^v[1-9][0-9]*$`)
	partName = regexp.MustCompile(`^[a-z]+$`)
)

// namingRule makes the rule of what the files say; no topic is held against one
// that is wrong itself.
func (m *merger) namingRule() {
	n := &m.naming
	if n.at == nil {
		return
	}
	n.rule = cmp.Or(m.said["naming.rule"].value, DefaultNamingRule)
	prefix, level := m.said["naming.prefix"], m.said["naming.level"]
	switch hasPrefix, ok := n.parts(); {
	case !ok:
		m.bad(m.said["naming.rule"].at, "%q is no naming rule; write the names of the parts with dots between, prefix only first and vN only last, such as %s", n.rule, DefaultNamingRule)
		return
	case hasPrefix && prefix.value == "":
		m.bad(n.at.sub("prefix"), "is empty, and the rule is %s; write the first word of your topics, such as the name of the company", n.rule)
		return
	case !hasPrefix && prefix.value != "":
		m.bad(prefix.at, "%q is not asked for: the rule is %s; begin the rule with prefix, or delete the line", prefix.value, n.rule)
		return
	case hasPrefix && slices.ContainsFunc(strings.Split(prefix.value, "."), func(w string) bool { return !nameWord.MatchString(w) }):
		m.bad(prefix.at, "%q is no prefix; write words in lower case, such as huleedu", prefix.value)
		return
	}
	n.prefix = prefix.value
	switch cmp.Or(level.value, "error") {
	case "error":
		n.level = "error"
	case "warn":
		n.level = "warn"
	case "off":
		return
	default:
		m.bad(level.at, "%q is no level of the naming rule; write error, warn or off", level.value)
		return
	}
	m.c.prefix = n.prefix
}

// parts takes the rule apart.
func (n *naming) parts() (prefix, ok bool) {
	words := strings.Split(n.rule, ".")
	if words[0] == "prefix" {
		prefix, words = true, words[1:]
	}
	if len(words) > 0 && words[len(words)-1] == "vN" {
		n.versioned, words = true, words[:len(words)-1]
	}
	n.words = words
	for i, w := range words {
		if !partName.MatchString(w) || w == "prefix" || slices.Contains(words[:i], w) {
			return prefix, false
		}
	}
	return prefix, len(words) > 0
}

// named holds a topic's name against the rule. eventType is what goes there, ""
// for any; otherwise is what one can do but rename it.
func (m *merger) named(at place, topic, eventType, otherwise string) {
	n := &m.naming
	if n.level == "" || topic == "" || n.exceptions[topic] || CheckTopic(topic) != nil {
		return
	}
	why := n.judge(topic)
	if why == "" {
		return
	}
	text := fmt.Sprintf("%q breaks the naming rule %s: %s; %s", topic, n.rule, why, n.advice(topic, eventType, otherwise))
	if n.level == "warn" {
		m.c.misnamed = append(m.c.misnamed, at.String()+": "+text)
		return
	}
	m.bad(at, "%s", text)
}

// judge says all that is wrong with a name; "" nothing.
func (n *naming) judge(topic string) string {
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	rest := topic
	if n.prefix != "" {
		after, ok := strings.CutPrefix(topic, n.prefix+".")
		if !ok {
			say("it does not begin with %s.", n.prefix)
		}
		rest = after
	}
	words := strings.Split(rest, ".")
	if n.versioned {
		if last := words[len(words)-1]; version.MatchString(last) {
			words = words[:len(words)-1]
		} else {
			say("it does not end in a version such as .v1")
		}
	}
	if len(why) == 0 && len(words) != len(n.words) {
		say("it has %d of the %d words %s", len(words), len(n.words), strings.Join(n.words, ", "))
	}
	for i, w := range words {
		one, plural := n.one(w)
		switch {
		case !nameWord.MatchString(w):
			say("%q is not lower case with hyphens between words", w)
		case plural && (len(words) != len(n.words) || n.words[i] == "entity"):
			say("%q is a plural of %q", w, one)
		}
	}
	return strings.Join(why, ", ")
}

// one is the singular of a word whose last part is a listed plural.
func (n *naming) one(word string) (one string, plural bool) {
	i := strings.LastIndexByte(word, '-') + 1
	if s, ok := n.singular[word]; ok {
		return s, true
	}
	s, ok := n.singular[word[i:]]
	if !ok {
		return word, false
	}
	return word[:i] + s, true
}
