package transform

import (
	"log/slog"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// keySource is a compiled contract.KeySource.
type keySource struct {
	kind  contract.KeyKind
	name  string
	std   standard  // of a header
	path  *jsonPath // in the payload, or in the JSON of a header or column; nil: all of it
	text  []byte
	parts []keySource
}

// keyRule is a compiled chain.
type keyRule struct {
	sources []keySource
	// places: the chain itself says when the row's message_key is tried.
	// Otherwise it is tried first, because the row goes before the rule.
	places bool
}

func compileKey(sources []contract.KeySource) keyRule {
	r := keyRule{sources: compileSources(sources)}
	for _, s := range sources {
		s.Walk(func(s contract.KeySource) { r.places = r.places || s.Kind == contract.KeyMessageKey })
	}
	return r
}

func compileSources(sources []contract.KeySource) []keySource {
	var out []keySource
	for _, s := range sources {
		k := keySource{kind: s.Kind, name: s.Name, text: []byte(s.Text), std: standardOf(s.Name), parts: compileSources(s.Parts)}
		if s.Kind == contract.KeyPayload || len(s.Path) > 0 {
			k.path = newPath(s.Path)
		}
		out = append(out, k)
	}
	return out
}

// payloadPaths are the places in the payload that sources ask for.
func payloadPaths(sources []keySource) []*jsonPath {
	var out []*jsonPath
	for i := range sources {
		if s := &sources[i]; s.kind == contract.KeyPayload {
			out = append(out, s.path)
		}
		out = append(out, payloadPaths(sources[i].parts)...)
	}
	return out
}

// key is the key of a form: the row's message key, else the form's rule, else
// the default rule; nil: nothing resolved. fell says that the rule was of no
// use: it gave nothing, or nothing but its last fallback. The key is dead at the
// next call.
func (t *Transformer) key(f *form) (key []byte, fell bool) {
	rule, own := &t.defaultKey, false
	if f.key != nil {
		rule, own = f.key, true
	}
	if !rule.places {
		if v, ok := t.row.scalar(fieldKey); ok {
			return v, false
		}
	}
	key, at := t.resolve(rule.sources)
	if !own {
		return key, key == nil
	}
	if key == nil {
		key, _ = t.resolve(t.defaultKey.sources)
		return key, true
	}
	return key, at > 0 && at == len(rule.sources)-1
}

// resolve is the value of the first source that gives one, and its index.
func (t *Transformer) resolve(sources []keySource) ([]byte, int) {
	for i := range sources {
		if v, ok := t.keyFrom(&sources[i]); ok {
			return v, i
		}
	}
	return nil, -1
}

func (t *Transformer) keyFrom(s *keySource) ([]byte, bool) {
	r := &t.row
	var v []byte
	var ok bool
	switch s.kind {
	case contract.KeyMessageKey:
		return r.scalar(fieldKey)
	case contract.KeyAggregateID:
		return r.scalar(fieldAggregateID)
	case contract.KeyAggregateType:
		return r.scalar(fieldAggregateType)
	case contract.KeyEventType:
		return r.typ, true
	case contract.KeyPayload:
		return r.inPayload(s.path)
	case contract.KeyConst:
		return s.text, true
	case contract.KeyComposite:
		return t.composite(s)
	case contract.KeyHeader:
		v, ok = r.given.text(s.std, s.name)
	case contract.KeyColumn:
		if i, found := r.plan.columns[s.name]; found {
			v, ok = r.cols[i], len(r.cols[i]) > 0
		}
	}
	if ok && s.path != nil {
		return r.inside(v, s.path)
	}
	return v, ok
}

// composite puts the parts together, in scratch of its own. Half a value would
// be the value of another event: without one of its parts there is none.
func (t *Transformer) composite(s *keySource) ([]byte, bool) {
	buf := t.compositeBuf[:0]
	for i := range s.parts {
		v, ok := t.keyFrom(&s.parts[i])
		if !ok {
			return nil, false
		}
		buf = append(buf, v...)
	}
	t.compositeBuf = buf
	return buf, true
}

// warnEvery is how often one rule may warn about its key.
const warnEvery = time.Minute

// keyFell counts an event of which a key rule was of no use and warns, once a
// minute.
func (t *Transformer) keyFell(r *rule) {
	r.metrics.fell.Inc()
	now := t.now()
	if now.Sub(r.warned) < warnEvery {
		r.unwarned++
		return
	}
	t.log.Warn("key rule gave nothing but its last fallback; events of one aggregate may land in different partitions",
		slog.String("event_type", string(t.row.typ)), slog.String("rule", r.src.At), slog.Bool("has_key", t.hasKey),
		slog.String("table", t.row.m.Rel.Name()), slog.String("lsn", t.row.m.Pos.String()), slog.Int("more_since_last", r.unwarned),
		slog.String("next", "compare the rule with the payload, then: cdc-relay config validate"))
	r.warned, r.unwarned = now, 0
}
