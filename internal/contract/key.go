package contract

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// KeyKind says where a KeySource looks.
type KeyKind uint8

// The kinds of KeySource, as events.yaml writes them.
const (
	KeyMessageKey    KeyKind = iota // message_key: the row's own key, by the mapping
	KeyAggregateID                  // aggregate_id, by the mapping
	KeyAggregateType                // aggregate_type, by the mapping
	KeyEventType                    // event_type: the row's, by the mapping
	KeyPayload                      // payload.PATH: a string, number or boolean in the payload
	KeyHeader                       // header.NAME: a header given by the row
	KeyColumn                       // column.NAME: any column of the row
	KeyConst                        // const:TEXT: this text
	KeyComposite                    // "{SOURCE}:{SOURCE}": text with sources in braces
)

// KeySource is one source of a key, or of a header that the contract adds. A
// rule is a list of them; the first that gives a value that is not null and not
// empty counts.
type KeySource struct {
	Kind KeyKind
	Name string // KeyHeader, KeyColumn
	// Path is the place inside the payload, or inside the JSON that a header or
	// column holds; empty: all of it (not for KeyPayload).
	Path Path
	Text string // KeyConst
	// Parts of a KeyComposite: sources, with the text between them as KeyConst.
	// It gives nothing unless each source does.
	Parts []KeySource
}

const keyForms = `message_key, aggregate_id, aggregate_type, event_type, payload.PATH, header.NAME, column.NAME, const:TEXT, or several of them as "{SOURCE}:{SOURCE}"`

// plainSources are those that are one word.
var plainSources = map[string]KeyKind{
	"message_key": KeyMessageKey, "aggregate_id": KeyAggregateID, "aggregate_type": KeyAggregateType, "event_type": KeyEventType,
}

// ParseKeySource reads one source of a key rule. A name that holds a dot, a
// bracket, a brace or a quote is written as in column["any name"]; what follows
// a column's name, or a header's in that form, is a path into its JSON. In a
// composite {{ and }} are the braces themselves.
func ParseKeySource(s string) (KeySource, error) {
	if kind, ok := plainSources[s]; ok {
		return KeySource{Kind: kind}, nil
	}
	if text, ok := strings.CutPrefix(s, "const:"); ok {
		if text == "" {
			return KeySource{}, fmt.Errorf("%q has no text; write const:TEXT", s)
		}
		return KeySource{Kind: KeyConst, Text: text}, nil
	}
	head, rest := s, ""
	if i := strings.IndexAny(s, ".["); i >= 0 {
		head, rest = s[:i], s[i:]
	}
	var out KeySource
	var err error
	switch {
	case head == "payload" && rest != "":
		out.Kind = KeyPayload
		out.Path, err = sourcePath(rest, "write payload.PATH, as in payload.data.items[0].id")
	case head == "header" && rest != "":
		out, err = namedSource(KeyHeader, rest)
	case head == "column" && rest != "":
		out, err = namedSource(KeyColumn, rest)
	case strings.ContainsAny(s, "{}"):
		out, err = parseComposite(s)
	default:
		return KeySource{}, fmt.Errorf("%q is no source; write %s", s, keyForms)
	}
	if err != nil {
		return KeySource{}, fmt.Errorf("%q: %w", s, err)
	}
	return out, nil
}

var errBrace = errors.New(`a brace in a name; write the name as ["…"], or, where it begins a composite, put all sources in braces: "{payload.a}:{header.b}"`)

// sourcePath reads ".a.b" or "[0].a"; hint is what to write instead of one that
// cannot be read.
func sourcePath(rest, hint string) (Path, error) {
	p, err := ParsePath(strings.TrimPrefix(rest, "."))
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, hint)
	}
	if bracesOutsideQuotes(rest) {
		return nil, errBrace
	}
	return p, nil
}

// namedSource reads what follows header or column.
func namedSource(kind KeyKind, rest string) (KeySource, error) {
	s := KeySource{Kind: kind}
	kindName, after := sourceHeads[kind], ""
	switch {
	case strings.HasPrefix(rest, `["`):
		p, err := ParsePath(rest)
		if err != nil {
			return s, err
		}
		if s.Name, s.Path = p[0].Name, p[1:]; s.Name == "" {
			return s, fmt.Errorf("the name is empty; write %s.NAME", kindName)
		}
		if len(s.Path) == 0 {
			s.Path = nil
		}
		return s, nil
	case rest[0] == '[' || rest == ".":
		return s, fmt.Errorf(`no name; write %s.NAME, or %s["any name"]`, kindName, kindName)
	}
	s.Name = rest[1:]
	if i := strings.IndexAny(s.Name, ".["); kind == KeyColumn && i >= 0 {
		s.Name, after = s.Name[:i], s.Name[i:]
	}
	switch {
	case s.Name == "":
		return s, fmt.Errorf(`no name; write %s.NAME, or %s["any name"]`, kindName, kindName)
	case strings.ContainsAny(s.Name, "{}"):
		return s, errBrace
	case after == "":
		return s, nil
	}
	var err error
	s.Path, err = sourcePath(after, `what follows the name of a column is a path into its JSON, a name with a dot is written column["a.b"]`)
	return s, err
}

var sourceHeads = map[KeyKind]string{KeyPayload: "payload", KeyHeader: "header", KeyColumn: "column"}

// parseComposite reads text with sources in braces. One source in braces with
// no text around it is that source.
func parseComposite(s string) (KeySource, error) {
	out := KeySource{Kind: KeyComposite}
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			out.Parts = append(out.Parts, KeySource{Kind: KeyConst, Text: text.String()})
			text.Reset()
		}
	}
	sources := 0
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "{{"), strings.HasPrefix(s[i:], "}}"):
			text.WriteByte(s[i])
			i++
		case s[i] == '}':
			return out, errors.New("a } without its {; write }} for the character itself")
		case s[i] == '{' && i > 0 && s[i-1] == '$':
			return out, errors.New("a $ before a brace, which is how variables of the environment are written; write {SOURCE} without $")
		case s[i] == '{':
			inner, ok := braced(s[i+1:])
			if !ok {
				return out, errors.New("a { without its }; write {{ for the character itself")
			}
			part, err := ParseKeySource(inner)
			if err != nil {
				return out, err
			}
			if part.Kind == KeyConst || part.Kind == KeyComposite {
				return out, fmt.Errorf("%q inside braces; write its text outside of them", inner)
			}
			flush()
			out.Parts = append(out.Parts, part)
			sources++
			i += len(inner) + 1
		default:
			text.WriteByte(s[i])
		}
	}
	flush()
	switch {
	case sources == 0:
		return out, errors.New("no source in braces; write {SOURCE}, or const:TEXT for a text")
	case len(out.Parts) == 1:
		return out.Parts[0], nil
	}
	return out, nil
}

// braced is what stands before the closing brace; a quoted name may hold one.
func braced(s string) (string, bool) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '}':
			return s[:i], true
		case strings.HasPrefix(s[i:], `["`):
			quoted, err := strconv.QuotedPrefix(s[i+1:])
			if err != nil {
				return "", false
			}
			i += len(quoted)
		}
	}
	return "", false
}

// bracesOutsideQuotes reports a brace that is in no quoted name.
func bracesOutsideQuotes(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '{' || s[i] == '}' {
			return true
		}
		if strings.HasPrefix(s[i:], `["`) {
			if quoted, err := strconv.QuotedPrefix(s[i+1:]); err == nil {
				i += len(quoted)
			}
		}
	}
	return false
}

// String prints s in the form ParseKeySource reads.
func (s KeySource) String() string {
	switch s.Kind {
	case KeyPayload:
		return "payload" + tail(s.Path)
	case KeyHeader:
		if len(s.Path) > 0 || strings.ContainsAny(s.Name, `{}"`) {
			return fmt.Sprintf("header[%q]%s", s.Name, tail(s.Path))
		}
		return "header." + s.Name
	case KeyColumn:
		if strings.ContainsAny(s.Name, `.[]{}"`) {
			return fmt.Sprintf("column[%q]%s", s.Name, tail(s.Path))
		}
		return "column." + s.Name + tail(s.Path)
	case KeyConst:
		return "const:" + s.Text
	case KeyComposite:
		var b strings.Builder
		for _, p := range s.Parts {
			if p.Kind == KeyConst {
				b.WriteString(doubleBraces.Replace(p.Text))
			} else {
				b.WriteString("{" + p.String() + "}")
			}
		}
		return b.String()
	}
	for word, kind := range plainSources {
		if kind == s.Kind {
			return word
		}
	}
	return "?"
}

var doubleBraces = strings.NewReplacer("{", "{{", "}", "}}")

// tail is a path as it follows what it is in.
func tail(p Path) string {
	s := p.String()
	if s == "" || s[0] == '[' {
		return s
	}
	return "." + s
}

// Walk calls f with s and, of a composite, with its parts.
func (s KeySource) Walk(f func(KeySource)) {
	f(s)
	for _, p := range s.Parts {
		f(p)
	}
}
