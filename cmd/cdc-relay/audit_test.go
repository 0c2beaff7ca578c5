package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]string{
		"24h":                           "2026-05-01T12:00:00Z",
		"2026-05-01":                    "2026-05-01T00:00:00Z",
		"2026-05-01 10:11:12":           "2026-05-01T10:11:12Z",
		"2026-05-01T10:11:12":           "2026-05-01T10:11:12Z",
		"2026-05-01T10:11:12.5+02:00":   "2026-05-01T08:11:12.5Z",
		"2026-05-01T10:11:12.123456Z":   "2026-05-01T10:11:12.123456Z",
		"2026-05-01 10:11:12.123+05:30": "2026-05-01T04:41:12.123Z",
	} {
		if got, err := moment(s, now); err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("moment(%q) = %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"-1h", "yesterday", "12", "2026-13-01"} {
		if got, err := moment(s, now); err == nil {
			t.Errorf("moment(%q) = %s", s, got)
		}
	}
	if got, err := moment("", now); err != nil || !got.IsZero() {
		t.Errorf("nothing is open: %s, %v", got, err)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &progress{w: &out, terminal: true}
	p.step("rows read", 50, 100)
	p.step("comparing", 0, 0)
	p.done()
	text := out.String()
	if !strings.Contains(text, "\r["+strings.Repeat("#", 15)+strings.Repeat(".", 15)+"] rows read: 50 of 100") || !strings.Contains(text, "\rcomparing  ") || !strings.HasSuffix(text, "\r") {
		t.Errorf("%q", text)
	}
}

func TestProgressInALog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &progress{w: &out, drawn: time.Now()}
	p.step("rows read", 1, 100) // too soon
	p.drawn = time.Now().Add(-time.Minute)
	p.step("rows read", 50, 100)
	p.step("comparing", 1, 2) // too soon again
	p.done()
	if out.String() != "rows read: 50 of 100\n" {
		t.Errorf("%q", out.String())
	}
	var none *progress
	none.step("a script reads the output", 1, 2)
	none.done()
}

func TestWhatIsSaidOfARepair(t *testing.T) {
	t.Parallel()
	before := &audit.Report{Missing: 3, TableRows: 9, Table: "cdc_relay.outbox", Details: []audit.Detail{{Kind: audit.Missing, EventID: "e-1"}, {Kind: audit.Duplicate, EventID: "e-2"}}}
	for want, r := range map[string]*fleet.Repair{
		"nothing was produced; order would be by transaction_id": {DryRun: true, Order: "transaction_id", Before: before, Topics: map[string]int64{"t": 3}},
		"healed: a second audit finds nothing missing":           {Produced: 3, Healed: true, Before: before, After: &audit.Report{}},
		"nothing to repair": {Healed: true, Before: &audit.Report{}},
	} {
		var out bytes.Buffer
		a := &app{out: &out, output: "text"}
		if err := a.repaired(r); err != nil || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "e-2") {
			t.Errorf("%v, want %q:\n%s", err, want, out.String())
		}
	}
	a := &app{out: &bytes.Buffer{}, output: "json"}
	if err := a.repaired(&fleet.Repair{Before: before, After: &audit.Report{Missing: 1}}); exitCode(err) != exitRefused {
		t.Errorf("not healed: %v", err)
	}
}
