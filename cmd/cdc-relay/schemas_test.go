package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/schema"
)

// invoke runs a command in this process.
func invoke(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var b bytes.Buffer
	cmd := root(&b, &b)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		b.WriteString(err.Error())
	}
	return b.String(), exitCode(err)
}

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)\n```")

// docs/events.md is what `schemas docs` writes, and its examples are JSON.
func TestReferenceOfEventsIsUpToDate(t *testing.T) {
	t.Parallel()
	got, code := invoke(t, "-c", filepath.Join("..", "..", "examples", "cluster", "cdc-relay.yaml"), "schemas", "docs")
	want, err := os.ReadFile(filepath.Join("..", "..", "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 || got != string(want) {
		t.Errorf("exit %d; docs/events.md is not what the contracts and schemas say now: run make generate", code)
	}
	blocks := jsonBlock.FindAllStringSubmatch(got, -1)
	if len(blocks) < 9 {
		t.Errorf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		if !json.Valid([]byte(b[1])) {
			t.Errorf("not JSON: %s", b[1])
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// project lays out a configuration with two versions of an order.
func project(t *testing.T, contract string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "cdc-relay.yaml", `
name: shop
postgres: {url: "postgres://relay@db/shop"}
kafka: {bootstrap.servers: "broker:9092"}
registry: {url: "http://registry:8081"}
schemas: .
lint: {field_doc: error, type_doc: "off"}
events: [events.yaml]
`)
	write(t, dir, "events.yaml", contract)
	write(t, dir, "OrderV1.avsc", `{"type":"record","name":"OrderV1","namespace":"shop","fields":[{"name":"id","type":"string","doc":"d"}]}`)
	write(t, dir, "OrderV2.avsc", `{"type":"record","name":"OrderV2","namespace":"shop","fields":[{"name":"id","type":"string"}]}`)
	return filepath.Join(dir, "cdc-relay.yaml")
}

// Severities of the configuration hold, those of the command line come before
// them, and an error is exit code 1.
func TestLintWithAConfiguration(t *testing.T) {
	t.Parallel()
	c := project(t, "events: [{type: order.placed, topic: orders, schema: Order}]\n")
	out, code := invoke(t, "-c", c, "schemas", "lint")
	if code != 1 || !strings.Contains(out, "/OrderV2.avsc:1: error $.fields[0] (field_doc)") || !strings.Contains(out, "1 error, 0 warnings") {
		t.Errorf("exit %d: %s", code, out)
	}
	var found struct {
		Errors, Warnings int
		Findings         []schema.Finding
	}
	out, code = invoke(t, "-c", c, "schemas", "lint", "--rule", "field_doc=warn", "-o", "json")
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != 0 || found.Warnings != 1 || found.Findings[0].Rule != "field_doc" || filepath.Base(found.Findings[0].File) != "OrderV2.avsc" {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}

// Two records of different names on one topic are told apart before anything is
// connected to, unless each has a subject of its own.
func TestTwoVersionsOnOneTopic(t *testing.T) {
	t.Parallel()
	c := project(t, "events: [{type: order.placed, topic: orders, schema: Order}]\n")
	const says = "topic orders, subject orders-value: OrderV2 cannot follow OrderV1 at the level BACKWARD"
	if out, code := invoke(t, "-c", c, "config", "validate"); code != 0 || !strings.Contains(out, "warning: "+says+": $: the record is called shop.OrderV1") || !strings.Contains(out, "subject_name: record") {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := invoke(t, "-c", c, "schemas", "check", "--offline"); code != 3 || !strings.Contains(out, says) || !strings.Contains(out, "$ (name): the record is called shop.OrderV1") || !strings.Contains(out, `next: give shop.OrderV2 "aliases": ["shop.OrderV1"]`) {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := invoke(t, "-c", c, "schemas", "check", "--offline", "--level", "none"); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	var conflicts []schema.Conflict
	out, _ := invoke(t, "-c", c, "schemas", "check", "--offline", "-o", "json")
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&conflicts); err != nil || len(conflicts) != 1 || conflicts[0].Reasons[0].Rule != "name" {
		t.Errorf("%v: %s", err, out)
	}
	for _, naming := range []string{"record", "topic_record"} {
		c := project(t, "defaults: {subject_name: "+naming+"}\nevents: [{type: order.placed, topic: orders, schema: Order}]\n")
		if out, code := invoke(t, "-c", c, "config", "validate"); code != 0 || strings.Contains(out, "warning") {
			t.Errorf("%s: exit %d: %s", naming, code, out)
		}
		if out, code := invoke(t, "-c", c, "schemas", "check", "--offline"); code != 0 {
			t.Errorf("%s: exit %d: %s", naming, code, out)
		}
		if out, code := invoke(t, "-c", c, "config", "show"); code != 0 || !strings.Contains(out, "references: inline") || !strings.Contains(out, "field_doc: error") {
			t.Errorf("exit %d: %s", code, out)
		}
	}
}
