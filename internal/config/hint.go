package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// didYouMean finds what a person meant by an unknown key: the nearest key of
// the same section, or the section where a key of that name belongs.
func didYouMean(key string, known []string, elsewhere map[string][]string) string {
	if best, ok := contract.Nearest(key, known); ok {
		return "did you mean " + best + "?"
	}
	if paths := elsewhere[key]; len(paths) > 0 {
		return "it belongs under " + strings.Join(paths, " or ")
	}
	sorted := slices.Sorted(slices.Values(known))
	return "known keys: " + strings.Join(sorted, ", ")
}

// sections maps each key of t and of the structs below it to the paths of the
// sections it stands in; maps show as <name>.
func sections(t reflect.Type) map[string][]string {
	out := map[string][]string{}
	walkSections(t, "", out)
	return out
}

func walkSections(t reflect.Type, path string, out map[string][]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		if t.Kind() == reflect.Map {
			path = join(path, "<name>")
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for _, f := range fieldsOf(t) {
		if path != "" && !slices.Contains(out[f.name], path) {
			out[f.name] = append(out[f.name], path)
		}
		walkSections(f.Type, join(path, f.name), out)
	}
}
