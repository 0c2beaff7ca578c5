package transform

import (
	"log/slog"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// keySource is a compiled contract.KeySource.
type keySource struct {
	kind contract.KeyKind
	name string
	std  standard // of a header
	path *jsonPath
	text []byte
}

// keyRule is a compiled chain.
type keyRule struct {
	sources []keySource
	// places: the chain itself says when the row's message_key is tried.
	// Otherwise it is tried first, because the row goes before the rule.
	places bool
}

func compileKey(sources []contract.KeySource) keyRule {
	var r keyRule
	for _, s := range sources {
		k := keySource{kind: s.Kind, name: s.Name, text: []byte(s.Text), std: standardOf(s.Name)}
		if s.Kind == contract.KeyPayload {
			k.path = newPath(s.Path)
		}
		r.places = r.places || s.Kind == contract.KeyMessageKey
		r.sources = append(r.sources, k)
	}
	return r
}

// key is the key of a form: the row's message key, else the form's rule, else
// the default rule; nil: nothing resolved. fell says that the rule was of no
// use: it gave nothing, or nothing but its last fallback.
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
	key, at := t.resolve(rule)
	if !own {
		return key, key == nil
	}
	if key == nil {
		key, _ = t.resolve(&t.defaultKey)
		return key, true
	}
	return key, at > 0 && at == len(rule.sources)-1
}

func (t *Transformer) resolve(rule *keyRule) ([]byte, int) {
	for i := range rule.sources {
		if v, ok := t.keyFrom(&rule.sources[i]); ok {
			return v, i
		}
	}
	return nil, -1
}

func (t *Transformer) keyFrom(s *keySource) ([]byte, bool) {
	r := &t.row
	switch s.kind {
	case contract.KeyMessageKey:
		return r.scalar(fieldKey)
	case contract.KeyAggregateID:
		return r.scalar(fieldAggregateID)
	case contract.KeyPayload:
		return r.inPayload(s.path)
	case contract.KeyHeader:
		return r.given.text(s.std, s.name)
	case contract.KeyColumn:
		if i, ok := r.plan.columns[s.name]; ok {
			return r.cols[i], len(r.cols[i]) > 0
		}
	case contract.KeyConst:
		return s.text, true
	}
	return nil, false
}

// warnEvery is how often one rule may warn about its key.
const warnEvery = time.Minute

// keyFell counts a key rule that was of no use and warns, once a minute.
func (t *Transformer) keyFell(r *rule, key []byte) {
	r.metrics.fell.Inc()
	now := t.now()
	if now.Sub(r.warned) < warnEvery {
		r.unwarned++
		return
	}
	t.log.Warn("key rule gave nothing but its last fallback; events of one aggregate may land in different partitions",
		slog.String("event_type", string(t.row.typ)), slog.String("rule", r.src.At), slog.Bool("has_key", key != nil),
		slog.String("table", t.row.m.Rel.Name()), slog.String("lsn", t.row.m.Pos.String()), slog.Int("more_since_last", r.unwarned),
		slog.String("next", "compare the rule with the payload, then: cdc-relay config validate"))
	r.warned, r.unwarned = now, 0
}
