package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/schema"
)

// SchemaCheck is whether the registry takes one schema under one subject.
type SchemaCheck struct {
	Subject string       `json:"subject"`
	Schema  string       `json:"schema"`
	Level   schema.Level `json:"level,omitempty"` // only where it was asked for
	State   string       `json:"state"`
	Version int          `json:"version,omitempty"` // of the subject, when it is registered
	ID      int          `json:"id,omitempty"`
	Against string       `json:"against,omitempty"` // what it is incompatible with
	Reasons []Reason     `json:"reasons,omitempty"`
	// Warnings are what the registry lets pass although readers would go wrong,
	// such as a decimal of another scale.
	Warnings []Reason `json:"warnings,omitempty"`
	// Registry is what the registry said, where it refused.
	Registry string `json:"registry,omitempty"`
}

// Reason is one field that does not fit.
type Reason = schema.Reason

// The states of SchemaCheck.
const (
	CheckRegistered   = "registered"   // exactly this text
	CheckNew          = "new"          // the first of its subject
	CheckCompatible   = "compatible"   // may be registered
	CheckIncompatible = "incompatible" // may not
	CheckInvalid      = "invalid"      // the registry does not take it at all
)

// Bad reports that the schema cannot be registered.
func (c *SchemaCheck) Bad() bool { return c.State == CheckIncompatible || c.State == CheckInvalid }

// why is why the schema cannot be registered, in one line; nil: it can.
func (c *SchemaCheck) why() error {
	if !c.Bad() {
		return nil
	}
	parts := make([]string, 0, len(c.Reasons))
	for _, r := range c.Reasons {
		parts = append(parts, r.String())
	}
	if len(parts) == 0 {
		parts = append(parts, "the registry refuses it: "+c.Registry)
	}
	if c.Against == "" {
		return errors.New(parts[0])
	}
	return fmt.Errorf("it is not compatible (%s) with %s: %s", c.Level, c.Against, strings.Join(parts, "; "))
}

// CheckSubjects asks the registry of every schema whether it takes it.
func (f *Fleet) CheckSubjects(ctx context.Context) ([]SchemaCheck, error) {
	wants, err := f.allWants()
	if err != nil {
		return nil, err
	}
	return f.checkSchemas(ctx, wants)
}

// Refused is the error for the schemas that cannot be registered, by name; nil:
// all can. do is the next step.
func Refused(checks []SchemaCheck, do string) error {
	var bad []string
	for i := range checks {
		if c := &checks[i]; c.Bad() {
			bad = append(bad, fmt.Sprintf("%s under %s", c.Schema, c.Subject))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return event.Refusef(do,
		"%d of %d schemas cannot be registered: %s", len(bad), len(checks), strings.Join(bad, "; "))
}

// checkSchemas takes the schemas in their order. One that is not registered yet
// counts for those after it under its subject: it would be registered first.
func (f *Fleet) checkSchemas(ctx context.Context, wants []registry.Want) ([]SchemaCheck, error) {
	states, err := f.ids.States(ctx, wants, false)
	if err != nil {
		return nil, err
	}
	subjects := map[string]*subjectCheck{}
	out := make([]SchemaCheck, len(wants))
	for i, w := range wants {
		s := subjects[w.Subject]
		if s == nil {
			s = &subjectCheck{client: f.ids, name: w.Subject}
			subjects[w.Subject] = s
		}
		if out[i], err = s.check(ctx, w, states[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// subjectCheck is one subject while its schemas are checked.
type subjectCheck struct {
	client *registry.Client
	name   string
	asked  bool
	level  schema.Level
	stored []registry.Stored
	ahead  []registry.Want // would be registered before what comes next
}

func (s *subjectCheck) check(ctx context.Context, w registry.Want, state registry.State) (SchemaCheck, error) {
	c := SchemaCheck{Subject: w.Subject, Schema: w.Label(), State: CheckRegistered, Version: state.Version, ID: state.ID}
	if state.Err == nil {
		return c, nil
	}
	if state.Err.Reason != registry.Missing {
		c.State, c.Registry = CheckInvalid, state.Err.Detail
		return c, nil
	}
	if err := s.ask(ctx); err != nil {
		return c, err
	}
	c.Level = s.level
	c.State = CheckCompatible
	if len(s.stored)+len(s.ahead) == 0 {
		c.State = CheckNew
	}
	err := s.compare(ctx, w, &c)
	s.ahead = append(s.ahead, w)
	return c, err
}

// ask reads level and versions, once.
func (s *subjectCheck) ask(ctx context.Context) error {
	if s.asked {
		return nil
	}
	level, err := s.client.Level(ctx, s.name)
	if err != nil {
		return err
	}
	s.level = schema.Level(level)
	s.stored, err = s.client.Versions(ctx, s.name)
	s.asked = err == nil
	return err
}

// compare compares w with the latest before it, or with all.
func (s *subjectCheck) compare(ctx context.Context, w registry.Want, c *SchemaCheck) error {
	if s.level == schema.None {
		return nil
	}
	stored, ahead := s.stored, s.ahead
	if !s.level.Transitive() {
		if n := len(ahead); n > 0 {
			stored, ahead = nil, ahead[n-1:]
		} else if n := len(stored); n > 0 {
			stored = stored[n-1:]
		}
	}
	for _, v := range stored {
		if err := s.withStored(ctx, w, v, c); err != nil || c.Bad() {
			return err
		}
	}
	for _, before := range ahead {
		reasons, err := schema.Compare(s.level, text(w), schema.Named{Name: before.Label(), Text: before.Self()})
		if err != nil {
			return err
		}
		if len(reasons) > 0 {
			c.State, c.Against, c.Reasons = CheckIncompatible, before.Label()+", which would be registered first", reasons
			return nil
		}
	}
	return nil
}

func text(w registry.Want) schema.Named { return schema.Named{Name: w.Label(), Text: w.Self()} }

// withStored has the registry compare w with one version, and says why it
// refuses. Where it cannot compare (Apicurio, with references), we do.
func (s *subjectCheck) withStored(ctx context.Context, w registry.Want, v registry.Stored, c *SchemaCheck) error {
	name := fmt.Sprintf("version %d", v.Version)
	ok, why, err := s.client.Compatible(ctx, w, v.Version)
	local := false
	if e, is := errors.AsType[*registry.Error](err); is && e.Reason == registry.Invalid {
		if len(w.Needs) == 0 {
			c.State, c.Registry = CheckInvalid, e.Detail
			return nil
		}
		local, err = true, nil
	}
	if err != nil {
		return err
	}
	reasons, err := schema.Compare(s.level, text(w), schema.Named{Name: name, Text: v.Schema})
	switch {
	case err != nil && ok:
		return nil // what is stored cannot be read here, and the registry is content
	case err != nil:
		return fmt.Errorf("subject %s: %w", s.name, err)
	case ok:
		c.Warnings = append(c.Warnings, reasons...)
		return nil
	case local && len(reasons) == 0:
		return nil
	}
	c.State, c.Against, c.Reasons, c.Registry = CheckIncompatible, name, reasons, why
	return nil
}
