package tail

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Filter chooses records. Of each kind one of the values must fit, of headers
// each; an empty Filter takes everything.
type Filter struct {
	Types   []string // event types; * stands for any characters
	Keys    []string
	IDs     []string // event ids
	Headers []Want
}

// Want is a header that a record must have. Value nil: any.
type Want struct {
	Name  string
	Value *string
}

// ParseWant reads NAME=VALUE, or NAME for any value.
func ParseWant(s string) (Want, error) {
	name, value, ok := strings.Cut(s, "=")
	if name == "" {
		return Want{}, fmt.Errorf("%q: write NAME=VALUE, as in tenant=acme, or NAME for any value", s)
	}
	if !ok {
		return Want{Name: name}, nil
	}
	return Want{Name: name, Value: &value}, nil
}

// Check says what is wrong with the patterns; nil: nothing.
func (f *Filter) Check() error {
	for _, t := range f.Types {
		if _, err := path.Match(t, ""); err != nil || t == "" {
			return fmt.Errorf("%q is no event type; write one as services do, with * for any characters, as in essay.*", t)
		}
	}
	return nil
}

// Takes reports whether r is asked for. decoded gives its value; it is called
// only where the headers leave a question open.
func (f *Filter) Takes(r *Record, decoded func() *Value) bool {
	if len(f.Keys) > 0 && (r.Key == nil || !slices.Contains(f.Keys, string(r.Key))) {
		return false
	}
	for _, w := range f.Headers {
		if !r.has(w) {
			return false
		}
	}
	return f.id(r, decoded) && f.typ(r, decoded)
}

func (r *Record) has(w Want) bool {
	for i := range r.Headers {
		if r.Headers[i].Key == w.Name && (w.Value == nil || string(r.Headers[i].Value) == *w.Value) {
			return true
		}
	}
	return false
}

func (f *Filter) id(r *Record, decoded func() *Value) bool {
	if len(f.IDs) == 0 {
		return true
	}
	id := r.first(idHeaders)
	if id == "" {
		id = r.ID(decoded())
	}
	return slices.Contains(f.IDs, id)
}

func (f *Filter) typ(r *Record, decoded func() *Value) bool {
	if len(f.Types) == 0 {
		return true
	}
	is := r.first(typeHeaders)
	if is == "" {
		is = r.Type(decoded())
	}
	// A type holds no slash, which * would stop at; should it, it is no matter.
	is = strings.ReplaceAll(is, "/", ".")
	return slices.ContainsFunc(f.Types, func(pattern string) bool {
		ok, err := path.Match(strings.ReplaceAll(pattern, "/", "."), is)
		return err == nil && ok
	})
}
