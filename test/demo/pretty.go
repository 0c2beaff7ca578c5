package main

import (
	"bytes"
	"encoding/json"
	"strings"
)

// node is a JSON value with its members in the order of the text.
type node struct {
	open string // "{", "[" or "" for a scalar
	text string // of a scalar
	key  string // of this member, as JSON text; "" outside objects
	kids []node
}

// pretty lays JSON text out for a terminal: a value that fits stays on one
// line, another is broken into its members; several scalars share a line. Every
// line but the first is indented by indent.
func pretty(text []byte, indent int) (string, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	n, err := parse(d)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	n.write(&b, indent, 0)
	return b.String(), nil
}

func parse(d *json.Decoder) (node, error) {
	t, err := d.Token()
	if err != nil {
		return node{}, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		text, err := text(t)
		return node{text: text}, err
	}
	n := node{open: open.String()}
	for d.More() {
		key := ""
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return n, err
			}
			if key, err = text(name); err != nil {
				return n, err
			}
		}
		kid, err := parse(d)
		if err != nil {
			return n, err
		}
		kid.key = key
		n.kids = append(n.kids, kid)
	}
	_, err = d.Token() // the closing one: the decoder checks that it fits
	return n, err
}

// text is a scalar as JSON, with nothing escaped that need not be.
func text(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func (n *node) flat() string {
	var b strings.Builder
	if n.key != "" {
		b.WriteString(n.key + ": ")
	}
	b.WriteString(n.open + n.text)
	for i := range n.kids {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(n.kids[i].flat())
	}
	b.WriteString(n.closing())
	return b.String()
}

func (n *node) closing() string {
	switch n.open {
	case "{":
		return "}"
	case "[":
		return "]"
	}
	return ""
}

// write writes n at a column; tail is what follows it on its line.
func (n *node) write(b *strings.Builder, column, tail int) {
	if flat := n.flat(); len(n.kids) == 0 || column+len(flat)+tail <= width {
		b.WriteString(flat)
		return
	}
	if n.key != "" {
		b.WriteString(n.key + ": ")
	}
	if n.scalars() {
		n.fill(b, column)
		return
	}
	b.WriteString(n.open + "\n")
	for i := range n.kids {
		b.WriteString(strings.Repeat(" ", column+2))
		n.kids[i].write(b, column+2, 1)
		if i < len(n.kids)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString(strings.Repeat(" ", column) + n.closing())
}

// scalars reports that no member of n has members.
func (n *node) scalars() bool {
	for i := range n.kids {
		if n.kids[i].open != "" {
			return false
		}
	}
	return true
}

// fill writes the members of n in as few lines as they need.
func (n *node) fill(b *strings.Builder, column int) {
	b.WriteString(n.open)
	at := width // nothing fits behind the bracket: a new line
	for i := range n.kids {
		text := n.kids[i].flat()
		if i < len(n.kids)-1 {
			text += ","
		}
		if at+1+len(text) > width {
			b.WriteString("\n" + strings.Repeat(" ", column+2))
			at = column + 2
		} else {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(text)
		at += len(text)
	}
	b.WriteString("\n" + strings.Repeat(" ", column) + n.closing())
}
