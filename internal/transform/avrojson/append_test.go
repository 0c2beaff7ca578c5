package avrojson

import (
	"bytes"
	"fmt"
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
	escaped := bytes.ReplaceAll([]byte(eventJSON), []byte("batch-77"), []byte(`b\u00e4\tch\ud83d\ude00`))
	var many []byte // keys, so many that they are sorted
	for i := range 40 {
		many = fmt.Appendf(many, `,"k%d":true`, i)
	}
	for _, tt := range []struct {
		schema string
		docs   [][]byte
	}{
		{eventSchema, [][]byte{[]byte(eventJSON), jsonbOrder(t, eventJSON), escaped}},
		{fuzzSchema, [][]byte{
			fmt.Appendf(nil, `{"m":{%s}}`, many[1:]),
			[]byte(`{"x":"YQ==","h":"00fF","b":"ÿ","fx":"abc","f":0.1,"d":1.7976931348623157e308,"i":1e3,"e":"B"}`),
			[]byte(`{"dec":"-123456789012345678901234567890.12345","ts":"2024-01-31T10:15:30.123456789+02:00"}`),
			[]byte(`{"tm":"10:15:30.5","dt":"2024-02-29","id":"7f1d2c36-0e5b-4b7a-9a55-6f0c8f1f2b11","du":"P1Y2M3DT4H5M6.7S"}`),
			[]byte(`{"n":{"t.All":{"u":{"k":{"i":1}}}},"u":{"a":{"s":"x"},"b":{"u":{"string":"y"}}}}`),
		}},
	} {
		e := mustCompile(t, tt.schema).NewEncoder()
		buf := make([]byte, 0, 8192)
		for _, doc := range tt.docs {
			allocs := testing.AllocsPerRun(200, func() {
				if _, err := e.Append(buf, doc); err != nil {
					t.Fatal(err)
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations for %s", allocs, doc)
			}
		}
	}
}
