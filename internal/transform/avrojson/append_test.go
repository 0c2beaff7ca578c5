package avrojson

import (
	"bytes"
	"testing"
)

func mustCompile(t testing.TB, schema string) *Program {
	t.Helper()
	p, err := Compile(schema)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkBoth holds Append and the reference against each other.
func checkBoth(t fataler, e *Encoder, ref *reference, doc []byte) (accepted bool) {
	t.Helper()
	want, wantErr := ref.encode(doc)
	prefix := []byte("before")
	got, err := e.Append(prefix, doc)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%s\nprogram:   %x, %v\nreference: %x, %v", doc, got[len(prefix):], err, want, wantErr)
	}
	if err == nil && !bytes.Equal(got[len(prefix):], want) {
		t.Fatalf("%s\nprogram:   %x\nreference: %x", doc, got[len(prefix):], want)
	}
	if !bytes.HasPrefix(got, prefix) || err != nil && len(got) != len(prefix) {
		t.Fatalf("%s: dst became %q", doc, got)
	}
	return err == nil
}

func TestEventOfTheProduct(t *testing.T) {
	t.Parallel()
	e := mustCompile(t, eventSchema).NewEncoder()
	ref, err := newReference(eventSchema)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // the second time keys are predicted
		for _, doc := range [][]byte{[]byte(eventJSON), jsonbOrder(t, eventJSON)} {
			if !checkBoth(t, e, ref, doc) {
				t.Fatal("refused")
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	e := mustCompile(t, eventSchema).NewEncoder()
	buf := make([]byte, 0, 8192)
	escaped := bytes.ReplaceAll([]byte(eventJSON), []byte("batch-77"), []byte(`b\u00e4\tch\ud83d\ude00`))
	docs := [][]byte{[]byte(eventJSON), jsonbOrder(t, eventJSON), escaped}
	allocs := testing.AllocsPerRun(200, func() {
		for _, doc := range docs {
			if _, err := e.Append(buf, doc); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
