package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Example returns what stands in the fenced block that follows the line
// "<!-- example: NAME -->" of a page, a path from the root of the repository,
// so that a test runs what a reader copies.
func Example(page, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(Root(), filepath.FromSlash(page)))
	if err != nil {
		return "", err
	}
	_, rest, ok := strings.Cut(string(text), "<!-- example: "+name+" -->\n")
	if !ok {
		return "", fmt.Errorf("%s has no example %q", page, name)
	}
	// The fence's own line may name a language.
	fence, rest, ok := strings.Cut(strings.TrimLeft(rest, "\n"), "\n")
	if !ok || !strings.HasPrefix(fence, "```") {
		return "", fmt.Errorf("%s: no fenced block follows the example %q", page, name)
	}
	body, _, ok := strings.Cut(rest, "\n```")
	if !ok {
		return "", fmt.Errorf("%s: the block of the example %q is not closed", page, name)
	}
	return body + "\n", nil
}
