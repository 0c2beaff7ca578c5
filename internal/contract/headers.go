package contract

import (
	"maps"
	"slices"
	"strings"
)

// defaultAddPath is where the headers stand that all events have.
const defaultAddPath = "defaults.headers.add."

// collectAdd takes the headers that the defaults of f add.
func (m *merger) collectAdd(f *File) {
	for _, name := range slices.Sorted(maps.Keys(f.Defaults.Headers.Add)) {
		sources := f.Defaults.Headers.Add[name]
		if len(sources) == 0 {
			m.bad(place{f, defaultAddPath + name}, "has no source; write one, such as const:TEXT, or leave the header out")
			continue
		}
		m.say(f, defaultAddPath+name, strings.Join(sources, "\x00"))
	}
}

// defaultAdd makes the headers that the merged defaults add.
func (m *merger) defaultAdd() {
	for _, path := range slices.Sorted(maps.Keys(m.said)) {
		if name, ok := strings.CutPrefix(path, defaultAddPath); ok {
			s := m.said[path]
			m.header(&m.base, s.at, name, strings.Split(s.value, "\x00"))
		}
	}
}

// addTo lays headers over those f has.
func (m *merger) addTo(f *Form, at place, add map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(add)) {
		m.header(f, at.sub(name), name, add[name])
	}
}

// header puts one header into f.Add, by name; no sources take it out. Forms
// that were copied from f keep what they have.
func (m *merger) header(f *Form, at place, name string, sources []string) {
	m.headerName(at, name)
	i, found := slices.BinarySearchFunc(f.Add, name, func(a HeaderAdd, name string) int { return strings.Compare(a.Name, name) })
	add := slices.Clone(f.Add)
	switch {
	case len(sources) == 0 && !found:
		m.bad(at, "has no source, and the defaults add no such header; write a source, such as const:TEXT")
	case len(sources) == 0:
		add = slices.Delete(add, i, i+1)
	case found:
		add[i].Sources = m.key(at, sources)
	default:
		add = slices.Insert(add, i, HeaderAdd{Name: name, Sources: m.key(at, sources)})
	}
	f.Add = add
}

// headerName checks the name of a header the contract adds. Whether it is one
// of the standard headers depends on the preset, which the mapping may choose.
func (m *merger) headerName(at place, name string) {
	switch {
	case strings.TrimSpace(name) != name || name == "":
		m.bad(at, "%q is no name of a header; write it without spaces around it", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		m.bad(at, "%q is no name of a header: it holds a control character; leave that out", name)
	case name == "claim_check":
		m.bad(at, "%q says which parts of an event are in object storage, and is the relay's; choose another", name)
	case strings.HasPrefix(name, "cdc_"):
		m.bad(at, "%q is a name of the relay's own, which begin with cdc_; choose another", name)
	}
}
