package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Level is how bad a Finding is.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works, but something can be lost or can stop later
	Fail Level = "fail" // the relay would refuse, or cannot work
)

// Finding is one thing doctor looked at.
type Finding struct {
	Level Level  `json:"level"`
	Scope string `json:"scope,omitempty"` // the pipeline, kafka or registry
	Check string `json:"check"`
	What  string `json:"what"`
	Do    string `json:"do,omitempty"` // what mends it, as a command where there is one
}

// Exit codes of Print.
const (
	ExitSound   = 0
	ExitRefused = 3 // at least one Fail: a start now would be refused, or fail
)

// Print writes the findings, for people or as one JSON object
// ({"level": …, "findings": […]}), and returns the process's exit code.
func Print(w io.Writer, findings []Finding, asJSON bool) (exit int, err error) {
	worst := OK
	for _, f := range findings {
		switch {
		case f.Level == Fail:
			worst, exit = Fail, ExitRefused
		case f.Level == Warn && worst == OK:
			worst = Warn
		}
	}
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return exit, enc.Encode(struct {
			Level    Level     `json:"level"`
			Findings []Finding `json:"findings"`
		}{worst, append([]Finding{}, findings...)})
	}
	_, err = io.WriteString(w, text(findings))
	return exit, err
}

func text(findings []Finding) string {
	var b strings.Builder
	scope, count := "", map[Level]int{}
	for i, f := range findings {
		if f.Scope != scope || i == 0 {
			scope = f.Scope
			fmt.Fprintf(&b, "%s\n", orUnknown(scope))
		}
		count[f.Level]++
		fmt.Fprintf(&b, "  %-4s  %-26s %s\n", f.Level, f.Check, f.What)
		if f.Do != "" {
			fmt.Fprintf(&b, "        %-26s next: %s\n", "", f.Do)
		}
	}
	fmt.Fprintf(&b, "%d ok, %d to be warned of, %d failed\n", count[OK], count[Warn], count[Fail])
	return b.String()
}

// scoped gives every finding its scope.
func scoped(scope string, findings []Finding) []Finding {
	for i := range findings {
		findings[i].Scope = scope
	}
	return findings
}
