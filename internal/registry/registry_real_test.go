package registry_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/schemas"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// topic is a name no other test and no earlier run has.
func topic(t *testing.T) string {
	t.Helper()
	var b [6]byte
	_, _ = rand.Read(b[:])
	return "registry-test-" + hex.EncodeToString(b[:])
}

func shipped(t *testing.T) *registry.Schemas {
	t.Helper()
	fsys, err := schemas.Avro()
	if err != nil {
		t.Fatal(err)
	}
	s, err := registry.LoadSchemas(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// level sets the compatibility rule of a subject, as an operator would.
func level(t *testing.T, url, subject, rule string) {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"compatibility": rule})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/config/"+subject, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("set %s of %s: %s %s", rule, subject, resp.Status, text)
	}
}

// Every shipped schema is refused while it is not there, registered once, found
// again with the same id, and the same for relays that register at once.
func TestRealRegistry(t *testing.T) {
	t.Parallel()
	sr := stack.Registry(t)
	url := sr.URL()
	t.Logf("registry: %s", sr.Kind())
	all := shipped(t)
	prefix := topic(t)
	var wants []registry.Want
	for _, name := range all.Names() {
		if strings.HasSuffix(name, "Event") {
			text, _ := all.Schema(name, 1)
			wants = append(wants, registry.Want{Subject: prefix + "." + name + "-value", Name: name, Version: 1, Schema: text})
		}
	}
	c := client(t, registry.Options{URL: url})
	_, err := c.Resolve(t.Context(), wants, false)
	if event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), fmt.Sprintf("%d of %d", len(wants), len(wants))) {
		t.Fatalf("nothing is registered: %v", err)
	}
	var work sync.WaitGroup
	ids := make([][]int, 3)
	for i := range ids {
		work.Go(func() {
			var err error
			if ids[i], err = client(t, registry.Options{URL: url}).Resolve(t.Context(), wants, true); err != nil {
				t.Errorf("register: %v", err)
			}
		})
	}
	work.Wait()
	again, err := c.Resolve(t.Context(), wants, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ids {
		if !slices.Equal(ids[i], again) {
			t.Errorf("relay %d got %v, afterwards they are %v", i, ids[i], again)
		}
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(again))); len(distinct) != len(wants) {
		t.Errorf("ids %v", again)
	}
}

func TestRealRegistryCompatibility(t *testing.T) {
	t.Parallel()
	url := stack.Registry(t).URL()
	c := client(t, registry.Options{URL: url})
	subject := topic(t) + "-value"
	record := func(version int, fields string) registry.Want {
		return registry.Want{Subject: subject, Name: "Order", Version: version, Schema: `{"type":"record","name":"Order","namespace":"shop","doc":"v","fields":[` + fields + `]}`}
	}
	first := record(1, `{"type":"string","name":"id","doc":"d","minLength":1}`)
	one, err := c.Resolve(t.Context(), []registry.Want{first}, true)
	if err != nil {
		t.Fatal(err)
	}
	level(t, url, subject, "BACKWARD")
	_, err = c.Resolve(t.Context(), []registry.Want{record(2, `{"type":"string","name":"id"},{"type":"int","name":"amount"}`)}, true)
	e, ok := errors.AsType[*registry.Error](err)
	if !ok || e.Reason != registry.Incompatible || event.VerdictOf(err) != event.Refuse || !strings.Contains(e.Detail, "amount") {
		t.Errorf("a field without a default: %v", err)
	}
	ids, err := c.Resolve(t.Context(), []registry.Want{first, record(2, `{"type":"string","name":"id"},{"type":"int","name":"amount","default":0}`)}, true)
	if err != nil || ids[0] != one[0] || ids[1] == ids[0] {
		t.Errorf("ids %v after %v: %v", ids, one, err)
	}
	_, err = c.Resolve(t.Context(), []registry.Want{record(3, `{"type":"strng","name":"id"}`)}, true)
	e, ok = errors.AsType[*registry.Error](err)
	if !ok || e.Retryable() || e.Reason != registry.Invalid {
		t.Errorf("no schema at all: %v", err)
	}
}
