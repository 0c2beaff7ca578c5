package transform

import (
	"errors"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

var errOmitName = errors.New("mapping: payload_omit: a name is empty; write the names of members, such as [topic, headers]")

// omitted are the members of the payload that are no part of the event: the
// envelope of a polling outbox carries the topic and the headers, and its worker
// took them out before it produced.
type omitted []pathStep

func compileOmit(names []string) (omitted, error) {
	var out omitted
	for _, n := range names {
		if n == "" {
			return nil, errOmitName
		}
		out = append(out, newPath(contract.Path{{Name: n, Member: true}}).steps[0])
	}
	return out, nil
}

// has reports whether a member's key, as it stands between its quotes, is one
// of them.
func (o omitted) has(key []byte) bool {
	for i := range o {
		if o[i].is(key) {
			return true
		}
	}
	return false
}

// mayBeIn reports whether one of them can be in doc.
func (o omitted) mayBeIn(doc []byte) bool {
	for i := range o {
		if !o[i].plain || o[i].mayBeIn(doc) {
			return true
		}
	}
	return false
}

// cut writes the object doc without those members into dst. What stays, stays
// byte for byte, with its separators: of a text by json.dumps remains what
// json.dumps makes of the rest. False: there is nothing to cut, or doc is no
// object.
func (o omitted) cut(dst, doc []byte) ([]byte, bool) {
	it := object(doc, skipSpace(doc, 0))
	if it.bad {
		return dst, false
	}
	start, open := len(dst), it.at
	dst = append(dst, doc[:open]...)
	some, kept := false, false
	end := open // of the member before
	for it.next() {
		if _, ok := it.value(); !ok {
			break
		}
		from := end
		end = it.end
		switch {
		case o.has(it.key):
			some = true
			continue
		case !kept: // a comma before it belonged to a member that is gone
			dst = append(dst, doc[open:skipSpace(doc, open)]...)
			if from = skipSpace(doc, from); doc[from] == ',' {
				from = skipSpace(doc, from+1)
			}
		}
		dst = append(dst, doc[from:end]...)
		kept = true
	}
	if it.bad || !some {
		return dst[:start], false
	}
	return append(dst, doc[end:]...), true
}
