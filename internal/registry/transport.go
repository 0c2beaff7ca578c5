package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds an answer: the largest schema is some hundred kilobytes.
const maxAnswer = 16 << 20

// maxBackoff bounds the wait between two repetitions.
const maxBackoff = 5 * time.Second

// call is the transport of one srclient call. It gives the call what srclient
// lacks: a context, retries, credentials without limits (srclient drops an
// empty password), and the status and body of the last answer.
type call struct {
	ctx    context.Context
	client *Client

	status int    // of the last answer; 0: none came
	body   []byte // of the last answer
	err    error  // why the last attempt got no answer
}

// RoundTrip implements http.RoundTripper.
func (c *call) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		_ = req.Body.Close() // a bytes.Buffer: nothing can fail
	}
	for attempt := 0; ; attempt++ {
		resp, err := c.once(req, body)
		if err == nil && resp.StatusCode < 500 {
			return resp, nil
		}
		if attempt >= c.client.opts.Retries || c.ctx.Err() != nil {
			return resp, err
		}
		wait := backoff(c.client.opts.Backoff, attempt)
		c.client.opts.Logger.Warn("schema registry did not answer well, asking again",
			"url", c.client.shown, "attempt", attempt+1, "wait", wait, "status", c.status, "err", err)
		select {
		case <-c.ctx.Done():
			return resp, err
		case <-time.After(wait):
		}
	}
}

// once sends the request once and reads the whole answer within the timeout.
func (c *call) once(req *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.client.opts.Timeout)
	defer cancel()
	out := req.Clone(ctx)
	if body != nil {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	c.decorate(out)
	began := time.Now()
	resp, err := c.client.http.RoundTrip(out)
	c.status, c.body, c.err = 0, nil, err
	if err == nil {
		c.status = resp.StatusCode
		c.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		_ = resp.Body.Close() // read to the end or given up
		if err != nil {
			c.status, c.body, c.err = 0, nil, err // half an answer is none
		}
	}
	c.client.metrics.seconds.Observe(time.Since(began).Seconds())
	c.client.metrics.requests.WithLabelValues(result(c.status, err)).Inc()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(c.body))
	return resp, nil
}

// decorate adds what every request carries. A redirect to another host gets no
// credentials.
func (c *call) decorate(req *http.Request) {
	if strings.HasPrefix(req.URL.Path, c.client.base.Path+"/compatibility/") {
		req.URL.RawQuery = url.Values{"verbose": {"true"}}.Encode() // or the answer has no reasons
	}
	if req.URL.Host != c.client.base.Host || req.URL.Scheme != c.client.base.Scheme {
		return
	}
	req.Header.Set("Accept", "application/vnd.schemaregistry.v1+json, application/json")
	for name, value := range c.client.opts.Headers {
		req.Header.Set(name, value)
	}
	switch o := c.client.opts; {
	case o.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+o.BearerToken)
	case o.Username != "":
		req.SetBasicAuth(o.Username, o.Password)
	}
}

func backoff(first time.Duration, attempt int) time.Duration {
	wait := min(first<<min(attempt, 16), maxBackoff)
	return wait/2 + rand.N(wait/2+1) // jitter, so that pipelines do not ask in step
}

func result(status int, err error) string {
	switch {
	case err != nil || status == 0:
		return "unreachable"
	case status >= 500:
		return "failed"
	case status >= 400:
		return "refused"
	}
	return "ok"
}
