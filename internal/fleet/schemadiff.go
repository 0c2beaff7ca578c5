package fleet

import (
	"context"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/schema"
)

// SchemaDiff is what is different between a file and what the registry has.
type SchemaDiff struct {
	Subject string `json:"subject"`
	Schema  string `json:"schema"`
	// State is same, docs (only documentation differs), different, rewritten (the
	// same content in another order), or absent (the subject has no version).
	State   string          `json:"state"`
	Version int             `json:"version,omitempty"` // of the subject, compared with
	Changes []schema.Change `json:"changes,omitempty"`
}

// The states of SchemaDiff.
const (
	DiffSame      = "same"
	DiffDocs      = "docs"
	DiffDifferent = "different"
	DiffRewritten = "rewritten"
	DiffAbsent    = "absent"
)

// DiffersError says that files and registry differ: exit code 5.
type DiffersError struct{ N, Of int }

func (e *DiffersError) Error() string {
	return fmt.Sprintf("%d of %d schemas are not in the registry as their files have them\n  next: cdc-relay schemas check, then cdc-relay schemas register", e.N, e.Of)
}

// DiffSchemas compares every schema with the latest version of its subject that
// holds a record of that name, else with the latest.
func (f *Fleet) DiffSchemas(ctx context.Context) ([]SchemaDiff, error) {
	wants, err := f.allWants()
	if err != nil {
		return nil, err
	}
	states, err := f.ids.States(ctx, wants, false)
	if err != nil {
		return nil, err
	}
	stored := map[string][]registry.Stored{}
	out := make([]SchemaDiff, len(wants))
	for i, w := range wants {
		d := SchemaDiff{Subject: w.Subject, Schema: w.Label(), State: DiffSame, Version: states[i].Version}
		if e := states[i].Err; e != nil && e.Reason != registry.Missing {
			return nil, e
		} else if e != nil {
			if _, ok := stored[w.Subject]; !ok {
				if stored[w.Subject], err = f.ids.Versions(ctx, w.Subject); err != nil {
					return nil, err
				}
			}
			if err := d.compare(w, stored[w.Subject]); err != nil {
				return nil, fmt.Errorf("subject %s: %w", w.Subject, err)
			}
		}
		out[i] = d
	}
	return out, nil
}

func (d *SchemaDiff) compare(w registry.Want, versions []registry.Stored) error {
	if len(versions) == 0 {
		d.State = DiffAbsent
		return nil
	}
	latest := versions[len(versions)-1]
	for _, v := range versions {
		if schema.SameName(v.Schema, w.Self()) {
			latest = v
		}
	}
	changes, err := schema.Diff(latest.Schema, w.Self())
	if err != nil {
		return err
	}
	d.Version, d.Changes, d.State = latest.Version, changes, DiffDifferent
	switch {
	case len(changes) == 0:
		d.State = DiffRewritten
	case schema.DocsOnly(changes):
		d.State = DiffDocs
	}
	return nil
}
