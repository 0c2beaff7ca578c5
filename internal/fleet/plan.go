package fleet

import (
	"context"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/schema"
	"github.com/cdc-relay/cdc-relay/internal/topics"
	"github.com/cdc-relay/cdc-relay/migrations"
)

// ChangesError says that a plan found changes: exit code 5.
type ChangesError struct {
	N    int
	Next string // the commands that make them
}

func (e *ChangesError) Error() string {
	s := fmt.Sprintf("the plan has %d changes", e.N)
	if e.N == 1 {
		s = "the plan has 1 change"
	}
	if e.Next != "" {
		s += "\n  next: " + e.Next
	}
	return s
}

// Step is one thing that a start makes, or needs made before. Topics have a plan
// of their own.
type Step struct {
	Kind  string `json:"kind"`  // migration, publication, slot, schema
	Scope string `json:"scope"` // the pipeline, or registry
	Name  string `json:"name"`
	Do    string `json:"do"` // who makes it, as a command
}

// Outlook is everything between a configuration and a relay that runs.
type Outlook struct {
	Steps   []Step           `json:"steps"`
	Topics  topics.Plan      `json:"topics"`
	Blocked []doctor.Finding `json:"blocked"` // what no step mends: a start would be refused
	// Conflicts are schemas that no registry takes under one subject at its usual
	// level.
	Conflicts []schema.Conflict `json:"conflicts,omitempty"`
	atStart   bool              // the environment lets a start make what does no harm
}

// Changes counts what is to be made.
func (o *Outlook) Changes() int { return len(o.Steps) + o.Topics.Changes() }

// Plan looks at everything a start would make, or needs made before, and changes
// nothing. What cannot be asked, and what no start makes, is in Blocked.
func (f *Fleet) Plan(ctx context.Context) (Outlook, error) {
	o := Outlook{Steps: []Step{}, Topics: topics.Plan{Topics: []topics.Topic{}}, Blocked: []doctor.Finding{}, atStart: f.Config.Environment.MayCreate()}
	servers := map[string]server{}
	for _, p := range f.Config.Pipelines() {
		servers[p.Name] = f.ask(ctx, p)
	}
	facts, saved := f.kafkaFacts(ctx)
	facts.Drift = nil // the topics' own plan has the changes that mend it
	// What a start may make in some environment is a step, not in the way.
	o.block(doctor.Kafka(facts, true))
	need := needed(servers)
	for _, p := range f.Config.Pipelines() {
		s, known := saved[p.Name]
		o.block(f.postgres(ctx, p, servers[p.Name], s, !known, true, need))
		if servers[p.Name].err != nil || servers[p.Name].facts.InRecovery {
			continue
		}
		if err := f.migrationSteps(ctx, p, &o); err != nil {
			return o, named(p.Name, err)
		}
		if known {
			o.first(p, servers[p.Name].facts, s)
		}
	}
	if f.ids != nil {
		o.schemas(f.registryFacts(ctx))
	}
	var err error
	if o.Conflicts, err = f.SchemaConflicts(schema.Backward); err != nil {
		return o, err
	}
	if facts.Err != nil {
		return o, nil
	}
	o.Topics, err = f.PlanTopics(ctx)
	return o, err
}

func (o *Outlook) block(findings []doctor.Finding) {
	for _, f := range findings {
		if f.Level == doctor.Fail {
			o.Blocked = append(o.Blocked, f)
		}
	}
}

func (f *Fleet) migrationSteps(ctx context.Context, p config.Pipeline, o *Outlook) error {
	if !native(p) {
		return nil // somebody else's table
	}
	steps, err := migrations.Plan(ctx, p.URL)
	if err != nil {
		return fmt.Errorf("plan the migrations of database %s: %w", p.Database, err)
	}
	do := "cdc-relay migrate"
	if o.atStart {
		do = "cdc-relay run"
	}
	for _, s := range steps {
		o.Steps = append(o.Steps, Step{"migration", p.Name, s.Name, do})
	}
	return nil
}

// first are the steps of a pipeline's first start. Where there is a checkpoint
// already a start makes neither, it refuses.
func (o *Outlook) first(p config.Pipeline, facts event.Facts, saved event.Saved) {
	if saved.Exists() && saved.State != event.StateCreating {
		return
	}
	if !facts.Publication.Exists {
		o.Steps = append(o.Steps, Step{"publication", p.Name, p.Publication, "cdc-relay run"})
	}
	if !facts.Slot.Exists {
		o.Steps = append(o.Steps, Step{"slot", p.Name, p.Slot, "cdc-relay run"})
	}
}

// schemas turns what the registry lacks into steps; what it would not take is in
// the way.
func (o *Outlook) schemas(facts doctor.RegistryFacts) {
	o.block(doctor.Registry(facts, true))
	for _, s := range facts.Subjects {
		if s.Err != nil || s.ID != 0 {
			continue
		}
		do := "cdc-relay run"
		if !o.atStart {
			only := facts
			only.Subjects = []doctor.RegistrySubject{s}
			all := doctor.Registry(only, false)
			do = all[len(all)-1].Do
		}
		o.Steps = append(o.Steps, Step{"schema", "registry", fmt.Sprintf("%s: %sV%d", s.Subject, s.Schema, s.Version), do})
	}
}

// Next are the commands that make the changes, in their order.
func (o *Outlook) Next() (all []string) {
	add := func(do string) {
		if !slices.Contains(all, do) {
			all = append(all, do)
		}
	}
	kinds := map[string]bool{}
	first := func(kind string) {
		for _, s := range o.Steps {
			if s.Kind == kind && !kinds[kind] {
				kinds[kind] = true
				add(s.Do)
			}
		}
	}
	first("migration")
	switch {
	case o.Topics.Changes() == 0:
	case o.atStart && len(o.Topics.Needs()) == 0:
		add("cdc-relay run")
	default:
		add("cdc-relay topics apply")
	}
	first("schema")
	first("publication")
	first("slot")
	return all
}
