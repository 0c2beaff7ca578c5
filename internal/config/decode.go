package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// decoder fills Go values from nodes, strictly, by their yaml tags. It knows
// what this package and internal/contract use: structs, inline maps and
// structs, maps with string keys, slices, pointers, strings, booleans, whole
// numbers, floats, durations, Size, and encoding.TextUnmarshaler.
//
// Where a list of strings is wanted one string will do. Where a struct with the
// key preset is wanted, one string sets that.
type decoder struct {
	*collector
	elsewhere map[string][]string
	from      map[string]*node // leaves by path: place, variables and shown form
	places    map[string]Place // every key by path
}

func newDecoder(c *collector, top reflect.Type) *decoder {
	return &decoder{collector: c, elsewhere: sections(top), from: map[string]*node{}, places: map[string]Place{}}
}

// field is one key a struct knows.
type field struct {
	reflect.StructField
	name   string
	inline bool
}

// fieldsOf lists the keys of a struct, those of inline structs included.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case opts == "inline" && f.Type.Kind() == reflect.Struct:
			for _, sub := range fieldsOf(f.Type) {
				sub.Index = append([]int{i}, sub.Index...)
				out = append(out, sub)
			}
		case opts == "inline":
			out = append(out, field{StructField: f, inline: true})
		case name == "":
			out = append(out, field{StructField: f, name: strings.ToLower(f.Name)})
		default:
			out = append(out, field{StructField: f, name: name})
		}
	}
	return out
}

var (
	typeDuration = reflect.TypeFor[time.Duration]()
	typeSize     = reflect.TypeFor[Size]()
)

func (d *decoder) value(path string, n *node, v reflect.Value) {
	if n.null && v.Kind() != reflect.Struct && v.Kind() != reflect.Map && v.Kind() != reflect.Pointer {
		d.add(n.at, path, "write a value, or delete the line to have the default", "the value is empty")
		return
	}
	if tu, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.scalar(path, n, func(s string) error { return tu.UnmarshalText([]byte(s)) })
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(path, n, v.Elem())
	case reflect.Struct:
		d.record(path, n, v)
	case reflect.Map:
		d.table(path, n, v)
	case reflect.Slice:
		d.slice(path, n, v)
	default:
		d.scalar(path, n, func(s string) error { return set(v, s) })
	}
}

// set parses s into a value of a simple kind.
func set(v reflect.Value, s string) error {
	switch {
	case v.Type() == typeDuration:
		x, err := ParseDuration(s)
		v.SetInt(int64(x))
		return err
	case v.Type() == typeSize:
		x, err := ParseSize(s)
		v.SetInt(int64(x))
		return err
	case v.Kind() == reflect.String:
		v.SetString(s)
		return nil
	case v.Kind() == reflect.Bool:
		x, err := parseBool(s)
		v.SetBool(x)
		return err
	case v.CanInt():
		x, err := parseInt(s)
		if err == nil && v.OverflowInt(x) {
			return fmt.Errorf("%s is too large", s)
		}
		v.SetInt(x)
		return err
	case v.CanFloat():
		x, err := strconv.ParseFloat(s, 64)
		v.SetFloat(x)
		if err != nil {
			return fmt.Errorf("%q is not a number; write for example 0.5", s)
		}
		return nil
	}
	return fmt.Errorf("no value can be written here") // a type this package does not use
}

func (d *decoder) scalar(path string, n *node, set func(string) error) {
	d.from[path] = n
	if n.kind != scalar {
		d.add(n.at, path, "write one value after the colon", "%s where a single value is wanted", n.kind)
		return
	}
	if err := set(n.text); err != nil {
		what, do, _ := strings.Cut(err.Error(), "; ")
		d.add(n.at, path, do, "%s", what)
	}
}

func (d *decoder) record(path string, n *node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	if n.kind == scalar && !n.null {
		for _, f := range fields {
			if f.name == "preset" {
				d.value(path, n, v.FieldByIndex(f.Index))
				return
			}
		}
		d.add(n.at, path, "write keys below it: "+strings.Join(names(fields), ", "), "%s where a map is wanted", n.kind)
		return
	}
	if n.kind == list {
		d.add(n.at, path, "write keys below it: "+strings.Join(names(fields), ", "), "%s where a map is wanted", n.kind)
		return
	}
	for _, e := range n.keys {
		d.key(path, e, fields, v)
	}
}

// key decodes one key of a struct: into its field, else into the inline map.
func (d *decoder) key(path string, e entry, fields []field, v reflect.Value) {
	sub := join(path, e.name)
	d.places[sub] = e.at
	for _, f := range fields {
		if f.name == e.name && !f.inline {
			d.value(sub, e.value, v.FieldByIndex(f.Index))
			return
		}
	}
	for _, f := range fields {
		if f.inline && f.Type.Kind() == reflect.Map {
			d.mapEntry(sub, e, v.FieldByIndex(f.Index))
			return
		}
	}
	d.add(e.at, sub, didYouMean(e.name, names(fields), d.elsewhere), "unknown key")
}

func (d *decoder) table(path string, n *node, v reflect.Value) {
	if n.kind != table && !n.null {
		d.add(n.at, path, "write `key: value` lines below it", "%s where a map is wanted", n.kind)
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, e := range n.keys {
		sub := join(path, e.name)
		d.places[sub] = e.at
		d.mapEntry(sub, e, v)
	}
}

func (d *decoder) mapEntry(path string, e entry, m reflect.Value) {
	if m.IsNil() {
		m.Set(reflect.MakeMap(m.Type()))
	}
	item := reflect.New(m.Type().Elem()).Elem()
	d.value(path, e.value, item)
	m.SetMapIndex(reflect.ValueOf(e.name).Convert(m.Type().Key()), item)
}

func (d *decoder) slice(path string, n *node, v reflect.Value) {
	if n.kind == scalar && v.Type().Elem().Kind() == reflect.String {
		n = &node{kind: list, at: n.at, items: []*node{n}}
	}
	if n.kind != list {
		d.add(n.at, path, "write a list: [one, two], or lines that begin with a dash", "%s where a list is wanted", n.kind)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		sub := path + "[" + strconv.Itoa(i) + "]"
		d.places[sub] = item.at
		d.value(sub, item, v.Index(i))
	}
}

func names(fields []field) []string {
	var out []string
	for _, f := range fields {
		if !f.inline {
			out = append(out, f.name)
		}
	}
	return out
}
