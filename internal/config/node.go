package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

type kind uint8

const (
	scalar kind = iota
	list
	table
)

func (k kind) String() string { return [...]string{"a single value", "a list", "a map"}[k] }

// node is a YAML value that knows where it stands, with ${…} expanded.
type node struct {
	kind  kind
	at    Place
	null  bool
	text  string   // scalar: its value
	shown string   // scalar: its value for people, secrets replaced
	vars  []string // the variables and files the value came from
	items []*node  // list
	keys  []entry  // table, in the order of the file
}

type entry struct {
	name  string
	at    Place
	value *node
}

// parser turns one file into nodes.
type parser struct {
	*collector
	file   string
	expand expander
}

// parse reads data as exactly one YAML document whose top is a map. It returns
// nil when the file says nothing usable.
func (p *parser) parse(data []byte) *node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing but comments
		return &node{kind: table, at: Place{p.file, 1, 1}}
	case err != nil:
		p.syntax(err)
		return nil
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		p.add(p.place(&second), "", "keep one document per file and give several files with several -c", "a second YAML document in the same file")
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err)
		return nil
	}
	n := p.convert("", doc.Content[0])
	switch {
	case n == nil:
		return nil
	case n.null:
		n.kind, n.null = table, false
	case n.kind != table:
		p.add(n.at, "", "write keys and values, as in `name: essays`", "the file holds %s, not a map", n.kind)
		return nil
	}
	return n
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

func (p *parser) syntax(err error) {
	msg := err.Error()
	m := yamlLine.FindStringSubmatch(msg)
	at := Place{File: p.file, Line: 1, Col: 1}
	if l, e := strconv.Atoi(m[1]); e == nil {
		at.Line = l
	}
	p.add(at, "", "check indentation, quotes and brackets here and in the line before", "not YAML: %s", strings.TrimPrefix(msg, m[0]))
}

func (p *parser) place(y *yaml.Node) Place { return Place{p.file, max(y.Line, 1), max(y.Column, 1)} }

// convert returns nil after it added a problem.
func (p *parser) convert(path string, y *yaml.Node) *node {
	n := &node{at: p.place(y)}
	if y.Kind == yaml.AliasNode || y.Anchor != "" {
		p.add(n.at, path, "write the value out; several -c files share what is common", "anchors and aliases (&name, *name) are not supported")
		return nil
	}
	switch y.Kind {
	case yaml.MappingNode:
		n.kind = table
		p.convertMap(path, y, n)
		return n
	case yaml.SequenceNode:
		n.kind = list
		for i, item := range y.Content {
			if v := p.convert(path+"["+strconv.Itoa(i)+"]", item); v != nil {
				n.items = append(n.items, v)
			}
		}
		return n
	}
	if y.Style&yaml.TaggedStyle != 0 {
		p.add(n.at, path, "leave the tag out", "tags such as %s are not supported", y.Tag)
		return nil
	}
	if y.Tag == "!!null" && y.Style == 0 {
		n.null = true
		return n
	}
	var problem string
	if n.text, n.shown, n.vars, problem = p.expand.expand(p.file, y.Value); problem != "" {
		p.add(n.at, path, "", "%s", problem)
		return nil
	}
	return n
}

func (p *parser) convertMap(path string, y *yaml.Node, n *node) {
	first := map[string]Place{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, at := y.Content[i], p.place(y.Content[i])
		sub := join(path, k.Value)
		switch {
		case k.Kind != yaml.ScalarNode || k.Anchor != "":
			p.add(at, path, "", "a key must be a plain word")
			continue
		case k.Tag == "!!merge":
			p.add(at, path, "write the keys out; several -c files share what is common", "merge keys (<<) are not supported")
			continue
		case first[k.Value] != Place{}:
			p.add(at, sub, "keep one of them", "the key is written twice, first at line %d", first[k.Value].Line)
			continue
		}
		first[k.Value] = at
		if v := p.convert(sub, y.Content[i+1]); v != nil {
			n.keys = append(n.keys, entry{k.Value, at, v})
		}
	}
}

// join makes the path of a key. A key with a dot of its own is part of the
// path as it is: kafka.bootstrap.servers.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// merge lays b over a: maps merge key by key, anything else is replaced. It
// changes neither.
func merge(a, b *node) *node {
	if a == nil {
		return b
	}
	if a.kind != table || b.kind != table {
		if b.null && a.kind == table { // `databases:` with nothing below
			return a
		}
		return b
	}
	out := &node{kind: table, at: b.at, keys: append([]entry(nil), a.keys...)}
	index := make(map[string]int, len(a.keys))
	for i, e := range a.keys {
		index[e.name] = i
	}
	for _, e := range b.keys {
		if i, ok := index[e.name]; ok {
			out.keys[i] = entry{e.name, e.at, merge(out.keys[i].value, e.value)}
			continue
		}
		out.keys = append(out.keys, e)
	}
	return out
}
