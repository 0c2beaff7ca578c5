package registry

import (
	"context"
	"fmt"

	"github.com/riferrei/srclient"
)

// Registered is a schema as the registry has it.
type Registered struct {
	Type string // AVRO, JSON or PROTOBUF
	Text string
	// Needs are the texts of the schemas it refers to, each after those it needs
	// itself.
	Needs []string
}

// maxReferences bounds how many schemas one may need, itself included: a
// registry that answers in circles must not be followed for ever.
const maxReferences = 1000

// ByID returns the schema with an id, the writer's of a record that bears the
// id. The error is an *Error; what no registry knows has the reason Missing.
func (c *Client) ByID(ctx context.Context, id int) (Registered, error) {
	if c.badURL != nil {
		return Registered{}, &Error{Reason: Misconfigured, URL: c.shown, Detail: c.badURL.Error()}
	}
	sr, t := c.start(ctx)
	s, err := sr.GetSchema(id)
	if err != nil {
		return Registered{}, t.errorOf(Want{}, err)
	}
	out := Registered{Type: typeOf(s), Text: s.Schema()}
	err = c.references(ctx, s, map[string]bool{}, &out)
	return out, err
}

func typeOf(s *srclient.Schema) string {
	if t := s.SchemaType(); t != nil && *t != "" {
		return string(*t)
	}
	return string(srclient.Avro) // which registries leave out
}

// references adds what s refers to, depth first.
func (c *Client) references(ctx context.Context, s *srclient.Schema, seen map[string]bool, out *Registered) error {
	for _, r := range s.References() {
		name := fmt.Sprintf("%s/%d", r.Subject, r.Version)
		if seen[name] {
			continue
		}
		seen[name] = true
		if len(seen) > maxReferences {
			return &Error{Reason: Unexpected, URL: c.shown, Subject: r.Subject, Schema: r.Name, Detail: fmt.Sprintf("more than %d references", maxReferences)}
		}
		sr, t := c.start(ctx)
		found, err := sr.GetSchemaByVersion(r.Subject, r.Version)
		if err != nil {
			return t.errorOf(Want{Subject: r.Subject, Name: r.Name, Version: r.Version}, err)
		}
		if err := c.references(ctx, found, seen, out); err != nil {
			return err
		}
		out.Needs = append(out.Needs, found.Schema())
	}
	return nil
}
