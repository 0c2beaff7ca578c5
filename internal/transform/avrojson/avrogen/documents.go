package avrogen

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

// Doc is a document that most often fits s, a schema of g. It is not always
// JSON.
func (g *Gen) Doc(s any) []byte { return g.doc(nil, s, nil, 0) }

func (g *Gen) doc(dst []byte, s any, field map[string]any, depth int) []byte {
	if depth > 12 || g.Rare(60) {
		return append(dst, pickOf(g, oddValues)...)
	}
	switch v := s.(type) {
	case []any:
		b := pickOf(g, v)
		if g.Rare(5) {
			name, _ := json.Marshal(typeName(b))
			dst = append(append(append(dst, '{'), name...), ':')
			return append(g.doc(dst, b, field, depth+1), '}')
		}
		return g.doc(dst, b, field, depth)
	case string:
		if d, ok := g.defs[v]; ok {
			return g.doc(dst, d, field, depth)
		}
		return append(dst, g.scalarDoc(v, "", map[string]any{}, field)...)
	}
	m := s.(map[string]any)
	kind := m["type"].(string)
	logical, _ := m["logicalType"].(string)
	switch kind {
	case "record":
		return g.recordDoc(dst, m, depth)
	case "array":
		dst = append(dst, '[')
		count := g.n("items", 3)
		if g.Rare(40) {
			count = 60 + g.n("many", 10) // around the one-byte count
		}
		for i := range count {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = g.doc(dst, m["items"], nil, depth+1+count/20)
		}
		return append(dst, ']')
	case "map":
		return g.mapDoc(dst, m, depth)
	case "enum":
		return append(dst, g.quote(pickOf(g, m["symbols"].([]any)).(string))...)
	}
	if d, ok := g.defs[kind]; ok {
		return g.doc(dst, d, field, depth)
	}
	return append(dst, g.scalarDoc(kind, logical, m, field)...)
}

func (g *Gen) space() string { return pickOf(g, []string{"", "", "", " ", "\n\t ", "\r"}) }

func (g *Gen) recordDoc(dst []byte, m map[string]any, depth int) []byte {
	fields := slices.Clone(m["fields"].([]any))
	if g.Rare(2) && len(fields) > 1 {
		fields = rapid.Permutation(fields).Draw(g.t, "order")
	}
	dst = append(dst, '{')
	count := 0
	for _, raw := range fields {
		f := raw.(map[string]any)
		_, hasDef := f["default"]
		if hasDef && g.Rare(2) || g.Rare(60) {
			continue
		}
		if count++; count > 1 {
			dst = append(append(dst, g.space()...), ',')
		}
		name := f["name"].(string)
		if g.Rare(100) {
			name = "unknown"
		}
		dst = append(append(append(append(dst, g.space()...), g.quote(name)...), g.space()...), ':')
		dst = g.doc(append(dst, g.space()...), f["type"], f, depth+1)
	}
	return append(append(dst, g.space()...), '}')
}

func (g *Gen) mapDoc(dst []byte, m map[string]any, depth int) []byte {
	dst = append(dst, '{')
	count := g.n("entries", 4)
	if g.Rare(20) {
		count = 14 // over what is compared pairwise
	}
	for i := range count {
		if i > 0 {
			dst = append(dst, ',')
		}
		key := "k" + strconv.Itoa(i)
		if g.Rare(60) {
			key = "k0"
		}
		dst = append(append(dst, g.quote(key)...), ':')
		dst = g.doc(dst, m["values"], nil, depth+1+count/5)
	}
	return append(dst, '}')
}

// quote prints s as a JSON string, at times with escapes nobody needs.
func (g *Gen) quote(s string) string {
	if !g.Rare(6) {
		b, _ := json.Marshal(s)
		return string(b)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		case r < ' ' || r == '"' || r == '\\' || g.Rare(2):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (g *Gen) scalarDoc(kind, logical string, m, field map[string]any) string {
	switch logical {
	case "uuid":
		return g.quote(pickOf(g, uuidTexts))
	case "duration":
		return g.quote(pickOf(g, durationTexts))
	case "decimal":
		text := pickOf(g, decimalTexts)
		if g.Rare(2) {
			return g.quote(text)
		}
		return text
	case "", "no-such-type":
	default:
		if g.Rare(3) {
			return pickOf(g, integerTexts)
		}
		return g.quote(pickOf(g, timeTexts))
	}
	switch kind {
	case "null":
		return "null"
	case "boolean":
		return pickOf(g, []string{"true", "false"})
	case "int", "long":
		return pickOf(g, integerTexts)
	case "float", "double":
		if g.Rare(3) {
			return strconv.FormatFloat(rapid.Float64().Draw(g.t, "float"), 'g', -1, 64)
		}
		return pickOf(g, append(floatTexts, integerTexts...))
	case "string":
		return g.quote(pickOf(g, StringTexts))
	}
	return g.quote(g.bytesText(m, field))
}

func (g *Gen) bytesText(m, field map[string]any) string {
	if g.Rare(4) {
		return pickOf(g, StringTexts)
	}
	size := g.n("size", 5)
	if num, ok := m["size"].(json.Number); ok {
		n, _ := num.Int64()
		size = int(n)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(g.n("byte", 256))
	}
	switch encodingOf(m, field) {
	case "hex":
		return hex.EncodeToString(b)
	case "base64":
		return base64.StdEncoding.EncodeToString(b)
	}
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

// Mutate changes a few bytes of a document.
func (g *Gen) Mutate(doc []byte) []byte {
	const letters = "{}[]\",:0-1.e+\\u nté\x00\x80"
	for range 1 + g.n("edits", 2) {
		if len(doc) == 0 {
			break
		}
		at, c := g.n("at", len(doc)), letters[g.n("letter", len(letters))]
		switch g.n("edit", 4) {
		case 0:
			doc = slices.Delete(doc, at, at+1)
		case 1:
			doc = slices.Insert(doc, at, c)
		case 2:
			doc[at] = c
		default:
			doc = doc[:at]
		}
	}
	return doc
}

// encodingOf is how bytes are written in JSON: as the type says, or the field.
func encodingOf(m, field map[string]any) string {
	for _, a := range []map[string]any{m, field} {
		if s, ok := a["encoding"].(string); ok {
			return s
		}
	}
	return ""
}

// typeName is the name of a branch in JSON.
func typeName(raw any) string {
	switch v := raw.(type) {
	case string:
		return v
	case map[string]any:
		if name, ok := v["name"].(string); ok {
			return name
		}
		return v["type"].(string)
	}
	return "union"
}
