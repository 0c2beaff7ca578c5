package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The part of docs/guarantees.md that is written from the last runs.
const (
	tablesBegin = "<!-- matrix: written by make guarantees -->\n"
	tablesEnd   = "<!-- /matrix -->"
)

// Guarantees writes the tables of the last runs, as they are in the folder
// build, into the document at path.
func Guarantees(build, path string) error {
	var s Summary
	if err := read(filepath.Join(build, "crash.json"), &s); err != nil {
		return fmt.Errorf("%w\n  next: make test-crash", err)
	}
	mutants := map[string]*string{}
	if err := read(filepath.Join(build, "mutants.json"), &mutants); err != nil {
		return fmt.Errorf("%w\n  next: make test-mutants", err)
	}
	var soak *Soaked
	if err := read(filepath.Join(build, "soak.json"), &soak); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), tablesBegin)
	_, tail, ended := strings.Cut(rest, tablesEnd)
	if !ok || !ended {
		return fmt.Errorf("%s has no place between %q and %q", path, strings.TrimSpace(tablesBegin), tablesEnd)
	}
	return os.WriteFile(path, []byte(head+tablesBegin+s.table()+mutantTable(mutants)+soak.line()+tablesEnd+tail), 0o644)
}

func read(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (s *Summary) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### The last run of the matrix\n\n| cells | runs | kills | events | lost | duplicated | reordered | partial transactions | acknowledged ahead | failed cells |\n|---|---|---|---|---|---|---|---|---|---|\n")
	fmt.Fprintf(&b, "| %d | %d | %d | %d | %d | %d | %d | %d | %d of %d samples | %d |\n\n", s.Cells, s.Runs, s.Kills, s.Events, s.Lost, s.Duplicated, s.Reordered,
		s.PartialTransactions, s.AckAheadSamples, s.Samples, len(s.FailedCells))
	b.WriteString("| group | cells |\n|---|---|\n")
	late := 0
	for _, g := range slices.Sorted(maps.Keys(s.Groups)) {
		fmt.Fprintf(&b, "| %s | %d |\n", g, s.Groups[g])
		if isLate(g) {
			late += s.Groups[g]
		}
	}
	fmt.Fprintf(&b, "\nIn %d cells (late-init to late-abort) a request arrives behind its own retry.\n", late)
	fmt.Fprintf(&b, "\nSeeds %v; kills are SIGKILLs of relays. `go run ./test/matrix/run -list` names the cells.\n", s.Seeds)
	return b.String()
}

func mutantTable(mutants map[string]*string) string {
	var b strings.Builder
	b.WriteString("\n### The mutants\n\nA relay with one clause left out, and the cell that fails with it:\n\n| mutant | caught by |\n|---|---|\n")
	for _, m := range slices.Sorted(maps.Keys(mutants)) {
		by := "**nothing**"
		if mutants[m] != nil {
			by = "`" + *mutants[m] + "`"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", m, by)
	}
	return b.String()
}

func (s *Soaked) line() string {
	if s == nil {
		return ""
	}
	n := 0
	for _, k := range s.Faults {
		n += k
	}
	return fmt.Sprintf("\n### The last soak\n\n%.0f minutes, %d faults, %d random delays (%d requests arrived after the relay could have asked again), %d events, %d restarts in one process: %d lost, %d duplicated. RSS %d MB after the first round of faults and %d MB at the end; threads %d and %d, file descriptors %d and %d, goroutines %d and %d.\n",
		s.Minutes, n, s.Delayed, s.Elders, s.Verdict.Events, s.Restarts, s.Verdict.Lost, s.Verdict.Doubled, s.First.RSS>>20, s.Last.RSS>>20,
		s.First.Threads, s.Last.Threads, s.First.Files, s.Last.Files, s.First.Goroutines, s.Last.Goroutines)
}
