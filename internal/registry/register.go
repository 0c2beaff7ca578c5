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
	ok, err := sr.IsSchemaCompatible(w.Subject, w.Schema, "latest", srclient.Avro)
	if err != nil {
		e := t.errorOf(w, err)
		if e.Reason == Missing {
			return nil // no version yet: nothing to be compatible with
		}
		return e
	}
	if ok {
		return nil
	}
	return &Error{
		Reason: Incompatible, URL: c.shown, Subject: w.Subject, Schema: w.label(),
		Status: http.StatusConflict, Detail: c.redact(reasons(t.body)),
	}
}

// reasons are what a verbose compatibility answer says, in one line; "" when
// the registry gives none.
func reasons(body []byte) string {
	var answer struct {
		Messages []string `json:"messages"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return strings.Join(answer.Messages, "; ")
}

// register adds w to its subject. Two relays that do so at once get the same
// id: registering a schema that is there is no change.
func (c *Client) register(ctx context.Context, w Want) (int, *Error) {
	sr, t := c.start(ctx)
	if _, err := sr.CreateSchema(w.Subject, w.Schema, srclient.Avro); err != nil {
		e := t.errorOf(w, err)
		if e.Reason == Missing {
			e.Reason = Unexpected // srclient reads the new schema back by its id, and it is not there
		}
		return 0, e
	}
	// srclient returns the schema as read back by id; the id of this subject is
	// what a second lookup says.
	id, err := c.lookUp(ctx, w)
	if err != nil && err.Reason == Missing {
		err.Reason, err.Err = Unexpected, errors.New("registered, but not found afterwards")
		err.Detail = err.Err.Error()
	}
	if err == nil {
		c.opts.Logger.Info("schema registered", "url", c.shown, "subject", w.Subject, "schema", w.label(), "id", id)
	}
	return id, err
}
