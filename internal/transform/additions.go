package transform

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// addition is a compiled contract.HeaderAdd.
type addition struct {
	key     string
	std     standard // it may be a standard header of another set
	sources []keySource
	missing prometheus.Counter
}

// compileAdditions refuses a header that the set has already: the relay works
// that one out, and a row or the mapping can give it.
func compileAdditions(add []contract.HeaderAdd, set headerSet) ([]addition, error) {
	if set == headersOff {
		return nil, nil
	}
	first, last := set.bounds()
	var out []addition
	for _, a := range add {
		std := standardOf(a.Name)
		if std != notStandard && std >= first && std <= last {
			return nil, fmt.Errorf("headers.add: %s is a standard header, which the relay gives; have the service write it into the row's headers, or leave it out here", a.Name)
		}
		out = append(out, addition{key: a.Name, std: std, sources: compileSources(a.Sources)})
	}
	return out, nil
}

// adds reports whether the contract adds the header.
func (f *form) adds(name string) bool {
	for i := range f.add {
		if f.add[i].key == name {
			return true
		}
	}
	return false
}

// appendAdditions writes the headers that the contract adds: the row's own value
// where it has one, else that of the first source that gives one. What none
// gives is left out, counted for the event itself, and sets missing.
func (t *Transformer) appendAdditions(b *event.Batch, hs []event.Header, f *form, own bool, missing *bool) []event.Header {
	for i := range f.add {
		a := &f.add[i]
		v, ok := t.row.given.text(a.std, a.key)
		if !ok {
			var at int
			if v, at = t.resolve(a.sources); at < 0 {
				if own {
					a.missing.Inc()
					*missing = true
				}
				continue
			}
		}
		hs = append(hs, event.Header{Key: a.key, Value: keepText(b, v)})
	}
	return hs
}
