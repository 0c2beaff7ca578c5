package contract

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// New merges the files, checks them and returns their meaning. All problems are
// reported at once, joined, each with file and line, place, value and what to
// write instead. No files at all are a contract without events.
func New(files ...File) (*Contract, error) {
	m := &merger{said: map[string]said{}, classAt: map[string]said{}}
	m.c = &Contract{byType: map[string]*Rule{}, classes: map[string]TopicClass{}, unknown: UnknownStop, onError: Stop}
	for i := range files {
		m.collect(&files[i])
	}
	m.namingRule()
	m.defaults()
	for i := range files {
		for j := range files[i].Events {
			m.event(&files[i], j)
		}
	}
	m.classes()
	if len(m.errs) > 0 {
		return nil, errors.Join(m.errs...)
	}
	return m.c, nil
}

// place is a place in a file.
type place struct {
	file *File
	path string
}

func (p place) sub(name string) place { return place{p.file, p.path + "." + name} }

// at is "events.yaml:12".
func (p place) at() string {
	if n := p.file.line(p.path); n > 0 {
		return fmt.Sprintf("%s:%d", p.file.Name, n)
	}
	return p.file.Name
}

func (p place) String() string { return p.at() + ": " + p.path }

// said is a value somebody wrote, and where.
type said struct {
	value string
	at    place
}

type merger struct {
	c       *Contract
	errs    []error
	said    map[string]said // defaults and unknown_event, by path
	classAt map[string]said // topic classes, by name
	base    Form            // the defaults
	naming  naming
}

func (m *merger) bad(at place, format string, args ...any) {
	m.errs = append(m.errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
}

// collect takes what files share: defaults, unknown_event and topic classes.
// Two files may say the same, never different things.
func (m *merger) collect(f *File) {
	d := &f.Defaults
	m.say(f, "unknown_event", f.Unknown)
	m.collectNaming(f)
	m.say(f, "defaults.topic", d.Topic)
	m.say(f, "defaults.key", strings.Join(d.Key, "\x00"))
	m.say(f, "defaults.schema", d.Schema)
	m.say(f, "defaults.encoding", d.Encoding)
	m.say(f, "defaults.topic_class", d.TopicClass)
	m.say(f, "defaults.headers.preset", d.Headers.Preset)
	m.say(f, "defaults.on_error", d.OnError)
	m.say(f, "defaults.subject_name", d.SubjectName)
	if d.Headers.Enabled != nil {
		m.say(f, "defaults.headers.enabled", fmt.Sprint(*d.Headers.Enabled))
	}
	m.collectAdd(f)
	m.collectClaim(f)
	for _, name := range slices.Sorted(maps.Keys(f.TopicClasses)) {
		at := place{f, "topic_classes." + name}
		cl := f.TopicClasses[name]
		value := fmt.Sprint(cl) // fmt prints maps in the order of their keys
		if first, ok := m.classAt[name]; ok && first.value != value {
			m.bad(at, "is different in %s; keep one of them, or give one another name", first.at.at())
			continue
		} else if ok {
			continue
		}
		m.classAt[name] = said{value, at}
		m.c.classes[name] = cl
	}
}

func (m *merger) say(f *File, path, value string) {
	if value == "" {
		return
	}
	at := place{f, path}
	first, ok := m.said[path]
	if !ok {
		m.said[path] = said{value, at}
		return
	}
	if first.value != value {
		m.bad(at, "%q contradicts %q in %s; keep one of them, or write it on the events it is for",
			show(value), show(first.value), first.at.at())
	}
}

func show(value string) string { return strings.ReplaceAll(value, "\x00", ", ") }

// defaults checks the merged defaults and makes the base of every form.
func (m *merger) defaults() {
	m.c.key = []KeySource{{Kind: KeyMessageKey}, {Kind: KeyAggregateID}}
	m.base = Form{Encoding: Avro, SubjectNaming: TopicName}
	get := func(path string) (string, place, bool) {
		s, ok := m.said[path]
		return s.value, s.at, ok
	}
	if v, at, ok := get("unknown_event"); ok {
		m.unknown(at, v)
	}
	if v, at, ok := get("defaults.topic"); ok {
		m.base.Topic = m.topic(at, v)
		m.named(at, v, "", ofDefaults)
	}
	if v, at, ok := get("defaults.key"); ok {
		m.c.key = m.key(at, strings.Split(v, "\x00"))
	}
	if v, at, ok := get("defaults.encoding"); ok {
		m.base.Encoding = m.encoding(at, v)
	}
	if v, at, ok := get("defaults.topic_class"); ok {
		m.base.TopicClass = m.class(at, v)
	}
	if v, at, ok := get("defaults.headers.preset"); ok {
		m.base.Preset = m.preset(at, v)
	}
	if v, at, ok := get("defaults.subject_name"); ok {
		m.base.SubjectNaming = m.subjectNaming(at, v)
	}
	if v, _, ok := get("defaults.headers.enabled"); ok {
		m.base.HeadersOff = v == "false"
	}
	if v, at, ok := get("defaults.on_error"); ok {
		m.c.onError = m.onError(at, v)
	}
	m.defaultAdd()
	m.claimDefaults()
	m.unknownRule()
}

// unknownRule makes the rule of unknown events: the defaults and nothing else.
func (m *merger) unknownRule() {
	f := m.base
	schema := m.said["defaults.schema"]
	f.Schema = schema.value
	at, written := m.said["unknown_event"]
	m.c.def = &Rule{Forms: []Form{f}, At: "the defaults", OnError: m.c.onError}
	if !written {
		return
	}
	m.c.def.At = at.at.at()
	if m.c.unknown == UnknownDefault && f.Encoding == Avro && (f.Schema == "" || f.Topic == "" && f.SubjectNaming != RecordName) {
		m.bad(at.at, `"default" publishes unknown events as avro, which needs a schema and a topic: `+
			"write defaults.encoding: json (or bytes), or defaults.schema and defaults.topic")
	}
}

func (m *merger) unknown(at place, v string) {
	switch Unknown(v) {
	case UnknownStop, UnknownDefault, UnknownDeadLetter:
		m.c.unknown = Unknown(v)
	default:
		m.bad(at, "%q is no policy for unknown events; write stop, default or dead_letter", v)
	}
}

// event adds the event number j of f.
func (m *merger) event(f *File, j int) {
	e := &f.Events[j]
	at := place{f, fmt.Sprintf("events[%d]", j)}
	rule := &Rule{Type: e.Type, At: at.at(), OnError: m.c.onError}
	if e.OnError != "" {
		rule.OnError = m.onError(at.sub("on_error"), e.OnError)
	}
	switch first, dup := m.c.byType[e.Type]; {
	case e.Type == "":
		m.bad(at.sub("type"), "is empty; write the event type as services put it into the row")
	case dup:
		m.bad(at.sub("type"), "%q is defined already in %s; keep one of them (a second topic goes under also)", e.Type, first.At)
	default:
		m.c.byType[e.Type] = rule
		m.c.rules = append(m.c.rules, rule)
	}
	main := m.base
	m.form(&main, at, Also{Topic: e.Topic, Key: e.Key, Schema: e.Schema, Encoding: e.Encoding, TopicClass: e.TopicClass, Headers: e.Headers, SubjectName: e.SubjectName, ClaimCheck: e.ClaimCheck})
	m.named(at.sub("topic"), e.Topic, e.Type, ofEvent)
	rule.Forms = append(rule.Forms, main)
	for k, a := range e.Also {
		at := at.sub(fmt.Sprintf("also[%d]", k))
		if a.Topic == "" {
			m.bad(at.sub("topic"), "is empty; a second form needs a topic of its own")
		}
		for _, other := range rule.Forms {
			if other.Topic == a.Topic && a.Topic != "" {
				m.bad(at.sub("topic"), "%q gets this event already; name another topic or leave this form out", a.Topic)
			}
		}
		form := main
		form.Legacy = a.Legacy && a.TopicClass == ""
		m.form(&form, at, a)
		if !a.Legacy {
			m.named(at.sub("topic"), a.Topic, e.Type, ofAlso)
		}
		rule.Forms = append(rule.Forms, form)
	}
}

// form lays what a says over f and checks the result.
func (m *merger) form(f *Form, at place, a Also) {
	if a.Topic != "" {
		f.Topic = m.topic(at.sub("topic"), a.Topic)
	}
	if len(a.Key) > 0 {
		f.Key = m.key(at.sub("key"), a.Key)
	}
	if a.Schema != "" {
		f.Schema = a.Schema
	}
	if a.Encoding != "" {
		f.Encoding = m.encoding(at.sub("encoding"), a.Encoding)
	}
	if a.TopicClass != "" {
		f.TopicClass = m.class(at.sub("topic_class"), a.TopicClass)
	}
	if a.Headers.Preset != "" {
		f.Preset = m.preset(at.sub("headers.preset"), a.Headers.Preset)
	}
	if a.Headers.Enabled != nil {
		f.HeadersOff = !*a.Headers.Enabled
	}
	m.addTo(f, at.sub("headers.add"), a.Headers.Add)
	if a.SubjectName != "" {
		f.SubjectNaming = m.subjectNaming(at.sub("subject_name"), a.SubjectName)
	}
	m.claim(f, at.sub("claim_check"), &a.ClaimCheck)
	if f.Encoding != Avro {
		return
	}
	if f.Schema == "" {
		m.bad(at.sub("schema"), "is empty, but the encoding is avro; write schema: NAME (the NAME of NAMEV1.avsc), or encoding: json")
	}
	if f.Topic == "" && f.SubjectNaming != RecordName {
		m.bad(at.sub("topic"), "is empty, but the encoding is avro, whose subject is <topic>-value; write topic: NAME (or subject_name: record, if rows name the topic)")
	}
}
