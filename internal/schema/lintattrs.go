package schema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// What may stand on a type and on a field. The constraints may stand on both.
var (
	constraintKeys = []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "minLength", "maxLength", "encoding"}
	typeKeys       = append([]string{"type", "name", "namespace", "doc", "aliases", "fields", "symbols", "items", "values", "size", "default",
		"logicalType", "precision", "scale"}, constraintKeys...)
	fieldKeys = append([]string{"name", "type", "doc", "default", "aliases", "order"}, constraintKeys...)
)

// spelling looks for attributes that are nearly one we know.
func (w *fileLint) spelling(v *value, path string, known []string) {
	for _, m := range v.members {
		if slices.Contains(known, m.key) || m.key == "logicalType" {
			continue
		}
		if near, ok := contract.Nearest(m.key, known); ok {
			w.bad(m.value, path+"."+m.key, "attribute", fmt.Sprintf("nothing knows the attribute %q", m.key), "did you mean "+near+"?")
		}
	}
}

var logicalBases = map[string][]string{
	"decimal": {"bytes", "fixed"}, "uuid": {"string", "fixed"}, "duration": {"fixed"}, "date": {"int"},
	"time-millis": {"int"}, "time-micros": {"long"},
	"timestamp-millis": {"long"}, "timestamp-micros": {"long"}, "timestamp-nanos": {"long"},
	"local-timestamp-millis": {"long"}, "local-timestamp-micros": {"long"}, "local-timestamp-nanos": {"long"},
}

func (w *fileLint) logical(v *value, r resolved, path string) {
	l := v.get("logicalType")
	if l == nil {
		return
	}
	bases, known := logicalBases[r.logical]
	at := path + ".logicalType"
	switch {
	case !known:
		names := make([]string, 0, len(logicalBases))
		for n := range logicalBases {
			names = append(names, n)
		}
		slices.Sort(names)
		do := "leave it out, or write one of " + strings.Join(names, ", ")
		if near, ok := contract.Nearest(r.logical, names); ok {
			do = "did you mean " + near + "?"
		}
		w.bad(l, at, "logical_type", l.json()+" is no logical type, so readers ignore it", do)
	case !slices.Contains(bases, r.kind):
		w.bad(l, at, "avro", fmt.Sprintf("%s cannot stand on %s", r.logical, r.kind), "write it on "+strings.Join(bases, " or "))
	case r.logical == "decimal" && number(v.get("precision")) <= 0:
		w.bad(l, at, "avro", "a decimal needs a precision", `add "precision" and "scale"`)
	case r.logical == "decimal" && number(v.get("scale")) > number(v.get("precision")):
		w.bad(l, at, "avro", "the scale is larger than the precision", "raise the precision or lower the scale")
	}
}

// constraints judges the constraint attributes that stand on v, for the type r.
func (w *fileLint) constraints(v *value, r resolved, path string) {
	for _, m := range v.members {
		if !slices.Contains(constraintKeys, m.key) {
			continue
		}
		at := path + "." + m.key
		if what := malformed(m.key, m.value); what != "" {
			w.bad(m.value, at, "constraint", what, "write "+wanted(m.key))
			continue
		}
		if !fitsSome(m.key, r) {
			w.bad(m.value, at, "constraint", fmt.Sprintf("%s makes no sense for %s", m.key, kindsOf(r)), "remove it, or put it on "+suits(m.key))
		}
		if m.key == "pattern" {
			w.pattern(m.value, at)
		}
	}
	w.bounds(v, path)
}

func kindsOf(r resolved) string {
	if len(r.branches) == 0 {
		return strings.TrimSpace(r.kind + " " + r.logical)
	}
	var kinds []string
	for _, b := range r.branches {
		kinds = append(kinds, b.kind)
	}
	return "any of " + strings.Join(kinds, ", ")
}

// malformed says why a value cannot be that constraint's.
func malformed(key string, v *value) string {
	_, isNumber := v.scalar.(json.Number)
	switch key {
	case "pattern":
		s, ok := v.text()
		if !ok {
			return v.json() + " is no regular expression"
		}
		if _, err := regexp.Compile(s); err != nil {
			return err.Error()
		}
	case "encoding":
		if s, _ := v.text(); s != "base64" && s != "hex" {
			return v.json() + " is no encoding"
		}
	case "minLength", "maxLength":
		if n, ok := ratOf(v); !isNumber || !ok || !n.IsInt() || n.Sign() < 0 {
			return v.json() + " is no length"
		}
	default:
		if !isNumber {
			return v.json() + " is no number"
		}
	}
	return ""
}

func wanted(key string) string {
	switch key {
	case "pattern":
		return "a regular expression in RE2 syntax"
	case "encoding":
		return `"base64" or "hex"`
	case "minLength", "maxLength":
		return "a whole number, 0 or more"
	}
	return "a number"
}

func suits(key string) string {
	switch key {
	case "pattern":
		return "a string"
	case "encoding":
		return "bytes or a fixed without a logical type"
	case "minLength", "maxLength":
		return "a string, bytes, an array or a map"
	}
	return "an int, long, float, double or decimal"
}

func fitsSome(key string, r resolved) bool {
	if r.kind == "union" {
		return slices.ContainsFunc(r.branches, func(b resolved) bool { return fitsSome(key, b) })
	}
	switch key {
	case "pattern":
		return r.kind == "string"
	case "encoding":
		return (r.kind == "bytes" || r.kind == "fixed") && r.logical == ""
	case "minLength", "maxLength":
		return r.kind == "string" || r.kind == "array" || r.kind == "map" || r.kind == "bytes" && r.logical == ""
	}
	return slices.Contains([]string{"int", "long", "float", "double"}, r.kind) || r.logical == "decimal"
}

func (w *fileLint) pattern(v *value, path string) {
	s, _ := v.text()
	if !strings.HasPrefix(s, "^") || !strings.HasSuffix(s, "$") || strings.HasSuffix(s, `\$`) {
		w.bad(v, path, "pattern_anchored", fmt.Sprintf("%s is found anywhere in the text", quote(s)), `write "^…$" if it is to match all of it`)
	}
}

// bounds finds pairs no value can meet.
func (w *fileLint) bounds(v *value, path string) {
	for _, p := range []struct {
		low, high string
		strict    bool
	}{
		{"minimum", "maximum", false}, {"exclusiveMinimum", "maximum", true}, {"minimum", "exclusiveMaximum", true},
		{"exclusiveMinimum", "exclusiveMaximum", true}, {"minLength", "maxLength", false},
	} {
		low, a := ratOf(v.get(p.low))
		high, b := ratOf(v.get(p.high))
		if !a || !b {
			continue
		}
		if d := low.Cmp(high); d > 0 || d == 0 && p.strict {
			w.bad(v.get(p.low), path+"."+p.low, "constraint", fmt.Sprintf("no value has %s %s and %s %s", p.low, v.get(p.low).json(), p.high, v.get(p.high).json()),
				"widen one of them")
		}
	}
}

func ratOf(v *value) (*big.Rat, bool) {
	if v == nil {
		return nil, false
	}
	n, ok := v.scalar.(json.Number)
	if !ok || len(n) > 100 || strings.ContainsAny(string(n), "eE") {
		return nil, false // exponents are left to the compiler, which bounds them
	}
	return new(big.Rat).SetString(string(n))
}

var (
	moneyName = regexp.MustCompile(`(?i)(^|_)(amount|price|cost|fee|balance|salary|revenue|vat|money)(_|$)`)
	timeName  = regexp.MustCompile(`(?i)(_at|_date|_timestamp|^date|^timestamp)$|[a-z](At|Date|Timestamp)$`)
	uuidName  = regexp.MustCompile(`(?i)uuid$`)
)

// meaning compares a field's name with its type.
func (w *fileLint) meaning(f *value, r resolved, name, path string) {
	kinds := append([]resolved{r}, r.branches...)
	has := func(of ...string) bool {
		return slices.ContainsFunc(kinds, func(k resolved) bool { return k.logical == "" && slices.Contains(of, k.kind) })
	}
	switch {
	case moneyName.MatchString(name) && has("float", "double"):
		w.bad(f, path+".type", "money_field", name+" looks like money, which a binary fraction cannot hold exactly",
			`write {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}`)
	case timeName.MatchString(name) && has("int", "long", "string"):
		w.bad(f, path+".type", "time_field", name+" looks like a time, and its type does not say in which unit",
			`write {"type": "long", "logicalType": "timestamp-micros"}, or {"type": "int", "logicalType": "date"}`)
	case uuidName.MatchString(name) && has("string"):
		w.bad(f, path+".type", "uuid_field", name+" looks like a UUID", `write {"type": "string", "logicalType": "uuid"}`)
	}
}
