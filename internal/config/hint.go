package config

import (
	"reflect"
	"slices"
	"strings"
)

// didYouMean finds what a person meant by an unknown key: the nearest key of
// the same section, or the section where a key of that name belongs.
func didYouMean(key string, known []string, elsewhere map[string][]string) string {
	best, bestAt := "", 1+max(1, len(key)/3)
	for _, k := range known {
		if d := distance(strings.ToLower(key), strings.ToLower(k)); d < bestAt {
			best, bestAt = k, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	if paths := elsewhere[key]; len(paths) > 0 {
		return "it belongs under " + strings.Join(paths, " or ")
	}
	sorted := slices.Sorted(slices.Values(known))
	return "known keys: " + strings.Join(sorted, ", ")
}

// distance is the number of single-character edits between a and b, a swap of
// neighbours counted as one.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
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
