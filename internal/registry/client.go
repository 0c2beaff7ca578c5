package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riferrei/srclient"
)

// Want is one schema to find under one subject.
type Want struct {
	Subject string // <topic>-value
	Name    string // as in AssessmentResultEvent
	Version int    // of the file, not of the registry
	Schema  string // complete text, as Schemas.Schema returns it
}

func (w Want) label() string {
	if w.Version == 0 {
		return w.Name
	}
	return fmt.Sprintf("%sV%d", w.Name, w.Version)
}

// Client finds schema ids. It is safe for concurrent use.
type Client struct {
	opts    Options
	base    *url.URL // without credentials
	shown   string   // base for messages
	badURL  error    // why base cannot be used
	http    *http.Transport
	metrics *metrics
}

// New returns a Client. It neither connects nor fails: a URL that cannot be
// used is an error of Resolve, so that it reads like every other of its kind.
func New(o Options) *Client {
	c := &Client{opts: o.withDefaults(), metrics: newMetrics(o.Registerer)}
	c.base, c.badURL = parseBase(o.URL)
	c.shown = strings.TrimSuffix(c.base.String(), "/")
	if user := userOf(o.URL); user != nil && c.opts.Username == "" {
		c.opts.Username = user.Username()
		c.opts.Password, _ = user.Password()
	}
	c.http = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSClientConfig:       o.TLS,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   c.opts.Parallel,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: c.opts.Timeout,
	}
	return c
}

// parseBase returns the base URL without credentials and never nil. Its error
// quotes nothing of a URL that did not parse, because a password may be in it.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return &url.URL{Path: "(unreadable URL)"}, errors.New("it is not a URL; percent-encode special characters in a password, or give it as registry.password")
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return u, errors.New("want http:// or https:// and a host, as in http://registry:8081")
	}
	return u, nil
}

func userOf(raw string) *url.Userinfo {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	return u.User
}

// URL is the registry's base URL without credentials.
func (c *Client) URL() string { return c.shown }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Resolve returns the registry's id of exactly this schema text for each of
// wants, in their order. What is not registered is registered when register is
// true, after the registry's own compatibility check said yes, and is an error
// otherwise.
//
// An error is an *event.Fault that holds one or more *Error: the verdict is
// Restart while the registry cannot be reached, Refuse when a person has to do
// something. Errors about schemas are gathered; one about the registry itself
// ends the work and is reported alone.
func (c *Client) Resolve(ctx context.Context, wants []Want, register bool) ([]int, error) {
	if c.badURL != nil {
		return nil, (&Error{Reason: Misconfigured, URL: c.shown, Detail: c.badURL.Error()}).fault()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ids := make([]int, len(wants))
	failed := make([]*Error, len(wants))
	var work sync.WaitGroup
	slots := make(chan struct{}, c.opts.Parallel)
	for i, w := range wants {
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			id, err := c.resolve(ctx, w, register)
			ids[i], failed[i] = id, err
			if err != nil && err.general() {
				stop() // the others would only say the same
			}
		})
	}
	work.Wait()
	errs := slices.DeleteFunc(failed, func(e *Error) bool { return e == nil })
	if len(errs) == 0 {
		return ids, nil
	}
	if i := firstGeneral(errs); i >= 0 {
		return nil, errs[i].fault()
	}
	return nil, faultOf(errs, len(wants))
}

// general reports that the failure is of the registry, not of one schema.
func (e *Error) general() bool {
	switch e.Reason {
	case Missing, Incompatible, Invalid:
		return false
	}
	return true
}

// firstGeneral prefers the error that made the others stop over theirs.
func firstGeneral(errs []*Error) int {
	first := -1
	for i, e := range errs {
		if !e.general() {
			continue
		}
		if !errors.Is(e, context.Canceled) {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

func (c *Client) resolve(ctx context.Context, w Want, register bool) (int, *Error) {
	id, err := c.lookUp(ctx, w)
	if err == nil || err.Reason != Missing || !register {
		return id, err
	}
	return c.checkAndRegister(ctx, w)
}

// start makes the srclient of one call. srclient is cheap to make and keeps a
// cache we do not want: an id must come from the registry.
func (c *Client) start(ctx context.Context) (*srclient.SchemaRegistryClient, *call) {
	t := &call{ctx: ctx, client: c}
	sr := srclient.NewSchemaRegistryClient(c.shown, srclient.WithClient(&http.Client{Transport: t}))
	sr.CachingEnabled(false)
	return sr, t
}

func (c *Client) lookUp(ctx context.Context, w Want) (int, *Error) {
	sr, t := c.start(ctx)
	found, err := sr.LookupSchema(w.Subject, w.Schema, srclient.Avro)
	if err != nil {
		return 0, t.errorOf(w, err)
	}
	return c.idOf(t, w, found.ID())
}

// idOf refuses an answer without an id: 0 is what srclient makes of a body
// that is JSON of another kind, and no registry gives it.
func (c *Client) idOf(t *call, w Want, id int) (int, *Error) {
	if id <= 0 {
		return 0, t.errorOf(w, errors.New("no schema id in it"))
	}
	return id, nil
}
