package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// hidden stands for a secret in everything that is shown to people.
const hidden = "xxxxx"

// expander replaces ${VAR}, ${VAR:-default} and ${file:path} in scalars. "$${"
// is a literal "${"; any other "$" is itself. What it puts in is not expanded
// again.
type expander struct {
	lookup func(string) (string, bool)
	read   func(string) ([]byte, error)
}

var (
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretName = regexp.MustCompile(`(?i)pass|secret|token|credential|private|(^|[._])pw|api_?key`)
)

// expand returns the value, the value as it may be shown, and where parts of it
// came from; or a problem.
func (x expander) expand(file, s string) (text, shown string, vars []string, problem string) {
	var t, h strings.Builder
	both := func(s string) { t.WriteString(s); h.WriteString(s) }
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			both(s)
			return t.String(), h.String(), vars, ""
		}
		if i > 0 && s[i-1] == '$' {
			both(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		both(s[:i])
		body, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", "", nil, fmt.Sprintf("%q has no closing }; write ${NAME}, or $${ for a literal ${", s[i:])
		}
		val, from, secret, problem := x.one(file, body)
		if problem != "" {
			return "", "", nil, problem
		}
		t.WriteString(val)
		if secret && val != "" {
			val = hidden
		}
		h.WriteString(val)
		vars = append(vars, from)
		s = rest
	}
}

func (x expander) one(file, body string) (val, from string, secret bool, problem string) {
	if path, ok := strings.CutPrefix(body, "file:"); ok {
		if path == "" {
			return "", "", false, "${file:} names no file; write ${file:/run/secrets/name}"
		}
		full := path
		if !filepath.IsAbs(full) {
			full = filepath.Join(filepath.Dir(file), path)
		}
		b, err := x.read(full)
		if err != nil {
			return "", "", false, fmt.Sprintf("${file:%s}: %v; the file must exist and be readable by this process", path, err)
		}
		return strings.TrimRight(string(b), "\r\n"), "file:" + path, true, ""
	}
	name, def, hasDefault := strings.Cut(body, ":-")
	if _, err := contract.ParseKeySource(body); err == nil && !variable.MatchString(name) {
		return "", "", false, fmt.Sprintf("${%s}: not a variable of the environment; write {%s} without the $ for a source of a key or header", body, body)
	}
	if !variable.MatchString(name) {
		return "", "", false, fmt.Sprintf("${%s}: not a variable name; write ${NAME}, ${NAME:-default} or ${file:path}, or $${ for a literal ${", body)
	}
	v, set := x.lookup(name)
	switch {
	case set && (v != "" || !hasDefault):
		return v, "$" + name, secretName.MatchString(name), ""
	case hasDefault:
		return def, "$" + name, false, ""
	}
	return "", "", false, fmt.Sprintf("${%s}: the environment variable is not set; set it, write ${%s:-default}, or $${%s} for the text itself", name, name, name)
}
