package transform

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// anyJSON draws a JSON value of some depth, texts that need escapes among them.
func anyJSON(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Map(rapid.StringN(0, 60, -1), func(s string) any { return strings.ToValidUTF8(s, "?") }),
		rapid.Map(rapid.Int32(), func(n int32) any { return float64(n) }),
		rapid.Just[any](nil), rapid.Just[any](true),
	)
	if depth == 0 {
		return leaf
	}
	return rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return rapid.SliceOfN(anyJSON(depth-1), 0, 4).Draw(t, "list")
		case 1:
			return leaf.Draw(t, "leaf")
		}
		names := rapid.SampledFrom([]string{"a", "b", "c", "d\"", "å"})
		return rapid.MapOfN(names, anyJSON(depth-1), 0, 4).Draw(t, "object")
	})
}

// written is v as text with white space in odd places and, now and then, names
// in escapes.
func written(t *rapid.T, v any) []byte {
	doc, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "indented") {
		var b bytes.Buffer
		if err := json.Indent(&b, doc, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		doc = append([]byte("\n "), b.Bytes()...)
	}
	if rapid.Bool().Draw(t, "escaped") {
		doc = bytes.ReplaceAll(doc, []byte(`"a":`), []byte(`"\u0061":`))
	}
	return doc
}

// claimFieldsOf does with values what the relay does with text.
func claimFieldsOf(v any, path contract.Path, over int, stored map[string]string) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	inner, ok := m[path[0].Name]
	if !ok {
		return v
	}
	out := map[string]any{}
	for k, x := range m {
		out[k] = x
	}
	if len(path) > 1 {
		out[path[0].Name] = claimFieldsOf(inner, path[1:], over, stored)
		return out
	}
	data, isText := inner.(string)
	if !isText {
		return out // its text is as it was written; judged below
	}
	if len(data) > over {
		sum := sha256.Sum256([]byte(data))
		stored[hex.EncodeToString(sum[:])] = data
		out[path[0].Name] = "claimed"
	}
	return out
}

// Whatever the document, what is left of it and what was stored is the document.
func TestClaimFieldsOfAnyDocument(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "x"}), anyJSON(3), 0, 3).Draw(t, "document")
		doc := written(t, v)
		rule := contract.Claim{Over: rapid.IntRange(1, 40).Draw(t, "over")}
		for _, p := range []string{"a.b", "b", "x.c", "a.a"} {
			path, err := contract.ParsePath(p)
			if err != nil {
				t.Fatal(err)
			}
			rule.Fields = append(rule.Fields, path)
		}
		tr := &Transformer{opts: Options{ClaimBase: "s3://b"}}
		f := &form{claim: &claim{rule: rule, over: rule.Over, ref: newRefShape(&rule, nil)}}
		var paths []*jsonPath
		for _, p := range rule.Fields {
			paths = append(paths, newPath(p))
		}
		f.claim.places = newPlaces(paths)
		tr.row.payload = doc
		b := event.NewBatch(event.NewPool(1 << 20))
		got, err := tr.claimFields(b, f, nil)
		if err != nil {
			t.Fatal(err)
		}
		var left any
		if err := json.Unmarshal(got, &left); err != nil {
			t.Fatalf("no JSON is left of %s: %v\n%s", doc, err, got)
		}
		stored := map[string]string{}
		for _, p := range rule.Fields {
			left = put(t, left, p, b.Blobs)
		}
		if !reflect.DeepEqual(left, any(v)) {
			t.Fatalf("%s became %s", doc, got)
		}
		if len(doc) <= rule.Over { // nothing in it can be larger
			return
		}
		var want any = v
		for _, p := range rule.Fields {
			want = claimFieldsOf(want, p, rule.Over, stored)
		}
		have := map[string]bool{}
		for i := range b.Blobs {
			have[hex.EncodeToString(b.Blobs[i].Sum[:])] = true
			if len(b.Blobs[i].Data) <= rule.Over {
				t.Fatalf("%d bytes were claimed, over %d", len(b.Blobs[i].Data), rule.Over)
			}
		}
		for hash, text := range stored {
			if !have[hash] {
				t.Fatalf("%q was not claimed, over %d", text, rule.Over)
			}
		}
	})
}

// put puts the object of a reference at path back.
func put(t *rapid.T, v any, path contract.Path, blobs []event.Blob) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	inner, ok := m[path[0].Name]
	if !ok {
		return v
	}
	if len(path) > 1 {
		m[path[0].Name] = put(t, inner, path[1:], blobs)
		return m
	}
	ref, ok := inner.(map[string]any)
	if !ok || ref["sha256"] == nil {
		return v
	}
	for i := range blobs {
		if b := &blobs[i]; hex.EncodeToString(b.Sum[:]) == ref["sha256"] {
			if strings.HasPrefix(b.ContentType, "text/") {
				m[path[0].Name] = string(b.Data)
				return m
			}
			var x any
			if err := json.Unmarshal(b.Data, &x); err != nil {
				t.Fatal(err)
			}
			m[path[0].Name] = x
			return m
		}
	}
	t.Fatalf("no blob for %v", ref)
	return v
}
