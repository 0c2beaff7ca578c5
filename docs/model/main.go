package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// most is where a search gives up: 2 GiB of memory.
const most = 12_000_000

func main() { os.Exit(start(os.Args[1:], os.Stdout, os.Stderr)) }

// start runs the command and returns its exit code: 0 when the design holds and
// every mutant is found, 1 when not, 2 for wrong flags.
func start(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("model", flag.ContinueOnError)
	flags.SetOutput(errs)
	name := flags.String("trace", "", "print the counterexample of this mutant (or configuration), step by step")
	file := flags.String("o", "", "write the counts to this file, as JSON")
	if flags.Parse(args) != nil {
		return 2
	}
	var err error
	if *name != "" {
		err = trace(out, strings.TrimPrefix(*name, "model:"))
	} else {
		err = everything(out, *file)
	}
	if err != nil {
		fmt.Fprintln(errs, "model:", err)
		return 1
	}
	return 0
}

// counts of one search, as build/model.json has them.
type counts struct {
	Name        string  `json:"name"`
	States      int     `json:"states"`
	Transitions int     `json:"transitions"`
	Depth       int     `json:"depth"`
	Seconds     float64 `json:"seconds"`
	Holds       bool    `json:"holds"`
}

// finding is what became of one mutant.
type finding struct {
	Found         bool   `json:"found"`
	Property      string `json:"property"`
	Steps         int    `json:"steps"`
	States        int    `json:"states"`
	Configuration string `json:"configuration"`
	With          string `json:"with,omitempty"` // what is left out besides
}

// report is build/model.json.
type report struct {
	Configurations []counts           `json:"configurations"`
	Mutants        map[string]finding `json:"mutants"`
	Covered        []counts           `json:"covered"`
}

// everything checks the design, then the mutants.
func everything(out io.Writer, file string) error {
	rep := report{Mutants: map[string]finding{}}
	var wrong []string
	fmt.Fprintf(out, "%-28s %10s %12s %6s %8s\n", "the design", "states", "transitions", "depth", "seconds")
	for _, c := range configurations {
		n, err := count(out, c.Name, c, Rules{}, holds)
		if err != nil {
			return err
		}
		rep.Configurations = append(rep.Configurations, n)
		if !n.Holds {
			wrong = append(wrong, c.Name)
		}
	}
	fmt.Fprintf(out, "\n%-28s %10s %12s %6s %8s\n", "left out, and still", "states", "transitions", "depth", "seconds")
	for _, m := range covered {
		n, err := count(out, m.Name, configuration(m.In), m.Rules, m.Ignore)
		if err != nil {
			return err
		}
		rep.Covered = append(rep.Covered, n)
		if !n.Holds {
			wrong = append(wrong, m.Name+" alone")
		}
	}
	fmt.Fprintf(out, "\n%-42s %5s %9s  %s\n", "left out, and found", "steps", "states", "what breaks first")
	for _, m := range mutants {
		f, err := hunt(m)
		if err != nil {
			return err
		}
		rep.Mutants["model:"+m.Name] = f
		note := ""
		if f.With != "" {
			note = "   (left out besides: " + f.With + ")"
		}
		fmt.Fprintf(out, "%-42s %5d %9d  %s%s\n", "model:"+m.Name, f.Steps, f.States, f.Property, note)
		if !f.Found {
			wrong = append(wrong, m.Name)
		}
	}
	if err := write(file, rep); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not as it should be: %s; see them with -trace NAME", strings.Join(wrong, ", "))
	}
	return nil
}

// count searches one world to its end.
func count(out io.Writer, name string, c Config, r Rules, ignore property) (counts, error) {
	res, err := run(c, r, ignore, most)
	if err != nil {
		return counts{}, err
	}
	fmt.Fprintf(out, "%-28s %10d %12d %6d %8.1f  %s\n", name, res.States, res.Transitions, res.Depth, res.Seconds, res.Broken)
	return counts{name, res.States, res.Transitions, res.Depth, res.Seconds, res.Broken == holds}, nil
}

// hunt looks for what leaving a clause out breaks.
func hunt(m mutant) (finding, error) {
	res, err := run(configuration(m.In), m.Rules, m.Ignore, most)
	if err != nil {
		return finding{}, err
	}
	f := finding{
		Found: res.Broken != holds, Property: res.Broken.String(), Steps: max(0, len(res.Trace)-1),
		States: res.States, Configuration: m.In,
	}
	if m.Rules.NoLastSelect {
		f.With = "the last SELECT of the start"
	}
	return f, nil
}

func configuration(name string) Config {
	for _, c := range configurations {
		if c.Name == name {
			return c
		}
	}
	return Config{}
}

// trace prints the shortest way to what a mutant, or a configuration under the
// design's own rules, breaks.
func trace(out io.Writer, name string) error {
	c, m := configuration(name), mutant{}
	for _, k := range mutants {
		if k.Name == name {
			m, c = k, configuration(k.In)
		}
	}
	if c.Name == "" {
		return fmt.Errorf("there is neither a mutant nor a configuration %q", name)
	}
	res, err := run(c, m.Rules, m.Ignore, most)
	if err != nil {
		return err
	}
	if m.Name != "" {
		fmt.Fprintf(out, "%s: %s\n", m.Name, m.What)
	}
	writeTrace(out, c, res)
	return nil
}

// write writes rep to file, unless that is "".
func write(file string, rep report) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the counts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", file, err)
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
