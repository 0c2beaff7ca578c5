package schema

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// Severity is what a finding of a rule means.
type Severity string

// The severities.
const (
	Off   Severity = "off"
	Warn  Severity = "warn"
	Error Severity = "error" // lint fails
)

// Rule is one thing lint looks at.
type Rule struct {
	Name     string
	Severity Severity // the default
	// Fixed: a relay cannot use such a schema, so the severity cannot be changed.
	Fixed bool
	What  string
}

// Rules are all rules.
var Rules = []Rule{
	{"json", Error, true, "the file is one JSON value, no key twice in an object"},
	{"shape", Error, true, "a file holds one record, enum or fixed; objects have a type, records fields, arrays items, maps values"},
	{"file_name", Error, true, "the file is called after its type, NAMEVn.avsc or NAME.avsc, with or without the version in the type's name"},
	{"name", Error, true, "names and symbols are letters, digits and _, and no two fields or symbols of a type are alike"},
	{"unknown_type", Error, true, "every type named is defined, here or in a sibling file"},
	{"type_twice", Error, true, "no two files define a type differently"},
	{"cycle", Error, true, "files do not need each other"},
	{"constraint", Error, true, "minimum, maximum, exclusiveMinimum, exclusiveMaximum, pattern, minLength, maxLength and encoding are sound, fit the type and can be met"},
	{"default", Error, true, "a default is a value of the type; of a union, of its first branch"},
	{"avro", Error, true, "what else Avro or the relay's encoder demands"},
	{"logical_type", Error, false, "a logical type is known, stands on the type it belongs to, and inside type, not beside it"},
	{"namespace", Error, false, "every type has a namespace, and all versions of a schema have the same"},
	{"endless", Error, false, "a record holds itself only where a value can end: nullable, in an array or in a map"},
	{"nullable_order", Error, false, "a nullable union has null first, so that null can be its default"},
	{"nullable_default", Warn, false, "a nullable field has the default null, so that it can be added and left out"},
	{"union_ambiguous", Warn, false, "the branches of a union can be told apart in JSON"},
	{"field_doc", Warn, false, "every field has a doc"},
	{"type_doc", Warn, false, "every record, enum and fixed has a doc"},
	{"enum_default", Warn, false, "an enum has a default symbol, so that a symbol can be added later"},
	{"pattern_anchored", Warn, false, "a pattern begins with ^ and ends with $; otherwise it is found anywhere"},
	{"attribute", Warn, false, "no attribute looks like a misspelt one; Avro ignores what it does not know"},
	{"field_case", Warn, false, "the fields of a record are all in snake_case or all in camelCase"},
	{"money_field", Warn, false, "an amount of money is a decimal, not a float or double"},
	{"time_field", Warn, false, "a field called …_at, …_date or …_timestamp has a logical type"},
	{"uuid_field", Warn, false, "a field called …uuid has the logical type uuid"},
	{"empty_record", Warn, false, "a record has fields"},
	{"version_gap", Warn, false, "the versions of a schema begin with 1 and none is left out"},
	{"version_name", Warn, false, "all versions of a schema name the record alike: all with the version, or all without"},
	{"unused", Warn, false, "every file is used: by an event of the contract, or by another file"},
}

func ruleOf(name string) (Rule, bool) {
	i := slices.IndexFunc(Rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return Rule{}, false
	}
	return Rules[i], true
}

// CheckSeverity says what is wrong with a rule's severity as a user wrote it;
// the text behind "; " is what to write.
func CheckSeverity(rule, severity string) error {
	r, ok := ruleOf(rule)
	switch {
	case !ok:
		names := make([]string, len(Rules))
		for i := range Rules {
			names[i] = Rules[i].Name
		}
		if near, ok := contract.Nearest(rule, names); ok {
			return fmt.Errorf("there is no rule %q; did you mean %s?", rule, near)
		}
		return fmt.Errorf("there is no rule %q; cdc-relay schemas lint --rules lists them", rule)
	case !slices.Contains([]Severity{Off, Warn, Error}, Severity(severity)):
		return fmt.Errorf("%q is no severity; write off, warn or error", severity)
	case r.Fixed && Severity(severity) != Error:
		return fmt.Errorf("the rule %s is always an error, because a relay cannot use such a schema; leave it out", rule)
	}
	return nil
}

// Finding is one thing lint found.
type Finding struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line,omitempty"`
	Path     string   `json:"path"` // in the file, as in $.fields[3].type
	Rule     string   `json:"rule"`
	What     string   `json:"what"`
	Do       string   `json:"do"`
}

func (f Finding) String() string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s: %s %s (%s): %s; %s", at, f.Severity, f.Path, f.Rule, f.What, f.Do)
}

func sorted(all []Finding) []Finding {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Rule, b.Rule))
	})
	return all
}
