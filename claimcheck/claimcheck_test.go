package claimcheck_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"gocloud.dev/blob/memblob"

	"github.com/cdc-relay/cdc-relay/claimcheck"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

func read(ctx context.Context, store *claimcheck.Store, header, value []byte) ([]byte, error) {
	switch kind, fields := claimcheck.Of(header); kind {
	case claimcheck.Payload:
		ref, err := claimcheck.ParseRef(value)
		if err != nil {
			return nil, err
		}
		return store.Fetch(ctx, ref) // verified: length and SHA-256
	case claimcheck.Fields:
		return store.Inline(ctx, value, fields)
	}
	return value, nil
}

// The page shows what this test runs.
func TestTheExampleIsThis(t *testing.T) {
	t.Parallel()
	want, err := rig.Example("docs/claim-check.md", "go")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("claimcheck_test.go")
	if err != nil || !bytes.Contains(file, []byte(want)) {
		t.Errorf("docs/claim-check.md has another example (%v)", err)
	}
}

// store holds objects, by the name of their references.
func store(t *testing.T, objects map[string]string) (*claimcheck.Store, func(name string) claimcheck.Ref) {
	t.Helper()
	b := memblob.OpenBucket(nil)
	for name, data := range objects {
		if err := b.WriteAll(t.Context(), "p/"+name, []byte(data), nil); err != nil {
			t.Fatal(err)
		}
	}
	s := claimcheck.Wrap(b, "s3://bucket")
	t.Cleanup(func() { s.Close() })
	return s, func(name string) claimcheck.Ref {
		sum := sha256.Sum256([]byte(objects[name]))
		return claimcheck.Ref{URI: "s3://bucket/p/" + name, Bytes: int64(len(objects[name])), SHA256: hex.EncodeToString(sum[:]), ContentType: "text/plain"}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	s, ref := store(t, map[string]string{"text": "Å \"text\" <b>", "list": `[1,2.50,{"a":null}]`, "value": `{"whole":true}`})
	list := ref("list")
	list.ContentType = "application/json"
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct{ header, value, want string }{
		{"", `{"plain":1}`, `{"plain":1}`},
		{"something else", `{"plain":1}`, `{"plain":1}`},
		{"payload", text(ref("value")), `{"whole":true}`},
		{"fields:data.text,list", fmt.Sprintf(`{"data":{"text":%s,"n":12345678901234567890},"list":%s}`, text(ref("text")), text(list)),
			`{"data":{"n":12345678901234567890,"text":"Å \"text\" <b>"},"list":[1,2.50,{"a":null}]}`},
	} {
		got, err := read(t.Context(), s, []byte(c.header), []byte(c.value))
		if err != nil || string(got) != c.want {
			t.Errorf("%q: %s, %v", c.header, got, err)
		}
	}
	for header, value := range map[string]string{
		"payload": `{"uri":"s3://bucket/p/text"}`, "fields:a.b": `{"a":1}`, "fields:a": `{"a":"inline"}`, "fields:x": `[1`,
	} {
		if got, err := read(t.Context(), s, []byte(header), []byte(value)); err == nil {
			t.Errorf("%s of %s: %s", header, value, got)
		}
	}
}

// Whatever is not what the reference says is an error, also of a stream.
func TestVerify(t *testing.T) {
	t.Parallel()
	s, ref := store(t, map[string]string{"o": strings.Repeat("x", 100_000)})
	change := func(do func(*claimcheck.Ref)) claimcheck.Ref {
		r := ref("o")
		do(&r)
		return r
	}
	for name, r := range map[string]claimcheck.Ref{
		"shorter": change(func(r *claimcheck.Ref) { r.Bytes++ }),
		"longer":  change(func(r *claimcheck.Ref) { r.Bytes-- }),
		"other":   change(func(r *claimcheck.Ref) { r.SHA256 = strings.Repeat("0", 64) }),
	} {
		if _, err := s.Fetch(t.Context(), r); !errors.Is(err, claimcheck.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
		stream, err := s.Reader(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, stream); !errors.Is(err, claimcheck.ErrMismatch) {
			t.Errorf("%s, streamed: %v", name, err)
		}
		stream.Close()
	}
	for name, uri := range map[string]string{"another bucket": "s3://other/p/o", "a longer name": "s3://bucket2/p/o", "not there": "s3://bucket/p/none", "no key": "s3://bucket/"} {
		if _, err := s.Fetch(t.Context(), change(func(r *claimcheck.Ref) { r.URI = uri })); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if _, err := s.Fetch(t.Context(), ref("o")); err != nil {
		t.Error(err)
	}
	if kind, fields := claimcheck.Of([]byte("fields:a,b.c")); kind != claimcheck.Fields || !slices.Equal(fields, []string{"a", "b.c"}) {
		t.Error(kind, fields)
	}
}
