package registry

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Want is one schema to find under one subject.
type Want struct {
	Subject string
	Name    string // as in AssessmentResultEvent; of a type without a version its full name
	Version int    // of the file, not of the registry; 0: a type without a version
	Schema  string // what is registered
	// Complete is Schema with every type in it defined; empty: it is Schema.
	Complete string
	// Needs are the schemas it refers to. Each must come before it in a list of
	// wants.
	Needs []Need
}

// Need is a reference: a type another subject defines.
type Need struct {
	Name    string // full name of the type
	Subject string
	Schema  string // together with Subject it says which Want
}

// Label is the schema's name and version, as in AssessmentResultEventV1.
func (w Want) Label() string {
	if w.Version == 0 {
		return w.Name
	}
	return fmt.Sprintf("%sV%d", w.Name, w.Version)
}

// Self is the schema with every type in it defined.
func (w Want) Self() string {
	if w.Complete != "" {
		return w.Complete
	}
	return w.Schema
}

func (w Want) key() string { return w.Subject + "\x00" + w.Schema }

func (n Need) key() string { return n.Subject + "\x00" + n.Schema }

// part is one file as it can be registered on its own.
type part struct {
	name     string   // of the schema it is a version of, else the full name
	version  int      // 0: none
	full     string   // name of the type it defines
	complete string   // with all types inlined
	alone    string   // with the types of other files named only
	needs    []string // those files, in alphabetical order
}

func (l *library) part(file string) (part, error) {
	full, err := nameOf(l.files[file], "")
	if err != nil {
		return part{}, fmt.Errorf("schema file %s: %w", file, err)
	}
	p := part{name: full, full: full, needs: l.needs(file)}
	if m := versioned.FindStringSubmatch(strings.TrimSuffix(path.Base(file), ".avsc")); m != nil {
		p.name = m[1]
		if p.version, err = strconv.Atoi(m[2]); err != nil {
			return p, fmt.Errorf("schema file %s: version %q: %w", file, m[2], err)
		}
	}
	if p.complete, err = l.inline(file, false); err == nil {
		p.alone, err = l.inline(file, true)
	}
	return p, err
}

// FullName is the full name of the record a version of a schema defines; ""
// when there is none.
func (s *Schemas) FullName(name string, version int) string {
	return s.files[fileOf(name, version)].full
}

func fileOf(name string, version int) string { return fmt.Sprintf("%sV%d.avsc", name, version) }

// Wants are what the registry has to hold so that one version of a schema can
// be used under subject, those others refer to first: with references each file
// becomes a subject of its own, called by the full name of its type; without,
// one schema holds everything. Nil when there is no such version.
func (s *Schemas) Wants(subject, name string, version int, references bool) []Want {
	file := fileOf(name, version)
	p, ok := s.files[file]
	if !ok {
		return nil
	}
	if !references {
		return []Want{{Subject: subject, Name: name, Version: version, Schema: p.complete}}
	}
	var out []Want
	done := map[string]bool{}
	var visit func(file string) []Need
	visit = func(file string) (needs []Need) {
		for _, f := range s.files[file].needs {
			q := s.files[f]
			needs = append(needs, Need{Name: q.full, Subject: q.full, Schema: q.alone})
			if done[f] {
				continue
			}
			done[f] = true
			of := visit(f)
			out = append(out, Want{Subject: q.full, Name: q.name, Version: q.version, Schema: q.alone, Complete: q.complete, Needs: of})
		}
		return needs
	}
	needs := visit(file)
	return append(out, Want{Subject: subject, Name: name, Version: version, Schema: p.alone, Complete: p.complete, Needs: needs})
}

// Distinct leaves out what comes a second time, under the same subject.
func Distinct(wants []Want) []Want {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(wants), func(w Want) bool {
		again := seen[w.key()]
		seen[w.key()] = true
		return again
	})
}
