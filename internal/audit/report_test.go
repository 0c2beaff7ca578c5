package audit

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

func TestPrint(t *testing.T) {
	t.Parallel()
	r := Report{Pipeline: "essays", Table: "cdc_relay.outbox", Missing: 2, TableRows: 10, ExpectedRecords: 10, KafkaRecords: 8, OrderTolerance: 1000,
		Details: []Detail{{Kind: Missing, EventID: "e-1", RowID: "r-1", Topic: "t", Key: "k", Created: "2026-05-01T00:00:00.000000Z", XID: 7}}}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2  missing", "0  duplicate", "missing: the first 1 of 2", "event_id e-1  row r-1  topic t  key k", "xid 7", "NOT SOUND", "track_commit_timestamp is off"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	h := NewHeaders()
	add := func(typ string, names ...string) {
		h.Add(func(name string) ([]byte, bool) {
			if name == "event_type" {
				return []byte(typ), typ != ""
			}
			return []byte("v"), slices.Contains(names, name)
		})
	}
	add("a", "event_id", "trace_id")
	add("a", "event_id")
	add("", "event_id")
	counts := h.Counts()
	if len(counts) != 2 || cmp.Compare(counts[0].Type, counts[1].Type) >= 0 || counts[1].Records != 2 || counts[1].With["trace_id"] != 1 || counts[1].With["event_id"] != 2 {
		t.Errorf("%+v", counts)
	}
	var out strings.Builder
	if err := PrintHeaders(&out, counts); err != nil || !strings.Contains(out.String(), "50.0%") || !strings.Contains(out.String(), "(none)") {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, c := range []struct {
		n, of int64
		want  string
	}{{0, 9, "0%"}, {9, 9, "100%"}, {1, 1_000_000, "0.1%"}, {999_999, 1_000_000, "99.9%"}} {
		if got := share(c.n, c.of); got != c.want {
			t.Errorf("share(%d, %d) = %s", c.n, c.of, got)
		}
	}
}
