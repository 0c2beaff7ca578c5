package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

func TestExitCodeIsTheWorst(t *testing.T) {
	t.Parallel()
	refused := event.Refusef("do", "refused")
	fenced := &event.Fault{Verdict: event.Fenced, What: "fenced"}
	poisoned := &event.Fault{Verdict: event.Stop, What: "poisoned"}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("any"), 1},
		{poisoned, 1},
		{&fleet.UsageError{What: "usage"}, 2},
		{fmt.Errorf("load: %w", config.Problems{{What: "bad"}}), 2},
		{fmt.Errorf("pipeline a: %w", refused), 3},
		{fmt.Errorf("pipeline a: %w", fenced), 4},
		{errors.Join(fmt.Errorf("a: %w", poisoned), fmt.Errorf("b: %w", refused)), 3},
		{errors.Join(fmt.Errorf("a: %w", fenced), fmt.Errorf("b: %w", refused)), 4},
		{&fleet.ChangesError{N: 2}, 5},
		{fmt.Errorf("run: %w", errors.Join(errors.New("x"), refused)), 3},
		{&fleet.DiffersError{N: 1, Of: 2}, 5},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 0, "Available Commands"},
		{"slots", 0, "recreate"},
		{"bogus", 2, `unknown command "bogus"`},
		{"topics", 0, "plan"},
		{"topics plan surplus", 2, "next: cdc-relay topics plan --help"},
		{"topics apply --accept-everything", 2, "unknown flag"},
		{"plan --bogus", 2, "next: cdc-relay plan --help"},
		{"-c /nowhere.yaml plan", 2, "/nowhere.yaml"},
		{"slots bogus", 2, `unknown command "bogus" for "cdc-relay slots"`},
		{"run --bogus", 2, "next: cdc-relay run --help"},
		{"run surplus", 2, "next: cdc-relay run --help"},
		{"run --to-lsn 0/1", 2, "--to-lsn needs --from-lsn"},
		{"run --from-lsn nonsense", 2, "two hexadecimal numbers"},
		{"slots anchor", 2, "accepts 1 arg"},
		{"migrate --inbox postgres://x --pipeline y", 2, "say one of them"},
		{"migrate --inbox postgres://user:geheim@[bad", 2, "read the URL of --inbox"},
		{"slots recreate", 2, "what was committed since the last checkpoint is not published"},
		{"checkpoint rebase", 2, "say exactly one of --accept-timeline"},
		{"checkpoint rebase --accept-timeline --accept-new-cluster", 2, "say exactly one of"},
		{"checkpoint rename", 2, "accepts 1 arg"},
		{"checkpoint", 0, "rename"},
		{"repair", 2, "look first with --dry-run"},
		{"repair --dry-run --yes", 2, "look first with --dry-run"},
		{"audit --since nonsense", 2, `"nonsense" is no time`},
		{"audit --since 2026-05-02 --until 2026-05-01", 2, "is not before --until"},
		{"audit --wait -1s", 2, "cannot be negative"},
		{"-c /nowhere.yaml audit", 2, "/nowhere.yaml"},
		{"-o xml version", 2, "want text or json"},
		{"-o json version", 0, `"version"`},
		{"-c /nowhere.yaml run", 2, "/nowhere.yaml"},
		{"config init", 0, "bootstrap.servers"},
		{"schemas", 0, "register"},
		{"schemas bogus", 2, `unknown command "bogus" for "cdc-relay schemas"`},
		{"schemas lint --rules", 0, "nullable_default"},
		{"schemas lint --rules -o json", 0, `"rule": "json"`},
		{"schemas lint /nowhere", 2, "schema folder /nowhere: no such file"},
		{"schemas lint --rule field_doc /nowhere", 2, "is no severity; write off, warn or error"},
		{"schemas lint --rule json=off /nowhere", 2, "always an error"},
		{"schemas lint ../../schemas/avro", 0, "0 errors, "},
		{"schemas lint ../../schemas/avro --rule unused=error", 1, "EventEnvelope.avsc: error $ (unused)"},
		{"-c /nowhere.yaml schemas lint", 2, "/nowhere.yaml"},
		{"-c ../../examples/minimal/cdc-relay.yaml schemas check --offline --level sideways", 2, "is no compatibility level"},
		{"-c ../../examples/minimal/cdc-relay.yaml schemas check --offline", 0, "at the level BACKWARD"},
		{"-c /nowhere.yaml schemas register", 2, "/nowhere.yaml"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			cmd := root(&out, &out)
			cmd.SetArgs(strings.Fields(c.args))
			err := cmd.ExecuteContext(t.Context())
			text := out.String()
			if err != nil {
				text += err.Error()
			}
			if code := exitCode(err); code != c.code || !strings.Contains(text, c.want) {
				t.Errorf("exit %d, want %d; output lacks %q:\n%s", code, c.code, c.want, text)
			}
		})
	}
}
