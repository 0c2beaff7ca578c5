package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// SR is a schema registry with the Confluent REST interface. Its methods may be
// called by several goroutines.
type SR struct {
	info   RegistryInfo
	server registryServer
	own    bool
	mu     sync.Mutex
}

// RegistryInfo says where a registry is.
type RegistryInfo struct {
	URL  string `json:"url"`  // base of the Confluent-compatible interface
	Kind string `json:"kind"` // apicurio, redpanda, external, embedded
	Log  string `json:"log,omitempty"`
}

// registryServer is the way a registry is run.
type registryServer interface {
	start(ctx context.Context) error
	stop() error
	close() error
}

// URL returns the base URL of the Confluent-compatible interface, without a
// slash at its end.
func (r *SR) URL() string { return r.info.URL }

// Kind returns apicurio, redpanda, external or embedded.
func (r *SR) Kind() string { return r.info.Kind }

// Info returns everything known about the registry.
func (r *SR) Info() RegistryInfo { return r.info }

// Stop ends the registry. Its schemas are in memory and lost with it, except in
// the kind embedded.
func (r *SR) Stop() error {
	return r.do("stop", func(context.Context) error { return r.server.stop() })
}

// Start starts a stopped registry again, on the same port, and waits until it
// answers.
func (r *SR) Start() error { return r.do("start", r.server.start) }

func (r *SR) do(verb string, f func(context.Context) error) error {
	if !r.own {
		return fmt.Errorf("%s the registry: %w", verb, ErrNotOwned)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		return fmt.Errorf("%s the registry (%s): %w", verb, r.info.Kind, err)
	}
	return nil
}

// registryReady waits until GET /subjects answers 200. check is asked in
// between and ends the wait early.
func registryReady(ctx context.Context, url string, check func() error) error {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var last error
	ok := poll(patience, 20*time.Millisecond, func() bool {
		if last = errors.Join(ctx.Err(), check()); last != nil {
			return true
		}
		_, last = call(ctx, client, http.MethodGet, url+"/subjects", "")
		return last == nil
	})
	if !ok {
		return fmt.Errorf("the registry does not answer within %s: %w", patience, last)
	}
	return last
}

// setBackward makes BACKWARD the global compatibility level, Confluent's
// default; Apicurio begins with none at all.
func setBackward(ctx context.Context, url string) error {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if _, err := call(ctx, client, http.MethodPut, url+"/config", `{"compatibility":"BACKWARD"}`); err != nil {
		return fmt.Errorf("set the global compatibility level: %w", err)
	}
	return nil
}

func call(ctx context.Context, client *http.Client, method, url, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return string(answer), fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
	return string(answer), nil
}
