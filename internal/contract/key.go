package contract

import (
	"fmt"
	"strings"
)

// KeyKind says where a KeySource looks.
type KeyKind uint8

// The kinds of KeySource, as events.yaml writes them.
const (
	KeyMessageKey  KeyKind = iota // message_key: the row's own key, by the mapping
	KeyAggregateID                // aggregate_id, by the mapping
	KeyPayload                    // payload.PATH: a string, number or boolean in the payload
	KeyHeader                     // header.NAME: a header given by the row
	KeyColumn                     // column.NAME: any column of the row
	KeyConst                      // const:TEXT: this text
)

// KeySource is one source of a key rule. A rule is a list of them; the first
// that gives a value that is not null and not empty is the key.
type KeySource struct {
	Kind KeyKind
	Name string // KeyHeader, KeyColumn
	Path Path   // KeyPayload
	Text string // KeyConst
}

const keyForms = "message_key, aggregate_id, payload.PATH, header.NAME, column.NAME or const:TEXT"

// ParseKeySource reads one source of a key rule.
func ParseKeySource(s string) (KeySource, error) {
	switch s {
	case "message_key":
		return KeySource{Kind: KeyMessageKey}, nil
	case "aggregate_id":
		return KeySource{Kind: KeyAggregateID}, nil
	}
	if text, ok := strings.CutPrefix(s, "const:"); ok {
		if text == "" {
			return KeySource{}, fmt.Errorf("%q has no text; write const:TEXT", s)
		}
		return KeySource{Kind: KeyConst, Text: text}, nil
	}
	if rest, ok := strings.CutPrefix(s, "payload"); ok && rest != "" && (rest[0] == '.' || rest[0] == '[') {
		p, err := ParsePath(strings.TrimPrefix(rest, "."))
		if err != nil {
			return KeySource{}, fmt.Errorf("%q: %w; write payload.PATH, as in payload.data.items[0].id", s, err)
		}
		return KeySource{Kind: KeyPayload, Path: p}, nil
	}
	head, name, ok := strings.Cut(s, ".")
	switch {
	case ok && name != "" && head == "header":
		return KeySource{Kind: KeyHeader, Name: name}, nil
	case ok && name != "" && head == "column":
		return KeySource{Kind: KeyColumn, Name: name}, nil
	}
	return KeySource{}, fmt.Errorf("%q is no source of a key; write %s", s, keyForms)
}

// String prints s in the form ParseKeySource reads.
func (s KeySource) String() string {
	switch s.Kind {
	case KeyMessageKey:
		return "message_key"
	case KeyAggregateID:
		return "aggregate_id"
	case KeyPayload:
		if p := s.Path.String(); p[0] == '[' {
			return "payload" + p
		} else {
			return "payload." + p
		}
	case KeyHeader:
		return "header." + s.Name
	case KeyColumn:
		return "column." + s.Name
	case KeyConst:
		return "const:" + s.Text
	}
	return "?"
}
