package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/schema"
)

// wants are the schemas the contract names, with what they refer to.
func (u *unit) wants() ([]registry.Want, error) {
	var wants []registry.Want
	for _, s := range u.cfg.Contract.Subjects() {
		versions := u.schemas.Versions(s.Schema)
		if len(versions) == 0 {
			what := "topic " + s.Topic
			if s.Topic == "" {
				what = "schema " + s.Schema
			}
			return nil, &event.Fault{Verdict: event.Refuse, What: what, Err: u.schemas.Missing(s.Schema, 1),
				Do: "add the file to " + u.Config.Schemas + ", or mend `schema` in the contract"}
		}
		for _, v := range versions {
			subject := s.Name(u.schemas.FullName(s.Schema, v))
			wants = append(wants, u.schemas.Wants(subject, s.Schema, v, u.Config.Registry.References == config.ReferencesRegister)...)
		}
	}
	return u.wantReference(registry.Distinct(wants))
}

// errNoAvro is the answer of the schema commands where there is nothing to ask
// the registry for.
var errNoAvro = &UsageError{"no event of the configuration is encoded as avro: there is nothing to register"}

// allWants are the schemas of all pipelines, each once.
func (f *Fleet) allWants() ([]registry.Want, error) {
	if f.schemas == nil {
		return nil, errNoAvro
	}
	var all []registry.Want
	for _, p := range f.Config.Pipelines() {
		wants, err := f.unit(p).wants()
		if err != nil {
			return nil, named(p.Name, err)
		}
		all = append(all, wants...)
	}
	return registry.Distinct(all), nil
}

// SchemaConflicts finds the schemas that no registry takes under one subject at
// a level, by the files alone: they cannot flow side by side on a topic.
func (f *Fleet) SchemaConflicts(level schema.Level) ([]schema.Conflict, error) {
	if f.schemas == nil {
		return nil, nil
	}
	var wants []registry.Want
	for _, p := range f.Config.Pipelines() {
		own, err := f.unit(p).wants()
		if err != nil {
			return nil, named(p.Name, err)
		}
		wants = append(wants, own...)
	}
	return schema.SideBySide(lines(registry.Distinct(wants)), level), nil
}

// lines are the subjects of wants, in the order they come.
func lines(wants []registry.Want) []schema.Line {
	var out []schema.Line
	for _, w := range wants {
		i := slices.IndexFunc(out, func(l schema.Line) bool { return l.Subject == w.Subject })
		if i < 0 {
			topic, _ := strings.CutSuffix(w.Subject, "-value")
			if topic == w.Subject {
				topic = ""
			}
			i = len(out)
			out = append(out, schema.Line{Subject: w.Subject, Topic: topic})
		}
		out[i].Schemas = append(out[i].Schemas, schema.Named{Name: w.Label(), Text: w.Self()})
	}
	return out
}

// LintSchemas judges the files of the configuration's schema folder.
func (f *Fleet) LintSchemas(severity map[string]schema.Severity) ([]schema.Finding, error) {
	used := map[string]bool{}
	for _, p := range f.Config.Pipelines() {
		for _, s := range p.Contract.Subjects() {
			used[s.Schema] = true
		}
	}
	return LintFolder(f.Config.Schemas, severity, func(name string) bool { return used[name] })
}

// LintFolder judges the files of a folder; used may be nil.
func LintFolder(dir string, severity map[string]schema.Severity, used func(string) bool) ([]schema.Finding, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, &UsageError{fmt.Sprintf("schema folder %s: %v", dir, errors.Unwrap(err))}
	}
	found, err := schema.Lint(os.DirFS(dir), schema.LintOptions{Severity: severity, Used: used})
	if err != nil {
		return nil, &UsageError{fmt.Sprintf("schema folder %s: %v", dir, err)}
	}
	for i := range found {
		found[i].File = filepath.Join(dir, found[i].File)
	}
	return found, nil
}

// SchemaDocs writes the reference of all events of all pipelines.
func (f *Fleet) SchemaDocs(w io.Writer) error {
	d := schema.Docs{Schemas: f.schemas, Samples: samples(f.Config.Schemas)}
	for _, p := range f.Config.Pipelines() {
		d.Add(p.Service, p.Contract)
	}
	return d.Write(w)
}

// samples reads documents that people wrote, which lie beside the schemas.
func samples(dir string) func(name string, version int) ([]byte, bool) {
	fsys := os.DirFS(dir)
	return func(name string, version int) ([]byte, bool) {
		text, err := fs.ReadFile(fsys, fmt.Sprintf("testdata/%sV%d.json", name, version))
		return text, err == nil
	}
}

// SchemaState is what `schemas register` did with one schema, or would do.
type SchemaState struct {
	Subject string `json:"subject"`
	Schema  string `json:"schema"`
	State   string `json:"state"` // registered, unchanged, to register
	Version int    `json:"version,omitempty"`
	ID      int    `json:"id,omitempty"`
}

// The states of SchemaState.
const (
	StateRegistered = "registered"
	StateUnchanged  = "unchanged"
	StateMissing    = "to register"
)

// RegisterSchemas registers what is not there, after the check: when one schema
// is refused, none is registered. With dry it registers nothing.
func (f *Fleet) RegisterSchemas(ctx context.Context, dry bool) ([]SchemaState, error) {
	wants, err := f.allWants()
	if err != nil {
		return nil, err
	}
	checked, err := f.checkSchemas(ctx, wants)
	if err != nil {
		return nil, err
	}
	if err := Refused(checked, "cdc-relay schemas check names every field and what mends it"); err != nil {
		return nil, err
	}
	states := make([]SchemaState, len(wants))
	for i, c := range checked {
		states[i] = SchemaState{c.Subject, c.Schema, StateUnchanged, c.Version, c.ID}
		if c.ID == 0 {
			states[i].State = StateMissing
		}
	}
	if dry {
		return states, nil
	}
	done, err := f.ids.States(ctx, wants, true)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, s := range done {
		states[i].Version, states[i].ID = s.Version, s.ID
		if s.Fresh || states[i].State == StateMissing {
			states[i].State = StateRegistered
		}
		if s.Err != nil {
			errs = append(errs, s.Err)
			states[i].State = StateMissing
		}
	}
	if len(errs) > 0 {
		return states, &event.Fault{Verdict: event.Refuse, What: "not every schema could be registered", Do: "cdc-relay schemas check", Err: errors.Join(errs...)}
	}
	return states, nil
}
