package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Reason says what kind of failure an Error is.
type Reason uint8

// The reasons, told apart because what to do differs.
const (
	Misconfigured Reason = iota // the URL cannot be used
	Unreachable                 // no answer, or only 5xx
	Denied                      // 401, 403
	NotARegistry                // 404 that no registry gives
	Missing                     // the schema is not there and must not be registered
	Incompatible                // the registry's compatibility rule says no: 409, or its check
	Invalid                     // 422: the registry does not take the schema or subject
	Busy                        // 408, 429
	Unexpected                  // any other answer
)

// Error is one failed request. Its text names the registry without
// credentials, the subject and the schema.
type Error struct {
	Reason  Reason
	URL     string // without credentials
	Subject string
	Schema  string // name and version, as in AssessmentResultEventV1
	Status  int    // HTTP status; 0 when no answer came
	Code    int    // the registry's error_code; 0 when it gave none
	Detail  string // what the registry said
	Err     error  // cause, may be nil
}

func (e *Error) Error() string {
	where := fmt.Sprintf("schema registry %s, subject %s (schema %s)", e.URL, e.Subject, e.Schema)
	switch {
	case e.Subject == "":
		where = "schema registry " + e.URL
	case e.Schema == "":
		where = fmt.Sprintf("schema registry %s, subject %s", e.URL, e.Subject)
	}
	return where + ": " + e.what()
}

func (e *Error) what() string {
	switch e.Reason {
	case Misconfigured:
		return "its URL cannot be used: " + e.Detail
	case Unreachable:
		if e.Status != 0 {
			return fmt.Sprintf("it fails with HTTP %d%s", e.Status, e.said())
		}
		return "it cannot be reached" + e.said()
	case Denied:
		if e.Status == http.StatusUnauthorized {
			return "it does not accept the credentials (401)" + e.said()
		}
		return "the credentials may not do this (403)" + e.said()
	case NotARegistry:
		return "the address answers 404, but not as a schema registry does" + e.said()
	case Missing:
		return "this schema is not registered" + e.said()
	case Incompatible:
		return "this schema is not compatible with the one before it" + e.said()
	case Invalid:
		return fmt.Sprintf("it refuses the schema (%d)%s", e.Status, e.said())
	case Busy:
		return fmt.Sprintf("it is busy (%d)%s", e.Status, e.said())
	}
	if e.Status == 0 {
		return "an answer that cannot be understood" + e.said()
	}
	return fmt.Sprintf("an unexpected answer, HTTP %d%s", e.Status, e.said())
}

func (e *Error) said() string {
	if e.Detail == "" {
		return ""
	}
	return ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// Retryable reports whether the same request can succeed later without anyone
// changing anything here.
func (e *Error) Retryable() bool { return e.Reason == Unreachable || e.Reason == Busy }

// next is what the operator does about it.
func (e *Error) next() string {
	switch e.Reason {
	case Misconfigured:
		return "correct registry.url"
	case Unreachable, Busy:
		return "curl " + e.URL + "/subjects; the relay tries again by itself"
	case Denied:
		return "correct the registry's username and password, bearer token or client certificate, or let them read (and, to register, write) the subject"
	case NotARegistry:
		return "curl " + e.URL + "/subjects must print a list; correct registry.url (Apicurio: it ends in /apis/ccompat/v7)"
	case Missing:
		return "cdc-relay schemas register, from your CI for instance; a relay with `environment: development` registers at its start"
	case Incompatible:
		return "cdc-relay schemas check names every field; make the change compatible (a new field needs a default), or give each record a subject of its own (subject_name: record); the rule: curl " + e.URL + "/config/" + e.Subject
	case Invalid:
		return "correct the schema file of " + e.Schema
	}
	return "curl -i " + e.URL + "/subjects"
}

// fault wraps e with what becomes of the pipeline: an unreachable registry is
// asked again, everything else needs a person.
func (e *Error) fault() *event.Fault {
	verdict := event.Refuse
	if e.Retryable() {
		verdict = event.Restart
	}
	return &event.Fault{Verdict: verdict, What: "resolve schemas", Do: e.next(), Err: e}
}

// faultOf makes one fault of several errors; all of them are of the kind that
// needs a person.
func faultOf(errs []*Error, wants int) *event.Fault {
	if len(errs) == 1 {
		return errs[0].fault()
	}
	lines := make([]error, len(errs))
	for i, e := range errs {
		lines[i] = fmt.Errorf("\n  - %w\n    next: %s", e, e.next())
	}
	return &event.Fault{
		Verdict: event.Refuse,
		What:    fmt.Sprintf("resolve schemas: %d of %d cannot be used", len(errs), wants),
		Err:     errors.Join(lines...),
	}
}

// errorOf makes an Error of what one call left behind.
func (c *call) errorOf(w Want, cause error) *Error {
	e := &Error{URL: c.client.shown, Subject: w.Subject, Schema: w.Label(), Status: c.status, Err: cause}
	if c.status == 0 {
		e.Reason, e.Err = Unreachable, c.err
		e.Detail = c.client.redact(plain(c.err, cause))
		return e
	}
	var said struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}
	isJSON := json.Unmarshal(c.body, &said) == nil
	e.Code, e.Detail = said.Code, c.client.redact(said.Message)
	switch {
	case c.status == http.StatusUnauthorized || c.status == http.StatusForbidden:
		e.Reason = Denied
	case c.status == http.StatusNotFound && isJSON && said.Code/100 == 404:
		e.Reason = Missing
	case c.status == http.StatusNotFound:
		e.Reason = NotARegistry
	case c.status == http.StatusConflict:
		e.Reason = Incompatible
	case c.status == http.StatusUnprocessableEntity:
		e.Reason = Invalid
	case c.status == http.StatusRequestTimeout || c.status == http.StatusTooManyRequests:
		e.Reason = Busy
	case c.status >= 500:
		e.Reason = Unreachable
	default:
		e.Reason = Unexpected
		if c.status < 300 {
			e.Status, e.Detail = 0, fmt.Sprint(cause)
		}
	}
	return e
}

// plain words an error without the request's URL, which *url.Error repeats.
func plain(err, cause error) string {
	if err == nil {
		err = cause
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return fmt.Sprint(err)
}

// redact takes the secrets out of a text that someone else wrote.
func (c *Client) redact(s string) string {
	for _, secret := range []string{c.opts.Password, c.opts.BearerToken} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}
