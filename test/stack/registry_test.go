package stack

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// register posts a schema to a subject and returns whether it was accepted.
func register(t *testing.T, r *SR, subject, schema string) bool {
	t.Helper()
	body, err := json.Marshal(map[string]string{"schema": schema})
	if err != nil {
		t.Fatal(err)
	}
	// A connection of its own: a kept one ends with the registry's Stop.
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := call(t.Context(), client, http.MethodPost, r.URL()+"/subjects/"+subject+"/versions", string(body))
	if err != nil && !strings.Contains(err.Error(), "409 Conflict") {
		t.Fatalf("register: %v (%s)", err, answer)
	}
	return err == nil
}

const (
	schemaV1     = `{"type":"record","name":"E","fields":[{"name":"a","type":"string"}]}`
	schemaV2     = `{"type":"record","name":"E","fields":[{"name":"a","type":"string"},{"name":"b","type":"int","default":0}]}`
	schemaBroken = `{"type":"record","name":"E","fields":[{"name":"a","type":"string"},{"name":"b","type":"int"}]}`
)

// checkCompatibility holds a registry to what BACKWARD means.
func checkCompatibility(t *testing.T, r *SR) {
	t.Helper()
	subject := "s-" + randomHex()
	if !register(t, r, subject, schemaV1) {
		t.Fatal("the first version is refused")
	}
	if register(t, r, subject, schemaBroken) {
		t.Error("a new field without default is accepted: compatibility is not checked")
	}
	if !register(t, r, subject, schemaV2) {
		t.Error("a new field with default is refused")
	}
}

func TestRegistryChecksCompatibilityAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	start := time.Now()
	r := NewRegistry(t)
	t.Logf("registry %s up in %s at %s", r.Kind(), time.Since(start).Round(time.Millisecond), r.URL())
	checkCompatibility(t, r)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t.Context(), &http.Client{Timeout: time.Second}, http.MethodGet, r.URL()+"/subjects", ""); err == nil {
		t.Fatal("the registry answers after Stop")
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	checkCompatibility(t, r)
}
