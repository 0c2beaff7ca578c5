package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/riferrei/srclient"
)

// check asks the registry whether w may follow the latest version of its
// subject. Registering would say no as well, but not why.
func (c *Client) check(ctx context.Context, w Want) *Error {
	sr, t := c.start(ctx)
	ok, err := sr.IsSchemaCompatible(w.Subject, w.Self(), "latest", srclient.Avro)
	if err != nil {
		e := t.errorOf(w, err)
		if e.Reason == Missing {
			return nil // no version yet: nothing to be compatible with
		}
		if e.Reason == Invalid && len(w.Needs) > 0 {
			return nil // Apicurio cannot compare with a version that has references; registering is checked too
		}
		return e
	}
	if ok {
		return nil
	}
	return &Error{
		Reason: Incompatible, URL: c.shown, Subject: w.Subject, Schema: w.Label(),
		Status: http.StatusConflict, Detail: c.redact(reasons(t.body)),
	}
}

// reasons are what a verbose compatibility answer says, in one line; "" when
// the registry gives none. Confluent and Redpanda say messages, Apicurio reason.
func reasons(body []byte) string {
	var answer struct {
		Messages []string `json:"messages"`
		Reason   string   `json:"reason"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	if answer.Reason != "" {
		answer.Messages = append(answer.Messages, answer.Reason)
	}
	return strings.Join(answer.Messages, "; ")
}

// attempts is how often a registration is tried that another one came before.
const attempts = 3

// checkAndRegister registers w if the registry finds it compatible.
//
// Registering a schema that is there already is no change, so two relays may do
// it at once; but Apicurio answers one of them 409 ("already exists"), which
// looks like an incompatible schema. So a 409 is believed only if the schema is
// still not there, and the check says no, or it comes again.
func (c *Client) checkAndRegister(ctx context.Context, w Want, refs []srclient.Reference) (State, *Error) {
	for attempt := 1; ; attempt++ {
		if err := c.check(ctx, w); err != nil {
			return State{}, err
		}
		s, refused := c.register(ctx, w, refs)
		if refused == nil || refused.Reason != Incompatible {
			return s, refused
		}
		s, err := c.lookUp(ctx, w, refs)
		if err == nil || err.Reason != Missing {
			return s, err
		}
		if attempt == attempts {
			return State{}, refused
		}
	}
}

// register adds w to its subject.
func (c *Client) register(ctx context.Context, w Want, refs []srclient.Reference) (State, *Error) {
	sr, t := c.start(ctx)
	if _, err := sr.CreateSchema(w.Subject, w.Schema, srclient.Avro, refs...); err != nil {
		e := t.errorOf(w, err)
		if e.Reason == Missing {
			e.Reason = Unexpected // srclient reads the new schema back by its id, and it is not there
		}
		return State{}, e
	}
	// srclient returns the schema as read back by id; the id of this subject is
	// what a second lookup says.
	s, err := c.lookUp(ctx, w, refs)
	if err != nil && err.Reason == Missing {
		err.Reason, err.Err = Unexpected, errors.New("registered, but not found afterwards")
		err.Detail = err.Err.Error()
	}
	if err == nil {
		s.Fresh = true
		c.opts.Logger.Info("schema registered", "url", c.shown, "subject", w.Subject, "schema", w.Label(), "id", s.ID)
	}
	return s, err
}
