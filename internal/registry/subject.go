package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// Stored is one version of a subject as the registry has it.
type Stored struct {
	ID      int
	Version int    // of the subject
	Schema  string // complete: what it refers to is inlined
}

// Level is the compatibility rule that holds for a subject, its own or the
// registry's: BACKWARD, FULL_TRANSITIVE, NONE, …
func (c *Client) Level(ctx context.Context, subject string) (string, error) {
	own, err := c.levelAt(ctx, "/config/"+url.PathEscape(subject)+"?defaultToGlobal=true", subject)
	if err == nil && own != none {
		return own, nil
	}
	if err != nil && err.Reason != Missing {
		return "", err.fault()
	}
	all, globally := c.levelAt(ctx, "/config", subject)
	if globally != nil {
		return "", globally.fault()
	}
	// Apicurio says NONE of a subject without a rule of its own, where the global
	// one holds, and takes NONE for "no rule of its own". What it does tells: a rule
	// in force refuses a schema that is compatible with nothing, or fails on it (422).
	if err == nil && all != none {
		takes, e := c.takes(ctx, subject, "latest", odd, nil)
		switch {
		case e == nil && takes:
			return none, nil
		case e != nil && e.Reason != Invalid && e.Reason != Missing:
			return "", e.fault()
		}
	}
	return all, nil
}

const none = "NONE"

// odd can follow no schema, and no schema can follow it.
const odd = `{"type":"fixed","name":"CdcRelayAsksForTheCompatibilityLevel","size":1}`

func (c *Client) levelAt(ctx context.Context, path, subject string) (string, *Error) {
	var answer struct {
		Level string `json:"compatibilityLevel"`
	}
	err := c.ask(ctx, Want{Subject: subject}, http.MethodGet, path, nil, &answer)
	return answer.Level, err
}

// Versions are all versions of a subject, the oldest first; none: there is no
// such subject.
func (c *Client) Versions(ctx context.Context, subject string) ([]Stored, error) {
	var numbers []int
	err := c.ask(ctx, Want{Subject: subject}, http.MethodGet, "/subjects/"+url.PathEscape(subject)+"/versions", nil, &numbers)
	if err != nil && err.Reason == Missing {
		return nil, nil
	}
	if err != nil {
		return nil, err.fault()
	}
	slices.Sort(numbers)
	out := make([]Stored, len(numbers))
	for i, n := range numbers {
		s, err := c.stored(ctx, subject, n)
		if err != nil {
			return nil, err
		}
		out[i] = s
	}
	return out, nil
}

// rawVersion is a version as the registry answers.
type rawVersion struct {
	ID         int    `json:"id"`
	Version    int    `json:"version"`
	Schema     string `json:"schema"`
	References []struct {
		Name    string `json:"name"`
		Subject string `json:"subject"`
		Version int    `json:"version"`
	} `json:"references"`
}

func (c *Client) stored(ctx context.Context, subject string, version int) (Stored, error) {
	lib := newLibrary()
	raw, err := c.fetch(ctx, lib, subject, version, map[string]bool{})
	if err != nil {
		return Stored{}, err
	}
	s := Stored{ID: raw.ID, Version: raw.Version, Schema: raw.Schema}
	if len(raw.References) == 0 {
		return s, nil
	}
	name := fileOfSubject(subject, version)
	in := &inliner{lib: lib, file: name, defined: map[string]bool{}}
	tree, err := in.schema(lib.files[name], "")
	if err == nil {
		var text []byte
		text, err = appendJSON(nil, tree)
		s.Schema = string(text)
	}
	if err != nil {
		return s, fmt.Errorf("subject %s version %d of schema registry %s: put together with what it refers to: %w", subject, version, c.shown, err)
	}
	return s, nil
}

func fileOfSubject(subject string, version int) string {
	return subject + " version " + strconv.Itoa(version)
}

// fetch reads a version and everything it refers to into lib.
func (c *Client) fetch(ctx context.Context, lib *library, subject string, version int, seen map[string]bool) (rawVersion, error) {
	var raw rawVersion
	name := fileOfSubject(subject, version)
	seen[name] = true
	path := "/subjects/" + url.PathEscape(subject) + "/versions/" + strconv.Itoa(version)
	if err := c.ask(ctx, Want{Subject: subject}, http.MethodGet, path, nil, &raw); err != nil {
		return raw, err.fault()
	}
	for _, r := range raw.References {
		if seen[fileOfSubject(r.Subject, r.Version)] {
			continue
		}
		if _, err := c.fetch(ctx, lib, r.Subject, r.Version, seen); err != nil {
			return raw, err
		}
	}
	tree, err := parseJSON([]byte(raw.Schema))
	root, ok := tree.(*object)
	if err != nil || !ok { // a bare type name or a union: nothing of it can be referred to
		return raw, err
	}
	lib.files[name] = root
	if err := lib.note(name, root, ""); err != nil {
		return raw, fmt.Errorf("subject %s version %d of schema registry %s: %w", subject, version, c.shown, err)
	}
	return raw, nil
}

// Compatible asks the registry whether w may follow one version of its subject,
// and why not.
func (c *Client) Compatible(ctx context.Context, w Want, version int) (ok bool, why string, err error) {
	var last []byte
	ok, e := c.takes(ctx, w.Subject, strconv.Itoa(version), w.Self(), &last)
	if e != nil {
		e.Schema = w.Label()
		return false, "", e.fault()
	}
	return ok, c.redact(reasons(last)), nil
}

// takes asks whether a text may follow a version; last, if given, is the answer.
func (c *Client) takes(ctx context.Context, subject, version, text string, last *[]byte) (bool, *Error) {
	var answer struct {
		OK bool `json:"is_compatible"`
	}
	body := map[string]string{"schema": text, "schemaType": "AVRO"}
	path := "/compatibility/subjects/" + url.PathEscape(subject) + "/versions/" + version
	raw, err := c.asked(ctx, Want{Subject: subject}, http.MethodPost, path, body, &answer)
	if last != nil {
		*last = raw
	}
	return answer.OK, err
}

func (c *Client) ask(ctx context.Context, w Want, method, path string, body, into any) *Error {
	_, err := c.asked(ctx, w, method, path, body, into)
	return err
}

// asked sends one request and decodes the answer, which it returns too.
func (c *Client) asked(ctx context.Context, w Want, method, path string, body, into any) ([]byte, *Error) {
	if c.badURL != nil {
		return nil, &Error{Reason: Misconfigured, URL: c.shown, Detail: c.badURL.Error()}
	}
	t := &call{ctx: ctx, client: c}
	var send io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, t.errorOf(w, err)
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.shown+path, send)
	if err != nil {
		return nil, t.errorOf(w, err)
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return nil, t.errorOf(w, err)
	}
	_ = resp.Body.Close() // t has read it to its end
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return t.body, t.errorOf(w, fmt.Errorf("HTTP %d", resp.StatusCode))
	}
	if err := json.Unmarshal(t.body, into); err != nil {
		return t.body, t.errorOf(w, err)
	}
	return t.body, nil
}
