package avrogen

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"pgregory.net/rapid"
)

// Gen makes random schemas and documents. Schemas name types in full. It is
// not safe for concurrent use.
type Gen struct {
	t     *rapid.T
	named []string       // complete or being defined
	defs  map[string]any // by name
	names int
}

// New returns a Gen that draws from t and has defined no type yet.
func New(t *rapid.T) *Gen { return &Gen{t: t, defs: map[string]any{}} }

// On goes on with the types g has defined, drawing from t.
func (g *Gen) On(t *rapid.T) *Gen {
	again := *g
	again.t = t
	return &again
}

func (g *Gen) n(label string, limit int) int { return rapid.IntRange(0, limit-1).Draw(g.t, label) }

// Rare is true once in so many times.
func (g *Gen) Rare(one int) bool { return g.n("rare", one) == 0 }

func pickOf[T any](g *Gen, list []T) T { return list[g.n("pick", len(list))] }

// Schema makes a type, as encoding/json holds it; depth bounds its nesting.
func (g *Gen) Schema(depth int, inUnion bool) any {
	k := g.n("kind", 16)
	switch {
	case k < 6 || depth == 0:
		return g.scalar()
	case k < 8:
		return g.fixed()
	case k == 8:
		return g.enum()
	case k == 9:
		m := map[string]any{"type": "array", "items": g.Schema(depth-1, false)}
		return g.lengths(m)
	case k == 10:
		m := map[string]any{"type": "map", "values": g.Schema(depth-1, false)}
		return g.lengths(m)
	case k < 13 && len(g.named) > 0:
		return pickOf(g, g.named)
	case k < 15 && !inUnion:
		return g.union(depth)
	}
	return g.record(depth)
}

func (g *Gen) scalar() any {
	names := []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
	switch g.n("scalar", 4) {
	case 0:
		m := map[string]any{}
		for k, v := range pickOf(g, logicals) {
			m[k] = v
		}
		if g.Rare(3) {
			return g.constrain(m, m["type"].(string), m["logicalType"].(string))
		}
		return m
	case 1:
		name := pickOf(g, names)
		return g.constrain(map[string]any{"type": name}, name, "")
	}
	return pickOf(g, names)
}

func (g *Gen) lengths(m map[string]any) any {
	if g.Rare(4) {
		m["maxLength"] = json.Number(strconv.Itoa(g.n("len", 4)))
	}
	if g.Rare(6) {
		m["minLength"] = json.Number("1")
	}
	return m
}

// constrain adds attributes that make sense for the type to a field or type.
func (g *Gen) constrain(m map[string]any, name, logical string) map[string]any {
	switch {
	case slices.Contains([]string{"int", "long", "float", "double"}, name) || logical == "decimal":
		for _, b := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
			if g.Rare(3) {
				m[b] = json.Number(pickOf(g, boundTexts))
			}
		}
	case name == "string":
		if g.Rare(2) {
			m["pattern"] = pickOf(g, PatternTexts)
		}
		return g.lengths(m).(map[string]any)
	case name == "bytes":
		if g.Rare(2) {
			m["encoding"] = pickOf(g, []string{"hex", "base64"})
		}
		return g.lengths(m).(map[string]any)
	case name == "fixed" && logical == "" && g.Rare(2):
		m["encoding"] = pickOf(g, []string{"hex", "base64"})
	}
	return m
}

func (g *Gen) define(m map[string]any) map[string]any {
	g.names++
	name := fmt.Sprintf("t.N%d", g.names)
	m["name"] = name
	g.named = append(g.named, name)
	g.defs[name] = m
	return m
}

func (g *Gen) fixed() any {
	m := g.define(map[string]any{"type": "fixed"})
	size, logical := 0, pickOf(g, []string{"", "", "uuid", "duration", "decimal"})
	switch logical {
	case "uuid":
		size = 16
	case "duration":
		size = 12
	case "decimal":
		size = pickOf(g, []int{4, 9, 20})
		m["precision"], m["scale"] = json.Number(strconv.Itoa(size*2)), json.Number("3")
	default:
		size = g.n("size", 5)
	}
	m["size"] = json.Number(strconv.Itoa(size))
	if logical != "" {
		m["logicalType"] = logical
	}
	if g.Rare(3) {
		g.constrain(m, "fixed", logical)
	}
	return m
}

func (g *Gen) enum() any {
	all := []any{"HIGH", "MID", "LOW", "a", "b", "ab", "N1", "LOWER_CASE_SYMBOL_1", "LOWER_CASE_SYMBOL_2"}
	return g.define(map[string]any{"type": "enum", "symbols": all[g.n("first", 3) : 4+g.n("more", 6)]})
}

func (g *Gen) union(depth int) any {
	var list []any
	seen := map[string]bool{}
	for range 1 + g.n("branches", 4) {
		known := len(g.named)
		b := g.Schema(depth-1, true)
		if name := typeName(b); !seen[name] {
			seen[name] = true
			list = append(list, b)
		} else {
			g.named = g.named[:known] // what b defined goes with it
		}
	}
	if g.Rare(2) && !seen["null"] {
		list = slices.Insert(list, g.n("null", len(list)+1), any("null"))
	}
	return list
}

func (g *Gen) record(depth int) any {
	m := g.define(map[string]any{"type": "record"})
	fields := []any{}
	for i := range g.n("fields", 6) {
		s := g.Schema(depth-1, false)
		f := map[string]any{"name": fmt.Sprintf("%s%d", pickOf(g, []string{"f", "a_longer_field_name_", "name"}), i), "type": s}
		if text, ok := s.(string); ok && g.Rare(3) {
			g.constrain(f, text, "")
		} else if list, ok := s.([]any); ok && g.Rare(2) {
			b := pickOf(g, list)
			if text, ok := b.(string); ok {
				g.constrain(f, text, "")
			}
		}
		if g.Rare(3) {
			if def, ok := g.def(s, f); ok {
				f["default"] = def
			}
		}
		fields = append(fields, f)
	}
	m["fields"] = fields
	return m
}

// def makes a default where one is easily right.
func (g *Gen) def(s any, f map[string]any) (any, bool) {
	if list, ok := s.([]any); ok {
		s = list[0]
	}
	switch v := s.(type) {
	case string:
		if len(f) > 2 && v != "null" {
			return nil, false // constrained
		}
		switch v {
		case "null":
			return nil, true
		case "boolean":
			return g.Rare(2), true
		case "int", "long":
			return json.Number(pickOf(g, []string{"0", "-7", "2147483647"})), true
		case "float", "double":
			return json.Number(pickOf(g, []string{"0", "0.1", "-1e-3"})), true
		case "string":
			return pickOf(g, []string{"", "text", "é"}), true
		case "bytes":
			return pickOf(g, []string{"", "\u00ff\u0000a"}), true
		}
	case map[string]any:
		if v["minLength"] != nil {
			return nil, false
		}
		switch v["type"] {
		case "array":
			return []any{}, true
		case "map":
			return map[string]any{}, true
		case "enum":
			return v["symbols"].([]any)[0], true
		}
	}
	return nil, false
}
