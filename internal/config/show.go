package config

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Show writes the configuration as it is in force, defaults included, as YAML
// that Load reads back. Secrets are replaced by xxxxx, paths are shown resolved.
// With origins each value is followed by where it was written, and by the
// variable or file it came from.
func (c *Config) Show(w io.Writer, origins bool) error {
	s := shower{w: bufio.NewWriter(w), cfg: c, origins: origins}
	s.fields("", 0, reflect.ValueOf(c).Elem())
	return s.w.Flush()
}

type shower struct {
	w       *bufio.Writer
	cfg     *Config
	origins bool
}

// line writes "key: value" with its origin; errors come out at Flush.
func (s shower) line(depth int, key, value, path string) {
	text := strings.Repeat("  ", depth) + key
	if value != "" {
		text += " " + value
	}
	if s.origins && path != "" {
		text = fmt.Sprintf("%-56s # %s", text, s.origin(path))
	}
	fmt.Fprintln(s.w, text)
}

func (s shower) origin(path string) string {
	n := s.cfg.from[path]
	if stem, ok := strings.CutSuffix(path, ".preset"); ok && n == nil {
		n = s.cfg.from[stem] // the short form, mapping: native
	}
	if n == nil {
		return Place{}.String()
	}
	return strings.Join(append([]string{n.at.String()}, n.vars...), ", ")
}

func (s shower) fields(path string, depth int, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		s.value(join(path, f.name), f.name+":", depth, v.FieldByIndex(f.Index), f.Tag.Get("config"))
	}
}

// value writes one key and what is below it. What is empty and not written
// anywhere is left out.
func (s shower) value(path, key string, depth int, v reflect.Value, secrecy string) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if v.IsZero() && s.cfg.from[path] == nil && (v.Kind() != reflect.Struct || v.Type() != reflect.TypeFor[Database]()) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		s.line(depth, key, "", "")
		s.fields(path, depth+1, v)
	case reflect.Map:
		s.line(depth, key, "", "")
		for _, k := range slices.Sorted(maps.Keys(stringKeys(v))) {
			sub := secrecy
			if secretKey(k) {
				sub = "secret"
			}
			s.value(join(path, k), plain(k)+":", depth+1, stringKeys(v)[k], sub)
		}
	case reflect.Slice:
		if v.Len() == 0 { // not the same as unset: the row does not say
			s.line(depth, key, "[]", "")
			return
		}
		s.line(depth, key, "", "")
		for i := range v.Len() {
			sub := path + "[" + strconv.Itoa(i) + "]"
			s.line(depth+1, "-", s.text(sub, v.Index(i), secrecy), sub)
		}
	default:
		s.line(depth, key, s.text(path, v, secrecy), path)
	}
}

func stringKeys(m reflect.Value) map[string]reflect.Value {
	out := make(map[string]reflect.Value, m.Len())
	for it := m.MapRange(); it.Next(); {
		out[it.Key().String()] = it.Value()
	}
	return out
}

// text is a single value as YAML, secrets replaced.
func (s shower) text(path string, v reflect.Value, secrecy string) string {
	n := s.cfg.from[path]
	switch x := v.Interface().(type) {
	case time.Duration:
		return formatDuration(x)
	case Size:
		return x.String()
	case string:
		if n != nil && n.shown != n.text {
			x = n.shown // resolved paths are shown resolved, unless they hold a secret
		}
		if secrecy == "secret" && x != "" {
			x = hidden
		}
		if secrecy == "url" {
			x = redactURL(x)
		}
		return plain(strings.ReplaceAll(x, "${", "$${"))
	}
	if v.Kind() == reflect.String {
		return plain(v.String())
	}
	return fmt.Sprint(v.Interface())
}

var (
	plainForm = regexp.MustCompile(`^[A-Za-z_./][A-Za-z0-9_./:+-]*$`)
	reserved  = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|null|y|n|\.inf|\.nan)$`)
)

// secretKeys are parts of the names of librdkafka properties that hold secrets.
var secretKeys = []string{"password", "secret", "passphrase", "private.key", "token.value", "jaas", "ssl.key.pem", "ssl_key", "sasl.oauthbearer.config", "sasl.oauthbearer.extensions"}

// secretKey reports whether a librdkafka property of that name holds a secret.
func secretKey(key string) bool {
	return slices.ContainsFunc(secretKeys, func(part string) bool { return strings.Contains(strings.ToLower(key), part) })
}

// plain writes s as a YAML scalar, quoted where it must be.
func plain(s string) string {
	if plainForm.MatchString(s) && !reserved.MatchString(s) && !strings.HasSuffix(s, ":") && !strings.Contains(s, ": ") {
		return s
	}
	b, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return strconv.Quote(s)
	}
	return string(b)
}
