package contract

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Step is one step of a Path: into the member Name of an object, or, when Name
// is empty and Member is false, into the element Index of an array.
type Step struct {
	Name   string
	Index  int
	Member bool
}

// Path is a place inside a JSON value. The empty Path is the value itself.
type Path []Step

// ParsePath reads a path: names with dots between, [n] for the n-th element of
// an array counted from 0, and ["any name"] for a member whose name holds a
// dot, a bracket or a quote (as a JSON-like Go string):
//
//	data.cj_assessment_job_id
//	items[0].id
//	metadata["http.method"]
func ParsePath(s string) (Path, error) {
	var p Path
	if s == "" {
		return nil, errors.New("the path is empty")
	}
	rest := s
	for rest != "" {
		var err error
		if rest[0] == '[' {
			p, rest, err = bracketStep(p, rest)
		} else {
			p, rest, err = nameStep(p, rest)
		}
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", s, err)
		}
	}
	return p, nil
}

func nameStep(p Path, rest string) (Path, string, error) {
	if len(p) > 0 {
		if rest[0] != '.' {
			return nil, "", fmt.Errorf("want . or [ before %q", rest)
		}
		rest = rest[1:]
	}
	end := strings.IndexAny(rest, ".[")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 {
		return nil, "", errors.New("a name is empty")
	}
	if i := strings.IndexAny(rest[:end], "]\" \t"); i >= 0 {
		return nil, "", fmt.Errorf("%q in a name; write it as [\"…\"]", rest[i])
	}
	return append(p, Step{Name: rest[:end], Member: true}), rest[end:], nil
}

func bracketStep(p Path, rest string) (Path, string, error) {
	if strings.HasPrefix(rest, `["`) {
		quoted, err := strconv.QuotedPrefix(rest[1:])
		if err != nil || !strings.HasPrefix(rest[1+len(quoted):], "]") {
			return nil, "", fmt.Errorf("%q: want [\"name\"]", rest)
		}
		name, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, "", fmt.Errorf("%q: %w", quoted, err)
		}
		return append(p, Step{Name: name, Member: true}), rest[len(quoted)+2:], nil
	}
	digits, after, ok := strings.Cut(rest[1:], "]")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil {
		return nil, "", fmt.Errorf("%q: want [n] with a whole number, or [\"name\"]", rest)
	}
	return append(p, Step{Index: int(n)}), after, nil
}

// String prints p in the form ParsePath reads.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p {
		switch {
		case !s.Member:
			fmt.Fprintf(&b, "[%d]", s.Index)
		case s.Name == "" || strings.ContainsAny(s.Name, ".[]{}\" \t"):
			fmt.Fprintf(&b, "[%q]", s.Name)
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.Name)
		}
	}
	return b.String()
}
