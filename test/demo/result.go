package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// table prints what the checker found and what the clock says.
func (d *demo) table(r *rig.Report, sum summary) {
	s := d.screen
	s.heading("result", "what was written against what a read_committed consumer saw")
	row := func(name string, n int, bad bool, note string) {
		figure := fmt.Sprintf("%8s", number(n))
		switch {
		case bad && n > 0:
			figure = s.style(red, figure)
		case bad:
			figure = s.style(green, figure)
		}
		s.print("  %-20s %s   %s", name, figure, s.style(faint, note))
	}
	row("written", r.Written, false, "events of committed transactions, three types")
	row("rolled back", r.RolledBack, false, "events of transactions the service rolled back")
	row("delivered", r.Delivered, false, "different events that arrived")
	row("duplicates", r.Duplicates, true, "events that arrived more than once")
	row("missing", r.Missing, true, "committed events that did not arrive")
	row("out of order", r.OutOfOrder, true, "events that overtook an earlier one of their type and key")
	row("from rolled back", r.FromRolledBack, true, "events that should never have been seen")
	row("wrong or unknown", r.WrongContents+r.Unknown, true, "key, headers or value not as written")
	for _, detail := range r.Details {
		s.print("  %s", s.style(red, detail))
	}
	s.print("\n  %-34s %10s %10s %10s", "latency, commit → consumer", "p50", "p99", "most")
	lat := func(name string, l latencies) {
		s.print("  %-34s %10s %10s %10s", fmt.Sprintf("%s (%s events)", name, number(len(l))), millis(l.at(50)), millis(l.at(99)), millis(l.at(100)))
	}
	lat("steady", sum.steady)
	lat("with the SIGKILL", sum.all)
	s.print("  %s", s.style(faint, fmt.Sprintf("SIGKILL to streaming again: %.1f s; steady leaves out what was on its way in that time", sum.outage.Seconds())))
	if r.Exact() {
		s.print("\n  %s", s.style(green, fmt.Sprintf("exactly once: %s of %s, nothing twice, nothing lost, nothing from a rolled back transaction", number(r.Delivered), number(r.Written))))
	} else {
		s.print("\n  %s", s.style(red, "NOT exactly once; the log of the relay is build/demo/relay.log"))
	}
	if d.parts.embedded() {
		s.print("  %s", s.style(red, notReal))
	}
}

// notReal is said beside every result of an imitation.
const notReal = `Kafka and the registry were imitations inside this process (kfake): no disk, no replication, one
  process. Transactions are kept by its rules, not by Apache Kafka's: this run shows how the relay
  works, and proves nothing about crashes of a broker.`

// result is build/demo.json.
type result struct {
	Written        int      `json:"written"`
	RolledBack     int      `json:"rolled_back"`
	Delivered      int      `json:"delivered"`
	Duplicates     int      `json:"duplicates"`
	Missing        int      `json:"missing"`
	OutOfOrder     int      `json:"out_of_order"`
	FromRolledBack int      `json:"from_rolled_back"`
	WrongOrUnknown int      `json:"wrong_or_unknown"`
	Kills          int      `json:"kills"`
	P50            float64  `json:"p50_ms"` // of all events, the outage included
	P99            float64  `json:"p99_ms"`
	SteadyP50      float64  `json:"steady_p50_ms"`
	SteadyP99      float64  `json:"steady_p99_ms"`
	Outage         float64  `json:"outage_ms"`
	Broker         string   `json:"broker"`
	Postgres       string   `json:"postgres"`
	Bootstrap      string   `json:"bootstrap"`
	Registry       string   `json:"registry"`
	Topics         []string `json:"topics"`
}

func (d *demo) write(r *rig.Report, sum summary) error {
	ms := func(t time.Duration) float64 { return float64(t.Microseconds()) / 1000 }
	return writeJSON(filepath.Join(rig.Root(), "build", "demo.json"), result{
		Written: r.Written, RolledBack: r.RolledBack, Delivered: r.Delivered, Duplicates: r.Duplicates, Missing: r.Missing,
		OutOfOrder: r.OutOfOrder, FromRolledBack: r.FromRolledBack, WrongOrUnknown: r.WrongContents + r.Unknown, Kills: 1,
		P50: ms(sum.all.at(50)), P99: ms(sum.all.at(99)), SteadyP50: ms(sum.steady.at(50)), SteadyP99: ms(sum.steady.at(99)), Outage: ms(sum.outage),
		Broker: d.parts.kafka.Kind(), Postgres: d.url, Bootstrap: d.parts.kafka.Bootstrap(), Registry: d.parts.sr.URL(), Topics: rig.Topics(d.name),
	})
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// indent moves every line of text in.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}
