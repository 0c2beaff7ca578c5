package matrix

import (
	"slices"
	"testing"
)

// Every mutant still fits the source, and names cells that there are.
func TestMutantsFit(t *testing.T) {
	t.Parallel()
	cells := Cells()
	for _, m := range Mutants() {
		if _, err := m.overlay(t.TempDir()); err != nil {
			t.Error(err)
		}
		for _, name := range m.cells {
			if !slices.ContainsFunc(cells, func(c Cell) bool { return c.Name == name }) {
				t.Errorf("mutant %s: there is no cell %q", m.Name, name)
			}
		}
	}
}

func TestCellsHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range Cells() {
		if seen[c.Name] {
			t.Errorf("two cells are called %q", c.Name)
		}
		seen[c.Name] = true
	}
	for _, name := range fast {
		if !seen[name] {
			t.Errorf("there is no cell %q to be fast", name)
		}
	}
}

// Late requests are counted apart, also those on three brokers.
func TestGroups(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		group string
		late  bool
	}{
		"stream/txn.begun/zombie":           {"stream", false},
		"three/stream/ack.before/cut-kafka": {"three", false},
		"late-zombie/id-0/start.read":       {"late-zombie", false},
		"late-commit/reset/middle":          {"late-commit", true},
		"three/late-commit/reset/moved":     {"three/late-commit", true},
	} {
		if got := groupOf(Cell{Name: name}); got != want.group || isLate(got) != want.late {
			t.Errorf("%s is of group %s (late: %v), want %v", name, got, isLate(got), want)
		}
	}
}
