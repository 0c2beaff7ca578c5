package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Place is where a value stands. The zero Place is "nowhere": a default.
type Place struct {
	File      string // as it was given to Load, or as the file that names it says
	Line, Col int    // from 1
}

// String is file:line, the form editors understand; "default" for the zero Place.
func (p Place) String() string {
	switch {
	case p.File == "":
		return "default"
	case p.Line == 0:
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	At   Place
	Path string // "batch.events"; "" when it concerns the file
	What string // with the value, secrets replaced
	Do   string // what to write instead
}

// Error is one line: file:line:col: path: what; do.
func (p Problem) Error() string {
	var b strings.Builder
	if p.At.File != "" {
		b.WriteString(p.At.String())
		if p.At.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.At.Col)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Do != "" {
		b.WriteString("; " + p.Do)
	}
	return b.String()
}

// Problems is every Problem of a configuration, in the order of the files. It
// is the error of Load whenever the configuration itself is at fault: exit
// code 2.
type Problems []Problem

// Error is one Problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// collector gathers problems; fileOrder keeps the order of the files.
type collector struct {
	list  Problems
	files map[string]int
}

func (c *collector) add(at Place, path, do, format string, args ...any) {
	c.list = append(c.list, Problem{At: at, Path: path, What: fmt.Sprintf(format, args...), Do: do})
}

func (c *collector) file(name string) {
	if _, ok := c.files[name]; !ok {
		c.files[name] = len(c.files)
	}
}

// err returns the problems sorted by place, nil when there are none.
func (c *collector) err() error {
	if len(c.list) == 0 {
		return nil
	}
	order := func(p Problem) int {
		if n, ok := c.files[p.At.File]; ok {
			return n
		}
		return len(c.files)
	}
	slices.SortStableFunc(c.list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Col, b.At.Col))
	})
	return slices.Compact(c.list)
}
