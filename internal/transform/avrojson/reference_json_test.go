package avrojson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The reference's reading of JSON.

// object keeps the order of its members, which a map's encoding needs.
type object struct {
	keys []string
	vals []any
}

func (o *object) get(key string) (any, bool) {
	i := slices.Index(o.keys, key)
	if i < 0 {
		return nil, false
	}
	return o.vals[i], true
}

var errDoc = errors.New("refused")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDoc, fmt.Sprintf(format, args...))
}

// parseDoc reads a document strictly.
func parseDoc(doc []byte) (any, error) {
	if !json.Valid(doc) || !utf8.Valid(doc) || loneSurrogate(doc) {
		return nil, refuse("not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	return parseTokens(dec, 0)
}

func parseTokens(dec *json.Decoder, depth int) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if depth++; depth > 512 {
		return nil, refuse("too deep")
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := parseTokens(dec, depth)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	}
	o := &object{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if slices.Contains(o.keys, key.(string)) {
			return nil, refuse("key %q twice", key)
		}
		v, err := parseTokens(dec, depth)
		if err != nil {
			return nil, err
		}
		o.keys, o.vals = append(o.keys, key.(string)), append(o.vals, v)
	}
	_, err = dec.Token()
	return o, err
}

var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

// loneSurrogate finds one in a valid JSON text: escapes only stand in strings.
func loneSurrogate(doc []byte) bool {
	high := -1 // where a high surrogate's escape ended
	for _, at := range escapes.FindAllIndex(doc, -1) {
		s := doc[at[0]:at[1]]
		var r uint64
		if s[1] == 'u' && len(s) == 6 {
			r, _ = strconv.ParseUint(string(s[2:]), 16, 16)
		}
		low := r >= 0xdc00 && r < 0xe000
		if high >= 0 && (!low || at[0] != high) || low && high < 0 {
			return true
		}
		high = -1
		if r >= 0xd800 && r < 0xdc00 {
			high = at[1]
		}
	}
	return high >= 0
}

// appendJSONB prints v as Postgres' jsonb does.
func appendJSONB(dst []byte, v any) []byte {
	switch v := v.(type) {
	case *object:
		order := make([]int, len(v.keys))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			if d := len(v.keys[a]) - len(v.keys[b]); d != 0 {
				return d
			}
			return strings.Compare(v.keys[a], v.keys[b])
		})
		dst = append(dst, '{')
		for n, i := range order {
			if n > 0 {
				dst = append(dst, ", "...)
			}
			key, _ := json.Marshal(v.keys[i])
			dst = appendJSONB(append(append(dst, key...), ": "...), v.vals[i])
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for i := range v {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendJSONB(dst, v[i])
		}
		return append(dst, ']')
	}
	text, _ := json.Marshal(v)
	return append(dst, text...)
}
