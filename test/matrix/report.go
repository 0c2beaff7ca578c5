package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// Build builds the relay with its crash points; overlay, if not "", is a file
// for go build -overlay.
func Build(ctx context.Context, dir, overlay string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	flags := []string{"-tags", "crashpoints"}
	if overlay != "" {
		flags = append(flags, "-overlay", overlay)
	}
	return rig.Build(ctx, dir, flags...)
}

// Choose returns the cells whose name matches.
func Choose(cells []Cell, name *regexp.Regexp) []Cell {
	return slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool { return !name.MatchString(c.Name) })
}

// Summary is build/crash.json.
type Summary struct {
	Cells               int            `json:"cells"` // of one run
	Runs                int            `json:"runs"`
	Kills               int            `json:"kills"` // SIGKILLs of relays
	Events              int            `json:"events"`
	Lost                int            `json:"lost"`
	Duplicated          int            `json:"duplicated"`
	Reordered           int            `json:"reordered"`
	PartialTransactions int            `json:"partial_transactions"`
	Phantoms            int            `json:"phantoms"`
	AckAheadSamples     int            `json:"ack_ahead_samples"`
	Samples             int            `json:"samples"`
	FailedCells         []string       `json:"failed_cells"`
	SkippedCells        []string       `json:"skipped_cells"`
	Seconds             float64        `json:"seconds"`
	Seeds               []uint64       `json:"seeds"`
	Groups              map[string]int `json:"groups"` // cells of one run by the first part of their names
}

func (s *Summary) add(results []Result) {
	for _, r := range results {
		v := r.Verdict
		s.Kills += r.Kills
		s.Events += v.Events
		s.Lost += v.Lost
		s.Duplicated += v.Doubled
		s.Reordered += v.Reordered
		s.PartialTransactions += v.Partial
		s.Phantoms += v.Phantoms
		s.AckAheadSamples += v.AckAhead
		s.Samples += v.Samples
		if r.Skipped != "" {
			s.SkippedCells = append(s.SkippedCells, r.Cell)
		}
		if r.Failed() {
			s.FailedCells = append(s.FailedCells, r.Cell)
		}
	}
	s.Runs++
}

// Matrix runs the cells so many times in a row, each time with another seed, and
// writes the summary to path. It ends after the run in which a cell failed.
func (r *Runner) Matrix(ctx context.Context, cells []Cell, runs int, path string) error {
	s := Summary{Cells: len(cells), FailedCells: []string{}, SkippedCells: []string{}, Groups: map[string]int{}}
	for _, c := range cells {
		s.Groups[groupOf(c)]++
	}
	begin := time.Now()
	for run := range runs {
		fmt.Fprintf(r.Out, "run %d of %d: %d cells, seed %d\n", run+1, runs, len(cells), r.Seed)
		s.Seeds = append(s.Seeds, r.Seed)
		results, err := r.Run(ctx, cells)
		s.add(results)
		s.Seconds = time.Since(begin).Seconds()
		if err := errors.Join(err, write(path, &s)); err != nil {
			return err
		}
		fmt.Fprintf(r.Out, "run %d: %d cells in %.0f s so far; %d kills, %d events, %d lost, %d duplicated, %d reordered, %d partial, %d of %d samples ahead; failed: %d %v\n", run+1,
			len(results), s.Seconds, s.Kills, s.Events, s.Lost, s.Duplicated, s.Reordered, s.PartialTransactions, s.AckAheadSamples, s.Samples, len(s.FailedCells), s.FailedCells)
		if len(s.FailedCells) > 0 {
			return fmt.Errorf("%d cells failed; what they saw is in %s", len(s.FailedCells), r.Dir)
		}
		r.Seed++
	}
	return nil
}

// groupOf is the first part of a cell's name. Late requests have groups of their
// own on three brokers, too.
func groupOf(c Cell) string {
	group, rest, _ := strings.Cut(c.Name, "/")
	if more, _, _ := strings.Cut(rest, "/"); strings.HasPrefix(more, latePrefix) {
		return group + "/" + more
	}
	return group
}

func write(path string, v any) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
