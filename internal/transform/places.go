package transform

import (
	"bytes"
	"slices"
)

// places finds several paths in one walk over JSON text: what keys and headers
// ask of a payload costs one pass together, not one each. It finds what
// jsonPath.find finds, and nothing in text that is no JSON.
type places struct {
	paths []*jsonPath
	root  []place
}

// place is one member on the way to a path.
type place struct {
	step *pathStep
	leaf []int // the paths that end here: the same place may be asked for more than once
	all  []int // the paths that end here or further in
	kids []place
}

// newPlaces takes those of the paths that lead through members only; the others
// are found one by one.
func newPlaces(paths []*jsonPath) *places {
	p := &places{}
	for _, path := range paths {
		if len(path.steps) == 0 || slices.Contains(p.paths, path) || slices.ContainsFunc(path.steps, func(s pathStep) bool { return !s.Member }) {
			continue
		}
		p.root = plant(p.root, path.steps, len(p.paths))
		p.paths = append(p.paths, path)
	}
	return p
}

func plant(at []place, steps []pathStep, path int) []place {
	i := slices.IndexFunc(at, func(k place) bool { return k.step.Name == steps[0].Name })
	if i < 0 {
		i, at = len(at), append(at, place{step: &steps[0]})
	}
	k := &at[i]
	k.all = append(k.all, path)
	if len(steps) == 1 {
		k.leaf = append(k.leaf, path)
	} else {
		k.kids = plant(k.kids, steps[1:], path)
	}
	return at
}

// find puts the text of the value at each path into out, nil where there is
// none.
func (p *places) find(doc []byte, out [][]byte) {
	clear(out)
	if walk(doc, skipSpace(doc, 0), p.root, out) < 0 {
		clear(out)
	}
}

// walk goes through the object at i and returns the index after it, or -1. Of
// members with the same name the last counts, with all that is in it.
func walk(doc []byte, i int, kids []place, out [][]byte) int {
	it := object(doc, i)
	for it.next() {
		k := named(kids, it.key)
		if k == nil {
			continue
		}
		for _, path := range k.all {
			out[path] = nil
		}
		if len(k.kids) > 0 && it.val < len(doc) && doc[it.val] == '{' {
			if it.end = walk(doc, it.val, k.kids, out); it.end < 0 {
				return -1
			}
		}
		raw, ok := it.value()
		if !ok {
			return -1
		}
		for _, path := range k.leaf {
			out[path] = raw
		}
	}
	if it.bad {
		return -1
	}
	return it.at
}

func named(kids []place, key []byte) *place {
	escaped := bytes.IndexByte(key, '\\') >= 0
	for i := range kids {
		if s := kids[i].step; string(key) == s.Name || escaped && s.is(key) {
			return &kids[i]
		}
	}
	return nil
}
